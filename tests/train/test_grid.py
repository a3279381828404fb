"""Action tokens: SpatialVLA's grid, its known floor, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finedata.errors import FeatureError, UsageError
from finedata.train.heads.grid import PUBLISHED, Grid, fit_grid, gaussian_edges, grid_size

BINS = (16, 32, 8, 16, 16, 16)
SPANS = ((0, np.pi), (-np.pi, np.pi), (0, 3**0.5), *3 * ((-1, 1),))


def published(name: str) -> Grid:
    edges = tuple(
        gaussian_edges(mean, std, bins=n, span=span)
        for (mean, std), n, span in zip(PUBLISHED[name], BINS, SPANS, strict=True)
    )
    return Grid(edges, np.zeros(3), np.ones(3))


def some(count: int = 2000) -> np.ndarray:
    rng = np.random.default_rng(4)
    moved, turned = rng.normal(0.05, 0.3, (count, 3)), rng.normal(0.01, 0.05, (count, 3))
    return np.concatenate([moved, turned, rng.choice([-1.0, 1.0], (count, 1))], -1)


def spherical(moved: np.ndarray) -> list[np.ndarray]:
    x, y, z = moved.T
    return [np.arctan2(np.hypot(x, y), z), np.arctan2(y, x), np.sqrt(x**2 + y**2 + z**2)]


def test_the_vocabulary_is_spatialvlas() -> None:
    assert grid_size(BINS) == (4096, 4096, 2)


# Measured on the published parameters with SpatialVLA's own arithmetic.
@pytest.mark.parametrize(("name", "wanted"), [("bridge", 0.12367), ("fractal", 0.08846)])
def test_the_published_grid_cannot_hold_still(name: str, wanted: float) -> None:
    grid = published(name)
    back = grid.actions(grid.tokens(np.zeros(7)))
    assert np.linalg.norm(back[:3]) == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("name", PUBLISHED)
def test_edges_hold_equal_parts_and_their_ends_are_pinned(name: str) -> None:
    from statistics import NormalDist

    for edges, (mean, std), span in zip(published(name).edges, PUBLISHED[name], SPANS, strict=True):
        assert (edges[0], edges[-1]) == span
        parts = np.diff([NormalDist(mean, std).cdf(edge) for edge in edges])
        assert np.allclose(parts, parts[0], atol=1e-9)


numbers = st.lists(st.floats(-1.2, 1.2), min_size=7, max_size=7)


@given(numbers=numbers, how=st.sampled_from(["fit", "uniform", "bridge"]))
def test_a_token_is_read_back_within_half_of_its_bin(numbers: list[float], how: str) -> None:
    grid = GRIDS[how]
    given = np.array(numbers)
    tokens = grid.tokens(given)
    read = grid.actions(tokens).astype(np.float64)
    inside = np.clip(given, -1, 1)
    cells = np.unravel_index(tokens[0], grid.bins[:3])
    theta, phi, r = (v[0] for v in spherical(inside[None, :3]))
    for value, edges, cell in zip((theta, phi, r), grid.edges[:3], cells, strict=True):
        assert edges[cell] - 1e-9 <= value <= edges[cell + 1] + 1e-9
    cells = np.unravel_index(tokens[1] - 4096, grid.bins[3:])
    scaled = np.clip((given[3:6] - grid.centre) / grid.half, -1, 1)
    back = (read[3:6] - grid.centre) / grid.half
    for value, mine, edges, cell in zip(scaled, back, grid.edges[3:], cells, strict=True):
        assert abs(value - mine) <= (edges[cell + 1] - edges[cell]) / 2 + 1e-5
    assert tokens[2] == 8192 + (given[6] >= 0)
    assert read[6] == (1 if given[6] >= 0 else -1)


GRIDS = {
    how: fit_grid(some(), np.ones((2000, 7), bool), how=how, bins=BINS)
    for how in ("fit", "uniform", "bridge")
}


def test_what_the_bins_cost_is_said_and_two_arms_are_two_times_three_tokens() -> None:
    actions = some()
    grid = GRIDS["fit"]
    back = grid.actions(grid.tokens(actions))
    floor = grid.floor(actions, np.ones(actions.shape, bool))
    assert floor["translation"] == pytest.approx(np.abs(back - actions)[:, :3].mean())
    assert floor["rotation_rad"] == pytest.approx(np.abs(back - actions)[:, 3:6].mean())
    both = np.concatenate([actions, actions[::-1]], -1)
    assert (grid.tokens(both)[:, 3:] == grid.tokens(actions)[::-1]).all()
    # what is not real counts nowhere
    real = np.ones(actions.shape, bool)
    real[5:] = False
    wild = np.where(real, actions, np.nan)
    assert grid.floor(wild, real) == grid.floor(actions[:5], real[:5])


def test_a_bin_of_our_own_holds_still() -> None:
    actions, still = some(), np.array([0.1, -0.2, 0.0, 0.02, 0.0, -0.01, 0.0])
    grid = fit_grid(actions, np.ones(actions.shape, bool), how="fit", bins=BINS, still=still)
    assert np.allclose(grid.actions(grid.tokens(still))[:6], still[:6], atol=1e-7)
    assert grid.floor(actions, np.ones(actions.shape, bool))["still"] < 1e-7
    again = Grid.unpacked(grid.packed(), bins=BINS)
    assert (again.tokens(actions) == grid.tokens(actions)).all()
    assert (again.actions(grid.tokens(actions)) == grid.actions(grid.tokens(actions))).all()


def test_refusals() -> None:
    actions = some()
    actions[:, 4] = 0.3
    real = np.ones(actions.shape, bool)
    with pytest.raises(UsageError, match="pitch is always") as refused:
        fit_grid(actions, real, how="fit", bins=BINS)
    assert "grid=uniform" in str(refused.value)
    assert fit_grid(actions, real, how="uniform", bins=BINS).bins == BINS
    with pytest.raises(UsageError, match="no action that is whole"):
        fit_grid(actions, ~real, how="fit", bins=BINS)
    with pytest.raises(UsageError, match="outside of"):
        gaussian_edges(40.0, 0.1, bins=8, span=(-1, 1))
    with pytest.raises(UsageError, match="no bins"):
        Grid.unpacked(np.full(6 + sum(BINS) + 12, np.nan), bins=BINS)
    with pytest.raises(FeatureError, match="seven numbers"):
        GRIDS["fit"].tokens(np.zeros(8))
    with pytest.raises(FeatureError, match="another kind"):
        GRIDS["fit"].actions([4096, 0, 8192])
