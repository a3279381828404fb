"""Statistics of videos are measured over a bounded sample of all episodes, or are not there."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import av
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from lerobot_oracle.oracle import run_probe, skip_without_lerobot
from sources import generic_lerobot
from sources.generic_lerobot import CAMERA

from finedata.convert.context import ConvertOptions
from finedata.convert.run import convert
from finedata.convert.sharded import convert_share, merge_shards
from finedata.convert.verify.run import verify
from finedata.convert.videos import stats as video_stats
from finedata.errors import MissingExtraError
from finedata.store.dataset import open_dataset
from finedata.store.merge.run import merge_datasets
from finedata.store.merge.subset import write_subset

LENGTHS = (16, 20, 24)


@pytest.fixture(scope="module", params=["v2.1", "v3.0"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "in"
    generic_lerobot.write(folder, version=request.param)
    return folder


def converted(source: Path, out: Path, **options: Any) -> Path:
    convert("lerobot", input=source, out=out, options=ConvertOptions(**options))
    return out


def stats_of(root: Path) -> dict[str, np.ndarray]:
    found = json.loads((root / "meta/stats.json").read_text())[CAMERA]
    return {key: np.array(value, float).reshape(-1) for key, value in found.items()}


def episode_stats(root: Path) -> list[dict[str, Any]]:
    (file,) = root.glob("meta/episodes/*/*.parquet")
    rows = pq.read_table(file).to_pylist()
    return [{k: v for k, v in row.items() if k.startswith(f"stats/{CAMERA}/")} for row in rows]


def pixels_of(root: Path) -> list[np.ndarray]:
    """Every frame of every episode, decoded by PyAV alone, (pixels, 3) in [0, 1]."""
    found: list[np.ndarray] = []
    for path in sorted(root.glob("videos/*/*/*.mp4")):
        with av.open(str(path)) as container:
            found += [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return [frame.reshape(-1, 3) / 255 for frame in found]


def test_they_are_those_of_the_decoded_frames(source: Path, tmp_path: Path) -> None:
    out = converted(source, tmp_path / "out")
    pixels = pixels_of(out)
    stats = stats_of(out)
    assert stats["count"] == [sum(LENGTHS)]
    together = np.concatenate(pixels)
    for key in ("min", "max", "mean", "std"):
        wanted = getattr(together, key)(axis=0)
        np.testing.assert_allclose(stats[key], wanted, rtol=1e-9, err_msg=key)
    first = 0
    for row, length in zip(episode_stats(out), LENGTHS, strict=True):
        assert row[f"stats/{CAMERA}/count"] == [length]
        wanted = np.concatenate(pixels[first : first + length]).mean(axis=0)
        np.testing.assert_allclose(np.array(row[f"stats/{CAMERA}/mean"]).reshape(-1), wanted)
        first += length
    assert verify(out, input=source, decode=True).problems == []


def test_at_most_64_frames_of_all_episodes_are_decoded(tmp_path: Path) -> None:
    generic_lerobot.write(tmp_path / "in", version="v2.1", episodes=6, length=30)
    out = converted(tmp_path / "in", tmp_path / "out")
    assert stats_of(out)["count"] == [64]
    counts = [row[f"stats/{CAMERA}/count"][0] for row in episode_stats(out)]
    shares = np.array(open_dataset(out).episodes.collect()["length"].to_list())
    assert np.abs(np.array(counts) - 64 * shares / shares.sum()).max() < 1


def test_an_episode_without_a_chosen_frame_counts_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_stats, "SAMPLED_VIDEO_FRAMES", 2)
    out = converted(source, tmp_path / "out")
    # Of 60 frames the 15th and the 45th: one in the first episode, one in the third.
    rows = episode_stats(out)
    assert [row[f"stats/{CAMERA}/count"][0] for row in rows] == [1, 0, 1]
    pixels = pixels_of(out)
    np.testing.assert_allclose(stats_of(out)["mean"], (pixels[15] + pixels[45]).mean(axis=0) / 2)
    mean = np.array(rows[1][f"stats/{CAMERA}/mean"]).reshape(-1)
    np.testing.assert_allclose(mean, stats_of(out)["mean"])
    assert verify(out, input=source, decode=True).problems == []
    # LeRobot's own way to add up episodes gives the same: nothing weighs what counts nothing.
    count = np.array([1, 0, 1])[:, None]
    means = np.array([np.reshape(row[f"stats/{CAMERA}/mean"], -1) for row in rows])
    np.testing.assert_allclose((means * count).sum(axis=0) / 2, stats_of(out)["mean"])


def test_shares_and_workers_give_the_same_bytes(source: Path, tmp_path: Path) -> None:
    one = converted(source, tmp_path / "one")
    for index in (1, 0):
        convert_share(
            [("lerobot", str(source))], out=tmp_path / "two", shard_index=index, num_shards=2
        )
    merge_shards(tmp_path / "two")
    convert("lerobot", input=source, out=tmp_path / "three", workers=2)
    names = sorted(path.relative_to(one) for path in one.glob("meta/**/*") if path.is_file())
    assert len(names) == 4
    for other in ("two", "three"):
        for name in names:
            assert (tmp_path / other / name).read_bytes() == (one / name).read_bytes(), name


def test_a_frame_that_does_not_decode_is_no_measurement(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    generic_lerobot.write(tmp_path / "in", version="v2.1")
    video = tmp_path / f"in/videos/chunk-000/{CAMERA}/episode_000001.mp4"
    data = bytearray(video.read_bytes())
    start = data.index(b"mdat") + 4
    size = int.from_bytes(data[start - 8 : start - 4], "big") - 8
    data[start : start + size] = bytes(size)
    video.write_bytes(bytes(data))
    with caplog.at_level(logging.WARNING):
        out = converted(tmp_path / "in", tmp_path / "out")
    counts = [row[f"stats/{CAMERA}/count"][0] for row in episode_stats(out)]
    assert counts == [16, 0, 24]
    assert "not among the frames of the statistics" in caplog.text
    assert stats_of(out)["count"] == [40]


@pytest.mark.parametrize("why", ["no PyAV", "not asked for"])
def test_without_a_decoder_there_are_none(
    why: str,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def missing() -> None:
        raise MissingExtraError(place="video", found="no av", wanted="av", next_command="install")

    if why == "no PyAV":
        monkeypatch.setattr(video_stats, "import_av", missing)
        monkeypatch.setattr(
            "finedata.convert.commit.run.library_versions", lambda: {"av": "none", "numpy": "2"}
        )
    with caplog.at_level(logging.WARNING):
        out = converted(source, tmp_path / "out", image_stats=why == "no PyAV")
    stats = json.loads((out / "meta/stats.json").read_text())
    assert CAMERA not in stats
    assert "action" in stats
    assert episode_stats(out) == [{}, {}, {}]
    said = [one.message for one in caplog.records if "no statistics" in one.message]
    assert len(said) == (why == "no PyAV")
    assert verify(out, input=source, decode=True).problems == []


def test_verify_finds_a_changed_statistic(source: Path, tmp_path: Path) -> None:
    out = converted(source, tmp_path / "out")
    (file,) = out.glob("meta/episodes/*/*.parquet")
    table = pq.read_table(file)
    name = f"stats/{CAMERA}/mean"
    at = table.schema.get_field_index(name)
    values = table[name].to_pylist()
    values[1] = [[[0.5]], [[0.5]], [[0.5]]]
    field = table.schema.field(at)
    pq.write_table(table.set_column(at, field, pl.Series(values).to_arrow().cast(field.type)), file)
    second = open_dataset(out).episodes.collect()["episode_id"][1]
    problems = verify(out, input=source, decode=True).problems
    assert f"{second}: {name}" in {problem.place for problem in problems}


def test_a_selection_and_a_merge_keep_them(source: Path, tmp_path: Path) -> None:
    out = converted(source, tmp_path / "out")
    ids = open_dataset(out).episodes.collect()["episode_id"].to_list()
    halves = []
    for number, chosen in enumerate((ids[:1], ids[1:])):
        halves.append(tmp_path / f"half{number}")
        halves[-1].mkdir()
        write_subset(open_dataset(out), out=halves[-1], episode_ids=chosen)
    assert stats_of(halves[0])["count"] == [16]
    merge_datasets(halves, out=tmp_path / "joined", concatenate=True)
    for key, value in stats_of(out).items():
        np.testing.assert_allclose(stats_of(tmp_path / "joined")[key], value, atol=1e-3)
    assert verify(halves[0], input=source, decode=True).problems == []


@pytest.mark.parametrize("image_stats", [True, False])
def test_lerobot_reads_with_them_and_without(image_stats: bool, tmp_path: Path) -> None:
    skip_without_lerobot()
    generic_lerobot.write(tmp_path / "in", version="v2.1")
    out = converted(tmp_path / "in", tmp_path / "out", image_stats=image_stats)
    (tmp_path / "probe").mkdir()
    probed = run_probe(out, tmp_path / "probe", frames=(0, 17, 59))
    assert probed["meta"]["num_frames"] == sum(LENGTHS)
    found = probed["meta"]["stats"].get(CAMERA)
    assert (found is not None) == image_stats
    if found is not None:
        assert found["mean"]["shape"] == [3, 1, 1]
