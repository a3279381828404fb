"""How good an episode is, from 0 to 1, for choices among those that stand equally well for others.

Source of the formula: ours. Quality is the weighted mean of what is known of

- consistency (weight 5): `1 / (1 + score / threshold)` of the gate's action-state distance: 1 for
  a perfect log, 1/2 at the threshold; without a threshold, relative to the median score;
- motion (weight 2): `1 - frozen_share`, the share of steps in which something moves;
- smoothness (weight 2): `1 - roughness / 2`;
- flags (weight 1): `1 / (1 + flags)`, their number.

So it never grows with score, frozen share, roughness or flags. An unknown quantity (NaN) is left
out of an episode's mean; an episode of which nothing is known has 1/2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_CONSISTENCY, _MOTION, _SMOOTHNESS, _FLAGS = 5.0, 2.0, 2.0, 1.0


@dataclass(frozen=True, slots=True, eq=False)
class MotionMeasures:
    """What an episode's motion says of its quality.

    Attributes:
        frozen_share: (N,) float64 in [0, 1]: steps in which nothing moves; NaN for one frame.
        roughness: (N,) float64 in [0, 2]: summed lengths of the changes from step to step, over
            the summed lengths of the steps; 0 for even motion, near 2 for a track that goes back
            at every step; NaN where nothing moves, or with fewer than three frames.
    """

    frozen_share: NDArray[np.float64]
    roughness: NDArray[np.float64]


def motion_measures(
    values: NDArray[np.floating], offsets: NDArray[np.int64], *, still: float = 1e-6
) -> MotionMeasures:
    """Measure many episodes at once.

    Args:
        values: (sum of T, d) columns of one unit, e.g. positions or joints, one episode after
            the other. An episode with a number that is not finite is unknown: NaN.
        offsets: (N + 1,) episode k is rows `offsets[k]` to `offsets[k + 1]`.
        still: A step of at most this length is no motion.

    Returns:
        Measures of each episode.
    """
    lengths = np.diff(offsets)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    steps = np.diff(values.astype(np.float64), axis=0)
    within = owner[1:] == owner[:-1]
    length = np.linalg.norm(steps, axis=1)
    counts = np.maximum(lengths - 1, 0)

    def summed(amounts: NDArray[np.float64], whose: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.bincount(whose, weights=amounts, minlength=len(lengths)).astype(np.float64)

    moving = np.where(np.isfinite(length), length > still, np.nan)
    whose = owner[1:][within]
    travelled = summed(length[within], whose)
    turns = np.linalg.norm(np.diff(steps, axis=0), axis=1)
    inside = within[1:] & within[:-1]
    turned = summed(turns[inside], owner[2:][inside])
    unknown = np.full(len(lengths), np.nan)
    frozen = 1 - np.divide(
        summed(moving[within], whose), counts, out=unknown.copy(), where=counts > 0
    )
    known = (counts > 1) & ~(travelled <= still * counts)
    roughness = np.divide(turned, travelled, out=unknown.copy(), where=known)
    return MotionMeasures(frozen, np.clip(roughness, 0.0, 2.0))


def episode_quality(
    *,
    count: int,
    score: ArrayLike | None = None,
    threshold: ArrayLike | None = None,
    frozen_share: ArrayLike | None = None,
    roughness: ArrayLike | None = None,
    flags: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Quality of many episodes.

    Args:
        count: How many.
        score: (N,) gate's score, lower is better; NaN where it is unknown.
        threshold: One number or (N,), the highest score that passes; NaN where there is none.
        frozen_share: (N,) in [0, 1].
        roughness: (N,) in [0, 2].
        flags: (N,) number of flags of each.

    Returns:
        (N,) float64 in [0, 1]; see the module.
    """
    parts = [
        (_CONSISTENCY, _consistency(_numbers(score, count), _numbers(threshold, count))),
        (_MOTION, 1 - _numbers(frozen_share, count)),
        (_SMOOTHNESS, 1 - _numbers(roughness, count) / 2),
        (_FLAGS, 1 / (1 + _numbers(flags, count))),
    ]
    total, weights = np.zeros(count), np.zeros(count)
    for weight, part in parts:
        known = ~np.isnan(part)
        total += np.where(known, weight * np.clip(part, 0.0, 1.0), 0.0)
        weights += weight * known
    return np.divide(total, weights, out=np.full(count, 0.5), where=weights > 0)


def _numbers(given: ArrayLike | None, count: int) -> NDArray[np.float64]:
    if given is None:
        return np.full(count, np.nan)
    return np.broadcast_to(np.asarray(given, np.float64), (count,))


def _consistency(score: NDArray[np.float64], threshold: NDArray[np.float64]) -> NDArray[np.float64]:
    finite = score[np.isfinite(score)]
    usual = float(np.median(finite)) if len(finite) else 1.0
    scale = np.where(np.isfinite(threshold) & (threshold > 0), threshold, usual or 1.0)
    return 1 / (1 + score / scale)
