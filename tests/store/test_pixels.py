from __future__ import annotations

import io

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from finedata.errors import CorruptRecordError, FeatureError
from finedata.store.pictures import read_header
from finedata.store.pixels import guess_raw_shape, raw_to_png, resize_picture, swap_red_blue


def smooth(height: int = 48, width: int = 64) -> np.ndarray:
    """Three different ramps: every channel is told from the others, and JPEG keeps them well."""
    rows, columns = np.mgrid[0:height, 0:width]
    red, green = 255 * columns // width, 255 * rows // height
    return np.stack([red, green, 40 + red // 8], -1).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def pixels_of(encoded: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encoded)))


def test_a_png_is_swapped_without_loss():
    noise = np.random.default_rng(0).integers(0, 256, (31, 33, 3), dtype=np.uint8)
    assert (pixels_of(swap_red_blue(png(noise))) == noise[..., ::-1]).all()


def test_alpha_stays_where_it_is():
    noise = np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8)
    assert (pixels_of(swap_red_blue(png(noise))) == noise[..., [2, 1, 0, 3]]).all()


def test_a_jpeg_is_swapped_at_quality_95_without_subsampling():
    encoded = simplejpeg.encode_jpeg(smooth(), quality=90)
    swapped = swap_red_blue(encoded)
    assert simplejpeg.decode_jpeg_header(swapped)[3] == "444"
    before = simplejpeg.decode_jpeg(encoded).astype(int)
    error = np.abs(simplejpeg.decode_jpeg(swapped)[..., ::-1] - before)
    assert error.mean() < 1.0
    assert error.max() < 12


@pytest.mark.parametrize("mode", ["jpeg", "png"])
def test_a_grey_picture_has_nothing_to_swap(mode: str):
    grey = smooth()[..., :1]
    encoded = (
        simplejpeg.encode_jpeg(
            np.ascontiguousarray(grey), colorspace="GRAY", colorsubsampling="Gray"
        )
        if mode == "jpeg"
        else png(grey[..., 0])
    )
    assert swap_red_blue(encoded) == encoded


@pytest.mark.parametrize(
    "rewrite", [swap_red_blue, lambda data: resize_picture(data, height=8, width=8)]
)
@pytest.mark.parametrize(
    "broken",
    [b"", b"GIF89a", b"\xff\xd8\xff\xe0", png(smooth())[:100], png(smooth())[:20] + b"\0" * 40],
)
def test_what_does_not_decode_is_corrupt(rewrite, broken: bytes):
    with pytest.raises(CorruptRecordError):
        rewrite(broken)


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_raw_pixels_become_a_png_with_the_same_pixels(order):
    pixels = np.random.default_rng(1).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    encoded = raw_to_png(pixels.tobytes(), height=480, width=640, order=order)
    wanted = pixels if order == "rgb" else pixels[..., ::-1]
    assert (pixels_of(encoded) == wanted).all()
    header = read_header(encoded)
    assert header is not None
    assert header.shape == (480, 640, 3)


def test_raw_pixels_of_another_size_are_refused():
    with pytest.raises(FeatureError, match="921599 bytes"):
        raw_to_png(bytes(921599), height=480, width=640, order="rgb")


def test_the_known_raw_sizes():
    assert guess_raw_shape(2764800) == (720, 1280)
    assert guess_raw_shape(921600) == (480, 640)
    assert guess_raw_shape(921601) is None


@pytest.mark.parametrize("codec", ["jpeg", "png"])
def test_a_resized_picture_keeps_its_codec_and_content(codec: str):
    before = smooth(96, 128)
    encoded = simplejpeg.encode_jpeg(before, quality=95) if codec == "jpeg" else png(before)
    resized = resize_picture(encoded, height=24, width=48)
    header = read_header(resized)
    assert header is not None
    assert (header.codec, header.shape) == (codec, (24, 48, 3))
    # The ramps scaled by hand: the middle of each new pixel in the old picture's coordinates.
    columns = (np.arange(48) + 0.5) * 128 / 48 - 0.5
    rows = (np.arange(24) + 0.5) * 96 / 24 - 0.5
    after = pixels_of(resized).astype(float)
    assert np.abs(after[:, 2:-2, 0] - (255 * columns / 128)[None, 2:-2]).max() < 4
    assert np.abs(after[2:-2, :, 1] - (255 * rows / 96)[2:-2, None]).max() < 4


def test_depths_are_never_blended():
    depth = np.where(np.arange(64) < 32, 500, 9000).astype(np.uint16)[None].repeat(16, 0)
    resized = pixels_of(resize_picture(png(depth), height=5, width=7))
    assert resized.shape == (5, 7)
    assert set(np.unique(resized)) == {500, 9000}


def test_a_grey_jpeg_stays_grey():
    grey = np.ascontiguousarray(smooth()[..., :1])
    encoded = simplejpeg.encode_jpeg(grey, colorspace="GRAY", colorsubsampling="Gray")
    header = read_header(resize_picture(encoded, height=24, width=32))
    assert header is not None
    assert header.shape == (24, 32, 1)
