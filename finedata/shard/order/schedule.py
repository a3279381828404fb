"""Which source gives sample n: the mixture is scheduled, not drawn.

A random draw of a million samples misses the asked count by some hundreds. Tijdeman's chairman
assignment (R. Tijdeman, The chairman assignment problem, Discrete Mathematics 32, 1980) misses it
by less than one sample, for every source, at every prefix. The rule: at step n, among the sources
i with `w_i n - c_i >= 1/(2k-2)` (c_i = how often i was taken before), take the one with the least
`(1 - 1/(2k-2) - (w_i n - c_i)) / w_i`. Both sides are times: the c-th turn of a source opens at
`(c + 1/(2k-2)) / w_i` and should be over by `(c + 1 - 1/(2k-2)) / w_i`, so the rule is "the
earliest deadline among the open turns", and one heap of each kind finds it.

Weights are exact fractions of what the user wrote ("0.1" is one tenth, not the nearest double),
so the assignment repeats after the common denominator and one period is all that is kept: two
bytes a step. Ties are broken by the seed; the period itself is never rotated, because a rotated
prefix would lose its bound.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from finedata.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

# A period of 4,194,304 steps is 8 MB of memory and some seconds of computing; a longer one only
# comes from weights that somebody measured, and measured weights can be rounded.
MAX_PERIOD = 1 << 22
# Sizes are no wish of the user's: where their period is longer than this they are rounded.
_SIZE_PERIOD = 1 << 20
_BLOCK = 1024

Weight: TypeAlias = int | float | str | Fraction | Decimal


@dataclass(frozen=True)
class Schedule:
    """One period of the assignment of steps to sources.

    Attributes:
        names: The sources, in sorted order.
        weights: Their shares, summing to one, in the order of `names`.
        table: (period,) uint16: the source of each step.
        counts: (blocks + 1, k) int64: how often each source was taken before each block of 1,024.
    """

    names: tuple[str, ...]
    weights: tuple[Fraction, ...]
    table: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, weights: Mapping[str, Fraction], *, seed: int = 0, place: str = "mix") -> Schedule:
        """The schedule of exact weights; they need not sum to one.

        Args:
            weights: Name to weight. Zero is allowed: that source never comes.
            seed: Breaks ties between sources whose turns end at the same moment.
            place: What an error calls these weights.

        Raises:
            UsageError: No weight is positive, one is negative, or the period is longer than
                `MAX_PERIOD`; then the nearest weights that fit are named.
        """
        names = tuple(sorted(weights))
        total = sum(weights.values(), Fraction(0))
        if any(weight < 0 for weight in weights.values()) or total <= 0:
            raise UsageError(
                place=place,
                found=", ".join(f"{name}={_text(weights[name])}" for name in names) or "no weights",
                wanted="weights of zero or more, one of them above zero",
            )
        shares = tuple(weights[name] / total for name in names)
        period = math.lcm(*(share.denominator for share in shares))
        if period > MAX_PERIOD:
            nearest = _rounded([share * MAX_PERIOD for share in shares], MAX_PERIOD)
            raise UsageError(
                place=place,
                found=f"weights that repeat after {period:,} samples",
                wanted=f"at most {MAX_PERIOD:,}",
                next_command="the nearest weights that fit: "
                + ",".join(f"{name}={turns}" for name, turns in zip(names, nearest, strict=True)),
            )
        turns = [int(share * period) for share in shares]
        table = _assign(turns, _tie_ranks(names, seed))
        blocks = -(-period // _BLOCK)
        counts = np.zeros((blocks + 1, len(names)), np.int64)
        for block in range(blocks):
            taken = np.bincount(table[block * _BLOCK : (block + 1) * _BLOCK], minlength=len(names))
            counts[block + 1] = counts[block] + taken
        return cls(names, shares, table, counts)

    @property
    def period(self) -> int:
        """After how many steps the assignment repeats."""
        return len(self.table)

    def at(self, n: int) -> tuple[int, int]:
        """The source of step n and its ordinal: how often that source was taken before."""
        cycle, step = divmod(n, self.period)
        source = int(self.table[step])
        block = step // _BLOCK
        inside = int(np.count_nonzero(self.table[block * _BLOCK : step] == source))
        ordinal = cycle * int(self.counts[-1, source]) + int(self.counts[block, source]) + inside
        return source, ordinal

    def slice(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Sources and ordinals of the steps start..stop-1: (n,) uint16 and (n,) int64."""
        sources = self.table[np.arange(start, stop, dtype=np.int64) % self.period]
        ordinals = np.empty(len(sources), np.int64)
        before = self.drawn(start)
        for source in np.unique(sources):
            here = np.flatnonzero(sources == source)
            ordinals[here] = before[source] + np.arange(len(here))
        return sources, ordinals

    def drawn(self, n: int) -> list[int]:
        """How often each source is taken in the first n steps, in the order of `names`."""
        cycle, step = divmod(n, self.period)
        block = step // _BLOCK
        inside = np.bincount(self.table[block * _BLOCK : step], minlength=len(self.names))
        return [int(c) for c in cycle * self.counts[-1] + self.counts[block] + inside]


