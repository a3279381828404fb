"""The mixture against a slow, plain reference, and the promises that DESIGN makes of it."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finedata.errors import UsageError
from finedata.shard.order.mixture import Mixture, View
from finedata.shard.order.permute import derive_key, permute
from finedata.shard.order.schedule import MAX_PERIOD, Schedule, by_size, exact_weights
from finedata.shard.order.source import SourceOrder, select

SEVEN_RATIOS = [(1, 0), (4, 1), (2, 1), (1, 1), (1, 2), (1, 4), (0, 1)]


def worst_miss(schedule: Schedule, steps: int) -> float:
    sources, _ = schedule.slice(0, steps)
    n = np.arange(1, steps + 1)
    worst = 0.0
    for i, weight in enumerate(schedule.weights):
        drawn = np.cumsum(sources == i)
        # Whole numbers until the last division: no rounding hides a miss.
        miss = np.abs(drawn * weight.denominator - n * weight.numerator).max()
        worst = max(worst, miss / weight.denominator)
    return worst


@pytest.mark.parametrize("ratio", SEVEN_RATIOS)
def test_the_seven_ratios_miss_by_half_a_sample_at_most_in_a_million(ratio: tuple[int, int]):
    schedule = Schedule.of({"fg": Fraction(ratio[0]), "raw": Fraction(ratio[1])})
    assert worst_miss(schedule, 1_000_000) <= 0.5


def test_twenty_sources_miss_by_less_than_one_in_a_million():
    weights = {f"s{i}": Fraction(7 * i * i + 3) for i in range(20)}
    assert worst_miss(Schedule.of(weights), 1_000_000) < 1


@given(st.lists(st.integers(1, 40), min_size=2, max_size=6), st.integers(0, 5))
def test_each_step_is_one_that_tijdemans_rule_allows(parts: list[int], seed: int):
    weights = {str(i): Fraction(part) for i, part in enumerate(parts)}
    schedule = Schedule.of(weights, seed=seed)
    counts = [0] * len(parts)
    slack = Fraction(1, 2 * len(parts) - 2)
    for n, source in enumerate(schedule.slice(0, schedule.period)[0], start=1):
        due = {
            i: (1 - slack - (w * n - counts[i])) / w
            for i, w in enumerate(schedule.weights)
            if w * n - counts[i] >= slack
        }
        assert due[int(source)] == min(due.values())
        counts[source] += 1


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any),
    st.integers(0, 400),
    st.integers(0, 60),
)
def test_slices_ordinals_and_counts_agree_at_every_step(parts: list[int], start: int, length: int):
    schedule = Schedule.of({str(i): Fraction(part) for i, part in enumerate(parts)})
    sources, ordinals = schedule.slice(start, start + length)
    for n, source, ordinal in zip(range(start, start + length), sources, ordinals, strict=True):
        assert schedule.at(n) == (source, ordinal)
        assert schedule.drawn(n)[source] == ordinal
        assert sum(schedule.drawn(n)) == n


def test_weights_are_what_was_written():
    assert exact_weights({"a": 0.1, "b": "1/3", "c": 2}) == {
        "a": Fraction(1, 10),
        "b": Fraction(1, 3),
        "c": Fraction(2),
    }
    for bad in ("x", float("nan"), float("inf"), "1/0", ""):
        with pytest.raises(UsageError):
            exact_weights({"a": bad})


def test_weights_that_are_no_weights_are_refused():
    for bad in ({"a": Fraction(0)}, {"a": Fraction(-1), "b": Fraction(2)}, {}):
        with pytest.raises(UsageError):
            Schedule.of(bad)


def test_a_period_too_long_is_refused_with_weights_that_fit():
    with pytest.raises(UsageError) as refusal:
        Schedule.of({"a": Fraction(1), "b": Fraction(MAX_PERIOD + 2)})
    text = refusal.value.next_command.rpartition(": ")[2]
    nearest = exact_weights(dict(part.split("=") for part in text.split(",")))
    assert sum(nearest.values()) == MAX_PERIOD


def test_sizes_beyond_the_period_keep_every_source():
    weights = by_size({"huge": 10**9, "tiny": 3, "none": 0})
    assert weights["tiny"] > 0
    assert weights["none"] == 0
    assert by_size({"a": 30, "b": 10}) == {"a": 30, "b": 10}


@given(st.integers(1, 3000), st.integers(0, 2**63))
def test_a_permutation_takes_every_place_once(size: int, key: int):
    assert sorted(permute(np.arange(size), size=size, key=key)) == list(range(size))


def test_small_permutations_come_equally_often():
    drawn = [tuple(permute(np.arange(3), size=3, key=derive_key("k", i))) for i in range(6000)]
    counts = [drawn.count(p) for p in sorted(set(drawn))]
    assert len(counts) == 6
    # Chi-square with 5 degrees of freedom: 20.5 at one in a thousand.
    assert sum((c - 1000) ** 2 / 1000 for c in counts) < 20.5


def test_keys_are_of_all_parts_and_their_borders():
    parts = [("ab", "c"), ("a", "bc"), ("a", "b", "c"), (1, "1"), ("1", 1), (11,), (1, 1)]
    assert len({derive_key(*p) for p in parts}) == len(parts)


COUNTS = st.lists(st.integers(0, 12), min_size=1, max_size=9).filter(any)


def order_of(counts: list[int], **changed: object) -> SourceOrder:
    settings = {"identity": "i", "view": "v", "source": "s", "seed": 0, "group": 3, **changed}
    return SourceOrder(np.array(counts), **settings)  # type: ignore[arg-type]


@given(COUNTS, st.integers(0, 4), st.integers(1, 4))
def test_an_epoch_gives_every_sample_once(counts: list[int], epoch: int, group: int):
    order = order_of(counts, group=group)
    place = order.place(np.arange(order.size) + epoch * order.size)
    assert set(place.epoch) == {epoch}
    found = sorted(zip(place.shard.tolist(), place.rank.tolist(), strict=True))
    assert found == [(s, r) for s, count in enumerate(counts) for r in range(count)]


@given(COUNTS, st.lists(st.integers(0, 500), min_size=1, max_size=20))
def test_a_place_depends_on_its_ordinal_alone(counts: list[int], ordinals: list[int]):
    together = order_of(counts).place(np.array(ordinals))
    for i, ordinal in enumerate(ordinals):
        alone = order_of(counts).place(np.array([ordinal]))
        assert (alone.shard[0], alone.rank[0]) == (together.shard[i], together.rank[i])


@pytest.mark.parametrize(
    "changed", [{"seed": 1}, {"identity": "j"}, {"view": "w"}, {"source": "t"}]
)
def test_what_names_the_order_changes_it(changed: dict[str, object]):
    counts = [30, 20, 50]
    one = order_of(counts).place(np.arange(100))
    two = order_of(counts, **changed).place(np.arange(100))
    assert (one.shard != two.shard).any()


def test_at_most_a_group_of_shards_is_open_at_a_time():
    order = order_of([10] * 12, group=3)
    place = order.place(np.arange(120))
    for group in range(4):
        assert len(set(place.shard[group * 30 : (group + 1) * 30])) == 3


def test_selecting_finds_the_set_bits():
    bits = np.packbits([0, 1, 1, 0, 0, 0, 0, 0, 1, 0, 1], bitorder="little")
    assert select(bits, np.array([0, 3, 2]), length=11).tolist() == [1, 10, 8]


def mixture_of(weights: dict[str, int], *, sources: dict[str, int], seed: int = 0) -> Mixture:
    views = [
        View(
            name,
            orders={
                source: SourceOrder(
                    np.array([count]), identity="i", view=name, source=source, seed=seed
                )
                for source, count in sources.items()
            },
        )
        for name in weights
    ]
    return Mixture(views, weights={k: Fraction(v) for k, v in weights.items()}, seed=seed)


@given(st.integers(0, 300), st.integers(1, 80))
def test_draws_are_those_of_single_steps(start: int, length: int):
    mixture = mixture_of({"fg": 1, "raw": 2}, sources={"a": 5, "b": 11})
    draws = mixture.draw(start, start + length)
    for i in range(length):
        alone = mixture.draw(start + i, start + i + 1)
        for column in ("n", "view", "source", "ordinal", "epoch", "shard", "rank"):
            assert getattr(alone, column)[0] == getattr(draws, column)[i]
    counts = mixture.drawn(start + length)
    before = mixture.drawn(start)
    for (view, source), count in counts.items():
        number = [v.name for v in mixture.views].index(view)
        place = mixture.views[number].sources.index(source)
        here = (draws.view == number) & (draws.source == place)
        assert int(here.sum()) == count - before[view, source]


def test_changing_the_ratio_changes_nobodys_order():
    one = mixture_of({"fg": 1, "raw": 1}, sources={"a": 50}).draw(0, 100)
    two = mixture_of({"fg": 1, "raw": 4}, sources={"a": 50}).draw(0, 100)
    for view in (0, 1):
        first = one.rank[one.view == view]
        second = two.rank[two.view == view]
        shared = min(len(first), len(second))
        assert first[:shared].tolist() == second[:shared].tolist()


def test_an_empty_view_is_refused_by_name():
    with pytest.raises(UsageError, match="view fg"):
        mixture_of({"fg": 1}, sources={"a": 0})
