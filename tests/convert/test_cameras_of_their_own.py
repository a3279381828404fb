"""Cameras that do not fit: matched, left out, absent, or brought to another size and codec."""

from __future__ import annotations

from pathlib import Path

import av
import polars as pl
import pytest
from convert.truths import check_motion
from sources import generic_lerobot, rh20t

import finedata
from finedata.convert.context import ConvertOptions
from finedata.convert.run import convert
from finedata.convert.verify.run import verify


def test_a_camera_that_lost_frames_does_not_cost_the_scene(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    truths = rh20t.write(source, episodes=2, cfgs=(1,), damage={1: "camera_gap"})
    summary = convert("rh20t", input=source, out=out)
    assert (summary.episodes, summary.failed) == (2, 0)
    dataset = finedata.open(out)
    rows = dataset.episodes.join(dataset.receipts.select("episode_id", "flags"), on="episode_id")
    whole, damaged = rows.sort("start_time_unix_s").collect().to_dicts()
    if "camera_left_out" in whole["flags"]:
        whole, damaged = damaged, whole
    assert "camera_left_out" not in whole["flags"]
    assert "camera_left_out" in damaged["flags"]
    assert len(damaged["cameras"]) == len(whole["cameras"]) - 1
    assert damaged["part"] != whole["part"]
    for truth in truths:
        episode = dataset.episode(_id_of(dataset, truth.key))
        check_motion(episode, "ee", truth.arms)
    assert verify(out, input=source, decode=True).problems == []


def _id_of(dataset: finedata.Dataset, key: str) -> str:
    found = dataset.receipts.filter(pl.col("locator").str.contains(key, literal=True)).collect()
    return found["episode_id"].item()


@pytest.mark.parametrize(
    ("options", "codec", "size"),
    [
        (ConvertOptions(resize=(17, 23)), "h264", (18, 24)),
        (ConvertOptions(resize=(17, 23), transcode="av1"), "av1", (18, 24)),
        (ConvertOptions(transcode="h264"), "h264", None),
    ],
    ids=["resize", "resize and av1", "h264"],
)
def test_what_is_declared_of_a_video_is_what_it_is(
    options: ConvertOptions, codec: str, size: tuple[int, int] | None, tmp_path: Path
) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    generic_lerobot.write(tmp_path / "h264", version="v2.1")
    # The source's codec is none of those that come out by default.
    av1 = ConvertOptions(transcode="av1")
    convert("lerobot", input=tmp_path / "h264", out=source, options=av1)
    convert("lerobot", input=source, out=out, options=options)
    dataset = finedata.open(out)
    (part,) = dataset.parts
    info = (out / part.path / "meta/info.json").read_text()
    (image, *_) = dataset.receipts.collect()["images"][0].to_list()
    episode = dataset.episode(dataset.episodes.first().collect()["episode_id"].item())
    span = episode.videos[image["camera"]]
    declared = dataset.features(part.name)[f"observation.images.{image['camera']}"].shape
    with av.open(str(span.path)) as container:
        stream = container.streams.video[0]
        assert {"libdav1d": "av1"}.get(
            stream.codec_context.name, stream.codec_context.name
        ) == codec
        assert declared[:2] == (stream.height, stream.width)
        assert size is None or declared[:2] == size
    assert image["codec"] == codec
    assert f'"video.codec": "{codec}"' in info
