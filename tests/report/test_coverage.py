from __future__ import annotations

import numpy as np
import pytest
from report.conftest import Curated

from finedata.cluster.choose.coverage import coverage_curve, longest_first, random_curve
from finedata.cluster.choose.select import TaskOrder, uncovered_distances
from finedata.cluster.distance.condensed import square_of
from finedata.report.coverage import SEEDS, curves_of, read_coverage
from finedata.store.dataset import open_dataset


def some_units(
    sizes: list[int], seed: int = 0
) -> tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray, np.ndarray]:
    """Units whose members are scattered among the numbers, lengths, and an order of choice."""
    rng = np.random.default_rng(seed)
    numbers = rng.permutation(sum(sizes))
    members = np.split(numbers, np.cumsum(sizes)[:-1])
    units = []
    for own in members:
        at = rng.normal(size=(len(own), 2))
        square = np.linalg.norm(at[:, None] - at[None], axis=-1)
        units.append((own, square[np.triu_indices(len(own), k=1)]))
    lengths = rng.integers(5, 12, sum(sizes))
    return units, lengths, rng.permutation(sum(sizes))


def uncovered_of(units: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    empty = np.zeros(0, np.int64)
    orders = [
        TaskOrder(
            empty, empty > 0, empty * 1.0, empty * 1.0, [], len(own), condensed.max(initial=0)
        )
        for own, condensed in units
    ]
    return uncovered_distances(orders)


def plain_mean(
    units: list[tuple[np.ndarray, np.ndarray]], chosen: list[int], uncovered: np.ndarray
) -> float:
    total, count = 0.0, 0
    for (own, condensed), worth in zip(units, uncovered, strict=True):
        square = square_of(condensed)
        inside = [i for i, n in enumerate(own.tolist()) if n in chosen]
        count += len(own)
        total += sum(min((square[i, j] for j in inside), default=worth) for i in range(len(own)))
    return total / count


@pytest.mark.parametrize("sizes", [[7, 1, 4, 2, 9], [1, 1], [12]])
def test_every_curve_is_what_plain_python_counts(sizes: list[int]) -> None:
    units, lengths, order = some_units(sizes)
    ours = order[: max(len(order) // 3, 1)]
    found = curves_of(iter(units), ours=ours, lengths=lengths, seed=3)
    uncovered = uncovered_of(units)
    longest = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    draws = [
        np.random.Generator(np.random.PCG64(3 + k)).permutation(len(lengths)).tolist()
        for k in range(SEEDS)
    ]
    assert found.budgets[0] == 0
    assert len(ours) in found.budgets
    for i, budget in enumerate(found.budgets):
        if budget <= len(ours):
            expected = plain_mean(units, ours[:budget].tolist(), uncovered)
            assert found.ours.mean[i] == pytest.approx(expected, abs=1e-12)
        expected = plain_mean(units, longest[:budget], uncovered)
        assert found.longest.mean[i] == pytest.approx(expected, abs=1e-12)
        random = [plain_mean(units, draw[:budget], uncovered) for draw in draws]
        assert found.random.mean[i] == pytest.approx(np.mean(random), abs=1e-12)
        assert found.random.low[i] == pytest.approx(min(random), abs=1e-12)
        assert found.random.high[i] == pytest.approx(max(random), abs=1e-12)


def test_curves_are_those_of_the_clustering_room() -> None:
    units, lengths, order = some_units([6, 3, 8])
    # Numbered unit by unit, so that both draw the same orders.
    sizes = [len(own) for own, _ in units]
    starts = np.cumsum([0, *sizes])
    units = [(np.arange(a, b), d) for a, b, (_, d) in zip(starts, starts[1:], units, strict=False)]
    ours = order[:9]
    found = curves_of(iter(units), ours=ours, lengths=lengths)
    matrices, uncovered = [d for _, d in units], uncovered_of(units)
    task = np.searchsorted(starts, ours, side="right") - 1
    theirs = coverage_curve(matrices, task, ours - starts[task], uncovered=uncovered)
    at = [b for b in found.budgets if b <= 9]
    np.testing.assert_allclose(found.ours.mean, theirs.mean_distance[at], atol=1e-12)
    random = random_curve(matrices, uncovered=uncovered, seeds=range(SEEDS))
    np.testing.assert_allclose(found.random.mean, random.mean_distance[found.budgets], atol=1e-12)
    by_length = longest_first([lengths[own] for own, _ in units])
    longest = coverage_curve(matrices, *by_length, uncovered=uncovered)
    np.testing.assert_allclose(found.longest.mean, longest.mean_distance[found.budgets], atol=1e-12)


def test_a_dataset_whose_distances_are_partly_gone(curated: Curated) -> None:
    dataset = open_dataset(curated.root)
    units = list(curated.truth.distances.values())
    whole = read_coverage(dataset, units=lambda: units)
    assert (whole.note, whole.left_out) == ("", 0)
    assert whole.representatives == curated.summary.funnel.representatives
    largest = max(units, key=lambda unit: len(unit[0]))
    part = read_coverage(dataset, units=lambda: [u for u in units if u is not largest])
    assert part.left_out == len(largest[0])
    assert part.episodes == whole.episodes - part.left_out
    gone = read_coverage(dataset, units=list)
    # Tasks of one episode alone make no curve worth drawing, unless there are some.
    assert gone.note or gone.episodes == sum(len(u[0]) == 1 for u in units)


def test_nothing_clustered_is_said(converted) -> None:
    assert read_coverage(open_dataset(converted), units=list).note == "Nothing is clustered yet."
