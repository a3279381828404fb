"""Encoded pictures of an image column, left in Arrow's own buffers until one is asked for.

A row without bytes but with a path is read from its file when it is needed. So a `PictureList`
costs nothing for pictures that nobody looks at.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa

from finedata.errors import FeatureError
from finedata.readers.byte_slices import BytesSlices

if TYPE_CHECKING:
    from finedata.readers.files import SourceFolder


@dataclass(frozen=True)
class ArrowPictures:
    """The pictures of one camera of an episode; see `PictureList`.

    Attributes:
        column: Binary Arrow column, one row a step; null where there are no bytes.
        folder: Where `files` lie.
        files: Rows without bytes to the name and size of the file that has them.
    """

    column: Any
    folder: SourceFolder
    files: dict[int, tuple[str, int]] = field(default_factory=dict[int, tuple[str, int]])

    @property
    def lengths(self) -> np.ndarray:
        """Bytes of each picture, int64 (T,); 0 where there is none."""
        # From the arrays' own offsets: a null has no bytes between them.
        chunks = [_lengths(chunk) for chunk in self.column.chunks]
        lengths = np.concatenate([np.zeros(0, np.int64), *chunks])
        for row, (_, size) in self.files.items():
            lengths[row] = size
        return lengths

    def __len__(self) -> int:
        return len(self.column)

    def __getitem__(self, index: int) -> bytes:
        if not -len(self) <= index < len(self):
            msg = f"picture {index} of {len(self)}"
            raise IndexError(msg)
        index %= len(self)
        if index in self.files:
            name, size = self.files[index]
            data = self.folder.read_all(name)
            if len(data) != size:
                raise FeatureError(
                    place=name, found=f"{len(data)} bytes", wanted=f"the {size} that were listed"
                )
            return data
        return cast("bytes | None", self.column[index].as_py()) or b""

    def slab(self, first: int, last: int) -> ArrowPictures:
        """The pictures [first, last), without copying one."""
        first, last, _ = slice(first, last).indices(len(self))
        files = {row - first: file for row, file in self.files.items() if first <= row < last}
        return ArrowPictures(self.column.slice(first, max(0, last - first)), self.folder, files)

    def joined(self, *, instead_of_empty: bytes = b"") -> bytes:
        """All pictures one after the other; what to put where one has no bytes."""
        return b"".join(self[index] or instead_of_empty for index in range(len(self)))

    def in_memory(self) -> BytesSlices:
        """All pictures as slices of one buffer; see `PictureList.in_memory`."""
        if self.files or self.column.null_count:
            pictures = [self[index] for index in range(len(self))]
            lengths = np.array([len(one) for one in pictures], np.int64)
            data = b"".join(pictures)
        else:
            lengths = self.lengths
            data = b"".join(_content(chunk) for chunk in self.column.chunks if len(chunk))
        return BytesSlices(data, np.cumsum(lengths) - lengths, lengths)


def _lengths(chunk: Any) -> np.ndarray:
    return np.diff(_offsets(chunk)).astype(np.int64)


def _offsets(chunk: Any) -> np.ndarray:
    """Where each value of a chunk begins in its buffer, and where the last one ends."""
    large = cast("Any", pa).types.is_large_binary(chunk.type)
    offsets = np.frombuffer(chunk.buffers()[1], np.int64 if large else np.int32)
    return offsets[chunk.offset : chunk.offset + len(chunk) + 1]


def _content(chunk: Any) -> memoryview:
    """The bytes of all values of a chunk that has no null, not copied."""
    offsets, values = _offsets(chunk), chunk.buffers()[2]
    return memoryview(b"" if values is None else values)[int(offsets[0]) : int(offsets[-1])]
