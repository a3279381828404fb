"""Pictures in an HDF5 dataset: four ways of storing them come in, the bytes of each go out.

Variable-length bytes are taken as they are. Fixed-length ones (`S`, opaque, rows of uint8) are
padded with zeros, which are cut behind the end mark of a JPEG or PNG and nowhere else: a raw
frame may end in black. Raw frames (T, height, width, 3) give one block of bytes each. Everything
is read in blocks of a few MiB, because a call to HDF5 costs more than a picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from finedata.readers.hdf5_heap import vlen_places

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finedata.readers.hdf5_file import Hdf5File

__all__ = ["Hdf5Pictures", "PictureLayout", "picture_layout"]

PictureLayout = Literal["vlen", "padded", "frames"]

_MOST_ROWS = 64
_BLOCK_BYTES = 4 << 20
# A compressed chunk is decompressed whole; up to this size a block takes whole chunks.
_CHUNK_BYTES = 32 << 20
# Of a padded camera whose first pictures are absent, so many rows are looked at.
_ROWS_LOOKED_AT = 64
# First bytes and last bytes: ITU T.81 table B.1 (SOI, EOI), PNG specification 5.2 and 11.2.5.
_MARKS = ((b"\xff\xd8\xff", b"\xff\xd9"), (b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"))


def picture_layout(h5py: Any, dataset: Any) -> PictureLayout | None:
    """How a dataset stores pictures; `None` where it stores none.

    Args:
        h5py: The module.
        dataset: An open dataset that `Hdf5File.check` accepted.
    """
    shape, dtype = dataset.shape, dataset.dtype
    if not shape:
        return None
    if len(shape) == 1 and dtype.kind == "O":
        return "vlen" if h5py.check_vlen_dtype(dtype) == np.uint8 else None
    if dtype == np.uint8 and len(shape) == 4:
        return "frames" if shape[3] == 3 else None
    fixed = len(shape) == 1 and dtype.kind in "SV" and dtype.names is None and not dtype.subdtype
    if fixed or (len(shape) == 2 and dtype == np.uint8):
        return "padded" if _starts_as_picture(dataset) else None
    return None


def _starts_as_picture(dataset: Any) -> bool:
    for row in range(min(len(dataset), _ROWS_LOOKED_AT)):
        data = _rows(dataset, row, row + 1)[0].tobytes()
        if data.strip(b"\0"):
            return any(data.startswith(first) for first, _ in _MARKS)
    return False


def _rows(dataset: Any, first: int, last: int) -> np.ndarray:
    """Rows of fixed-length values as uint8 (n, bytes): NumPy's own `S` loses trailing zeros."""
    values = np.ascontiguousarray(dataset[first:last])
    return values.view(np.uint8).reshape(last - first, -1)


def _without_padding(row: np.ndarray) -> bytes:
    data = row.tobytes()
    cut = data.rstrip(b"\0")
    if not cut:
        return b""
    if any(cut.startswith(first) and cut.endswith(last) for first, last in _MARKS):
        return cut
    return data


