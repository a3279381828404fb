from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from finedata.report.film import frame_numbers, read_film_strip, small_jpeg
from finedata.store import episode
from finedata.store.dataset import Dataset, open_dataset


def row_of(dataset: Dataset, at: int = 0) -> dict[str, Any]:
    return dataset.episodes.sort("episode_id").collect().to_dicts()[at]


def decoded(data: bytes | None) -> np.ndarray:
    assert data is not None
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


@pytest.mark.parametrize("length", [1, 2, 5, 6, 7, 1000])
def test_frames_are_even_and_reach_both_ends(length: int) -> None:
    numbers = frame_numbers(length, 6)
    assert len(numbers) == min(length, 6)
    assert (numbers[0], numbers[-1]) == (0, length - 1)
    assert np.ptp(np.diff(numbers)) <= 1 if length > 1 else True


def test_a_strip_shows_the_stored_pictures(converted: Path) -> None:
    dataset = open_dataset(converted)
    row = row_of(dataset)
    strip = read_film_strip(dataset, row, frames=5, width=64)
    assert strip.camera == next(c for c in row["cameras"] if c not in row["cameras_missing"])
    numbers = frame_numbers(row["length"], 5)
    assert [f.frame_index for f in strip.frames] == numbers
    assert [f.time_s for f in strip.frames] == [n / row["fps"] for n in numbers]
    stored = dataset.episode(row["episode_id"]).pictures[strip.camera]
    for frame in strip.frames:
        shown = decoded(frame.jpeg)
        assert shown.shape == (frame.height, frame.width, 3) == (64, 64, 3)
        whole = simplejpeg.decode_jpeg(stored[frame.frame_index])
        small = np.asarray(Image.fromarray(whole).resize((64, 64), Image.Resampling.BOX))
        assert np.abs(shown - small).mean() < 8


def test_exchanged_colours_are_put_right(converted: Path, monkeypatch) -> None:
    dataset = open_dataset(converted)
    plain = read_film_strip(dataset, row_of(dataset))
    monkeypatch.setattr(episode, "is_swapped", lambda camera: True)
    swapped = read_film_strip(dataset, row_of(dataset))
    for a, b in zip(plain.frames, swapped.frames, strict=True):
        assert np.abs(decoded(a.jpeg) - decoded(b.jpeg)[..., ::-1]).mean() < 6
        assert np.abs(decoded(a.jpeg) - decoded(b.jpeg)).mean() > 10


def test_a_narrow_picture_keeps_its_size() -> None:
    data, width, height = small_jpeg(np.zeros((10, 20, 3), np.uint8), width=128)
    assert (width, height, decoded(data).shape) == (20, 10, (10, 20, 3))
    assert small_jpeg(np.zeros((480, 640, 3), np.uint8), width=128)[1:] == (128, 96)


def test_what_does_not_decode_is_blank_and_the_rest_is_shown(converted: Path, monkeypatch) -> None:
    dataset = open_dataset(converted)
    real = episode.decode_picture
    seen: list[bytes] = []

    def half(data: bytes) -> np.ndarray | None:
        seen.append(data)
        return None if len(seen) == 2 else real(data)

    monkeypatch.setattr(episode, "decode_picture", half)
    strip = read_film_strip(dataset, row_of(dataset), frames=4)
    assert [f.jpeg is None for f in strip.frames] == [False, True, False, False]


@pytest.mark.parametrize(
    ("change", "words"),
    [({"cameras": []}, "no camera"), ({"length": 0}, "no frame")],
)
def test_why_there_is_no_strip_is_said(converted: Path, change: dict[str, Any], words: str) -> None:
    dataset = open_dataset(converted)
    strip = read_film_strip(dataset, row_of(dataset) | change)
    assert words in strip.note
    assert strip.frames == []


def test_videos_without_pyav_name_the_extra(converted: Path, monkeypatch) -> None:
    dataset = open_dataset(converted)
    row = row_of(dataset)
    camera = next(c for c in row["cameras"] if c not in row["cameras_missing"])
    prefix = f"videos/observation.images.{camera}"
    row |= {f"{prefix}/{k}": 0 for k in ("chunk_index", "file_index")}
    row |= {f"{prefix}/{k}": 0.0 for k in ("from_timestamp", "to_timestamp")}
    monkeypatch.setitem(sys.modules, "av", None)
    assert "pip install 'finedata[video]'" in read_film_strip(dataset, row).note


def test_a_video_is_read_at_its_times(tmp_path: Path, converted: Path, monkeypatch) -> None:
    av = pytest.importorskip("av", reason="PyAV is not installed")
    dataset = open_dataset(converted)
    row = row_of(dataset) | {"length": 9, "fps": 10.0}
    camera = next(c for c in row["cameras"] if c not in row["cameras_missing"])
    path = tmp_path / f"videos/observation.images.{camera}/chunk-000/file-000.mp4"
    path.parent.mkdir(parents=True)
    shutil.copytree(converted / "meta", tmp_path / "meta")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(12):
            pixels = np.full((48, 64, 3), 20 * i, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    prefix = f"videos/observation.images.{camera}"
    row |= {f"{prefix}/chunk_index": 0, f"{prefix}/file_index": 0}
    row |= {f"{prefix}/from_timestamp": 0.3, f"{prefix}/to_timestamp": 1.2}
    strip = read_film_strip(Dataset(tmp_path, dataset.info), row, frames=3)
    # The episode begins at the fourth frame of the file.
    grey = [decoded(f.jpeg).mean() for f in strip.frames]
    assert grey == pytest.approx([60, 140, 220], abs=6)


def test_a_lost_file_is_said_without_its_path(converted: Path) -> None:
    dataset = open_dataset(converted)
    row = row_of(dataset) | {"data/file_index": 999}
    note = read_film_strip(dataset, row).note
    assert "cannot be read" in note
    assert str(converted) not in note
