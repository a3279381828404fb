"""Frames for the page: stored bytes as they are, and a place for what is broken."""

from __future__ import annotations

import struct
from pathlib import Path

from finedata.review.pictures import Kept, packed_frames, thumbnail
from finedata.store.dataset import open_dataset


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
