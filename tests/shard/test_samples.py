"""Members of a sample: bytes untouched where they fit, and what becomes of pictures that do not."""

from __future__ import annotations

import io

import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from finedata.shard.making.plan import CameraPlan
from finedata.shard.making.sample import CameraCounts, PictureCoder, npy, npy_rows, sample_key
from finedata.store.pictures import black_jpeg

HEIGHT, WIDTH = 24, 32


def scene(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Red from left to right, green from top to bottom, some blue."""
    picture = np.full((height, width, 3), 40, np.uint8)
    picture[..., 0] = np.linspace(0, 255, width)
    picture[..., 1] = np.linspace(0, 255, height)[:, None]
    return picture


def jpeg(pixels: np.ndarray, **more: object) -> bytes:
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=95, **more)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def coder(name: str = "front", codec: str = "jpeg", bits: int = 8, **more: int) -> PictureCoder:
    size = {"height": HEIGHT, "width": WIDTH} | more
    camera = CameraPlan(name, f"{name}.jpg", codec, bits=bits, resized=False, video=False, **size)  # type: ignore[arg-type]
    return PictureCoder(camera, 90)


def shown(picture: bytes | None) -> np.ndarray:
    assert picture is not None
    return np.asarray(Image.open(io.BytesIO(picture)))


def test_a_fitting_jpeg_is_untouched() -> None:
    one = coder()
    for picture in (jpeg(scene()), jpeg(scene()[..., :1], colorspace="GRAY")):
        assert one.stored(picture) is picture
    assert (one.counts.untouched, one.counts.encoded, one.counts.psnr_db) == (2, 0, None)


def test_what_stood_before_changes_no_verdict() -> None:
    whole = jpeg(scene())
    one = coder()
    for picture in (
        whole,
        whole[:-40],
        whole[:200],
        whole + bytes(3),
        jpeg(scene(12, 64)),
        jpeg(scene(48, 64)),
        jpeg(scene()[..., :1], colorspace="GRAY"),
        png(scene()),
        b"",
        whole,
    ):
        alone = coder()
        assert one.stored(picture) == alone.stored(picture)
        one.counts.add(CameraCounts(-alone.counts.untouched, -alone.counts.encoded))
        assert (one.counts.untouched, one.counts.encoded) == (0, 0)


@pytest.mark.parametrize("picture", [jpeg(scene(48, 64)), png(scene()), png(scene(48, 64))])
def test_another_size_or_codec_is_encoded(picture: bytes) -> None:
    one = coder()
    found = one.stored(picture)
    assert found is not None
    assert found[:3] == b"\xff\xd8\xff"
    assert shown(found).shape == (HEIGHT, WIDTH, 3)
    assert np.abs(shown(found).astype(int) - scene()).mean() < 6
    assert (one.counts.untouched, one.counts.encoded) == (0, 1)
    assert one.counts.psnr_db is not None
    assert 25 < one.counts.psnr_db < 60


def test_exchanged_colours_are_put_right() -> None:
    one = coder("wrist_bgr")
    found = shown(one.stored(jpeg(scene()[..., ::-1])))
    assert np.abs(found.astype(int) - scene()).mean() < 4


@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (48, 64)])
def test_depth_keeps_its_bits(size: tuple[int, int]) -> None:
    depth = (np.arange(size[0] * size[1], dtype=np.uint16) * 17).reshape(size)
    one = coder("depth", "png", bits=16)
    found = one.stored(png(depth))
    if size == (HEIGHT, WIDTH):
        assert found == png(depth)
    values = shown(found).astype(np.uint16)
    assert values.shape == (HEIGHT, WIDTH)
    assert set(values.ravel().tolist()) <= set(depth.ravel().tolist())
    assert one.counts.psnr_db is None


def test_an_absent_depth_camera_has_zeros_of_16_bits() -> None:
    one = coder("depth", "png", bits=16)
    found = one.stored(black_jpeg(HEIGHT, WIDTH))
    assert found is not None
    assert found[24] == 16
    assert not shown(found).any()
    # Colours where depth should be are no depth.
    assert one.stored(jpeg(scene())) is None


@pytest.mark.parametrize("picture", [b"", b"\xff\xd8\xff\xe0", jpeg(scene())[:-40], b"GIF89a"])
def test_what_does_not_decode_is_none(picture: bytes) -> None:
    assert coder().stored(picture) is None
    assert coder(height=12).stored(picture) is None


def test_loss_is_measured_on_the_first_picture_only() -> None:
    one, other = coder(height=12), coder(height=12)
    for _ in range(3):
        one.stored(jpeg(scene()))
    other.stored(jpeg(scene()))
    assert one.counts.compared == other.counts.compared == 12 * WIDTH * 3
    decoded = np.asarray(Image.fromarray(scene()).resize((WIDTH, 12), Image.Resampling.LANCZOS))
    again = coder(height=12)
    found = again.decoded(decoded)
    error = np.square(shown(found).astype(float) - decoded).mean()
    assert again.counts.psnr_db == pytest.approx(10 * np.log10(255**2 / error), abs=0.3)


@given(st.lists(st.tuples(*[st.integers(0, 9)] * 4), min_size=1), st.randoms())
def test_counts_add_up_in_any_order(parts: list[tuple[int, int, int, int]], draw: object) -> None:
    def total(values: list[tuple[int, int, int, int]]) -> CameraCounts:
        counts = CameraCounts()
        for value in values:
            counts.add(CameraCounts(*value))
        return counts

    mixed = list(parts)
    draw.shuffle(mixed)  # type: ignore[attr-defined]
    assert total(parts) == total(mixed)


@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.int64, np.uint8]),
        hnp.array_shapes(min_dims=0, max_dims=3, max_side=5),
    )
)
def test_npy_is_what_numpy_writes(values: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(values), version=(1, 0))
    wanted = np.load(io.BytesIO(buffer.getvalue()), allow_pickle=False)
    found = np.load(io.BytesIO(npy(values)), allow_pickle=False)
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)


@given(
    hnp.arrays(
        st.sampled_from([np.dtype("<f4"), np.dtype(np.int64)]),
        hnp.array_shapes(min_dims=2, max_dims=3, max_side=5),
    )
)
def test_rows_are_files_of_their_own(values: np.ndarray) -> None:
    assert npy_rows(values) == [npy(row) for row in values]
    assert npy_rows(values[::-1]) == [npy(row) for row in values[::-1]]


def test_keys() -> None:
    assert sample_key("Bridge_v2-0A", 7) == "bridge_v2-0a-000007"
    assert sample_key("x", 1_234_567) == "x-1234567"
    assert sample_key("X", None) == "x"
