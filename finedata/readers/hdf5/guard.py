"""What stands between HDF5 and damaged bytes: a file that never raises and has no endless heap.

HDF5 cannot be trusted with a Python error in the middle of its work, nor with a global heap whose
sizes wrap round. Whoever opens a file of somebody else opens it through this: the reader, and the
account that checks the reader. It decides nothing about what a file means.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from finedata.readers.files import RangeFile

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["GuardedFile", "open_guarded"]

_HEAP_SIGNATURE = b"GCOL\x01"


class GuardedFile(RangeFile):
    """The file object that h5py reads from.

    It never raises: HDF5 cannot be trusted with a Python error in the middle of its work (a failed
    opening then crashes the interpreter when it ends). It gives zeros instead and remembers;
    everything read after a `failure` is void.
    """

    def read_at(self, offset: int, length: int) -> bytes:
        """Bytes from anywhere; nothing once the reader failed."""
        if self.failure is not None:
            return b""
        try:
            return super().read_at(offset, length)
        except OSError:
            return b""

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill the buffer; past the end with zeros, as HDF5's own driver does."""
        view = memoryview(buffer).cast("B")
        data = self.read_at(self._position, len(view))
        if data.startswith(_HEAP_SIGNATURE) and not self._heap_ends(self._position, data):
            data = b""
        view[: len(data)] = data
        if len(data) < len(view):
            view[len(data) :] = bytes(len(view) - len(data))
        self._position += len(view)
        return len(view)

    def _heap_ends(self, place: int, head: bytes) -> bool:
        """Walk a global heap's objects before HDF5 does: it loops for ever on a size that wraps.

        Source: HDF5 file format specification 3.0, III.E (with 8-byte lengths).
        """
        (size,) = struct.unpack_from("<Q", head.ljust(16, b"\0"), 8)
        at = 16
        while at + 16 <= size:
            entry = head[at : at + 16]
            if len(entry) < 16:
                entry = self.read_at(place + at, 16)
            index, length = struct.unpack("<H6xQ", entry.ljust(16, b"\0"))
            # Object 0 is what is free, and its size has the header in it.
            at += length if index == 0 else 16 + -(-length // 8) * 8
            if (index == 0 and length < 16) or at > size or place + at > self._reader.size:
                return False
        return True


def open_guarded(h5py: Any, file: GuardedFile, name: str) -> Any:
    """`h5py.File(file)`, with its list of settings closed whatever happens.

    A list that lives on in a traceback is freed after Python has ended, and crashes it then.
    """
    settings = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    try:
        settings.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
        settings.set_fileobj_driver(h5py.h5fd.fileobj_driver, file)
        handle = h5py.h5f.open(name.encode(), h5py.h5f.ACC_RDONLY, fapl=settings)
        return h5py.File(handle)
    finally:
        settings.close()
