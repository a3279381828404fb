"""A selection is a whole dataset again: same rows, same pictures, numbers without a gap."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import av
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lerobot_oracle.oracle import run_probe, skip_without_lerobot
from sources import generic_lerobot
from store.curated import add_tables, frame_tables, tree

from finedata.convert.run import convert
from finedata.errors import ConformError, UsageError
from finedata.store.dataset import Dataset, open_dataset
from finedata.store.export.episodes import select_episodes
from finedata.store.merge import part_copy, part_files
from finedata.store.merge.subset import write_subset

WHERE = "length > 20"
LEROBOT = ("episode_index", "task_index", "data/", "dataset_", "meta/", "videos/")


def subset(dataset: Dataset, out: Path, where: str = WHERE) -> Dataset:
    out.mkdir()
    write_subset(dataset, out=out, episode_ids=select_episodes(dataset, where=where), where=where)
    return open_dataset(out)


@pytest.fixture(scope="module")
def origin(converted: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("origin") / "bridge"
    shutil.copytree(converted, root)
    add_tables(root)
    return open_dataset(root)


@pytest.fixture(scope="module")
def chosen(origin: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return subset(origin, tmp_path_factory.mktemp("chosen") / "some")


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Three episodes whose camera is a video; the first two are in one file."""
    folder = tmp_path_factory.mktemp("filmed")
    generic_lerobot.write(folder / "source", version="v3.0")
    convert("lerobot", input=folder / "source", out=folder / "out")
    return open_dataset(folder / "out")


def test_rows_and_pictures_are_the_origins(origin: Dataset, chosen: Dataset) -> None:
    wanted = frame_tables(origin.root)
    found = frame_tables(chosen.root)
    assert 0 < len(found) < len(wanted)
    lengths = origin.episodes.filter(pl.col("length") > 20).collect()
    assert list(found) == lengths["episode_id"].to_list()
    assert found == {episode_id: wanted[episode_id] for episode_id in found}


def test_numbers_have_no_gap(chosen: Dataset) -> None:
    frames = chosen.frames.collect()
    episodes = chosen.episodes.collect()
    assert frames["index"].to_list() == list(range(frames.height))
    assert episodes["episode_index"].to_list() == list(range(episodes.height))
    ends = np.cumsum(episodes["length"].to_numpy())
    assert episodes["dataset_to_index"].to_list() == ends.tolist()
    assert episodes["dataset_from_index"].to_list() == [0, *ends[:-1].tolist()]
    joined = frames.group_by("episode_id", maintain_order=True).agg(
        pl.col("episode_index").unique().alias("numbers"), pl.len().alias("rows")
    )
    assert joined["episode_id"].to_list() == episodes["episode_id"].to_list()
    assert joined["numbers"].to_list() == [[i] for i in range(episodes.height)]
    assert joined["rows"].to_list() == episodes["length"].to_list()


def test_tasks_are_those_that_are_left(origin: Dataset, chosen: Dataset) -> None:
    tasks = pl.read_parquet(chosen.root / "meta/tasks.parquet")
    assert tasks["task_index"].to_list() == list(range(tasks.height))
    episodes = chosen.episodes.collect()
    assert set(tasks["task"]) == set(episodes["task"])
    assert tasks.height < origin.episodes.collect()["task"].n_unique()
    texts = dict(tasks.select("task_index", "task").iter_rows())
    assert [texts[i] for i in episodes["task_index"]] == episodes["task"].to_list()
    frames = chosen.frames.select("episode_id", "task_index").unique().collect()
    assert dict(frames.iter_rows()) == dict(episodes.select("episode_id", "task_index").iter_rows())


def test_other_columns_of_episodes_are_the_origins(origin: Dataset, chosen: Dataset) -> None:
    names = [n for n in origin.episodes.collect_schema().names() if not n.startswith(LEROBOT)]
    wanted = origin.episodes.filter(pl.col("length") > 20).select(names).collect()
    assert chosen.episodes.select(names).collect().equals(wanted, null_equal=True)


def test_info_and_statistics_are_of_the_selection(chosen: Dataset) -> None:
    info = json.loads((chosen.root / "meta/info.json").read_text())
    frames = chosen.frames.collect()
    episodes = chosen.episodes.collect()
    assert info["total_frames"] == frames.height
    assert info["total_episodes"] == episodes.height
    assert next(iter(info["splits"].values())).startswith("0:")
    assert list(info["splits"].values())[-1].endswith(f":{episodes.height}")
    stats = json.loads((chosen.root / "meta/stats.json").read_text())
    for name in ("observation.state", "action"):
        values = np.stack(frames[name].to_numpy()).astype(np.float64)
        usable = np.isfinite(values).all(axis=0)
        assert usable.any()
        for key in ("min", "max", "mean", "std"):
            wanted = getattr(values, key)(axis=0)[usable]
            found = np.array(stats[name][key], np.float64)[usable]
            np.testing.assert_allclose(
                found, wanted, rtol=1e-9, atol=1e-12, err_msg=f"{name} {key}"
            )
        assert stats[name]["count"] == [frames.height]


