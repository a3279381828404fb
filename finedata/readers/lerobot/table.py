"""Parquet over byte ranges: only the rows and columns that are asked for, never a whole file.

LeRobot data files hold vectors as lists and, in image datasets, pictures beside them. A column
is therefore asked for by the paths of its own leaves, so that a number never costs a picture,
and rows are taken batch by batch, so that one episode of a large file costs one episode.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from finedata.errors import CorruptRecordError, FeatureError, MissingFeatureError
from finedata.readers.damage import HEAD_BYTES, impostor
from finedata.readers.files import RangeFile

if TYPE_CHECKING:
    from collections.abc import Generator

    from finedata.readers.files import RangeReader

# The stubs of pyarrow leave every type parameter open: checked by hand, so honest about it.
_types: Any = pa.types
_BATCH_ROWS = 256
_MAGIC = b"PAR1"


class ParquetRows:
    """An open Parquet file whose rows are read by range and column.

    Attributes:
        schema: Its Arrow schema.
        rows: How many rows it has.
    """

    def __init__(self, reader: RangeReader, *, name: str) -> None:
        """Read the footer.

        Raises:
            CorruptRecordError: No Parquet file, or one that was cut.
            OSError: The disk or the network failed.
        """
        self.name = name
        self._closed = False
        self._reader = reader
        self._file = RangeFile(reader)
        self._check_ends()
        with self._clean_errors():
            self._parquet: Any = pq.ParquetFile(
                pa.PythonFile(self._file, mode="r"),
                pre_buffer=False,
                page_checksum_verification=True,
            )
            self.schema: Any = self._parquet.schema_arrow
            self.rows: int = self._parquet.metadata.num_rows
            self._group_rows: list[int] = [
                self._parquet.metadata.row_group(group).num_rows
                for group in range(self._parquet.metadata.num_row_groups)
            ]
            self._leaves = self._leaf_paths()
        if min([self.rows, *self._group_rows], default=0) < 0 or self.rows != sum(self._group_rows):
            raise CorruptRecordError(
                place=name,
                found=f"{self.rows} rows, and row groups of {self._group_rows[:8]}",
                wanted="row groups that add up to the rows",
            )

    def has(self, column: str) -> bool:
        """Whether there is such a column."""
        return column in self._leaves

    def column(self, name: str, *, first: int, last: int, field: str | None = None) -> Any:
        """Rows [first, last) of a column, or of one field of a struct column.

        Raises:
            MissingFeatureError: No such column.
            CorruptRecordError: Its bytes do not decode.
            OSError: The disk or the network failed.
        """
        if self._closed:
            # Its number may belong to another file by now.
            msg = f"{self.name} was closed"
            raise ValueError(msg)
        if name not in self._leaves:
            raise MissingFeatureError(
                place=f"feature {name}",
                found=f"no such column in {self.name}",
                wanted=f"one of {', '.join(self._leaves)}",
            )
        paths = self._leaves[name] if field is None else [f"{name}.{field}"]
        groups, before = self._groups_of(first, last)
        with self._clean_errors():
            chunks = list(self._slices(name, field, paths, groups, first - before, last - before))
            kind = self.schema.field(self.schema.names.index(name)).type
            if field is not None:
                kind = kind.field(field).type
            column = cast("Any", pa).chunked_array(chunks, type=kind)
        if len(column) != last - first:
            raise CorruptRecordError(
                place=f"{self.name}, column {name}",
                found=f"{len(column)} rows",
                wanted=f"{last - first}",
            )
        return column

    def close(self) -> None:
        """Release the file; a column asked for afterwards is a ValueError."""
        self._closed = True
        self._reader.close()

    def _slices(
        self,
        name: str,
        field: str | None,
        paths: list[str],
        groups: list[int],
        first: int,
        last: int,
    ) -> Generator[Any]:
        """The parts of the batches that lie in [first, last), rows counted from the groups'."""
        if not groups:
            return
        row = 0
        for batch in self._parquet.iter_batches(
            batch_size=_BATCH_ROWS, row_groups=groups, columns=paths, use_threads=False
        ):
            if row >= last:
                return
            start, stop = max(first - row, 0), min(last - row, len(batch))
            row += len(batch)
            if start >= stop:
                continue
            # By name: pyarrow may match a dotted path to more columns than were meant.
            column = batch.column(batch.schema.names.index(name))
            if field is not None:
                # `flatten` carries the struct's own nulls into its fields.
                kind = column.type
                column = column.flatten()[kind.get_field_index(field)]
            yield column.slice(start, stop - start)

    def _groups_of(self, first: int, last: int) -> tuple[list[int], int]:
        """The row groups that rows [first, last) touch, and the rows before the first of them."""
        groups: list[int] = []
        before, row = 0, 0
        for group, count in enumerate(self._group_rows):
            if row < last and row + count > first:
                before = before if groups else row
                groups.append(group)
            row += count
        return groups, before

    def _leaf_paths(self) -> dict[str, list[str]]:
        """Paths of the leaves of each column, in the schema's order; a repeated name: its first."""
        schema = self._parquet.metadata.schema
        leaves: dict[str, list[str]] = {}
        at = 0
        for field in self.schema:
            count = _leaf_count(field.type)
            leaves.setdefault(
                field.name, [schema.column(leaf).path for leaf in range(at, at + count)]
            )
            at += count
        return leaves

    def _check_ends(self) -> None:
        size = self._reader.size
        head, tail = self._reader.read(0, 4), self._reader.read(max(0, size - 4), 4)
        if size >= 12 and head == _MAGIC and tail == _MAGIC:
            return
        other = impostor(self._reader.read(0, HEAD_BYTES), size=size)
        cut = size == 0 or head == _MAGIC[:size]
        raise (
            _TruncatedError(
                place=self.name,
                found=other if size == 0 and other else "a Parquet file without its end",
                wanted="a whole Parquet file",
            )
            if cut
            else CorruptRecordError(
                place=self.name, found=other or "a file of another kind", wanted="a Parquet file"
            )
        )

    @contextmanager
    def _clean_errors(self) -> Generator[None]:
        """Pyarrow calls broken bytes OSError too: only an error of the reader's is one here."""
        try:
            yield
        except CorruptRecordError:
            raise
        except (
            pa.ArrowException,
            OSError,
            MemoryError,
            ValueError,
            LookupError,
            TypeError,
            OverflowError,
        ) as error:
            if self._file.failure is not None:
                raise self._file.failure from error
            text = " ".join(str(error).split())[:200]
            raise CorruptRecordError(
                place=self.name, found=f"bytes that do not decode ({text})", wanted="Parquet"
            ) from error


