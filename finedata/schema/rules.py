"""The rules a column's values must keep: nulls, emptiness, closed lists, ranges, unique keys.

The column has its declared type already. A broken rule is a `ConformError` that names the table,
the column, the first offending row (counted from 0), what is there and what was wanted. Arrow
kernels look; Python walks rows only to describe a failure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as _pc

from finedata.errors import ConformError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from finedata.schema.columns import Column, EnumBy

# The stubs spell each kernel's overloads per array class and type; columns here are a
# `pa.ChunkedArray` of any type, and so are `Any` to the type checker.
pc = cast("Any", _pc)


def refusal(
    *, table: str, column: str, found: str, wanted: str, row: int | None = None
) -> ConformError:
    """Build the error that every rule raises.

    Args:
        table: Name of the table.
        column: Name of the column, or of several.
        found: What is there.
        wanted: What would have been accepted.
        row: First offending row, counted from 0; None where the whole column offends.

    Returns:
        The error, to be raised.
    """
    where = "" if row is None else f", row {row}"
    return ConformError(
        place=f"table {table!r}, column {column!r}{where}", found=found, wanted=wanted
    )


def check_nulls(values: Any, *, table: str, column: str, nullable: bool, type_text: str) -> None:
    """Refuse nulls in a not-null column, and null elements in the list of any column.

    Args:
        values: The column.
        table: Name of the table.
        column: Name of the column.
        nullable: Whether a row may be null; list elements never may, struct fields always may.
        type_text: Type as the message names it.

    Raises:
        ConformError: There is a null where none may be.
    """
    if not nullable and values.null_count:
        row = _first_true(pc.is_null(values))
        raise refusal(table=table, column=column, row=row, found="null", wanted=type_text)
    if not _is_list(values.type):
        return
    for elements, row_of in _elements(values):
        if elements.null_count:
            row = row_of(_first_true(pc.is_null(elements)))
            raise refusal(
                table=table,
                column=column,
                row=row,
                found=f"a null element in {_shown(values[row].as_py())}",
                wanted=f"{type_text} without null elements",
            )


def check_values(values: Any, column: Column, *, table: str) -> None:
    """Refuse empty texts, values outside a closed list, and numbers outside their range.

    Args:
        values: The column, of its declared type.
        column: Its declaration.
        table: Name of the table.

    Raises:
        ConformError: A value breaks one of the declared rules.
    """
    if column.never_empty:
        _refuse_where(
            pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(values)), 0),
            values,
            table=table,
            column=column.name,
            wanted="a text that is not empty",
        )
    if column.range is not None:
        _check_range(values, column, table=table, bounds=column.range)
    if column.enum is not None:
        _check_enum(values, column.enum, table=table, column=column.name)


def _check_range(
    values: Any,
    column: Column,
    *,
    table: str,
    bounds: tuple[float | None, float | None],
) -> None:
    low, high = bounds
    # NaN is neither below nor above: whether it may be there is the check of another room
    for outside, limit, words in ((pc.less, low, "at least"), (pc.greater, high, "at most")):
        if limit is not None:
            _refuse_where(
                outside(values, pa.scalar(limit, pa.float64())),
                values,
                table=table,
                column=column.name,
                wanted=f"a number {words} {limit:g}",
            )


def _check_enum(values: Any, allowed: Sequence[str], *, table: str, column: str) -> None:
    wanted = f"one of {', '.join(allowed)}"
    value_set = pa.array(allowed, pa.string())
    if not _is_list(values.type):
        alien = pc.and_(pc.is_valid(values), pc.invert(pc.is_in(values, value_set=value_set)))
        _refuse_where(alien, values, table=table, column=column, wanted=wanted)
        return
    for elements, row_of in _elements(values):
        at = _first_true(pc.invert(pc.is_in(elements, value_set=value_set)))
        if at >= 0:
            raise refusal(
                table=table,
                column=column,
                row=row_of(at),
                found=_shown(elements[at].as_py()),
                wanted=wanted,
            )


def check_depending_enum(rows: pa.Table, *, table: str, column: str, rule: EnumBy) -> None:
    """Refuse a value that the other column of its row does not allow.

    Args:
        rows: The table.
        table: Its name.
        column: The column whose values are checked.
        rule: Which column decides, and what it allows.

    Raises:
        ConformError: A value is not of the list that belongs to the deciding value.
    """
    values, deciding = rows.column(column), rows.column(rule.column)
    for decider, allowed in rule.values.items():
        value_set = pa.array(allowed, pa.string())
        at = _first_true(
            pc.and_(pc.equal(deciding, decider), pc.invert(pc.is_in(values, value_set=value_set)))
        )
        if at >= 0:
            raise refusal(
                table=table,
                column=column,
                row=at,
                found=_shown(values[at].as_py()),
                wanted=f"one of {', '.join(allowed)}, because {rule.column} is {decider!r}",
            )


def check_unique(rows: pa.Table, *, table: str, key: Sequence[str]) -> None:
    """Refuse a second row with the same key.

    Args:
        rows: The table.
        table: Its name.
        key: Columns that together name one row.

    Raises:
        ConformError: Two rows have one key; the message gives both.
    """
    columns = rows.select(list(key))
    groups = cast("Any", columns.group_by(list(key), use_threads=False)).aggregate([])
    if groups.num_rows == rows.num_rows:
        return
    seen: dict[Any, int] = {}
    keys: Any = zip(*(columns.column(name).to_pylist() for name in key), strict=True)
    for row, values in enumerate(keys):
        first = seen.setdefault(values, row)
        if first != row:
            raise refusal(
                table=table,
                column=", ".join(key),
                row=row,
                found=f"{', '.join(map(_shown, values))} again, as in row {first}",
                wanted="each key once",
            )


def _refuse_where(mask: Any, values: Any, *, table: str, column: str, wanted: str) -> None:
    row = _first_true(mask)
    if row >= 0:
        raise refusal(
            table=table, column=column, row=row, found=_shown(values[row].as_py()), wanted=wanted
        )


def _first_true(mask: Any) -> int:
    """Position of the first true value; -1 where there is none."""
    return int(pc.index(mask, pa.scalar(value=True)).as_py())


def _is_list(arrow_type: pa.DataType) -> bool:
    return pa.types.is_list(arrow_type) or pa.types.is_fixed_size_list(arrow_type)


def _elements(values: Any) -> Iterator[tuple[Any, Callable[[int], int]]]:
    """Yield per chunk the elements of all its lists, and a function: element -> row."""
    first_row = 0
    for chunk in values.chunks:
        yield pc.list_flatten(chunk), _row_finder(chunk, first_row)
        first_row += len(chunk)


def _row_finder(chunk: Any, first_row: int) -> Callable[[int], int]:
    def row_of(element: int) -> int:
        lengths = pc.fill_null(pc.list_value_length(chunk), 0).to_numpy(zero_copy_only=False)
        # a row owns the elements below its cumulative end
        return first_row + int(np.searchsorted(np.cumsum(lengths), element, side="right"))

    return row_of


def _shown(value: object) -> str:
    """Write a value in at most 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
