from __future__ import annotations

import numpy as np
import pytest
from cluster.clouds import cloud, condensed, ways
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from finedata.cluster.choose.select import task_order
from finedata.cluster.distance.condensed import square_of
from finedata.cluster.distance.landmarks import (
    adjusted_rand,
    choose_landmarks,
    landmark_error,
    nearest_labels,
)
from finedata.cluster.group.linkage import flat_labels, in_order_of_first, linkage_of


def chosen(square, wanted, seed=0, **options):
    return choose_landmarks(
        len(square),
        wanted,
        lambda rows, columns: square[np.ix_(rows, columns)],
        rng=np.random.default_rng(seed),
        **options,
    )


@given(count=st.integers(1, 40), wanted=st.integers(1, 12), seed=st.integers(0, 99))
def test_farthest_first(count, wanted, seed):
    square = square_of(condensed(cloud(seed, count)))
    found = chosen(square, wanted, seed)
    assert len(found.numbers) == min(wanted, count)
    assert (np.diff(found.numbers) > 0).all()
    np.testing.assert_array_equal(found.distances, square[found.numbers])
    np.testing.assert_array_equal(
        square_of(found.condensed), square[np.ix_(found.numbers, found.numbers)]
    )
    # farthest first: landmarks are at least as far apart as any episode is from them
    if len(found.numbers) > 1:
        assert found.condensed.min() >= found.radius


def test_seeded_and_the_sample_gives_the_middle():
    square = square_of(condensed(cloud(0, 50)))
    np.testing.assert_array_equal(chosen(square, 9, 4).numbers, chosen(square, 9, 4).numbers)
    assert chosen(square, 1, sample=50).numbers.tolist() == [int(square.sum(axis=1).argmin())]


def test_equal_episodes_end_it():
    square = square_of(condensed(np.repeat(cloud(0, 3), 5, axis=0)))
    found = chosen(square, 10)
    assert len(found.numbers) == 3
    assert found.radius == 0


def test_landmark_of_its_own_cluster():
    distances = np.zeros((2, 2))
    found = chosen(1 - np.eye(2), 2)
    object.__setattr__(found, "distances", distances)
    assert nearest_labels(found, np.array([1, 2])).tolist() == [1, 2]


def test_as_many_landmarks_as_episodes_is_exact():
    matrix = condensed(cloud(2, 30))
    exact = flat_labels(linkage_of(matrix), 5)
    found = chosen(square_of(matrix), 30)
    labels = nearest_labels(found, flat_labels(linkage_of(found.condensed), 5))
    np.testing.assert_array_equal(labels, exact)


@pytest.mark.parametrize("wanted", [20, 60])
def test_error_on_planted_ways(wanted):
    points, truth = ways(np.random.default_rng(5), [80, 50, 70], apart=2.5)
    matrix = condensed(points)
    square = square_of(matrix)
    exact = flat_labels(linkage_of(matrix), 3)
    found = chosen(square, wanted)
    labels = in_order_of_first(nearest_labels(found, flat_labels(linkage_of(found.condensed), 3)))
    orders = [
        task_order(square, exact),
        task_order(found.distances, labels, candidates=found.numbers),
    ]
    error = landmark_error(
        square,
        exact_labels=exact,
        labels=labels,
        exact_chosen=orders[0].member[:12],
        chosen=orders[1].member[:12],
    )
    assert error.adjusted_rand == pytest.approx(adjusted_rand_score(exact, labels))
    assert error.adjusted_rand >= 0.9
    assert adjusted_rand_score(truth, labels) >= 0.9
    assert -0.02 <= error.coverage < 0.5


def test_error_of_equal_answers():
    square = square_of(condensed(cloud(0, 10)))
    labels = np.repeat([1, 2], 5)
    error = landmark_error(
        square, exact_labels=labels, labels=3 - labels, exact_chosen=[1, 7], chosen=[7, 1]
    )
    assert (error.adjusted_rand, error.coverage) == (1, 0)
    assert np.isnan(
        landmark_error(
            np.zeros((3, 3)), exact_labels=[1] * 3, labels=[1] * 3, exact_chosen=[0], chosen=[1]
        ).coverage
    )


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_adjusted_rand(pairs):
    first, second = zip(*pairs, strict=True)
    assert adjusted_rand(first, second) == pytest.approx(adjusted_rand_score(first, second))
