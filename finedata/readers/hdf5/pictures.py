"""Which of four ways an HDF5 dataset stores pictures, and where each picture's bytes end.

Variable-length bytes are taken as they are. Fixed-length ones (`S`, opaque, rows of uint8) are
padded with zeros, which are cut behind the end mark of a JPEG or PNG and nowhere else: a raw
frame may end in black. Raw frames (T, height, width, 3) give one block of bytes each. Everything
is read in blocks of a few MiB, because a call to HDF5 costs more than a picture; and past HDF5,
straight from the file, where it is known where the bytes lie.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from finedata.readers.byte_slices import BytesSlices
from finedata.readers.hdf5.heap import vlen_places

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finedata.readers.hdf5.file import Hdf5File

PictureLayout = Literal["vlen", "padded", "frames"]

_MOST_ROWS = 64
_BLOCK_BYTES = 4 << 20
# A compressed chunk is decompressed whole; up to this size a block takes whole chunks.
_CHUNK_BYTES = 32 << 20
# Of a padded camera whose first pictures are absent, so many rows are looked at.
_ROWS_LOOKED_AT = 64
# First bytes and last bytes: ITU T.81 table B.1 (SOI, EOI), PNG specification 5.2 and 11.2.5.
_MARKS = ((b"\xff\xd8\xff", b"\xff\xd9"), (b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"))

_ZEROS = tuple(bytes(1 << power) for power in (14, 12, 10, 8, 6))
# Pictures with no more than this between them are read at once, as a share of their own bytes.
_MOST_BETWEEN = 0.25


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
        data = _rows(dataset, row, row + 1)
        if data.strip(b"\0"):
            return any(data.startswith(first) for first, _ in _MARKS)
    return False


def _rows(dataset: Any, first: int, last: int) -> bytes:
    """Rows of fixed-length values, padding and all: a single `S` of NumPy's loses its zeros."""
    return dataset[first:last].tobytes()


def _fixed_place(file: Hdf5File, dataset: Any, row_bytes: int) -> int | None:
    """Where in the file fixed-length rows begin, one behind the other, as HDF5 would give them.

    `None` where they are chunked, not all stored, or of a type that HDF5 converts when reading (a
    text that ends at its first zero, say).
    """
    h5py, stored = file.h5py, dataset.id
    if stored.get_create_plist().get_layout() != h5py.h5d.CONTIGUOUS:
        return None
    if stored.get_storage_size() != len(dataset) * row_bytes:
        return None
    if not stored.get_type().equal(h5py.h5t.py_create(dataset.dtype)):
        return None
    place: int | None = stored.get_offset()
    inside = place is not None and place + len(dataset) * row_bytes <= file.size
    return place if inside else None


def _length_without_padding(data: bytes, first: int, last: int) -> int:
    """Bytes of the picture in [first, last) of `data`."""
    end = _end_without_zeros(data, first, last)
    if end == first:
        return 0
    for begins, ends in _MARKS:
        if data.startswith(begins, first, end) and data.endswith(ends, first, end):
            return end - first
    return last - first


def _end_without_zeros(data: bytes, first: int, last: int) -> int:
    """One past the last byte in [first, last) that is not zero.

    As `rstrip`, but without a copy of the picture, and comparing many zeros at once.
    """
    for zeros in _ZEROS:
        while data.endswith(zeros, first, last):
            last -= len(zeros)
    rest = max(first, last - len(_ZEROS[-1]))
    return rest + len(data[rest:last].rstrip(b"\0"))


