"""Frames for the page: stored bytes as they are, and a place for what is broken."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import simplejpeg
from store.test_episode import filmed, filmed_episode, numbers

from finedata.review.pictures import Kept, packed_frames, thumbnail
from finedata.store.dataset import Dataset, open_dataset


def unpacked(packed: bytes) -> list[bytes]:
    found: list[bytes] = []
    while packed:
        (size,) = struct.unpack_from("<I", packed)
        found.append(packed[4 : 4 + size])
        packed = packed[4 + size :]
    return found


def test_stored_pictures_go_out_byte_for_byte(looked_at: Path) -> None:
    episode = next(open_dataset(looked_at).iter_episodes())
    assert unpacked(packed_frames(episode, "image_0", range(3, 9))) == episode.stored(
        "image_0", range(3, 9)
    )
    assert thumbnail(episode)[:2] == b"\xff\xd8"


def test_a_broken_picture_is_an_empty_place(looked_at: Path, monkeypatch) -> None:
    episode = next(open_dataset(looked_at).iter_episodes())
    [good] = episode.stored("image_0", [0])
    monkeypatch.setattr(episode, "stored", lambda camera, frames: [good, b"no picture", good])
    assert unpacked(packed_frames(episode, "image_0", range(3))) == [good, b"", good]


def test_what_is_kept_stays_below_its_bytes() -> None:
    kept, made = Kept(10), []

    def make(name: str) -> bytes:
        return kept.get(name, lambda: made.append(name) or name.encode() * 4)

    for name in ("a", "b", "a", "c", "b"):
        assert make(name) == name.encode() * 4
    assert made == ["a", "b", "c", "b"]


__all__ = ["filmed"]


def test_frames_of_an_episode_inside_a_video_are_its_own(filmed: Dataset) -> None:
    """Reported of other viewers: the first picture is the last of the episode before."""
    for first, frames in ((0, 11), (11, 17)):
        episode = filmed_episode(filmed, first, frames)
        for camera, channel in (("front", 2), ("top_bgr", 0)):
            packed = packed_frames(episode, camera, range(frames))
            shown = [np.asarray(simplejpeg.decode_jpeg(one)) for one in unpacked(packed)]
            apart = np.subtract(numbers(shown, channel), np.arange(first, first + frames))
            assert len(shown) == frames
            assert np.abs(apart).max() <= 1  # of blue, a JPEG keeps a frame's six steps nearly
            assert np.abs(apart).mean() < 0.4
