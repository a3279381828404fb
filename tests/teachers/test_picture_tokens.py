"""Tokens of pictures: worked examples of the vendors' guides, and what others have counted."""

from __future__ import annotations

import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from finedata.teachers.estimate import input_tokens, upper_bound_nano
from finedata.teachers.picture_tokens import picture_tokens
from finedata.teachers.prices import Price
from finedata.teachers.protocol import Picture, Request


def _picture(width: int, height: int, kind: str = "PNG") -> Picture:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, kind)
    return Picture(buffer.getvalue(), f"image/{kind.lower()}")


def _header(width: int, height: int) -> Picture:
    """A PNG of which there is only the header: sizes that would take long to encode."""
    return Picture(
        b"\x89PNG\r\n\x1a\n" + bytes(8) + width.to_bytes(4) + height.to_bytes(4), "image/png"
    )


def _gpt(model: str, width: int, height: int) -> int:
    return picture_tokens(_header(width, height), teacher="openai", model=model)


def _gemini(model: str, width: int, height: int, level: str = "") -> int:
    settings = {"media_resolution": level} if level else {}
    return picture_tokens(_header(width, height), teacher="gemini", model=model, settings=settings)


@pytest.mark.parametrize(
    ("model", "width", "height", "tokens"),
    [
        ("gpt-4o", 1024, 1024, 765),  # guide
        ("gpt-4o", 2048, 4096, 1105),  # guide
        ("gpt-4o", 128, 64, 85 + 170),
        ("gpt-4o", 3000, 1500, 85 + 170 * 6),  # 1536 x 768 to the pixel
        ("gpt-4o-2024-11-20", 512, 512, 85 + 170),
        ("gpt-4o-mini", 128, 64, 2833 + 5667),
        ("gpt-4o-mini-2024-07-18", 1024, 1024, 2833 + 5667 * 4),
        ("gpt-4.1", 1024, 1024, 765),
        ("gpt-4.5-preview", 1024, 1024, 765),
        ("chatgpt-4o-latest", 1024, 1024, 765),
        ("gpt-5", 1024, 1024, 70 + 140 * 4),
        ("gpt-5-chat-latest", 1024, 1024, 70 + 140 * 4),
        ("gpt-5.1", 1024, 1024, 70 + 140 * 4),
        ("o1-pro", 1024, 1024, 75 + 150 * 4),
        ("o3-2025-04-16", 1024, 1024, 75 + 150 * 4),
        ("computer-use-preview", 1024, 1024, 65 + 129 * 4),
    ],
)
def test_models_that_count_tiles(model: str, width: int, height: int, tokens: int) -> None:
    assert _gpt(model, width, height) == tokens


@pytest.mark.parametrize(
    ("model", "width", "height", "tokens"),
    [
        ("gpt-4.1-mini", 1024, 1024, 1659),  # guide: 1024 patches times 1.62
        ("gpt-4.1-nano", 1024, 1024, 2520),
        ("o4-mini", 1024, 1024, 1762),
        ("o4-mini", 1800, 2400, 2498),  # guide: 1452 patches, here times 1.72
        ("gpt-5-mini", 1800, 2400, math.ceil(1452 * 1.62)),
        ("gpt-5-nano", 1800, 2400, math.ceil(1452 * 2.46)),
        ("gpt-4.1-mini", 1800, 2400, math.ceil(48 * 64 * 1.62)),
        ("gpt-5.2", 4000, 4000, math.ceil(64 * 64 * 1.2)),
        ("gpt-5.4", 1024, 1024, 1229),  # guide
        ("gpt-5.4", 2048, 2048, 3000),  # guide
        ("gpt-5.4", 3840, 2160, math.ceil(64 * 36 * 1.2)),
        ("gpt-5.4-mini", 1600, 1600, 4050),
        ("gpt-5.4-nano", 1600, 1600, 6150),
        ("gpt-5.5", 3840, 2160, 9792),  # a public table of tokens by size, as the next four
        ("gpt-5.5", 4032, 3024, 11868),
        ("gpt-6-astra", 256, 256, 77),
        ("gpt-6-astra", 1280, 720, 1104),
        ("gpt-6-astra", 4032, 3024, 14364),
        ("gpt-5.6", 4032, 3024, 14364),
        ("gpt-6.1-sol-2026-09-29", 4032, 3024, 14364),
        ("gpt-6-astra", 20_000, 20_000, math.ceil(173 * 173 * 1.2)),  # a larger one is refused
    ],
)
def test_models_that_count_patches(model: str, width: int, height: int, tokens: int) -> None:
    assert _gpt(model, width, height) == tokens


@pytest.mark.parametrize(
    ("model", "width", "height", "tokens"),
    [
        ("gemini-2.5-flash", 384, 384, 258),
        ("gemini-2.5-flash", 960, 540, 258 * 7),  # guide: 6 crops; and the whole picture
        ("gemini-2.0-flash-001", 1980, 1380, 1806),  # from usage that a user reported
        ("gemini-2.5-pro", 512, 384, 258 * 5),
        ("models/gemini-1.5-pro", 4096, 128, 258 * 17),
        ("gemini-3-flash-preview", 64, 64, 1120),
        ("gemini-3.1-pro-preview", 4096, 4096, 1120),
        ("gemini-3.8-flash", 512, 384, 1120),
        ("gemini-4-argon", 512, 384, 1120),
    ],
)
def test_gemini_counts_by_its_generation(model: str, width: int, height: int, tokens: int) -> None:
    assert _gemini(model, width, height) == tokens
    # a proxy that speaks OpenAI's protocol does not change how the model counts
    assert _gpt(f"google/{model}", width, height) == tokens


