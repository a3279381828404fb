"""Exports claim nothing of what nobody declared, and do not make colours of 16 bits."""

from __future__ import annotations

import io
import json
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from faults.plain import Plain, write_plain
from faults.verbs import say
from PIL import Image
from sources import generic_lerobot

from finedata.convert.draft.propose import draft_converter
from finedata.convert.run import convert
from finedata.store.pictures import is_deep
from finedata.store.videos.frames import iter_frames

_DEPTH = "observation.images.depth"


def _deep_png(level: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((8, 8), level, np.uint16)).save(out, "PNG")
    return out.getvalue()


def _depths(episode: int, frames: int) -> pa.Array:
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    shown = [{"bytes": _deep_png(900 + 300 * episode + k), "path": None} for k in range(frames)]
    return pa.array(shown, picture)


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    declared = {"dtype": "image", "shape": [8, 8, 1], "names": ["height", "width", "channel"]}
    plain = Plain(cameras=("observation.images.top",), extra={_DEPTH: (declared, _depths)})
    folder = tmp_path_factory.mktemp("deep")
    convert("lerobot", input=write_plain(folder / "source", plain), out=folder / "out")
    return folder / "out"


def test_pictures_of_16_bits_stay_what_they_are_in_lerobot(deep: Path, tmp_path: Path) -> None:
    said = say("export", deep, "--format", "lerobot-v2.1", "--out", tmp_path / "out")

    assert said.code == 0
    assert "cameras of 16 bits: 1" in said.text
    info = json.loads((tmp_path / "out/meta/info.json").read_text())
    assert info["features"][_DEPTH]["dtype"] == "image"
    assert info["features"]["observation.images.top"]["dtype"] == "video"
    rows = pq.read_table(tmp_path / "out/data/chunk-000/episode_000001.parquet")
    assert [one["bytes"] for one in rows[_DEPTH].to_pylist()] == [
        _deep_png(1200 + k) for k in range(12)
    ]
    assert not list((tmp_path / "out").rglob(f"{_DEPTH}/*.mp4"))


def test_pictures_of_16_bits_stay_what_they_are_in_rlds(deep: Path, tmp_path: Path) -> None:
    assert say("export", deep, "--format", "rlds", "--out", tmp_path / "out").code == 0

    (file,) = (tmp_path / "out").rglob("features.json")
    assert '"dtype": "uint16"' in file.read_text()
    (records,) = (tmp_path / "out").rglob("*.tfrecord-*")
    assert records.read_bytes().count(_deep_png(1200)) == 1


_SCALE = {"depth_min": 0.01, "depth_max": 10.0, "shift": 3.5, "use_log": True}


