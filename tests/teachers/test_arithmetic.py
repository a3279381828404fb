"""Waits, prices and estimates: pure arithmetic."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finedata.errors import UsageError
from finedata.teachers.estimate import (
    estimate_requests,
    input_tokens,
    upper_bound_nano,
)
from finedata.teachers.prices import (
    LongPrice,
    Price,
    cost_nano,
    known_models,
    nano_of_usd,
    price_of,
    usd_of_nano,
)
from finedata.teachers.protocol import Request
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
    assert price_of("gemini-2.0-flash") == Price(100_000, 400_000, "2026-08-21")
    assert price_of("gpt-4o-mini") == Price(150_000, 600_000, "2026-08-21")
    long = LongPrice(200_000, 2_500_000, 15_000_000)
    assert price_of("gemini-2.5-pro") == Price(1_250_000, 10_000_000, "2026-08-21", long)
    long = LongPrice(272_000, 5_000_000, 22_500_000)
    assert price_of("gpt-5.4") == Price(2_500_000, 15_000_000, "2026-09-25", long)
    # what follows a limited offer
    assert price_of("gemini-3.8-flash") == Price(1_500_000, 7_500_000, "2026-10-07")


@pytest.mark.parametrize("model", known_models())
def test_long_prompts_are_not_cheaper(model: str) -> None:
    price = price_of(model)
    assert price is not None
    assert price.long is None or (
        price.long.input_pico > price.input_pico and price.long.output_pico > price.output_pico
    )


@pytest.mark.parametrize(
    ("release", "model"),
    [
        ("models/gemini-2.0-flash-001", "gemini-2.0-flash"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("openai/gpt-5.4-mini-2026-03-17", "gpt-5.4-mini"),
        ("gpt-6.1-sol-2026-09-29", "gpt-6.1-sol"),
        ("o3-2025-04-16", "o3"),
        ("gpt-5.6", "gpt-5.6-sol"),
    ],
)
def test_a_release_costs_what_its_model_costs(release: str, model: str) -> None:
    assert price_of(release) == price_of(model) is not None


@pytest.mark.parametrize(
    ("model", "other"),
    [
        ("gemini-2.0-flash-lite", "gemini-2.0-flash"),
        ("gpt-5.4-mini", "gpt-5.4"),
        ("gpt-5.4-nano", "gpt-5.4-mini"),
        ("gpt-4o-mini", "gpt-4o"),
        ("gpt-4o-2024-05-13", "gpt-4o"),
        ("gpt-6.1-terra", "gpt-6.1-sol"),
    ],
)
def test_another_model_has_its_own_price(model: str, other: str) -> None:
    assert price_of(model) is not None
    assert price_of(model) != price_of(other)


@pytest.mark.parametrize(
    "model",
    [
        "gemini-2.5-flash-image",
        "gemini-3.1-flash",
        "gpt-5.4-pro",
        "gpt-5.7",
        "gpt-4o-audio-preview",
        "o3-pro",
        "qwen3-vl",
    ],
)
def test_a_name_that_only_begins_like_a_known_one_has_no_price(model: str) -> None:
    assert price_of(model) is None


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


def test_a_long_prompt_has_another_price_from_its_first_token_on() -> None:
    price = Price(1_000, 2_000, long=LongPrice(100, 3_000, 5_000))
    assert cost_nano(price, input_tokens=100, output_tokens=10) == 120
    assert cost_nano(price, input_tokens=101, output_tokens=10) == 353
    assert cost_nano(price, input_tokens=0, output_tokens=1_000) == 2_000


def test_an_unknown_cost_is_none() -> None:
    assert cost_nano(None, input_tokens=1, output_tokens=1) is None
    assert cost_nano(Price(1, 1), input_tokens=None, output_tokens=1) is None
    assert nano_of_usd(1.1) == 1_100_000_000
    assert usd_of_nano(1_100_000_000) == 1.1


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
