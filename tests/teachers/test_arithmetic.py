"""Waits, prices and estimates: pure arithmetic."""

from __future__ import annotations

import io
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from finedata.errors import UsageError
from finedata.teachers.estimate import (
    estimate_requests,
    input_tokens,
    picture_tokens,
    upper_bound_nano,
)
from finedata.teachers.prices import (
    Price,
    cost_nano,
    known_models,
    nano_of_usd,
    price_of,
    usd_of_nano,
)
from finedata.teachers.protocol import Picture, Request
from finedata.teachers.retry import Backoff, wait_s


@given(st.integers(1, 200), st.text(), st.integers(0, 1 << 62))
def test_waits_stay_within_their_bounds(attempt: int, name: str, seed: int) -> None:
    backoff = Backoff(attempts=1_000, first_s=0.5, longest_s=30.0)
    wait = wait_s(backoff, attempt=attempt, name=name, seed=seed)
    assert wait is not None
    assert 0 <= wait <= min(30.0, 0.5 * 2 ** (attempt - 1))
    assert wait == wait_s(backoff, attempt=attempt, name=name, seed=seed)
    asked = wait_s(backoff, attempt=attempt, name=name, seed=seed, retry_after_s=7.0)
    assert asked == pytest.approx(wait + 7.0)


def test_waits_are_spread_and_seeded() -> None:
    waits = [wait_s(Backoff(), attempt=3, name=str(i), seed=0) or 0 for i in range(1000)]
    assert 0.9 < sum(waits) / len(waits) < 1.1  # uniform in [0, 2]
    assert waits != [wait_s(Backoff(), attempt=3, name=str(i), seed=1) for i in range(1000)]


def test_the_last_attempt_has_no_wait() -> None:
    assert wait_s(Backoff(attempts=3), attempt=3, name="a", seed=0) is None
    assert wait_s(Backoff(), attempt=1, name="a", seed=0, retry_after_s=1e6) is None


def test_published_prices() -> None:
    assert price_of("gemini-2.0-flash") == Price(100_000, 400_000, "2025-08-01")
    assert price_of("models/gemini-2.0-flash-001") == price_of("gemini-2.0-flash")
    assert price_of("gpt-4o-mini-2024-07-18") == price_of("gpt-4o-mini")
    assert price_of("gemini-2.0-flash-lite") != price_of("gemini-2.0-flash")
    # a name that only begins like a known one is another model
    assert price_of("gemini-2.5-flash-image") is None
    assert price_of("qwen3-vl") is None
    assert all(price_of(model) for model in known_models())


def test_own_prices() -> None:
    own = price_of("x", input_usd_per_million="0.0375", output_usd_per_million=0)
    assert own == Price(37_500, 0)
    for wrong in ("-1", "much", "nan", "inf", "0.0000001"):
        with pytest.raises(UsageError):
            price_of("x", input_usd_per_million=wrong, output_usd_per_million=1)
    with pytest.raises(UsageError, match="only one"):
        price_of("x", input_usd_per_million=1)


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**8), st.integers(0, 10**8))
def test_a_cost_is_the_exact_one_rounded_up(a: int, b: int, i: int, o: int) -> None:
    exact = (Decimal(i) * a + Decimal(o) * b) / 1000
    cost = cost_nano(Price(a, b), input_tokens=i, output_tokens=o)
    assert cost is not None
    assert 0 <= cost - exact < 1


def test_an_unknown_cost_is_none() -> None:
    assert cost_nano(None, input_tokens=1, output_tokens=1) is None
    assert cost_nano(Price(1, 1), input_tokens=None, output_tokens=1) is None
    assert nano_of_usd(1.1) == 1_100_000_000
    assert usd_of_nano(1_100_000_000) == 1.1


def _picture(width: int, height: int, kind: str) -> Picture:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, kind)
    return Picture(buffer.getvalue(), f"image/{kind.lower()}")


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize(
    ("width", "height", "gemini", "gpt", "qwen"),
    [
        (256, 256, 258, 85 + 170, 100),
        (640, 480, 258, 85 + 170 * 2, 23 * 18),
        (384, 384, 258, 85 + 170, 14 * 14),
        (1920, 1080, 258 * 6, 85 + 170 * 6, 69 * 39),
        (4096, 512, 258 * 6, 85 + 170 * 4, 147 * 19),
    ],
)
def test_pictures_count_by_the_servers_rule(
    kind: str, width: int, height: int, gemini: int, gpt: int, qwen: int
) -> None:
    picture = _picture(width, height, kind)
    assert picture_tokens(picture, teacher="gemini") == gemini
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


def test_a_video_counts_by_its_seconds() -> None:
    box = b"mvhd" + bytes(4) + bytes(8) + (600).to_bytes(4) + (4200).to_bytes(4) + bytes(80)
    assert picture_tokens(Picture(bytes(20) + box, "video/mp4"), teacher="gemini") == 7 * 258


def test_an_estimate_counts_each_question_once() -> None:
    def ask(prompt: str) -> Request:
        settings = {"max_output_tokens": 1000}
        return Request(episode_id="e", stage="s", model="m", prompt=prompt, settings=settings)

    requests = [ask("a" * 400), ask("a" * 400), ask("b" * 800), ask("c")]
    price = Price(1_000_000, 2_000_000)
    told = estimate_requests(
        requests, teacher="openai", price=price, recorded=[requests[3].call_id]
    )
    assert (told.calls, told.recorded) == (3, 1)
    assert (told.input_tokens, told.output_tokens) == (300, 500)
    assert told.cost_nano == 300 * 1000 + 500 * 2000
    assert told.most_nano == 300 * 1000 + 2000 * 2000
    unknown = estimate_requests(requests, teacher="openai")
    assert (unknown.cost_nano, unknown.input_tokens) == (None, 301)
    assert upper_bound_nano(requests[0], teacher="openai", price=price) == 200 * 1000 + 2_000_000
    assert input_tokens(requests[0], teacher="openai") == 100
