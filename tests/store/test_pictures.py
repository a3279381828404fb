"""Headers are read right, and what is not a whole picture is known without decoding it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from finedata.store.pictures import (
    black_jpeg,
    decode_rgb,
    jpeg_frame_offset,
    largest_black_picture_bytes,
    picture_size,
    read_header,
)

RNG = np.random.default_rng(0)


def encoded(shape: tuple[int, ...], kind: str, **options: object) -> bytes:
    pixels = RNG.integers(0, 256, shape, np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("options", "kind"),
    [({}, "JPEG"), ({"progressive": True}, "JPEG"), ({"exif": b"Exif\0\0" + b"x" * 90}, "JPEG")],
)
def test_reads_jpeg_headers(options: dict[str, object], kind: str) -> None:
    data = encoded((24, 40, 3), kind, **options)
    header = read_header(data)
    assert header is not None
    assert (header.codec, header.shape) == ("jpeg", (24, 40, 3))
    assert read_header(data + b"\0\0") == header


def test_reads_grey_and_png() -> None:
    grey = read_header(encoded((24, 40), "JPEG"))
    assert grey is not None
    assert grey.shape == (24, 40, 1)
    for channels in (3, 4):
        header = read_header(encoded((24, 40, channels), "PNG"))
        assert header is not None
        assert (header.codec, header.shape) == ("png", (24, 40, channels))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_cut_picture_is_none(kind: str) -> None:
    data = encoded((24, 40, 3), kind)
    for cut in (1, 2, 100, len(data) - 2):
        assert read_header(data[:-cut]) is None


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_garbage_never_raises(data: bytes) -> None:
    for prefix in (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"):
        read_header(prefix + data)
        read_header(prefix + data + b"\xff\xd9")
        assert decode_rgb(prefix + data) is None or data


def test_decodes_to_rgb() -> None:
    pixels = RNG.integers(0, 256, (24, 40, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    np.testing.assert_array_equal(decode_rgb(stream.getvalue()), pixels)
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 250
    stream = io.BytesIO()
    Image.fromarray(red).save(stream, "JPEG", quality=95)
    decoded = decode_rgb(stream.getvalue())
    assert decoded is not None
    assert decoded[..., 0].min() > 240
    assert decoded[..., 2].max() < 10


@pytest.mark.parametrize(("height", "width"), [(64, 64), (256, 256), (180, 320), (171, 213)])
def test_black_is_black_and_below_the_bound(height: int, width: int) -> None:
    black = black_jpeg(height, width)
    header = read_header(black)
    assert header is not None
    assert header.shape == (height, width, 3)
    pixels = decode_rgb(black)
    assert pixels is not None
    assert not pixels.any()
    bound = largest_black_picture_bytes(height, width)
    zeros = Image.fromarray(np.zeros((height, width, 3), np.uint8))
    for options in ({"quality": 30}, {"quality": 100, "subsampling": 0}):
        stream = io.BytesIO()
        zeros.save(stream, "JPEG", **options)
        assert len(stream.getvalue()) <= bound
    stream = io.BytesIO()
    zeros.save(stream, "PNG")
    assert len(stream.getvalue()) <= bound


def test_real_placeholder_is_below_the_bound(real_bridge: Path) -> None:
    # 691 bytes at 64x64: an absent camera in the real corpus.
    assert largest_black_picture_bytes(64, 64) > 691


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_size_is_told_by_the_header_alone(kind: str) -> None:
    picture = encoded((24, 40, 3), kind)
    assert picture_size(picture) == (40, 24)
    # Cut behind its header it still tells; before that it does not.
    begin = 24 if kind == "PNG" else (jpeg_frame_offset(picture) or 0) + 10
    assert picture_size(picture[:begin]) == (40, 24)
    assert picture_size(picture[: begin - 1]) is None
    assert read_header(picture[:begin]) is None
    assert picture_size(b"GIF89a" + bytes(40)) is None
    assert picture_size(b"") is None
