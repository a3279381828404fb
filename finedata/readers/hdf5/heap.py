"""Where the values of a variable-length HDF5 dataset lie in the file, without reading them.

HDF5 would read every picture to say how long it is, and reserves what a damaged length asks for
before it looks; here the 16-byte descriptors and the headers of the global heap are read instead,
each length is proven against its heap object, and pictures become plain range reads.

Source: HDF5 file format specification 3.0, III.E (global heap) and IV.B (heap ids), for the 8-byte
offsets and lengths that every file of today has.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from finedata.errors import CorruptRecordError

if TYPE_CHECKING:
    from finedata.readers.hdf5.file import Hdf5File

_DESCRIPTOR = np.dtype([("length", "<u4"), ("collection", "<u8"), ("index", "<u4")])
_HEAD_BYTES = 4096  # the smallest heap HDF5 writes
_ENTRY = struct.Struct("<H6xQ")


def vlen_places(file: Hdf5File, path: str, dataset: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Find the bytes of each element of a variable-length text or uint8 dataset.

    Args:
        file: The open file.
        path: The dataset's, for messages.
        dataset: What `Hdf5File.dataset` gave: scalar, or with one axis.

    Returns:
        Offsets in the file and lengths, int64 (T,); `None` where the descriptors are compressed or
        kept in the object header, which leaves them to HDF5.

    Raises:
        CorruptRecordError: A descriptor to which no heap object belongs.
    """
    with file.guard(path):
        raw = _descriptors(file, dataset)
    if raw is None:
        return None
    offsets = np.zeros(len(raw), np.int64)
    known: dict[int, dict[int, tuple[int, int]]] = {}
    for row, (length, collection, index) in enumerate(raw.tolist()):
        if length == 0:
            continue
        if collection not in known:
            known.clear()  # neighbours share a heap; old ones are not asked for again
            known[collection] = _objects(file, file.base + collection)
        place, size = known[collection].get(index, (0, -1))
        if size != length:
            raise CorruptRecordError(
                place=f"{file.name}: {path}, element {row}",
                found=f"{length:,} bytes claimed, of which its heap knows nothing",
                wanted="a heap object of that length",
            )
        offsets[row] = place
    return offsets, raw["length"].astype(np.int64)


def _descriptors(file: Hdf5File, dataset: Any) -> np.ndarray | None:
    """The heap ids as they are stored; rows never written are zeros."""
    creation = dataset.id.get_create_plist()
    layout, count = creation.get_layout(), int(dataset.size)
    rows = np.zeros(count, _DESCRIPTOR)
    if dataset.id.get_storage_size() == 0:
        return rows
    if layout == file.h5py.h5d.CONTIGUOUS:
        data = file.read(dataset.id.get_offset(), count * _DESCRIPTOR.itemsize)
        return np.frombuffer(data, _DESCRIPTOR)
    if layout != file.h5py.h5d.CHUNKED or creation.get_nfilters() or dataset.ndim != 1:
        return None
    chunk = dataset.chunks[0]
    for number in range(dataset.id.get_num_chunks()):
        info = dataset.id.get_chunk_info(number)
        first = int(info.chunk_offset[0])
        part = np.frombuffer(file.read(info.byte_offset, chunk * _DESCRIPTOR.itemsize), _DESCRIPTOR)
        rows[first : first + chunk] = part[: max(0, count - first)]
    return rows


def _objects(file: Hdf5File, start: int) -> dict[int, tuple[int, int]]:
    """Index to (offset, length) of the objects of the heap collection at `start`."""
    head = file.read(start, min(_HEAD_BYTES, max(0, file.size - start)))
    if not head.startswith(b"GCOL\x01"):
        return {}
    (size,) = struct.unpack_from("<Q", head.ljust(16, b"\0"), 8)
    found: dict[int, tuple[int, int]] = {}
    at, end = 16, min(size, file.size - start)
    while at + _ENTRY.size <= end:
        entry = head[at : at + _ENTRY.size]
        if len(entry) < _ENTRY.size:
            entry = file.read(start + at, _ENTRY.size)
        index, length = _ENTRY.unpack(entry)
        if index == 0:  # what is free is last
            break
        at += _ENTRY.size
        if at + length > end:
            break
        found[index] = (start + at, length)
        at += -(-length // 8) * 8
    return found
