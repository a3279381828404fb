"""Pictures are passed on byte for byte, and what is wrong with them is counted right."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from finedata.convert.pictures import CameraPictures, examine_pictures
from finedata.readers.example import BytesSlices
from finedata.store.pictures import black_jpeg, decode_rgb

SHAPE = (32, 40, 3)
RNG = np.random.default_rng(0)


def encoded(kind: str = "JPEG", shape: tuple[int, ...] = SHAPE, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, shape, np.uint8)).save(stream, kind, **options)
    return stream.getvalue()


def slices(pictures: list[bytes]) -> BytesSlices:
    lengths = np.array([len(picture) for picture in pictures], np.int64)
    # Something between the pictures, as in a record.
    starts = np.cumsum(lengths + 3) - lengths
    return BytesSlices(b"".join(b"---" + p for p in pictures), starts, lengths)


def examine(pictures: list[bytes], *, frames: int | None = None) -> CameraPictures:
    count = len(pictures) if frames is None else frames
    return examine_pictures(slices(pictures), frames=count, shape=SHAPE, with_stats=True)


GOOD = [encoded() for _ in range(6)]
BLACK = black_jpeg(*SHAPE[:2])


def test_good_pictures_pass_untouched() -> None:
    found = examine(GOOD)
    assert found.data == b"".join(GOOD)
    assert found.lengths.tolist() == [len(picture) for picture in GOOD]
    assert found.sha256 == hashlib.sha256(b"".join(GOOD)).hexdigest()
    assert (found.undecodable_count, found.placeholder_count, found.other_size_count) == (0, 0, 0)
    assert (found.codec, found.verbatim, found.missing) == ("jpeg", True, False)
    assert found.stats is not None
    assert found.stats["count"] == [4.0]


@pytest.mark.parametrize("place", [0, 3, 5])
@pytest.mark.parametrize(
    "broken",
    [GOOD[0][:-2], GOOD[0][: len(GOOD[0]) // 2], b"garbage" * 30, b"\xff\xd8\xff", GOOD[0][1:]],
    ids=["no end", "half", "garbage", "start only", "no start"],
)
def test_a_broken_picture_is_counted_and_kept(place: int, broken: bytes) -> None:
    pictures = list(GOOD)
    pictures[place] = broken
    found = examine(pictures)
    assert found.undecodable_count == 1
    assert found.data == b"".join(pictures)
    assert found.verbatim
    assert found.placeholder_count == 0


def test_an_empty_picture_becomes_a_black_one() -> None:
    found = examine([GOOD[0], b"", GOOD[1]])
    assert found.data == GOOD[0] + BLACK + GOOD[1]
    assert found.lengths.tolist() == [len(GOOD[0]), len(BLACK), len(GOOD[1])]
    assert (found.undecodable_count, found.placeholder_count) == (1, 1)
    assert not found.verbatim
    assert not found.missing
    assert examine([b"", b""]).missing


def test_black_pictures_are_placeholders_whoever_encoded_them() -> None:
    other = io.BytesIO()
    Image.fromarray(np.zeros(SHAPE, np.uint8)).save(other, "JPEG", quality=40)
    found = examine([BLACK, other.getvalue(), GOOD[0]])
    assert (found.placeholder_count, found.undecodable_count) == (2, 0)
    assert not found.missing
    everything = examine([BLACK, BLACK])
    assert everything.missing
    assert everything.stats is None


def test_dark_is_not_black() -> None:
    pixels = np.zeros(SHAPE, np.uint8)
    pixels[8:24, 8:24] = 40
    dark = io.BytesIO()
    Image.fromarray(pixels).save(dark, "JPEG", quality=95)
    assert decode_rgb(dark.getvalue()) is not None
    assert examine([dark.getvalue()]).placeholder_count == 0


def test_an_absent_camera_is_black_throughout() -> None:
    found = examine_pictures(None, frames=3, shape=SHAPE, with_stats=True)
    assert found.data == BLACK * 3
    assert found.missing
    assert found.stats is None
    assert not found.verbatim


def test_other_sizes_and_codecs_are_said() -> None:
    wide = encoded(shape=(32, 48, 3))
    assert examine([GOOD[0], wide]).other_size_count == 1
    assert examine([wide, GOOD[0]]).other_size_count == 1
    assert examine([wide, wide]).other_size_count == 2
    assert examine([encoded("PNG"), encoded("PNG")]).codec == "png"
    assert examine([encoded("PNG"), GOOD[0]]).codec == "mixed"
    assert examine([encoded(progressive=True), GOOD[0]]).undecodable_count == 0


def test_only_the_first_frames_are_kept() -> None:
    found = examine(GOOD, frames=2)
    assert found.data == GOOD[0] + GOOD[1]
    assert not found.verbatim


def test_statistics_are_those_of_the_sampled_pictures() -> None:
    found = examine(GOOD[:3])
    assert found.stats is not None
    pixels = np.stack([decode_rgb(picture) for picture in GOOD[:3]]).reshape(-1, 3) / 255.0
    np.testing.assert_allclose(found.stats["mean"], pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.stats["std"], pixels.std(axis=0), rtol=1e-12)