class _Store:
    """One camera's dataset: reads blocks of pictures, remembers their lengths."""

    def __init__(self, file: Hdf5File, path: str, dataset: Any, layout: PictureLayout) -> None:
        self.count = len(dataset)
        self._file, self._path, self._dataset, self._layout = file, path, dataset, layout
        self._lengths: np.ndarray | None = None
        self._typical_bytes = _BLOCK_BYTES // 4
        self._chunk_rows = 1
        self._row_bytes = 0
        # Where the first row begins, if rows of one length lie one behind the other.
        self._rows_place: int | None = None
        with file.guard(path):
            if layout != "vlen":
                size = dataset.dtype.itemsize * int(np.prod(dataset.shape[1:], dtype=np.int64))
                self._row_bytes, self._typical_bytes = size, max(size, 1)
                self._rows_place = _fixed_place(file, dataset, size)
                chunk_rows = dataset.chunks[0] if dataset.chunks else 1
                if chunk_rows * self._typical_bytes <= _CHUNK_BYTES:
                    self._chunk_rows = chunk_rows
        # Of variable-length pictures it is usually known where they lie, without reading any.
        self._places: np.ndarray | None = None
        if layout == "vlen" and (places := vlen_places(file, path, dataset)) is not None:
            self._places, self._lengths = places
        if layout == "frames" and self._rows_place is not None:
            self._lengths = np.full(self.count, self._row_bytes, np.int64)
        self._ahead: list[bytes] = []
        self._ahead_first = -1

    def read(self, first: int, last: int) -> BytesSlices:
        """The pictures of one block, as they lie in what was read."""
        if self._layout == "vlen":
            return self._read_vlen(first, last)
        data, width = self._read_rows(first, last), self._row_bytes
        offsets = np.arange(last - first, dtype=np.int64) * width
        if self._lengths is not None:
            return BytesSlices(data, offsets, self._lengths[first:last])
        lengths = [_length_without_padding(data, at, at + width) for at in offsets.tolist()]
        return BytesSlices(data, offsets, np.array(lengths, np.int64))

    def _read_rows(self, first: int, last: int) -> bytes:
        if self._rows_place is None:
            with self._file.guard(self._path):
                return _rows(self._dataset, first, last)
        width = self._row_bytes
        return self._file.read(self._rows_place + first * width, (last - first) * width)

    def _read_vlen(self, first: int, last: int) -> BytesSlices:
        if self._places is not None and self._lengths is not None:
            places, lengths = self._places[first:last], self._lengths[first:last]
            stored = lengths > 0
            start = int(places[stored].min(initial=self._file.size))
            span = int((places + lengths)[stored].max(initial=start)) - start
            if span <= (1 + _MOST_BETWEEN) * int(lengths.sum()):
                data = self._file.read(start, span)
                return BytesSlices(data, np.where(stored, places - start, 0), lengths)
            found = list(map(self._file.read, places.tolist(), lengths.tolist()))
        else:
            with self._file.guard(self._path):
                found = [one.data for one in self._dataset[first:last]]
            lengths = np.array([len(one) for one in found], np.int64)
            self._typical_bytes = max(1, int(lengths.sum()) // max(1, len(found)))
        return BytesSlices(b"".join(found), np.cumsum(lengths) - lengths, lengths)

    def blocks(self, first: int, last: int) -> Iterator[BytesSlices]:
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
            sizes = [block.lengths for block in self.blocks(0, self.count)]
            self._lengths = np.concatenate([np.zeros(0, np.int64), *sizes])
        return self._lengths

    def one(self, index: int) -> bytes:
        """One picture; who asks for one after the other gets them from blocks."""
        place = index - self._ahead_first
        if self._ahead_first >= 0 and 0 <= place < len(self._ahead):
            return self._ahead[place]
        follows = self._ahead_first >= 0 and place == len(self._ahead)
        end = min(self.count, self._end_of_block(index)) if follows else index + 1
        block = self.read(index, end)
        self._ahead = [block[place] for place in range(len(block))]
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

    def blocks(self) -> Iterator[BytesSlices]:
        """The pictures in blocks of a few MiB, for whoever needs them once."""
        return self._store.blocks(self._first, self._last)

    def joined(self, *, instead_of_empty: bytes = b"") -> bytes:
        """All pictures one after the other; what to put where one has no bytes."""
        return self.in_memory().joined(instead_of_empty=instead_of_empty)

    def in_memory(self) -> BytesSlices:
        """All pictures as slices of one buffer; see `PictureList.in_memory`."""
        joined, lengths = io.BytesIO(), [np.zeros(0, np.int64)]
        # Block by block into the one buffer: a list of all pictures would be as much memory again.
        for block in self.blocks():
            view = memoryview(block.buffer)
            spans = zip(block.offsets.tolist(), block.lengths.tolist(), strict=True)
            joined.writelines(view[first : first + length] for first, length in spans)
            lengths.append(block.lengths)
        counts = np.concatenate(lengths)
        return BytesSlices(joined.getvalue(), np.cumsum(counts) - counts, counts)
