"""Which bytes of a tar come where only some of its samples are wanted, and where they lie then.

Neighbours come in one request, and small gaps are read over, the smallest first, while not more is
read over than is wanted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Ranges:
    """The ranges of a tar that are wanted, ascending, as they lie in a file of their own.

    Attributes:
        begin: (n,) int64, where each begins in the tar.
        end: (n,) int64, where it ends.
        start: (n + 1,) int64, where it begins in the file, and the file's bytes.
        places: (samples,) int64, places in the tar of the samples that are wanted.
        name: Of the words that want them, by which the file is known.
    """

    begin: np.ndarray
    end: np.ndarray
    start: np.ndarray
    places: np.ndarray
    name: str

    @classmethod
    def of(cls, offset: np.ndarray, size: np.ndarray, places: np.ndarray, *, name: str) -> Ranges:
        """Ranges over samples.

        Args:
            offset: (samples,) where each begins, ascending.
            size: (samples,) its bytes.
            places: (samples,) its place in the tar.
            name: Of the words.
        """
        gap = offset[1:] - offset[:-1] - size[:-1]
        order = np.argsort(gap, kind="stable")
        joined = np.zeros(len(gap), bool)
        joined[order] = np.cumsum(gap[order]) <= size.sum()
        first = np.flatnonzero(np.concatenate([[True], ~joined]))
        last = np.concatenate([first[1:], [len(offset)]]) - 1
        begin, end = offset[first], (offset + size)[last]
        start = np.concatenate([[0], np.cumsum(end - begin)])
        return cls(begin, end, start, places, name)

    @property
    def total_bytes(self) -> int:
        """Of the file."""
        return int(self.start[-1])

    def inside(self, offset: int) -> int:
        """Where a byte of the tar, which is in one of the ranges, is in the file."""
        at = int(np.searchsorted(self.begin, offset, side="right")) - 1
        return offset - int(self.begin[at]) + int(self.start[at])