class _TruncatedError(CorruptRecordError):
    """A Parquet file that ends before its end."""


def is_truncated(error: CorruptRecordError) -> bool:
    """Whether a file was cut, as far as its ends tell."""
    return isinstance(error, _TruncatedError)


def is_text_type(kind: Any) -> bool:
    """Whether a column holds text (plain or dictionary-encoded)."""
    if _types.is_dictionary(kind):
        kind = kind.value_type
    return _types.is_string(kind) or _types.is_large_string(kind)


def is_picture_type(kind: Any) -> bool:
    """Whether a column holds encoded pictures: bytes, or a struct with a field `bytes`."""
    if _types.is_struct(kind):
        names = [field.name for field in kind.fields]
        return "bytes" in names and _is_bytes(kind.field(names.index("bytes")).type)
    return _is_bytes(kind)


def to_numbers(column: Any, *, feature: str) -> np.ndarray:
    """Turn a column into numbers: (T,) from scalars, (T, n, ...) from lists.

    float64 stays float64; booleans become NumPy booleans.

    Raises:
        FeatureError: Nulls, lists of unequal lengths, or no numbers at all.
    """
    # No chunk at all stays a chunked array; one row-less array of the type stands for it.
    array: Any = column.combine_chunks() if column.num_chunks else _empty(column.type)
    shape: list[int] = [len(array)]
    while True:
        if isinstance(array, pa.ExtensionArray):
            array = array.storage
        if array.null_count:
            raise FeatureError(
                place=f"feature {feature}", found=f"{array.null_count} nulls", wanted="numbers"
            )
        kind = array.type
        if _types.is_fixed_size_list(kind):
            width = kind.list_size
        elif _types.is_list(kind) or _types.is_large_list(kind):
            width = _equal_width(array, feature=feature)
        else:
            break
        shape.append(width)
        array = array.flatten()
    if not (_types.is_integer(kind) or _types.is_floating(kind) or _types.is_boolean(kind)):
        raise FeatureError(place=f"feature {feature}", found=f"{kind}", wanted="numbers")
    return array.to_numpy(zero_copy_only=False).reshape(shape)


def _empty(kind: Any) -> Any:
    return cast("Any", pa).array([], type=kind)


def _equal_width(array: Any, *, feature: str) -> int:
    offsets = array.offsets.to_numpy()
    widths = np.diff(offsets)
    if len(widths) == 0:
        return 0
    if int(widths.min()) != int(widths.max()):
        raise FeatureError(
            place=f"feature {feature}",
            found=f"lists of {int(widths.min())} to {int(widths.max())} values",
            wanted="as many values in each row",
        )
    return int(widths[0])


def _leaf_count(kind: Any) -> int:
    if _types.is_struct(kind):
        return sum(_leaf_count(field.type) for field in kind.fields)
    if _types.is_map(kind):
        return _leaf_count(kind.key_type) + _leaf_count(kind.item_type)
    if _types.is_list(kind) or _types.is_large_list(kind) or _types.is_fixed_size_list(kind):
        return _leaf_count(kind.value_type)
    return 1


def _is_bytes(kind: Any) -> bool:
    return _types.is_binary(kind) or _types.is_large_binary(kind)