@pytest.mark.parametrize(
    ("level", "third", "second"),
    [
        ("MEDIA_RESOLUTION_UNSPECIFIED", 1120, 258 * 5),
        ("MEDIA_RESOLUTION_LOW", 280, 66),
        ("media_resolution_medium", 560, 258),
        ("MEDIA_RESOLUTION_HIGH", 1120, 258 * 5),
        ("MEDIA_RESOLUTION_ULTRA_HIGH", 2240, 258 * 5),
        ("MEDIA_RESOLUTION_OF_NEXT_YEAR", 2240, 258 * 5),
    ],
)
def test_gemini_counts_by_the_resolution_that_is_asked_for(
    level: str, third: int, second: int
) -> None:
    assert _gemini("gemini-3.5-flash", 512, 384, level) == third
    assert _gemini("gemini-2.5-flash", 512, 384, level) == second
    request = Request(
        episode_id="e",
        stage="s",
        model="gemini-3.5-flash",
        prompt="",
        pictures=(_header(512, 384),),
        settings={"media_resolution": level},
    )
    assert input_tokens(request, teacher="gemini") == third


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_an_unknown_name_counts_by_the_largest_rule(width: int, height: int) -> None:
    for unknown in ("gpt-7-nova", "gpt-5.7", "chatgpt-5-latest", "o5-mini", "openai/gpt-5.3-codex"):
        most = _gpt(unknown, width, height)
        assert most == max(
            _gpt(model, width, height) for model in ("gpt-4o", "gpt-4.1-nano", "gpt-6-astra")
        )
    for unknown in ("gemini-flash-latest", "gemini-robotics-er-1.6-preview", ""):
        most = max(
            _gemini(model, width, height) for model in ("gemini-2.5-flash", "gemini-3.5-flash")
        )
        assert _gemini(unknown, width, height) == most
        assert not unknown or _gpt(f"google/{unknown}", width, height) == most


@given(st.integers(1, 70_000), st.integers(1, 70_000))
def test_no_picture_is_free_and_none_exceeds_its_patches(width: int, height: int) -> None:
    most = {"o4-mini": 2642, "gpt-5.4": 3000, "gpt-5.5": 12_000, "gpt-6-astra": 36_000}
    for model, tokens in most.items():
        assert 0 < _gpt(model, width, height) <= tokens
    for model in ("gpt-4o", "qwen3-vl", "gemini-2.5-pro", "gemini-3.5-flash"):
        assert _gpt(model, width, height) > 0


def test_a_model_that_begins_like_another_is_not_taken_for_it() -> None:
    tokens = {model: _gpt(model, 512, 384) for model in ("gpt-4o", "gpt-4o-mini", "gpt-4.1-mini")}
    assert tokens == {"gpt-4o": 255, "gpt-4o-mini": 8500, "gpt-4.1-mini": 312}
    assert _gpt("gpt-5", 512, 384) == 210
    assert _gpt("gpt-5.5", 512, 384) == 231
    assert _gpt("ft:gpt-4o-mini-2024-07-18:lab::a1", 512, 384) == 8500
    assert _gpt("gpt-4o:extended", 512, 384) == 255


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize(
    ("width", "height", "gpt", "qwen"),
    [
        (256, 256, 85 + 170, 100),
        (640, 480, 85 + 170 * 2, 23 * 18),
        (1920, 1080, 85 + 170 * 6, 69 * 39),
        (4096, 512, 85 + 170 * 4, 147 * 19),
    ],
)
def test_the_size_is_read_from_the_header(
    kind: str, width: int, height: int, gpt: int, qwen: int
) -> None:
    picture = _picture(width, height, kind)
    assert picture_tokens(picture, teacher="openai", model="gpt-4o") == gpt
    assert picture_tokens(picture, teacher="openai", model="Qwen/Qwen2.5-VL-7B") == qwen


def test_an_unreadable_picture_still_counts() -> None:
    for data in (
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8" + b"\xff" * 9,
    ):
        assert picture_tokens(Picture(data), teacher="openai") == 19 * 19
    assert _gpt("gpt-4o", 0, 0) == 255


def test_a_video_counts_by_its_seconds() -> None:
    box = b"mvhd" + bytes(4) + bytes(8) + (600).to_bytes(4) + (4200).to_bytes(4) + bytes(80)
    video = Picture(bytes(20) + box, "video/mp4")

    def tokens(model: str, level: str = "") -> int:
        settings = {"mediaResolution": level}
        return picture_tokens(video, teacher="gemini", model=model, settings=settings)

    assert tokens("gemini-2.5-flash") == 7 * 300  # guide: about 300 a second
    assert tokens("gemini-2.5-flash", "MEDIA_RESOLUTION_LOW") == 7 * 108
    assert tokens("gemini-3.5-flash") == 7 * (70 + 42)
    assert tokens("gemini-3.5-flash", "MEDIA_RESOLUTION_HIGH") == 7 * (280 + 42)
    assert tokens("") == 7 * 300
    assert picture_tokens(video, teacher="openai", model="qwen3-vl") == 7 * 2 * 19 * 19


@pytest.mark.parametrize(("model", "tokens"), [("gpt-4o-mini", 8512), ("gpt-4o", 267)])
def test_a_budget_holds_back_the_picture_and_the_words(model: str, tokens: int) -> None:
    request = Request(
        episode_id="e",
        stage="s",
        model=model,
        prompt="Name the colour you see.",
        pictures=(_picture(128, 64),),
        settings={"max_output_tokens": 10},
    )
    price = Price(1_000_000, 2_000_000)
    held = upper_bound_nano(request, teacher="openai", price=price)
    assert held == tokens * 1000 + 10 * 2000
