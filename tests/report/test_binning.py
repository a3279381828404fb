from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from finedata.report.drawing.binning import bin_values

VALUES = st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6), st.just(math.nan)), max_size=60)


@given(VALUES, st.booleans())
def test_every_value_is_counted_once(values: list[float | None], whole: bool) -> None:
    if whole:
        values = [None if v is None or math.isnan(v) else float(round(v)) for v in values]
    outcomes = ["a" if i % 3 else "b" for i in range(len(values))]
    found = bin_values(values, outcomes, title="t", whole=whole)
    counted = sum(map(sum, found.outcomes.values())) + sum(found.beyond.values())
    assert counted == found.values
    assert found.values + found.without == len(values)
    assert len(found.edges) <= 60
    kept = [v for v in values if v is not None and math.isfinite(v)]
    for i, (low, high) in enumerate(zip(found.edges[:-1], found.edges[1:], strict=True)):
        inside = sum(low <= v < high for v in kept)
        assert inside == sum(counts[i] for counts in found.outcomes.values())


def test_a_far_tail_gets_a_bin_of_its_own() -> None:
    values = [*np.linspace(0, 0.99, 1000), 900.0, 1000.0]
    found = bin_values(values, ["x"] * len(values), title="t")
    assert found.beyond == {"x": 2}
    assert found.edges[-1] < 1.2
    assert found.largest == 1000.0


def test_a_threshold_near_the_values_is_in_the_picture() -> None:
    found = bin_values([0.1, 0.2, 0.3], ["x"] * 3, title="t", marks=[(0.5, "limit")])
    assert found.edges[0] <= 0.1
    assert found.edges[-1] > 0.5


def test_whole_numbers_lie_in_the_middle_of_their_bins() -> None:
    found = bin_values([-1, 0, 0, 8], ["x"] * 4, title="t", whole=True)
    assert found.edges == [number - 1.5 for number in range(11)]
    assert found.outcomes == {"x": [1, 2, 0, 0, 0, 0, 0, 0, 0, 1]}


def test_one_whole_number_has_room_around_it() -> None:
    found = bin_values([2, 2], ["x"] * 2, title="t", whole=True)
    assert found.edges == [-0.5, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5]
    assert found.outcomes == {"x": [0, 0, 2, 0, 0, 0, 0]}
    negative = bin_values([-1, -1], ["x"] * 2, title="t", whole=True)
    assert (negative.edges[0], negative.edges[-1]) == (-5.5, 3.5)


def test_equal_values_and_none_at_all() -> None:
    assert sum(bin_values([7.0] * 3, ["x"] * 3, title="t").outcomes["x"]) == 3
    empty = bin_values([None, math.inf], ["x", "y"], title="t")
    assert (empty.values, empty.without, empty.edges) == (0, 2, [])