def _deep_video(path: Path, levels: list[int]) -> None:
    """A lossless video of 12 bits; every frame of one level."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265", rate=10)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "gray12le"
        stream.options = {"x265-params": "lossless=1:log-level=none"}
        for level in levels:
            frame = av.VideoFrame.from_ndarray(np.full((64, 96), level, np.uint16), "gray12le")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def deep_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deep_video")
    source = folder / "source"
    generic_lerobot.write(source, version="v2.1", episodes=2, length=4)
    info = json.loads((source / "meta/info.json").read_text())
    feature = info["features"][generic_lerobot.CAMERA]
    feature["shape"] = [64, 96, 1]
    feature["info"] = _SCALE | {"video.is_depth_map": True, "video.channels": 1}
    feature["info"]["video.pix_fmt"] = "gray12le"
    (source / "meta/info.json").write_text(json.dumps(info))
    for number, video in enumerate(sorted(source.rglob("*.mp4"))):
        _deep_video(video, [700 + 400 * number + 3 * k for k in range(4 + 4 * number)])
    convert("lerobot", input=source, out=folder / "out")
    return folder / "out"


def test_a_depth_video_keeps_its_scale_in_lerobot(deep_video: Path, tmp_path: Path) -> None:
    said = say("export", deep_video, "--format", "lerobot-v2.1", "--out", tmp_path / "out")

    assert said.code == 0
    info = json.loads((tmp_path / "out/meta/info.json").read_text())
    made = info["features"][generic_lerobot.CAMERA]["info"]
    assert made["video.is_depth_map"]
    assert made["video.pix_fmt"] == "gray12le"
    assert {name: made[name] for name in _SCALE} == _SCALE


def test_a_depth_video_that_is_encoded_anew_keeps_its_bits(
    deep_video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finedata.store.export.v21_video._is_whole", lambda _: False)
    monkeypatch.setattr("finedata.store.export.v21_video._cut", lambda *_, **__: False)
    said = say("export", deep_video, "--format", "lerobot-v2.1", "--out", tmp_path / "out")

    assert "videos encoded: 2" in said.text
    info = json.loads((tmp_path / "out/meta/info.json").read_text())
    made = info["features"][generic_lerobot.CAMERA]["info"]
    assert made["video.is_depth_map"]
    assert {name: made[name] for name in _SCALE} == _SCALE
    for number, video in enumerate(sorted((tmp_path / "out").rglob("*.mp4"))):
        levels = [frame[0, 0] for frame in iter_frames(video)]
        assert levels == [700 + 400 * number + 3 * k for k in range(4 + 4 * number)]


def test_a_video_of_colours_that_is_called_depth_has_no_scale(tmp_path: Path) -> None:
    generic_lerobot.write(tmp_path / "source", version="v2.1", episodes=2, length=4)
    path = tmp_path / "source/meta/info.json"
    info = json.loads(path.read_text())
    info["features"][generic_lerobot.CAMERA]["info"] |= _SCALE | {"is_depth_map": True}
    path.write_text(json.dumps(info))
    convert("lerobot", input=tmp_path / "source", out=tmp_path / "in")
    said = say("export", tmp_path / "in", "--format", "lerobot-v2.1", "--out", tmp_path / "out")

    assert "depth scales left out: 1" in said.text
    made = json.loads((tmp_path / "out/meta/info.json").read_text())["features"]
    assert not made[generic_lerobot.CAMERA]["info"]["video.is_depth_map"]
    assert not {*_SCALE, "is_depth_map"} & set(made[generic_lerobot.CAMERA]["info"])


def test_a_depth_video_keeps_its_bits_in_rlds(deep_video: Path, tmp_path: Path) -> None:
    assert say("export", deep_video, "--format", "rlds", "--out", tmp_path / "out").code == 0

    (file,) = (tmp_path / "out").rglob("features.json")
    assert '"dtype": "uint16"' in file.read_text()
    assert "depth_max" in file.read_text()
    (shard,) = (tmp_path / "out").rglob("*.tfrecord-*")
    data = shard.read_bytes()
    starts = [at for at in range(len(data)) if data.startswith(b"\x89PNG", at)]
    levels = [int(np.asarray(Image.open(io.BytesIO(data[at:]))).max()) for at in starts]
    assert levels == [*range(700, 712, 3), *range(1100, 1124, 3)]


def test_which_pictures_have_16_bits() -> None:
    assert is_deep([b"", _deep_png(3)])
    grey = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(grey, "PNG")
    assert not is_deep([grey.getvalue()])
    assert not is_deep([])


@pytest.mark.parametrize("draft", [False, True])
@pytest.mark.parametrize("form", ["lerobot-v2.1", "starvla"])
def test_only_declared_numbers_are_called_absolute(draft: bool, form: str, tmp_path: Path) -> None:
    names = tuple(f"right_joint_{k}" for k in range(6))
    source = write_plain(tmp_path / "source", Plain(names=names))
    converter = "lerobot"
    if draft:
        converter = str(tmp_path / "mine.toml")
        Path(converter).write_text(draft_converter(str(source), name="mine"))
    convert(converter, input=source, out=tmp_path / "dataset")
    assert say("export", tmp_path / "dataset", "--format", form, "--out", tmp_path / "o").code == 0

    modality = json.loads((tmp_path / "o/meta/modality.json").read_text())
    groups = [*modality["state"].values(), *modality["action"].values()]
    assert len(groups) == 2
    assert {group["end"] - group["start"] for group in groups} == {6}
    for group in groups:
        assert ("absolute" in group) == ("type" in group) == draft