def exact_weights(written: Mapping[str, Weight], *, place: str = "mix") -> dict[str, Fraction]:
    """Weights as the exact fractions of what was written: 0.1 and "0.1" are 1/10, "1/3" a third.

    Raises:
        UsageError: A weight is no finite number.
    """
    exact: dict[str, Fraction] = {}
    for name, value in written.items():
        # repr() of a double is the shortest decimal that means it: what the user typed.
        # (NumPy's floats write themselves so by str().)
        text = repr(value) if type(value) is float else str(value).strip()
        try:
            exact[name] = Fraction(text)
        except (ValueError, ZeroDivisionError, OverflowError) as error:
            raise UsageError(
                place=f"{place}: the weight of {name}",
                found=f"{value!r}",
                wanted="a number of zero or more, as 1, 0.25 or 1/3",
            ) from error
    return exact


def by_size(sizes: Mapping[str, int]) -> dict[str, Fraction]:
    """Weights in proportion to numbers of samples.

    Exact where the period is at most 2^20 steps; else the nearest shares of 2^20 (largest
    remainders), at least one step for every source that has samples.
    """
    total = sum(sizes.values())
    divisor = math.gcd(*sizes.values()) if total else 1
    if total <= _SIZE_PERIOD * divisor:
        return {name: Fraction(size) for name, size in sizes.items()}
    names = sorted(sizes)
    turns = _rounded(
        [Fraction(sizes[name] * _SIZE_PERIOD, total) for name in names],
        _SIZE_PERIOD,
        least=[1 if sizes[name] else 0 for name in names],
    )
    return {name: Fraction(count) for name, count in zip(names, turns, strict=True)}


def _rounded(shares: list[Fraction], total: int, *, least: list[int] | None = None) -> list[int]:
    """Whole numbers of a sum nearest to shares: floors, then the largest remainders."""
    lows = least or [0] * len(shares)
    floors = [max(int(share), low) for share, low in zip(shares, lows, strict=True)]
    by_remainder = sorted(range(len(shares)), key=lambda i: (floors[i] - shares[i], i))
    missing = total - sum(floors)
    for i in by_remainder[: max(missing, 0)]:
        floors[i] += 1
    # Raised minima can make the sum too large: the largest source gives them back.
    while sum(floors) > total:
        floors[max(range(len(floors)), key=floors.__getitem__)] -= 1
    return floors


def _tie_ranks(names: tuple[str, ...], seed: int) -> list[int]:
    digests = [hashlib.sha256(f"{seed}\0{name}".encode()).digest() for name in names]
    order = sorted(range(len(names)), key=digests.__getitem__)
    ranks = [0] * len(names)
    for rank, source in enumerate(order):
        ranks[source] = rank
    return ranks


def _assign(turns: list[int], ties: list[int]) -> np.ndarray:
    """One period of the chairman assignment; source i comes `turns[i]` times.

    With w_i = turns_i / period and m = 2k - 2, turn c of source i opens at the first step
    n >= period (1 + c m) / (m turns_i); its deadline is period ((c + 1) m - 1) / (m turns_i).
    Steps count from one, as in the paper. Deadlines are compared as whole numbers over the
    common multiple of the turns, so no rounding decides between two sources.
    """
    period = sum(turns)
    active = [i for i, count in enumerate(turns) if count]
    table = np.empty(period, np.uint16)
    if len(active) == 1:
        table[:] = active[0]
        return table
    m = 2 * len(active) - 2
    common = math.lcm(*(turns[i] for i in active))
    # unit[i] / common is the length of 1/m of a turn of source i, in steps.
    unit = {i: period * (common // turns[i]) for i in active}
    scale = m * common
    waiting: list[tuple[int, int]] = []  # (the step at which the turn opens, source)
    open_turns: list[tuple[int, int, int]] = []  # (deadline * scale, tie, source)
    taken = dict.fromkeys(active, 0)
    for i in active:
        heapq.heappush(waiting, (-(-unit[i] // scale), i))
    for n in range(1, period + 1):
        while waiting and waiting[0][0] <= n:
            _, i = heapq.heappop(waiting)
            heapq.heappush(open_turns, (unit[i] * ((taken[i] + 1) * m - 1), ties[i], i))
        _, _, i = heapq.heappop(open_turns)
        table[n - 1] = i
        taken[i] += 1
        heapq.heappush(waiting, (-(-unit[i] * (1 + taken[i] * m) // scale), i))
    return table


def _text(weight: Fraction) -> str:
    return str(weight.numerator) if weight.denominator == 1 else str(weight)
