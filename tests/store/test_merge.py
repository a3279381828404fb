"""Several datasets as one: nothing lost, nothing doubled, nothing mixed unasked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from lerobot_oracle.oracle import run_probe, skip_without_lerobot
from sources import generic_lerobot
from store.curated import add_tables, frame_tables, tree

from finedata.convert.run import convert
from finedata.errors import ConformError, UsageError
from finedata.store.dataset import Dataset, open_dataset
from finedata.store.export.episodes import select_episodes
from finedata.store.merge.run import merge_datasets
from finedata.store.merge.subset import write_subset


@pytest.fixture(scope="module")
def halves(converted: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The corpus in two: the first episode of three, and the others; both curated."""
    folder = tmp_path_factory.mktemp("halves")
    dataset = open_dataset(converted)
    for name, where in (("a", "episode_index % 3 = 0"), ("b", "episode_index % 3 > 0")):
        (folder / name).mkdir()
        ids = select_episodes(dataset, where=where)
        write_subset(dataset, out=folder / name, episode_ids=ids, where=where)
        add_tables(folder / name)
    return [folder / "a", folder / "b"]


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filmed")
    generic_lerobot.write(folder / "source", version="v3.0")
    convert("lerobot", input=folder / "source", out=folder / "out")
    return folder / "out"


def merged(roots: list[Path], out: Path, **options: bool) -> Dataset:
    merge_datasets(roots, out=out, **options)
    return open_dataset(out)


def check_whole(dataset: Dataset, roots: list[Path]) -> None:
    """Every episode of every dataset is there once, with its frames; counts and numbers agree."""
    wanted: dict = {}
    for root in roots:
        wanted |= frame_tables(root)
    assert frame_tables(dataset.root) == wanted
    infos = [open_dataset(root).info for root in roots]
    counts = dataset.info.counts
    assert counts == {name: sum(info.counts[name] for info in infos) for name in counts}
    statuses = dict(dataset.receipts.group_by("status").len().collect().iter_rows())
    assert statuses.get("written", 0) == counts["written"] == len(wanted)
    assert statuses.get("failed", 0) == counts["failed"]
    for part in dataset.parts:
        episodes = dataset.episodes.filter(pl.col("part") == part.name).collect()
        assert episodes["episode_index"].to_list() == list(range(part.episodes))
        index = dataset.part_frames(part.name).select("index").collect()["index"]
        assert index.to_list() == list(range(part.frames))
        info = json.loads((dataset.root / part.path / "meta/info.json").read_text())
        assert (info["total_episodes"], info["total_frames"]) == (part.episodes, part.frames)
    parts = dict(dataset.episodes.select("episode_id", "part").collect().iter_rows())
    receipts = dataset.receipts.filter(pl.col("status") == "written").collect()
    assert dict(receipts.select("episode_id", "part").iter_rows()) == parts


def test_side_by_side(converted: Path, filmed: Path, tmp_path: Path) -> None:
    both = merged([converted, filmed], tmp_path / "out", allow_mixed_licences=True)
    check_whole(both, [converted, filmed])
    names = [open_dataset(root).parts[0].name for root in (converted, filmed)]
    assert [part.name for part in both.parts] == names
    assert [part.path for part in both.parts] == names
    for root, name in zip((converted, filmed), names, strict=True):
        for pattern in ("data/*/*.parquet", "videos/*/*/*.mp4", "meta/episodes/*/*", "meta/*.json"):
            for file in root.glob(pattern):
                assert (both.root / name / file.relative_to(root)).samefile(file)


def test_all_sources_and_origins_are_named(converted: Path, filmed: Path, tmp_path: Path) -> None:
    both = merged([converted, filmed], tmp_path / "out", allow_mixed_licences=True)
    assert [source.name for source in both.info.sources] == ["bridge_v2", "lerobot"]
    derived = both.info.derived_from
    assert derived is not None
    assert derived.how == "merge"
    counts = [open_dataset(root).info.counts for root in (converted, filmed)]
    assert [origin.counts for origin in derived.origins] == counts
    assert set(both.episodes.collect()["licence"]) == {"CC-BY-4.0", "LicenseRef-unknown"}