def test_splits_in_turns_are_one(origin: Dataset, tmp_path: Path) -> None:
    """LeRobot has one stretch a split: a name that came back would hide the first stretch."""
    root = tmp_path / "turns"
    shutil.copytree(origin.root, root)
    (file,) = root.glob("meta/episodes/*/*")
    table = pq.read_table(file)
    place = table.column_names.index("split")
    splits = pa.array([("train", "val")[i % 2] for i in range(table.num_rows)])
    file.unlink()
    pq.write_table(table.set_column(place, table.schema.field(place), splits), file)
    chosen = subset(open_dataset(root), tmp_path / "out", where="episode_index > 0")
    info = json.loads((chosen.root / "meta/info.json").read_text())
    assert info["splits"] == {"train": f"0:{chosen.parts[0].episodes}"}


def test_receipts_add_up_and_the_marker_says_of_what(origin: Dataset, chosen: Dataset) -> None:
    episodes, receipts = chosen.episodes.collect(), chosen.receipts.collect()
    assert receipts["episode_id"].to_list() == [
        episode_id
        for episode_id in origin.receipts.collect()["episode_id"]
        if episode_id in set(episodes["episode_id"])
    ]
    counts = chosen.info.counts
    assert counts["found"] == counts["written"] == episodes.height
    assert counts["failed"] == 0
    assert counts["frames_written"] == episodes["length"].sum()
    assert counts["frames_read"] == counts["frames_written"] + counts["frames_dropped"]
    derived = chosen.info.derived_from
    assert derived is not None
    assert (derived.how, derived.where) == ("selection", WHERE)
    assert [entry.counts for entry in derived.origins] == [origin.info.counts]


@pytest.mark.parametrize(
    "table", ["gate", "clusters", "representatives", "facts", "calls", "instructions"]
)
def test_other_tables_are_filtered(origin: Dataset, chosen: Dataset, table: str) -> None:
    ids = chosen.episodes.collect()["episode_id"]
    wanted = origin.table(table).filter(pl.col("episode_id").is_in(ids.implode())).collect()
    assert 0 < wanted.height < origin.table(table).collect().height
    assert chosen.table(table).collect().equals(wanted, null_equal=True)


def test_reviews_follow_their_rows(chosen: Dataset) -> None:
    facts = chosen.facts.collect()["fact_id"].unique(maintain_order=True).to_list()
    assert chosen.table("reviews").collect()["target_id"].to_list() == facts


def test_everything_is_linked_and_the_same(origin: Dataset, tmp_path: Path) -> None:
    whole = subset(origin, tmp_path / "whole", where="length > 0")
    before, after = tree(origin.root), tree(whole.root)
    for name in before:
        if name.startswith(("meta/", "data/")):
            assert after[name] == before[name], name
            assert (whole.root / name).samefile(origin.root / name)


def test_the_same_call_gives_the_same_bytes(
    origin: Dataset, chosen: Dataset, tmp_path: Path
) -> None:
    assert tree(subset(origin, tmp_path / "again").root) == tree(chosen.root)


def test_a_selection_of_a_selection(origin: Dataset, chosen: Dataset, tmp_path: Path) -> None:
    twice = subset(chosen, tmp_path / "twice", where="episode_index = 1")
    once = subset(origin, tmp_path / "once", where=f"episode_id = '{ids(twice)[0]}'")
    assert frame_tables(twice.root) == frame_tables(once.root)
    derived = twice.info.derived_from
    assert derived is not None
    assert derived.origins[0].derived_from == chosen.info.derived_from


def ids(dataset: Dataset) -> list[str]:
    return dataset.episodes.collect()["episode_id"].to_list()


def test_files_end_at_a_hundred_megabytes(
    origin: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part_files, "DATA_FILE_MB", 0.05)
    split = subset(origin, tmp_path / "split")
    assert len(list(split.root.glob("data/*/*.parquet"))) > 1
    wanted = frame_tables(origin.root)
    found = frame_tables(split.root)
    assert found == {episode_id: wanted[episode_id] for episode_id in found}


