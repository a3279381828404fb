"""Pictures are passed on byte for byte, and what is wrong with them is counted right."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from convert.fake import slices
from PIL import Image

from finedata.convert.context import ConvertOptions
from finedata.convert.pictures import CameraPictures, Rewriting, examine_pictures
from finedata.convert.planning.layout import CameraLayout
from finedata.store.pictures import black_jpeg, decode_rgb, read_header

SHAPE = (32, 40, 3)
RNG = np.random.default_rng(0)


def encoded(kind: str = "JPEG", shape: tuple[int, ...] = SHAPE, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, shape, np.uint8)).save(stream, kind, **options)
    return stream.getvalue()


def examine(
    pictures: list[bytes], *, frames: int | None = None, rewriting: Rewriting | None = None
) -> CameraPictures:
    count = len(pictures) if frames is None else frames
    return examine_pictures(
        slices(pictures), frames=count, shape=SHAPE, with_stats=True, rewriting=rewriting
    )


def taken_apart(found: CameraPictures) -> list[bytes]:
    ends = np.cumsum(found.lengths)
    assert len(found.data) == ends[-1]
    return [found.data[end - size : end] for end, size in zip(ends, found.lengths, strict=True)]


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


@pytest.mark.parametrize("rewriting", [None, Rewriting(swap=True)])
def test_depth_has_the_statistics_of_its_16_bits(rewriting: Rewriting | None) -> None:
    depths = [RNG.integers(0, 4000, SHAPE[:2], np.uint16) for _ in range(4)]
    pictures = []
    for depth in depths:
        stream = io.BytesIO()
        Image.fromarray(depth).save(stream, "PNG")
        pictures.append(stream.getvalue())
    found = examine(pictures, rewriting=rewriting)
    assert found.stats is not None
    pixels = np.stack(depths).astype(float)
    for key in ("min", "max", "mean", "std"):
        np.testing.assert_allclose(found.stats[key], [getattr(pixels, key)()] * 3, rtol=1e-12)
    assert found.data == b"".join(pictures)


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
    # Nothing was there that could be damaged.
    assert found.undecodable_count == 0


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


PIXELS = RNG.integers(0, 256, SHAPE, np.uint8)


def smooth() -> np.ndarray:
    """Three different ramps: every channel is told from the others, and JPEG keeps them well."""
    rows, columns = np.mgrid[0:32, 0:40]
    return np.stack([6 * columns, 7 * rows, 40 + columns], -1).astype(np.uint8)


def smooth_jpeg() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(smooth()).save(stream, "JPEG", quality=95, subsampling=0)
    return stream.getvalue()


@pytest.mark.parametrize("swapped", [False, True])
def test_an_uncompressed_frame_becomes_a_png_of_the_same_pixels(*, swapped: bool) -> None:
    rewriting = Rewriting(raw_swapped=swapped)
    found = examine([GOOD[0], PIXELS.tobytes(), GOOD[1]], rewriting=rewriting)
    first, made, last = taken_apart(found)
    assert (first, last) == (GOOD[0], GOOD[1])
    assert made[:4] == b"\x89PNG"
    wanted = PIXELS[..., ::-1] if swapped else PIXELS
    np.testing.assert_array_equal(decode_rgb(made), wanted)
    assert (found.raw_count, found.undecodable_count, found.other_size_count) == (1, 0, 0)
    assert (found.codec, found.verbatim) == ("mixed", False)
    assert found.sha256 == hashlib.sha256(found.data).hexdigest()


def test_raw_frames_of_a_known_camera_are_known_by_their_size() -> None:
    big = RNG.integers(0, 256, (480, 640, 3), np.uint8)
    found = examine([GOOD[0], big.tobytes(), big.tobytes()[:-1]])
    _, made, broken = taken_apart(found)
    np.testing.assert_array_equal(decode_rgb(made), big)
    # Neither its own size nor the declared one: kept, and said.
    assert broken == big.tobytes()[:-1]
    assert (found.raw_count, found.other_size_count, found.undecodable_count) == (1, 1, 1)


def test_an_encoded_picture_is_no_raw_frame_however_long() -> None:
    """A JPEG may be followed by zeros to the very size of its pixels."""
    padded = GOOD[0].ljust(PIXELS.size, b"\0")
    assert len(padded) == PIXELS.size
    found = examine([padded, GOOD[1]])
    assert found.raw_count == 0
    assert found.data == padded + GOOD[1]
    assert found.verbatim


def test_exchanged_colours_are_put_right() -> None:
    found = examine([smooth_jpeg(), b"", smooth_jpeg()], rewriting=Rewriting(swap=True))
    first, empty, last = taken_apart(found)
    error = np.abs(decode_rgb(first)[..., ::-1].astype(int) - smooth())
    assert error.mean() < 2
    assert first == last
    assert empty == BLACK
    assert found.stats is not None
    np.testing.assert_allclose(found.stats["mean"], decode_rgb(first).mean((0, 1)) / 255, atol=0.01)
    # Lossless where the picture is.
    png = encoded("PNG")
    (again,) = taken_apart(examine([png], rewriting=Rewriting(swap=True)))
    np.testing.assert_array_equal(decode_rgb(again), decode_rgb(png)[..., ::-1])


def test_raw_frames_are_put_right_with_the_others() -> None:
    """The camera's pictures decode to blue first, and so do its raw frames."""
    both = Rewriting(swap=True)
    (made,) = taken_apart(examine([PIXELS.tobytes()], rewriting=both))
    np.testing.assert_array_equal(decode_rgb(made), PIXELS[..., ::-1])


