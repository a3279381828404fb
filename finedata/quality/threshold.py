"""Where to draw the line between right and corrupted logs, by the scores of one kind of episode.

Most logs are right, and the scores of the right ones scatter like a product of causes (speed,
controller, task), so their logarithms are near to symmetric. A corrupted log lies far outside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Below this many scores their spread says nothing.
LEAST_SCORES = 10
# Twenty centimetres or a radian apart on the whole path: where the conventions are declared,
# no log that follows them is.
HIGHEST_DECLARED = 10.0
_DEVIATIONS = 5.0
# A standard deviation is this many median absolute deviations of a normal distribution.
_MAD_TO_SIGMA = 1.4826
# What lies further out than this is left out when the spread is measured again.
_CLIP_DEVIATIONS = 3.0
_MOST_ROUNDS = 20
# One scale in each group: closer than that, on the whole path, no fault can be told.
_HARMLESS = 1.0
_TINY = 1e-6


def robust_threshold(scores: NDArray[np.float64], *, highest: float | None = None) -> float | None:
    """Median and spread of the logarithms: exp(median + 5 sigma), sigma = 1.4826 MAD.

    Scores above median + 3 sigma are left out and both are measured again, until none is left to
    leave out: many corrupted logs would widen the spread until they pass. At least 1, and at most
    `highest`: where most logs of a source are wrong, their own scores cannot tell.

    Args:
        scores: Any order; what is not finite does not count.
        highest: Bound of the threshold.

    Returns:
        The highest score that passes; None with fewer than 10 scores.
    """
    finite = scores[np.isfinite(scores)]
    if len(finite) < LEAST_SCORES:
        return None
    logs = np.log(np.maximum(finite, _TINY))
    middle, sigma = _middle_and_sigma(logs)
    for _ in range(_MOST_ROUNDS):
        kept = logs[logs <= middle + _CLIP_DEVIATIONS * sigma]
        if len(kept) == len(logs):
            break
        logs = kept
        middle, sigma = _middle_and_sigma(logs)
    found = max(float(np.exp(middle + _DEVIATIONS * sigma)), _HARMLESS)
    return found if highest is None else min(found, highest)


def _middle_and_sigma(logs: NDArray[np.float64]) -> tuple[float, float]:
    middle = float(np.median(logs))
    return middle, _MAD_TO_SIGMA * float(np.median(np.abs(logs - middle)))


def percentile_threshold(scores: NDArray[np.float64], percentile: float) -> float | None:
    """The plain percentile (0 to 100) of the finite scores; None with fewer than 10 of them."""
    finite = scores[np.isfinite(scores)]
    if len(finite) < LEAST_SCORES:
        return None
    return float(np.percentile(finite, percentile))
