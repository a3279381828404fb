"""Many values in one buffer: nothing is copied until one of them is asked for.

Every reader hands its pictures on in this form, as single values or as slabs of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

__all__ = ["BytesSlices"]


@dataclass(frozen=True, slots=True)
class BytesSlices:
    """Values as slices of one buffer.

    Attributes:
        buffer: The bytes that hold them all.
        offsets: First byte of each value, int64 (n,).
        lengths: Bytes of each value, int64 (n,).
    """

    buffer: bytes
    offsets: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, index: int) -> bytes:
        start = int(self.offsets[index])
        return self.buffer[start : start + int(self.lengths[index])]

    def slab(self, first: int, last: int) -> BytesSlices:
        """The values [first, last)."""
        return BytesSlices(self.buffer, self.offsets[first:last], self.lengths[first:last])

    def joined(self, *, instead_of_empty: bytes = b"") -> bytes:
        """All values one after the other; what to put where a value has no bytes."""
        if self._fill_buffer():
            return self.buffer
        view = memoryview(self.buffer)
        spans = zip(self.offsets.tolist(), self.lengths.tolist(), strict=True)
        return b"".join([view[a : a + n] if n else instead_of_empty for a, n in spans])

    def in_memory(self) -> BytesSlices:
        """These values; see `PictureList.in_memory`."""
        return self

    def _fill_buffer(self) -> bool:
        """Whether the buffer is these values, none of them empty, and nothing else."""
        if not len(self) or int(self.offsets[0]) != 0 or not self.lengths.all():
            return False
        ends = self.offsets + self.lengths
        return int(ends[-1]) == len(self.buffer) and bool((ends[:-1] == self.offsets[1:]).all())