def test_rows_of_episodes_go_over_many_files(
    origin: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part_files, "EPISODES_PER_META_FILE", 2)
    monkeypatch.setattr(part_copy, "EPISODES_PER_META_FILE", 2)
    split = subset(origin, tmp_path / "split")
    files = sorted(split.root.glob("meta/episodes/*/*.parquet"))
    rows = [pl.read_parquet(file) for file in files]
    assert [table.height for table in rows][:-1] == [2] * (len(rows) - 1)
    for number, table in enumerate(rows):
        assert set(table["meta/episodes/file_index"]) == {number}


def decoded(dataset: Dataset, episode_id: str) -> list[bytes]:
    span = dataset.episode(episode_id).videos["front"]
    with av.open(str(span.path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    fps = dataset.parts[0].fps
    first = round(span.from_s * fps)
    assert round(span.to_s * fps) == first + span.frames
    return [frame.tobytes() for frame in frames[first : first + span.frames]]


@pytest.mark.parametrize("where", ["episode_index = 2", "episode_index >= 1", "episode_index <> 1"])
def test_videos_are_linked_whole(filmed: Dataset, tmp_path: Path, where: str) -> None:
    chosen = subset(filmed, tmp_path / "out", where=where)
    for episode_id in ids(chosen):
        assert decoded(chosen, episode_id) == decoded(filmed, episode_id)
    sources = {path.stat().st_ino for path in filmed.root.glob("videos/*/*/*.mp4")}
    files = sorted(chosen.root.glob("videos/*/*/*.mp4"))
    assert [file.name for file in files] == [f"file-{i:03d}.mp4" for i in range(len(files))]
    assert len(files) == (1 if where == "episode_index = 2" else 2)
    assert {file.stat().st_ino for file in files} <= sources


def test_lerobot_reads_it(filmed: Dataset, tmp_path: Path) -> None:
    skip_without_lerobot()
    chosen = subset(filmed, tmp_path / "out", where="episode_index >= 1")
    probed = run_probe(chosen.root, tmp_path)
    frames = chosen.frames.collect()
    assert probed["meta"]["num_episodes"] == 2
    assert probed["meta"]["num_frames"] == probed["meta"]["length"] == frames.height
    for name in ("index", "episode_index", "frame_index", "task_index"):
        np.testing.assert_array_equal(np.asarray(probed["frames"][name]), frames[name].to_numpy())
    state = np.stack(frames["observation.state"].to_numpy())
    np.testing.assert_array_equal(np.asarray(probed["frames"]["observation.state"]), state)
    tasks = dict(chosen.episodes.select("episode_id", "task").collect().iter_rows())
    assert list(probed["strings"]["task"]) == [tasks[name] for name in frames["episode_id"]]
    (digests,) = probed["decoded_sha256"].values()
    pixels = [frame for episode_id in ids(chosen) for frame in decoded(filmed, episode_id)]
    assert digests == [hashlib.sha256(frame).hexdigest() for frame in pixels]


def test_lerobot_reads_a_selection_with_pictures(origin: Dataset, tmp_path: Path) -> None:
    skip_without_lerobot()
    whole = origin.receipts.filter(~pl.col("flags").list.contains("undecodable_picture"))
    chosen_ids = whole.filter(pl.col("status") == "written").collect()["episode_id"].to_list()[::2]
    (tmp_path / "out").mkdir()
    write_subset(origin, out=tmp_path / "out", episode_ids=chosen_ids)
    chosen = open_dataset(tmp_path / "out")
    frames = chosen.frames.collect()
    asked = (0, 1, frames.height - 1)
    probed = run_probe(chosen.root, tmp_path, frames=asked)
    assert probed["meta"]["num_frames"] == frames.height
    np.testing.assert_array_equal(np.asarray(probed["frames"]["index"]), asked)
    for camera, digests in probed["encoded_sha256"].items():
        name = camera.removeprefix("observation.images.")
        first, last = (origin.episode(i).pictures[name] for i in (chosen_ids[0], chosen_ids[-1]))
        pictures = (first[0], first[1], last[-1])
        assert digests == [hashlib.sha256(picture).hexdigest() for picture in pictures]


def test_nothing_or_a_stranger_is_refused(origin: Dataset, tmp_path: Path) -> None:
    for wanted in ([], ["bridge_v2-0000000000000000"]):
        with pytest.raises(UsageError, match="of this dataset"):
            write_subset(origin, out=tmp_path, episode_ids=wanted)
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_is_named(origin: Dataset, tmp_path: Path) -> None:
    shutil.copytree(origin.root, tmp_path / "damaged")
    file = tmp_path / "damaged/data/chunk-000/file-000.parquet"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ConformError, match=r"file-000\.parquet"):
        subset(open_dataset(tmp_path / "damaged"), tmp_path / "out")
    assert not (tmp_path / "out" / "finedata.json").exists()
