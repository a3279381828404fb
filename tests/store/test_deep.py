"""Depth of LeRobot 0.6: what a camera's numbers are, and that no verb takes them for colours."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("av")

from convert.test_names_of_features import converted
from PIL import Image
from sources import lerobot_depth
from sources.lerobot_depth import DEPTH, codes_of, distances_m, tiff

import finedata as fd
from finedata.errors import ConformError, UsageError
from finedata.store.deep import depth_scale
from finedata.store.episode import Episode
from finedata.store.pictures import as_rgb, decode_picture, read_header

_CAMERA = "front_depth"


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deep")
    lerobot_depth.write(folder / "in")
    return converted(folder / "in")


def first(root: Path) -> Episode:
    dataset = fd.open(root)
    rows = dataset.episodes.sort("episode_index").select("episode_id").collect()
    return dataset[rows["episode_id"][0]]


def test_codes_are_kept_and_become_metres(deep: Path) -> None:
    episode = first(deep)
    codes = episode.frames(_CAMERA, [5, 0])
    assert codes.dtype == np.uint16
    assert np.array_equal(codes, [codes_of(distances_m(5)), codes_of(distances_m(0))])
    metres = episode.depth_m(_CAMERA, [5])
    assert metres.dtype == np.float32
    # a step of the codes is 3.6 mm at most in this range
    assert np.abs(metres[0] - distances_m(5)).max() < 0.0018
    assert not metres[0, :4, :4].any()
    assert np.abs(np.diff(metres[0, 10])).min() > 0.015  # in 8 bits, eight columns are one


def test_info_says_in_both_words_that_it_is_depth(deep: Path) -> None:
    info = json.loads((deep / "meta/info.json").read_text())["features"][DEPTH]["info"]
    assert info["is_depth_map"] is info["video.is_depth_map"] is True
    assert info["video.depth_max"] == 10.0


@pytest.mark.parametrize(("unit", "metre"), [("mm", 1000.0), ("m", 1.0), (None, 1000.0)])
def test_statistics_are_in_the_unit_that_lerobot_reads_them_in(
    unit: str | None, metre: float, tmp_path: Path
) -> None:
    lerobot_depth.write(tmp_path / "in", depth_unit=unit)
    stats = json.loads((converted(tmp_path / "in") / "meta/stats.json").read_text())[DEPTH]
    assert np.ravel(stats["min"]) == pytest.approx([0.0] * 3)
    # the last of 36 frames of the first file
    assert np.ravel(stats["max"]) == pytest.approx([distances_m(35).max() * metre] * 3, rel=2e-3)


def test_evenly_spaced_codes(tmp_path: Path) -> None:
    spacing = {"video.use_log": False, "video.depth_min": 0.1, "video.depth_max": 4.1}
    lerobot_depth.write(tmp_path / "in", spacing=spacing)
    metres = first(converted(tmp_path / "in")).depth_m(_CAMERA, [3])[0]
    assert np.abs(metres - distances_m(3)).max() < 0.0006


def test_what_info_leaves_out_is_lerobots_default() -> None:
    bare = depth_scale({"is_depth_map": True, "video.use_log": True}, video=True, place="x")
    old = depth_scale({"video.is_depth_map": True, "video.depth_max": 10}, video=True, place="x")
    assert bare == old
    # as LeRobot wrote it before it had codes of 12 bits
    assert depth_scale({"video.is_depth_map": True}, video=True, place="x") is None
    assert bare is not None
    # lerobot 0.6.1: dequantize_depth([1, 2048, 4095], output_unit="m")
    assert bare.metres(np.array([1, 2048, 4095], np.uint16)) == pytest.approx(
        [0.01115441, 3.3848085, 10.0], rel=1e-4
    )
    assert bare.metres(np.array([4096, 60000], np.uint16)) == pytest.approx([10.0, 10.0])
    assert bare.millimetres(np.array([0, 4095], np.uint16)).tolist() == [0, 10000]


@pytest.mark.parametrize(
    "wrong",
    [
        {"video.depth_min": 3.0, "video.depth_max": 3.0},
        {"video.depth_max": "far"},
        {"video.depth_max": float("inf")},
        {"video.shift": -0.01},
        {"video.depth_min": None},
        {"video.depth_min": -5.0, "video.use_log": False},
        {"video.use_log": "no"},
    ],
)
def test_spacings_that_make_no_distances_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConformError, match=r"front.*0 <= depth_min below depth_max"):
        depth_scale({"is_depth_map": True, **wrong}, video=True, place="camera front")


@pytest.mark.parametrize("odd", ["depth", [1], 3, True, None])
def test_an_entry_that_is_no_object_says_nothing(odd: Any, deep: Path, tmp_path: Path) -> None:
    assert depth_scale(odd, video=True, place="x") is None
    root = tmp_path / "out"
    shutil.copytree(deep, root)
    path = root / "meta/info.json"
    told = json.loads(path.read_text())
    told["features"][DEPTH]["info"] = odd
    path.write_text(json.dumps(told))
    assert first(root).frames(_CAMERA, [0]).dtype == np.uint16


def test_pictures_have_a_unit() -> None:
    numbers = np.array([0, 1500], np.uint16)
    for unit, metres in (("mm", 1.5), ("m", 1500.0)):
        scale = depth_scale({"is_depth_map": True, "depth_unit": unit}, video=False, place="x")
        assert scale is not None
        assert scale.metres(numbers) == pytest.approx([0.0, metres])
    assert scale.millimetres(np.array([0.0, 1.5, np.nan, 99.0], np.float32)).tolist() == [
        0, 1500, 0, 65535,
    ]  # fmt: skip
    untold = depth_scale({"is_depth_map": True}, video=False, place="x")
    assert untold is not None
    assert untold.metres(numbers) == pytest.approx([0.0, 1.5])
    assert untold.metres(np.array([1.5, np.inf], np.float32)).tolist() == [1.5, 0.0]
    with pytest.raises(ConformError, match="depth_unit feet"):
        depth_scale({"is_depth_map": True, "depth_unit": "feet"}, video=False, place="x")
    assert depth_scale({"depth_unit": "mm"}, video=False, place="x") is None


def test_numbers_that_nothing_is_said_of_are_no_metres(tmp_path: Path) -> None:
    lerobot_depth.write(tmp_path / "in", is_depth_map=None)
    episode = first(converted(tmp_path / "in"))
    assert episode.frames(_CAMERA, [0]).dtype == np.uint16
    with pytest.raises(UsageError, match=r"unit info\.json leaves out"):
        episode.depth_m(_CAMERA, [0])
    with pytest.raises(UsageError, match="colours"):
        episode.depth_m("front", [0])


def test_to_look_at_depth_is_spread(deep: Path) -> None:
    shown = as_rgb(first(deep).frames(_CAMERA, [0])[0])
    assert shown.dtype == np.uint8
    assert shown.shape == (64, 96, 3)
    assert (shown.min(), shown.max()) == (0, 255)
    assert len(np.unique(shown)) > 40


def test_teachers_are_shown_no_depth(tmp_path: Path) -> None:
    """Not even where info.json gives it three channels."""
    from finedata.annotate.asking.pictures import PictureSource

    lerobot_depth.write(tmp_path / "in")
    path = tmp_path / "in/meta/info.json"
    told = json.loads(path.read_text())
    told["features"][DEPTH]["shape"] = [64, 96, 3]
    path.write_text(json.dumps(told))
    dataset = fd.open(converted(tmp_path / "in"))
    assert PictureSource(dataset).cameras(dataset.parts[0].name) == ["front"]


def test_an_export_to_v21_keeps_the_codes(deep: Path, tmp_path: Path) -> None:
    fd.open(deep).write(tmp_path / "v21", format="lerobot-v2.1")
    info = json.loads((tmp_path / "v21/meta/info.json").read_text())["features"][DEPTH]
    assert info["shape"] == [64, 96, 1]
    assert info["info"]["is_depth_map"] is info["info"]["video.is_depth_map"] is True
    assert info["info"]["video.shift"] == 3.5
    episode = first(converted(tmp_path / "v21"))
    assert np.array_equal(episode.frames(_CAMERA, [2])[0], codes_of(distances_m(2)))


@pytest.mark.parametrize("told", ["", None])
@pytest.mark.parametrize("unit", ["m", "mm"])
def test_depth_in_rows(unit: str, told: str | None, tmp_path: Path) -> None:
    """A TIFF is whole, keeps its bytes and its numbers, and is no picture that does not decode."""
    lerobot_depth.write_rows(tmp_path / "in", unit=unit, told=told)
    out = converted(tmp_path / "in")
    dataset = fd.open(out)
    flags = dataset.receipts.select("flags").collect()["flags"].explode().drop_nulls().to_list()
    assert "undecodable_picture" not in flags
    episode = first(out)
    assert episode.frames(_CAMERA, [2], encoded=True) == [tiff(distances_m(2), unit=unit)]
    assert episode.frames(_CAMERA, [2]).dtype == (np.float32 if unit == "m" else np.uint16)
    assert np.abs(episode.depth_m(_CAMERA, [2])[0] - distances_m(2)).max() < 0.0006
    stats = json.loads((out / "meta/stats.json").read_text())[DEPTH]
    scale = 1000 if unit == "mm" else 1
    assert np.ravel(stats["max"])[0] == pytest.approx(distances_m(23).max() * scale, rel=0.1)
    assert np.ravel(stats["min"])[0] == 0
    assert dataset.verify(fd.source("lerobot", tmp_path / "in"), decode=True).problems == []


def test_a_damaged_tiff_does_not_decode() -> None:
    whole = tiff(distances_m(0), unit="mm")
    assert read_header(whole) is not None
    for cut in (5, 9, 60, len(whole) // 2, len(whole) - 1):
        assert read_header(whole[:cut]) is None, cut
        assert decode_picture(whole[:cut]) is None, cut
    rng = np.random.default_rng(0)
    for _ in range(300):
        bad = bytearray(whole)
        for at in rng.integers(0, 250, 3):
            bad[at] = rng.integers(256)
        header, pixels = read_header(bytes(bad)), decode_picture(bytes(bad))
        assert header is None or header.codec == "tiff"
        assert pixels is None or pixels.ndim == 2
    colours = io.BytesIO()
    Image.new("RGB", (8, 8)).save(colours, "TIFF")
    assert read_header(colours.getvalue()) is None


def test_an_export_to_rlds_has_millimetres(tmp_path: Path) -> None:
    lerobot_depth.write_rows(tmp_path / "in", unit="m")
    fd.open(converted(tmp_path / "in")).write(tmp_path / "rlds", format="rlds")
    folder = next((tmp_path / "rlds").rglob("features.json")).parent
    assert "uint16" in (folder / "features.json").read_text()
    records = b"".join(path.read_bytes() for path in sorted(folder.glob("*.tfrecord*")))
    start = records.index(b"\x89PNG")
    found = decode_picture(records[start : records.index(b"IEND", start) + 8])
    assert found is not None
    assert np.abs(found - distances_m(0) * 1000).max() <= 0.51
