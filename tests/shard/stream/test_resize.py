"""Resizing, compiled and by Pillow: one picture, whichever does it."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from finedata.shard.stream import resize
from finedata.shard.stream.resize import Resizer

SIDES = st.integers(1, 70)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 100 + width).integers(
        0, 256, (height, width, 3), np.uint8
    )


def pillow(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))


def resized(resizer: Resizer, picture: np.ndarray, height: int, width: int) -> np.ndarray:
    pixels = np.full((height, width, 3), 7, np.uint8)
    resizer.into(pixels, picture)
    return pixels


@settings(max_examples=60, deadline=None)
@given(old=st.tuples(SIDES, SIDES), new=st.tuples(SIDES, SIDES))
@example(old=(3, 3), new=(1, 4))  # of twelve values, Pillow's other order shows in none by chance
def test_what_is_compiled_gives_what_pillow_gives(old: tuple[int, int], new: tuple[int, int]):
    picture = noise(*old)
    got = resized(Resizer(compiled_after=0), picture, *new)
    assert np.array_equal(got, pillow(picture, *new))


@pytest.mark.parametrize(
    ("old", "new"),
    [((256, 256), (224, 224)), ((240, 320), (224, 224)), ((180, 320), (224, 224)),
     ((128, 128), (224, 224)), ((360, 640), (256, 256)), ((224, 224), (224, 112))],
)  # fmt: skip
def test_sizes_of_robots_are_compiled(
    old: tuple[int, int], new: tuple[int, int], monkeypatch: pytest.MonkeyPatch
):
    resizer, picture = Resizer(compiled_after=0), noise(*old)
    resized(resizer, picture, *new)
    monkeypatch.setattr(resize, "resize_into", None)
    assert np.array_equal(resized(resizer, picture, *new), pillow(picture, *new))


def test_compiled_code_is_loaded_when_it_pays(monkeypatch: pytest.MonkeyPatch):
    calls: list[str] = []
    plain = resize.resize_into
    monkeypatch.setattr(resize, "resize_into", lambda *a: calls.append("pillow") or plain(*a))
    resizer, picture = Resizer(compiled_after=2), noise(32, 32)
    got = [resized(resizer, picture, 28, 28) for _ in range(4)]
    # Twice as it is, and to compare.
    assert calls == ["pillow"] * (2 + 2)
    assert all(np.array_equal(one, got[0]) for one in got)


@pytest.mark.parametrize("reason", ["no numba", "broken numba", "another order of directions"])
def test_pillow_goes_on_where_compiled_code_is_not_the_same(
    reason: str, monkeypatch: pytest.MonkeyPatch
):
    if reason == "no numba":
        monkeypatch.setattr(resize, "find_spec", lambda name: None)
    elif reason == "broken numba":
        monkeypatch.setitem(sys.modules, "finedata.shard.stream.resize_kernels", None)
    else:
        kernel = resize._compiled

        def wrong(pixels: np.ndarray, *rest: object) -> None:
            kernel(pixels, *rest)
            pixels[-1, -1, -1] ^= 1

        monkeypatch.setattr(resize, "_compiled", wrong)
    resizer, picture = Resizer(compiled_after=0), noise(32, 32)
    for _ in range(2):
        assert np.array_equal(resized(resizer, picture, 28, 28), pillow(picture, 28, 28))