def test_equal_names_are_told_apart(halves: list[Path], tmp_path: Path) -> None:
    both = merged(halves, tmp_path / "out")
    check_whole(both, halves)
    names = [part.name for part in both.parts]
    assert names == ["bridge_v2-widowx_250", "bridge_v2-widowx_250_2"]
    assert [source.name for source in both.info.sources] == ["bridge_v2"]
    clusters = both.clusters.collect()
    assert set(clusters["part"]) == set(names)
    places = clusters.select(pl.col("cluster_id").str.split("/").list.first())["cluster_id"]
    assert places.to_list() == clusters["part"].to_list()
    ids = both.representatives.join(both.clusters, on="episode_id").collect()
    assert (ids["cluster_id"] == ids["cluster_id_right"]).all()


def test_rankings_are_interleaved(halves: list[Path], tmp_path: Path) -> None:
    both = merged(halves, tmp_path / "out")
    ranked = both.representatives.sort("rank").collect()
    assert ranked["rank"].to_list() == list(range(ranked.height))
    lists = [
        open_dataset(root).representatives.sort("rank").collect()["episode_id"].to_list()
        for root in halves
    ]
    found = ranked["episode_id"].to_list()
    assert found[:4] == [lists[0][0], lists[1][0], lists[0][1], lists[1][1]]
    for one in lists:
        assert [name for name in found if name in one] == one


def test_joined(converted: Path, halves: list[Path], tmp_path: Path) -> None:
    one = merged(halves, tmp_path / "out", concatenate=True)
    check_whole(one, halves)
    assert [(part.name, part.path) for part in one.parts] == [("widowx_250", ".")]
    info = json.loads((one.root / "meta/info.json").read_text())
    splits = one.episodes.select(pl.col("split").fill_null("train")).collect()["split"].to_list()
    for name, bounds in info["splits"].items():
        first, last = (int(number) for number in bounds.split(":"))
        assert set(splits[first:last]) == {name}
    assert sum(int(b.split(":")[1]) - int(b.split(":")[0]) for b in info["splits"].values()) == len(
        splits
    )
    before = json.loads((converted / "meta/stats.json").read_text())
    after = json.loads((one.root / "meta/stats.json").read_text())
    assert list(after) == list(before)
    for key in ("min", "max", "mean", "std", "count"):
        np.testing.assert_allclose(
            np.array(after["action"][key], float),
            np.array(before["action"][key], float),
            rtol=1e-9,
            atol=1e-12,
        )


def test_splits_of_joined_parts_stay_together(halves: list[Path], tmp_path: Path) -> None:
    roots = []
    for half in halves:
        root = tmp_path / half.name
        shutil.copytree(half, root)
        (file,) = root.glob("meta/episodes/*/*")
        table = pq.read_table(file)
        splits = ["train"] * (table.num_rows - 2) + ["val"] * 2
        place = table.column_names.index("split")
        table = table.set_column(place, table.schema.field(place), pa.array(splits))
        file.unlink()
        pq.write_table(table, file)
        roots.append(root)
    one = merged(roots, tmp_path / "out", concatenate=True)
    check_whole(one, roots)
    count = one.parts[0].episodes
    assert one.episodes.collect()["split"].to_list() == ["train"] * (count - 4) + ["val"] * 4
    info = json.loads((one.root / "meta/info.json").read_text())
    assert info["splits"] == {"train": f"0:{count - 4}", "val": f"{count - 4}:{count}"}


def test_joined_parts_lose_clusters_and_say_so(halves: list[Path], tmp_path: Path) -> None:
    summary = merge_datasets(halves, out=tmp_path / "out", concatenate=True)
    dataset = open_dataset(tmp_path / "out")
    rows = summary.episodes
    assert summary.left_out == {"clusters": rows, "representatives": rows}
    assert dataset.clusters.collect().height == dataset.representatives.collect().height == 0
    assert dataset.verdicts.collect().height == rows


def test_annotations_are_all_there(halves: list[Path], tmp_path: Path) -> None:
    both = merged(halves, tmp_path / "out")
    for name in ("facts", "instructions", "reviews", "calls", "gate"):
        tables = [open_dataset(root).table(name).collect() for root in halves]
        assert both.table(name).collect().equals(pl.concat(tables), null_equal=True), name


