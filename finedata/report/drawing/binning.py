"""How the values of all episodes are counted: bins at round numbers, a last one for the far tail.

Each bin is counted by what became of its episodes. Beside the counts stand the median and how
many episodes have no value at all.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from finedata.report.drawing.svg import nice_step

if TYPE_CHECKING:
    from collections.abc import Sequence

_BINS = 40
_FAR = 0.995
_MOST_MARKS = 4
# One whole number alone would be a wall of colour over ticks at fractions.
_LEAST_WHOLE_BINS = 9


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """One value of every episode, counted.

    Attributes:
        title: What was measured, with its unit.
        values: How many episodes have a finite value.
        without: How many have none (null, NaN or infinite).
        median: Of the finite ones.
        smallest: Likewise.
        largest: Likewise.
        edges: B + 1 edges; a bin holds `edges[i] <= x < edges[i + 1]`.
        outcomes: Outcome to B counts.
        beyond: Outcome to values at or above the last edge.
        marks: (value, label): thresholds.
    """

    title: str
    values: int
    without: int
    median: float | None
    smallest: float | None
    largest: float | None
    edges: list[float]
    outcomes: dict[str, list[int]]
    beyond: dict[str, int]
    marks: list[tuple[float, str]]


def bin_values(
    values: Sequence[float | None],
    outcomes: Sequence[str],
    *,
    title: str,
    marks: Sequence[tuple[float, str]] = (),
    whole: bool = False,
) -> Distribution:
    """Count values in at most about 40 bins of a round width.

    The bins reach to the 99.5th percentile or a little beyond, and over every mark that is not
    further than twice that; what lies above is counted in `beyond`.

    Args:
        values: One an episode; null, NaN and infinities are counted in `without`.
        outcomes: What became of it; one for each value.
        title: For the axis.
        marks: Thresholds.
        whole: Whether values are whole numbers, each in the middle of its bin.
    """
    numbers = np.array([math.nan if v is None else float(v) for v in values], np.float64)
    finite = np.isfinite(numbers)
    kept = numbers[finite]
    names = sorted(set(outcomes))
    marked = [(float(value), label) for value, label in marks[:_MOST_MARKS]]
    if not len(kept):
        return Distribution(
            title=title, values=0, without=len(numbers), median=None, smallest=None, largest=None,
            edges=[], outcomes={name: [] for name in names}, beyond=dict.fromkeys(names, 0),
            marks=marked,
        )  # fmt: skip
    edges = _edges(kept, [value for value, _ in marked], whole=whole)
    who = np.array(outcomes, dtype=object)[finite]
    counted: dict[str, list[int]] = {}
    beyond: dict[str, int] = {}
    for name in names:
        mine = kept[who == name]
        inside = np.searchsorted(edges, mine, side="right") - 1
        bins = np.bincount(inside[inside < len(edges) - 1], minlength=len(edges) - 1)
        counted[name] = [int(count) for count in bins]
        beyond[name] = int((inside >= len(edges) - 1).sum())
    return Distribution(
        title=title,
        values=len(kept),
        without=int((~finite).sum()),
        median=float(np.median(kept)),
        smallest=float(kept.min()),
        largest=float(kept.max()),
        edges=edges.tolist(),
        outcomes=counted,
        beyond=beyond,
        marks=marked,
    )


def _edges(kept: np.ndarray, marks: list[float], *, whole: bool) -> np.ndarray:
    low, far = float(kept.min()), float(np.quantile(kept, _FAR))
    most = float(kept.max())
    if most - low <= 1.5 * (far - low):
        far = most  # no tail worth a bin of its own
    near = [mark for mark in marks if math.isfinite(mark) and mark <= 2 * far]
    high = max([far, *near])
    low = min([low, *near])
    if low > 0 and low < 0.5 * high:
        low = 0.0
    step = nice_step((high - low) or max(abs(high), 1.0), _BINS)
    if whole:
        step = max(step, 1.0)
    shift = 0.5 if whole and step == 1.0 else 0.0
    first, last = math.floor((low + shift) / step), math.floor((high + shift) / step) + 1
    # Division and rounding to twelve digits may each miss by one edge.
    first -= _edge(first, step, shift) > low
    last += _edge(last, step, shift) <= high
    if shift and last - first < _LEAST_WHOLE_BINS:
        wider = (_LEAST_WHOLE_BINS - (last - first) + 1) // 2
        first = first - wider if low < 0 else max(first - wider, 0)
        last += wider
    return np.array([_edge(k, step, shift) for k in range(first, last + 1)])


def _edge(k: int, step: float, shift: float) -> float:
    return float(f"{k * step - shift:.12g}")