class _Store:
    """One camera's dataset: reads blocks of pictures, remembers their lengths."""

    def __init__(self, file: Hdf5File, path: str, dataset: Any, layout: PictureLayout) -> None:
        self.count = len(dataset)
        self._file, self._path, self._dataset, self._layout = file, path, dataset, layout
        self._lengths: np.ndarray | None = None
        self._typical_bytes = _BLOCK_BYTES // 4
        self._chunk_rows = 1
        with file.guard(path):
            if layout != "vlen":
                size = dataset.dtype.itemsize * int(np.prod(dataset.shape[1:], dtype=np.int64))
                self._typical_bytes = max(size, 1)
                chunk_rows = dataset.chunks[0] if dataset.chunks else 1
                if chunk_rows * self._typical_bytes <= _CHUNK_BYTES:
                    self._chunk_rows = chunk_rows
        # Of variable-length pictures it is usually known where they lie, without reading any.
        self._places: np.ndarray | None = None
        if layout == "vlen" and (places := vlen_places(file, path, dataset)) is not None:
            self._places, self._lengths = places
        self._ahead: list[bytes] = []
        self._ahead_first = -1

    def read(self, first: int, last: int) -> list[bytes | memoryview]:
        """The pictures of one block; views where no copy is needed."""
        if self._places is not None and self._lengths is not None:
            places, lengths = self._places[first:last].tolist(), self._lengths[first:last].tolist()
            return list(map(self._file.read, places, lengths))
        with self._file.guard(self._path):
            if self._layout == "vlen":
                found = [one.data for one in self._dataset[first:last]]
                self._typical_bytes = max(1, sum(map(len, found)) // max(1, len(found)))
                return found
            rows = _rows(self._dataset, first, last)
            if self._layout == "frames":
                return [row.data for row in rows]
            if self._lengths is None:
                return [_without_padding(row) for row in rows]
            lengths = self._lengths[first:last].tolist()
            return [row[:length].data for row, length in zip(rows, lengths, strict=True)]

    def blocks(self, first: int, last: int) -> Iterator[list[bytes | memoryview]]:
        """The pictures [first, last) block by block."""
        while first < last:
            end = min(last, self._end_of_block(first))
            yield self.read(first, end)
            first = end

    def _end_of_block(self, first: int) -> int:
        if self._lengths is not None and self._layout == "vlen":
            ahead = np.cumsum(self._lengths[first : first + _MOST_ROWS])
            return first + max(1, int(np.searchsorted(ahead, _BLOCK_BYTES, side="right")))
        rows = min(_MOST_ROWS, max(1, _BLOCK_BYTES // self._typical_bytes))
        end = first + max(rows, self._chunk_rows)
        return end - end % self._chunk_rows

    def lengths(self) -> np.ndarray:
        if self._lengths is None:
            sizes = [len(one) for block in self.blocks(0, self.count) for one in block]
            self._lengths = np.array(sizes, np.int64)
        return self._lengths

    def one(self, index: int) -> bytes:
        """One picture; who asks for one after the other gets them from blocks."""
        place = index - self._ahead_first
        if self._ahead_first >= 0 and 0 <= place < len(self._ahead):
            return self._ahead[place]
        follows = self._ahead_first >= 0 and place == len(self._ahead)
        end = min(self.count, self._end_of_block(index)) if follows else index + 1
        self._ahead = [bytes(one) for one in self.read(index, end)]
        self._ahead_first = index
        return self._ahead[0]


class Hdf5Pictures:
    """The pictures of a camera, a `PictureList`; see `finedata.readers.episode`."""

    def __init__(self, store: _Store, first: int, last: int) -> None:
        self._store, self._first, self._last = store, first, last

    @classmethod
    def of(cls, file: Hdf5File, path: str, dataset: Any, layout: PictureLayout) -> Hdf5Pictures:
        """All pictures of a dataset."""
        store = _Store(file, path, dataset, layout)
        return cls(store, 0, store.count)

    @property
    def lengths(self) -> np.ndarray:
        """Bytes of each picture, int64 (T,); padded ones are all read once for it."""
        return self._store.lengths()[self._first : self._last]

    def __len__(self) -> int:
        return self._last - self._first

    def __getitem__(self, index: int) -> bytes:
        if not 0 <= index < len(self):
            msg = f"picture {index} of {len(self)}"
            raise IndexError(msg)
        return self._store.one(self._first + index)

    def slab(self, first: int, last: int) -> Hdf5Pictures:
        """The pictures [first, last)."""
        first, last, _ = slice(first, last).indices(len(self))
        return Hdf5Pictures(self._store, self._first + first, self._first + max(first, last))

    def blocks(self) -> Iterator[list[bytes | memoryview]]:
        """The pictures in blocks of a few MiB, for whoever needs them once."""
        return self._store.blocks(self._first, self._last)

    def joined(self, *, instead_of_empty: bytes = b"") -> bytes:
        """All pictures one after the other; what to put where one has no bytes."""
        return b"".join(
            one if len(one) else instead_of_empty for block in self.blocks() for one in block
        )