def test_different_parts_are_not_joined(halves: list[Path], filmed: Path, tmp_path: Path) -> None:
    both = merged(
        [halves[0], filmed, halves[1]],
        tmp_path / "out",
        concatenate=True,
        allow_mixed_licences=True,
    )
    check_whole(both, [*halves, filmed])
    assert len(both.parts) == 2


@pytest.mark.parametrize("key", ["fix_colour", "choices"])
def test_other_options_are_not_joined(halves: list[Path], tmp_path: Path, key: str) -> None:
    other = tmp_path / "other"
    shutil.copytree(halves[1], other)
    marker = json.loads((other / "finedata.json").read_text())
    marker["options"][key] = [["reading", "b"]] if key == "choices" else True
    (other / "finedata.json").write_text(json.dumps(marker))
    both = merged([halves[0], other], tmp_path / "out", concatenate=True)
    assert len(both.parts) == 2
    assert key not in both.info.options


def test_halves_of_a_source_are_joined(halves: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(halves[1], other)
    marker = json.loads((other / "finedata.json").read_text())
    marker["options"]["episodes"] = ["10-19"]
    (other / "finedata.json").write_text(json.dumps(marker))
    assert len(merged([halves[0], other], tmp_path / "out", concatenate=True).parts) == 1


def test_videos_of_joined_parts_are_renumbered(tmp_path: Path) -> None:
    roots = []
    for seed, name in enumerate(("first", "second")):
        generic_lerobot.write(tmp_path / "sources" / name, version="v3.0", seed=seed)
        convert("lerobot", input=tmp_path / "sources" / name, out=tmp_path / name)
        roots.append(tmp_path / name)
    _rename_ids(roots[1])
    one = merged(roots, tmp_path / "out", concatenate=True, allow_mixed_licences=True)
    check_whole(one, roots)
    assert len(one.parts) == 1
    for root in roots:
        dataset = open_dataset(root)
        for episode_id in dataset.episodes.collect()["episode_id"]:
            (before,) = dataset.episode(episode_id).videos.values()
            (after,) = one.episode(episode_id).videos.values()
            assert (after.from_s, after.to_s) == (before.from_s, before.to_s)
            assert after.path.samefile(before.path)


def _rename_ids(root: Path) -> None:
    """Make a dataset's ids other ones: two fixtures of one name have the same."""

    for file in [
        *root.glob("meta/episodes/*/*"),
        *root.glob("curation/*"),
        *root.glob("annotations/*/*"),
    ]:
        table = pq.read_table(file)
        place = table.column_names.index("episode_id")
        other = pc.replace_substring_regex(table["episode_id"], "-.{4}", "-abcd")
        file.unlink()
        pq.write_table(table.set_column(place, table.schema.field(place), other), file)


def test_lerobot_reads_joined_parts(halves: list[Path], tmp_path: Path) -> None:
    skip_without_lerobot()
    one = merged(halves, tmp_path / "out", concatenate=True)
    frames = one.frames.collect()
    whole = one.receipts.filter(~pl.col("flags").list.contains("undecodable_picture")).collect()
    good = frames.filter(pl.col("episode_id").is_in(whole["episode_id"].implode()))["index"]
    asked = [int(good[0]), int(good[good.len() // 2]), int(good[-1])]
    probed = run_probe(one.root, tmp_path, frames=asked)
    assert probed["meta"]["num_frames"] == probed["meta"]["length"] == frames.height
    wanted = frames[asked]
    for name in ("index", "episode_index", "task_index"):
        assert np.asarray(probed["frames"][name]).tolist() == wanted[name].to_list()
    np.testing.assert_array_equal(
        np.asarray(probed["frames"]["action"]), np.stack(wanted["action"].to_numpy())
    )


def test_an_episode_in_two_is_refused(converted: Path, halves: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        merge_datasets([converted, halves[1]], out=tmp_path / "out")
    text = str(caught.value)
    assert f"{converted} (part widowx_250, episode_index 1)" in text
    assert f"{halves[1]} (part widowx_250, episode_index 0)" in text
    assert "more such episodes" in text
    assert not list(tmp_path.iterdir())


def test_a_record_that_failed_twice_counts_once(converted: Path, tmp_path: Path) -> None:
    """Two conversions of one source, of other episodes, both met its broken records."""
    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(converted, first)
    dataset = open_dataset(converted)
    ids = select_episodes(dataset, where="episode_index < 3")
    second.mkdir()
    write_subset(dataset, out=second, episode_ids=ids)
    failed = dataset.receipts.filter(pl.col("status") == "failed").collect().height
    assert failed
    rest = select_episodes(dataset, where="episode_index >= 3")
    shutil.rmtree(first)
    first.mkdir()
    write_subset(dataset, out=first, episode_ids=rest)
    for root in (first, second):
        _add_failed_receipts(converted, root)
    both = merged([first, second], tmp_path / "out")
    assert both.info.counts == dataset.info.counts
    assert both.receipts.collect()["episode_id"].is_unique().all()


def _add_failed_receipts(converted: Path, root: Path) -> None:

    everything = pq.read_table(converted / "curation/receipts.parquet")
    failed = everything.filter(pc.equal(everything["status"], "failed"))
    path = root / "curation/receipts.parquet"
    table = pa.concat_tables([pq.read_table(path), failed])
    path.unlink()
    pq.write_table(table, path)


def test_licences_are_asked_about(converted: Path, filmed: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"bridge_v2 \(CC-BY-4.0\) with lerobot \(LicenseRef"):
        merge_datasets([converted, filmed], out=tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_the_same_call_gives_the_same_bytes(halves: list[Path], tmp_path: Path) -> None:
    for concatenate in (False, True):
        trees = []
        for name in ("one", "two"):
            out = tmp_path / f"{name}{concatenate}"
            trees.append(tree(merged(halves, out, concatenate=concatenate).root))
        assert trees[0] == trees[1]


@pytest.mark.parametrize("footer", [False, True])
def test_a_merge_that_fails_leaves_nothing(
    halves: list[Path], tmp_path: Path, *, footer: bool
) -> None:
    damaged = tmp_path / "in" / "damaged"
    shutil.copytree(halves[1], damaged)
    file = damaged / "data/chunk-000/file-000.parquet"
    content = bytearray(file.read_bytes())
    # The footer says what was there: the damage shows when the rows are read.
    content[4:2000] = bytes(1996)
    file.write_bytes(content if footer else content[:1000])
    out = tmp_path / "out" / "both"
    with pytest.raises(ConformError, match=r"damaged/.*file-000\.parquet"):
        merge_datasets([halves[0], damaged], out=out, concatenate=True)
    assert not out.exists()
    assert not list(tmp_path.glob("out/*"))


def test_what_a_killed_merge_left_is_no_hindrance(halves: list[Path], tmp_path: Path) -> None:
    left = tmp_path / ".out.partial" / "data"
    left.mkdir(parents=True)
    (left / "rubbish").write_bytes(b"x")
    both = merged(halves, tmp_path / "out")
    assert "data/rubbish" not in tree(both.root)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_out_is_new_or_empty(halves: list[Path], tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="something there already"):
        merge_datasets(halves, out=tmp_path / "full")
    (tmp_path / "empty").mkdir()
    assert merged(halves, tmp_path / "empty").info.counts["written"]


def test_one_dataset_or_one_twice_is_refused(halves: list[Path], tmp_path: Path) -> None:
    for roots in ([], halves[:1], [halves[0], halves[0]]):
        with pytest.raises(UsageError, match="two or more"):
            merge_datasets(roots, out=tmp_path / "out")


def test_a_merge_can_be_merged_and_selected(
    halves: list[Path], filmed: Path, tmp_path: Path
) -> None:
    first = merged([halves[0], filmed], tmp_path / "first", allow_mixed_licences=True)
    both = merged(
        [first.root, halves[1]], tmp_path / "both", concatenate=True, allow_mixed_licences=True
    )
    check_whole(both, [*halves, filmed])
    (tmp_path / "some").mkdir()
    ids = select_episodes(both, where="source = 'lerobot'")
    write_subset(both, out=tmp_path / "some", episode_ids=ids)
    assert frame_tables(tmp_path / "some") == frame_tables(filmed)