def test_pictures_are_brought_to_a_size() -> None:
    pictures = [smooth_jpeg(), b"", encoded("PNG"), PIXELS.tobytes(), BLACK]
    found = examine(pictures, rewriting=Rewriting(size=(16, 24)))
    made = taken_apart(found)
    assert [read_header(one).shape for one in made] == [(16, 24, 3)] * 5
    assert [read_header(one).codec for one in made] == ["jpeg", "jpeg", "png", "png", "jpeg"]
    rows, columns = 4, 6
    block = smooth()[2 * rows : 2 * rows + 2, 10 * columns // 6 : 10 * columns // 6 + 2]
    assert np.abs(decode_rgb(made[0])[rows, columns] - block.mean((0, 1))).max() < 12
    assert decode_rgb(made[1]).max() <= 4
    absent = examine_pictures(
        None, frames=2, shape=SHAPE, with_stats=True, rewriting=Rewriting(size=(16, 24))
    )
    assert absent.data == black_jpeg(16, 24) * 2


@pytest.mark.parametrize("rewriting", [Rewriting(swap=True), Rewriting(size=(16, 24))])
def test_a_broken_picture_is_kept_when_others_are_rewritten(rewriting: Rewriting) -> None:
    """A right header over wrong pixels is found only now; it must not stop a conversion."""
    broken = [b"garbage" * 30, GOOD[1][:-2], GOOD[2][:300] + GOOD[2][-2:], encoded("PNG")]
    broken[3] = broken[3][:60] + b"\0" * 40 + broken[3][100:]
    assert decode_rgb(broken[2]) is None
    assert decode_rgb(broken[3]) is None
    pictures = [GOOD[0]] * 20
    for number, picture in enumerate(broken):
        pictures[4 + number] = picture  # not among the sampled ones
    found = examine(pictures, rewriting=rewriting)
    made = taken_apart(found)
    assert made[4:8] == broken
    assert made[8] == made[0] != GOOD[0]
    assert found.undecodable_count == 4


@pytest.mark.parametrize(
    ("channel_order", "raw_order", "fix", "rewriting"),
    [
        ("rgb", "rgb", True, Rewriting()),
        ("rgb", "bgr", False, Rewriting(raw_swapped=True)),
        ("bgr", "bgr", False, Rewriting()),
        ("bgr", "rgb", True, Rewriting(raw_swapped=True, swap=True)),
        ("bgr", "bgr", True, Rewriting(swap=True)),
    ],
)
def test_what_is_done_follows_the_converter_and_the_user(
    channel_order: str, raw_order: str, *, fix: bool, rewriting: Rewriting
) -> None:
    camera = CameraLayout(
        name="top",
        feature="rgb",
        kind="pictures",
        shape=SHAPE,
        source_shape=SHAPE,
        channel_order=channel_order,
        raw_order=raw_order,
    )
    assert Rewriting.of(camera, ConvertOptions(fix_colour=fix)) == rewriting
    assert Rewriting.of(camera, ConvertOptions(resize=(4, 6))).size == (4, 6)
