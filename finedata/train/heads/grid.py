"""Actions as three tokens a step: a direction with a distance, a turn, and an open or closed hand.

The grid is SpatialVLA's: a translation in spherical coordinates, a rotation by its three angles,
each axis cut into bins that hold equal parts of a Gaussian fitted on normalised actions. Edges are
pinned to the ends of the range, since rounding of quantiles would leave numbers outside of all
bins. A bin is read back as its middle, so this grid cannot hold still: the nearest distance has a
middle too. `stay` is our own variant: a thin bin around no motion, which is read back as none.

Source: `model/action_tokenizer.py` of SpatialVLA (e480753); the published Gaussians are those of
its `scripts/gs_*.json`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from finedata.errors import FeatureError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

AXES = ("theta", "phi", "r", "roll", "pitch", "yaw")
"""Of a translation: angle from z, angle about z, distance; of a rotation: angles, scaled."""
SPANS: tuple[tuple[float, float], ...] = (
    (0.0, np.pi),
    (-np.pi, np.pi),
    (0.0, 3**0.5),
    (-1.0, 1.0),
    (-1.0, 1.0),
    (-1.0, 1.0),
)
"""Of each axis, where its bins begin and end."""
PUBLISHED: dict[str, tuple[tuple[float, float], ...]] = {
    "bridge": (
        (2.181, 0.785), (0.141, 1.790), (0.554, 0.300),
        (-0.008, 0.313), (0.083, 0.331), (0.009, 0.298),
    ),
    "fractal": (
        (1.616, 0.598), (0.015, 1.193), (0.456, 0.325),
        (-0.160, 0.305), (0.071, 0.315), (-0.011, 0.302),
    ),
    "pretrain": (
        (1.874, 0.780), (0.088, 1.692), (0.548, 0.347),
        (-0.016, 0.380), (0.028, 0.299), (-0.005, 0.390),
    ),
}  # fmt: skip
"""Name to mean and standard deviation of each axis."""
# Of the full scale: what is nearer to no motion than this is no motion, with `stay`.
_STAY = 0.01
_WIDTH = 7


@dataclass(frozen=True, eq=False)
class Grid:
    """Bins of one arm's step: x, y, z, roll, pitch, yaw, gripper, normalised.

    Attributes:
        edges: Of each axis, rising; one more than its bins.
        centre: (3,) what becomes 0 of roll, pitch and yaw, in radians.
        half: (3,) what becomes 1 above it.
        still: (6,) where no motion is, translation normalised and rotation scaled; None without
            bins for it.
    """

    edges: tuple[np.ndarray, ...]
    centre: np.ndarray
    half: np.ndarray
    still: np.ndarray | None = None

    @property
    def bins(self) -> tuple[int, ...]:
        """Bins of each axis."""
        return tuple(len(edges) - 1 for edges in self.edges)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Tokens of translation, rotation and gripper; they follow each other in this order."""
        return grid_size(self.bins)

    def tokens(self, actions: ArrayLike) -> np.ndarray:
        """Write actions.

        Args:
            actions: (..., 7 * arms) x, y, z, roll, pitch, yaw, gripper of each arm. Translation and
                gripper normalised to [-1, 1], angles in radians; what lies outside is put on the
                edge, as SpatialVLA does.

        Returns:
            (..., 3 * arms) int64 tokens, counted from the grid's first.

        Raises:
            FeatureError: The width is no multiple of 7.
        """
        wide = np.asarray(actions, np.float64)
        if wide.shape[-1] % _WIDTH:
            raise FeatureError(
                place="actions for a grid",
                found=f"an array of shape {wide.shape}",
                wanted="seven numbers of each arm",
            )
        arms = wide.reshape(*wide.shape[:-1], -1, _WIDTH)
        moved, turned = self.from_still(arms[..., :3], arms[..., 3:6])
        bins = self.bins
        cells = [
            np.searchsorted(edges[1:-1], values, side="right")
            for edges, values in zip(
                self.edges,
                (*_spherical(moved), *np.moveaxis(turned, -1, 0)),
                strict=True,
            )
        ]
        first, second, _ = self.sizes
        there = np.ravel_multi_index(cells[:3], bins[:3])
        turn = np.ravel_multi_index(cells[3:], bins[3:]) + first
        hand = (arms[..., 6] >= 0).astype(np.int64) + first + second
        return np.stack([there, turn, hand], -1).reshape(*wide.shape[:-1], -1)

    def actions(self, tokens: ArrayLike) -> np.ndarray:
        """Read tokens back.

        Args:
            tokens: (..., 3 * arms) of translation, rotation and gripper in turn.

        Returns:
            (..., 7 * arms) float32; a hand is -1 or 1.

        Raises:
            FeatureError: A token is of another kind than its place.
        """
        found = np.asarray(tokens, np.int64)
        arms = found.reshape(*found.shape[:-1], -1, 3)
        begins = np.cumsum([0, *self.sizes])
        if ((arms < begins[:-1]) | (arms >= begins[1:])).any():
            raise FeatureError(
                place="action tokens",
                found="a token of another kind than its place",
                wanted="translation, rotation and gripper in turn",
            )
        arms = arms - begins[:-1]
        cells = (
            *np.unravel_index(arms[..., 0], self.bins[:3]),
            *np.unravel_index(arms[..., 1], self.bins[3:]),
        )
        middles = [(edges[:-1] + edges[1:]) / 2 for edges in self.edges]
        if self.still is not None:
            middles[2][0] = 0.0
            for axis in (3, 4, 5):
                edges = self.edges[axis]
                middles[axis][np.searchsorted(edges[1:-1], 0.0, side="right")] = 0.0
        theta, phi, r, *angles = (m[c] for m, c in zip(middles, cells, strict=True))
        flat = r * np.sin(theta)
        moved = np.stack([flat * np.cos(phi), flat * np.sin(phi), r * np.cos(theta)], -1)
        turned = np.stack(angles, -1)
        if self.still is not None:
            moved, turned = moved + self.still[:3], turned + self.still[3:]
        moved = np.clip(moved, -1, 1)
        turned = np.clip(turned, -1, 1) * self.half + self.centre
        hand = np.where(arms[..., 2:] == 1, 1.0, -1.0)
        read = np.concatenate([moved, turned, hand], -1)
        return read.reshape(*found.shape[:-1], -1).astype(np.float32)

    def floor(self, actions: np.ndarray, real: np.ndarray) -> dict[str, float]:
        """What the bins alone cost: mean distance of actions and their tokens read back.

        Args:
            actions: (n, 7 * arms).
            real: The same shape; what is not counts nowhere.

        Returns:
            `translation`, of the normalised scale; `rotation_rad`; and `still`, how far a step
            without motion is read back from none, of the normalised scale.
        """
        known = np.where(real, actions, 0)
        distance = np.abs(self.actions(self.tokens(known)) - known).reshape(-1, _WIDTH)
        counts = real.reshape(-1, _WIDTH)
        none = np.zeros(_WIDTH)
        if self.still is not None:
            none[:3], none[3:6] = self.still[:3], self.still[3:] * self.half + self.centre
        back = self.actions(self.tokens(none))
        return {
            "translation": float(distance[:, :3][counts[:, :3]].mean()),
            "rotation_rad": float(distance[:, 3:6][counts[:, 3:6]].mean()),
            "still": float(np.linalg.norm(back[:3] - none[:3])),
        }

    def packed(self) -> np.ndarray:
        """All numbers in a row, as a checkpoint keeps them; infinite where nothing holds still."""
        still = np.full(6, np.inf) if self.still is None else self.still
        return np.concatenate([*self.edges, self.centre, self.half, still])

    @classmethod
    def unpacked(cls, packed: np.ndarray, *, bins: Sequence[int]) -> Grid:
        """The inverse of `packed`.

        Raises:
            UsageError: It was never fitted.
        """
        cuts = np.cumsum([*(n + 1 for n in bins), 3, 3])
        *edges, centre, half, still = np.split(np.asarray(packed, np.float64), cuts)
        if not np.isfinite(np.concatenate(edges)).all():
            raise UsageError(
                place="the grid of action tokens",
                found="no bins",
                wanted="a checkpoint with them, or a run that fits them on its shards",
            )
        return cls(tuple(edges), centre, half, still if np.isfinite(still).all() else None)

    def from_still(self, moved: np.ndarray, turned: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Translations and rotations (n, 3) inside of their range, scaled, against no motion."""
        moved = np.clip(moved, -1, 1)
        turned = np.clip((turned - self.centre) / self.half, -1, 1)
        if self.still is None:
            return moved, turned
        return moved - self.still[:3], turned - self.still[3:]


def grid_size(bins: Sequence[int]) -> tuple[int, int, int]:
    """Tokens of translation, rotation and gripper; 4096, 4096 and 2 of SpatialVLA's."""
    return int(np.prod(bins[:3])), int(np.prod(bins[3:])), 2


def fit_grid(
    actions: np.ndarray,
    real: np.ndarray,
    *,
    how: str,
    bins: Sequence[int],
    still: np.ndarray | None = None,
) -> Grid:
    """A grid for normalised actions.

    Args:
        actions: (n, 7 * arms); see `Grid.tokens`.
        real: The same shape; what is not counts nowhere.
        how: `fit`: Gaussians of these actions. `uniform`: bins of one width. A name of `PUBLISHED`:
            those Gaussians. Angles are scaled by these actions' quantiles in every case.
        bins: Of each axis.
        still: (7,) an action that is no motion, for bins that stand still; None for the plain grid.

    Raises:
        UsageError: `fit`, and an axis never changes.
    """
    rows = actions.reshape(-1, _WIDTH)[real.reshape(-1, _WIDTH)[:, :6].all(-1)].astype(np.float64)
    if not len(rows):
        raise UsageError(
            place="the grid of action tokens", found="no action that is whole", wanted="some"
        )
    low, high = np.quantile(rows[:, 3:6], (0.01, 0.99), axis=0)
    centre, half = (low + high) / 2, np.maximum((high - low) / 2, 1e-6)
    none = None
    if still is not None:
        none = np.concatenate([still[:3], (still[3:6] - centre) / half])
    plain = Grid(tuple(np.array(one) for one in SPANS), centre, half, none)
    moved, turned = plain.from_still(rows[:, :3], rows[:, 3:6])
    ranges = list(SPANS)
    if still is not None:
        ranges[2] = (0.0, 2 * 3**0.5)
        ranges[3:] = [(-2.0, 2.0)] * 3
    edges: list[np.ndarray] = []
    axes = (*_spherical(moved), *np.moveaxis(turned, -1, 0))
    for k, (axis, span, count) in enumerate(zip(AXES, ranges, bins, strict=True)):
        thin = still is not None and axis == "r"
        begin, cut = (_STAY, count - 1) if thin else (span[0], count)
        if how == "uniform":
            found = np.linspace(begin, span[1], cut + 1)
        else:
            mean, std = (
                (float(axes[k].mean()), float(axes[k].std())) if how == "fit" else PUBLISHED[how][k]
            )
            if std < 1e-6:
                raise UsageError(
                    parameter="grid",
                    found=f"actions whose {axis} is always {mean:.6g}",
                    wanted="actions that change",
                    next_command="--set grid=uniform takes bins of one width",
                )
            found = gaussian_edges(mean, std, bins=cut, span=(begin, span[1]))
        edges.append(np.concatenate([[0.0], found]) if thin else found)
    return Grid(tuple(edges), centre, half, none)


def gaussian_edges(mean: float, std: float, *, bins: int, span: tuple[float, float]) -> np.ndarray:
    """Edges of bins that hold equal parts of a Gaussian cut to a span; the ends are the span's.

    Returns:
        (bins + 1,) float64, rising.

    Raises:
        UsageError: It lies so far outside that its parts cannot be told apart.
    """
    gaussian = NormalDist(mean, std)
    low, high = gaussian.cdf(span[0]), gaussian.cdf(span[1])
    parts = np.linspace(low, high, bins + 1)[1:-1]
    inner = [gaussian.inv_cdf(min(max(p, 1e-15), 1 - 1e-15)) for p in parts.tolist()]
    edges = np.clip([span[0], *inner, span[1]], *span)
    if any(b <= a for a, b in pairwise(edges.tolist())):
        raise UsageError(
            parameter="grid",
            found=f"a Gaussian of mean {mean:.6g} and width {std:.6g}, outside of {span}",
            wanted="one whose parts differ",
            next_command="--set grid=uniform takes bins of one width",
        )
    return edges


def _spherical(moved: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(..., 3) to theta in [0, pi], phi in [-pi, pi] and r."""
    x, y, z = np.moveaxis(moved, -1, 0)
    flat = np.hypot(x, y)
    return np.arctan2(flat, z), np.arctan2(y, x), np.hypot(flat, z)
