"""A record too large for memory is left in its file, and read where it is looked at.

A three-camera episode of DROID of 3,000 steps is one record of 450 MB, and every busy worker
holds a record. `LargePayload` looks like a record's bytes, `LargeSlices` like a list of pictures in
it, and both read what they are asked for. Ranges, not a memory map: a file that shrinks is then an
error with a name instead of a dead process.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, overload

from finedata.readers.byte_slices import BytesSlices

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from finedata.readers.files import RangeReader

# A longer record stays in its file; a shorter one is read at once, which is quicker.
_LARGE_BYTES = 32 << 20
# A walk over a list of pictures looks at a few bytes of each: reading much around them would
# be reading the whole record once more.
_WINDOW_BYTES = 16 << 10
_PIECE_BYTES = 8 << 20


def is_large(length: int) -> bool:
    """Whether a record of so many bytes is left in its file."""
    return length > _LARGE_BYTES


def read_exactly(reader: RangeReader, offset: int, length: int) -> bytes:
    """Read bytes that were there a moment ago.

    Raises:
        OSError: The file ends before them now, or cannot be read.
    """
    data = reader.read(offset, length)
    if len(data) != length:
        msg = f"{len(data)} of the {length} bytes at byte {offset}: the file shrank while in use"
        raise OSError(errno.EIO, msg)
    return data


def read_in_pieces(reader: RangeReader, offset: int, length: int) -> Iterator[bytes]:
    """The bytes [offset, offset + length) in order; the last pieces are short where they end."""
    for start in range(offset, offset + length, _PIECE_BYTES):
        yield reader.read(start, min(_PIECE_BYTES, offset + length - start))


class LargePayload:
    """A record's payload, left in its file; indexed and sliced like `bytes`.

    Args:
        reader: The file; stays the caller's, and must stay open.
        offset: First byte of the payload.
        length: Bytes of the payload.

    Example:
        >>> payload = LargePayload(reader, offset=12, length=450_000_000)
        >>> payload[0], payload[5:7]
        (10, b'ab')
    """

    def __init__(self, reader: RangeReader, *, offset: int, length: int) -> None:
        self._reader = reader
        self._offset = offset
        self._length = length
        self._window = b""
        self._window_start = 0

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> bytes: ...
    def __getitem__(self, index: int | slice) -> int | bytes:
        """One byte as a number, or a stretch as bytes; read from the file where need be.

        Raises:
            IndexError: No such byte.
            OSError: The file shrank, or cannot be read.
        """
        if isinstance(index, slice):
            first, last, step = index.indices(self._length)
            if step != 1:
                msg = "a payload is sliced without a step"
                raise ValueError(msg)
            return self._stretch(first, last)
        if index < 0:
            index += self._length
        if not 0 <= index < self._length:
            msg = f"byte {index} of a payload of {self._length}"
            raise IndexError(msg)
        here = self._moved_to(index, index + 1)
        return self._window[here]

    def pieces(self, first: int, last: int) -> Iterator[bytes]:
        """The bytes [first, last), a few megabytes at a time."""
        for start in range(first, last, _PIECE_BYTES):
            yield self._stretch(start, min(start + _PIECE_BYTES, last))

    def slices(self, offsets: np.ndarray, lengths: np.ndarray) -> LargeSlices:
        """A list of values in this payload; see `LargeSlices`."""
        return LargeSlices(self, offsets, lengths)

    def _stretch(self, first: int, last: int) -> bytes:
        if last <= first:
            return b""
        if last - first > _WINDOW_BYTES:
            return read_exactly(self._reader, self._offset + first, last - first)
        start = self._moved_to(first, last)
        return self._window[start : start + last - first]

    def _moved_to(self, first: int, last: int) -> int:
        """Make the window hold [first, last); where `first` is in it."""
        if not self._window_start <= first <= last <= self._window_start + len(self._window):
            # What is read next lies behind: walks go forwards.
            length = min(_WINDOW_BYTES, self._length - first)
            self._window = read_exactly(self._reader, self._offset + first, length)
            self._window_start = first
        return first - self._window_start


class LargeSlices:
    """The values of a bytes list in a large payload, read when asked for; see `PictureList`.

    Args:
        payload: The record.
        offsets: First byte of each value, int64 (n,), increasing.
        lengths: Bytes of each value, int64 (n,).
    """

    def __init__(self, payload: LargePayload, offsets: np.ndarray, lengths: np.ndarray) -> None:
        self._payload = payload
        self._offsets = offsets
        self.lengths = lengths

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: int) -> bytes:
        start = int(self._offsets[index])
        return self._payload[start : start + int(self.lengths[index])]

    def slab(self, first: int, last: int) -> LargeSlices:
        """The values [first, last)."""
        return LargeSlices(self._payload, self._offsets[first:last], self.lengths[first:last])

    def in_memory(self) -> BytesSlices:
        """The same values as slices of one buffer, read in one go with what lies between them."""
        if not len(self):
            return BytesSlices(b"", self._offsets, self.lengths)
        first = int(self._offsets[0])
        buffer = self._payload[first : int(self._offsets[-1] + self.lengths[-1])]
        return BytesSlices(buffer, self._offsets - first, self.lengths)

    def joined(self, *, instead_of_empty: bytes = b"") -> bytes:
        """All values one after the other; what to put where a value has no bytes."""
        return self.in_memory().joined(instead_of_empty=instead_of_empty)
