"""Roots taken by multiplications round as the processor's own."""
# pyright: basic, reportCallIssue=false

from __future__ import annotations

import numpy as np
from numba import njit

from finedata.motion.dtw.lanes import LANES, load_changing, sqrt_multiplied, store


@njit
def _roots(squares, roots, lanes):
    for at in range(0, len(squares), lanes):
        store(roots, at, sqrt_multiplied(load_changing(squares, at)))


def _check(squares: np.ndarray) -> None:
    roots = np.full_like(squares, np.nan)
    _roots(squares, roots, LANES[squares.dtype.itemsize])
    np.testing.assert_array_equal(roots, np.sqrt(squares))


def test_roots_are_correctly_rounded() -> None:
    random = np.random.default_rng(0)
    _check(random.uniform(0, 4, 1 << 20))
    _check(np.exp(random.uniform(-600, 600, 1 << 20)))
    near_squares = random.integers(1, 1 << 26, 1 << 18).astype(np.float64) ** 2
    _check(np.nextafter(near_squares, random.choice([0.0, np.inf], 1 << 18)))
    _check(random.uniform(0, 4, 1 << 16).astype(np.float32))


def test_the_edges() -> None:
    smallest = 2.0**-1022
    edges = [0.0, smallest, np.nextafter(smallest, 1), 1.0, np.nextafter(1, 2), 4.0, 1e30, 1.79e308]
    _check(np.array(edges))
