"""`conform()`: the door through which every table passes before it is stored.

A table of any room or library gets the published schema: its columns in its order, its types, its
metadata. What does not fit is a `ConformError` that names table, column, first offending row
(counted from 0), found and wanted; nothing is repaired in silence, and casts happen only when asked
for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from finedata.errors import ConformError
from finedata.schema import rules
from finedata.schema.arrow_types import canonical_type, parse_type, type_string
from finedata.schema.tables.all import (
    SCHEMA_KEY,
    TABLES,
    VERSION_KEY,
    build_schema,
    declared_table,
    schema_tag,
)
from finedata.schema.tables.dataset import IMAGE_PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from finedata.schema.columns import Open, Table

__all__ = ["conform", "read_schema_tag"]


def conform(table: pa.Table, name: str, *, cast: bool = False) -> pa.Table:
    """Check a table against its published schema and give it that schema's form.

    Args:
        table: Any rows. `large_string`, `string_view` and the like count as `string`, at any
            depth. For `frames`, widths and cameras are taken from the table itself.
        name: Name of the published table.
        cast: Whether to apply pyarrow's safe casts where a type differs: integers that would
            overflow and floats that would be cut are refused, float64 is rounded to float32.

    Returns:
        The rows with declared columns first, in declared order, then the open ones in the order
        given. Metadata is the table's tag and nothing else.

    Raises:
        ConformError: A column is missing, unknown, given twice, or of the wrong type; a value is
            null, empty, outside its closed list or range; or a key occurs twice.

    Example:
        >>> import pyarrow as pa
        >>> conform(pa.table({"episode_id": ["a"]}), "gate")
        Traceback (most recent call last):
        ...
        finedata.errors.ConformError: table 'gate', column 'verdict': found no such column, ...
    """
    declared = declared_table(name)
    _check_names(table, declared)
    wanted = _wanted_schema(table, declared)
    fields: list[pa.Field[Any]] = list(wanted)
    columns = [_converted(table, field, declared, cast=cast) for field in fields]
    conformed = pa.Table.from_arrays(columns, schema=wanted)
    _check_rules(conformed, declared)
    return conformed


def _check_names(table: pa.Table, declared: Table) -> None:
    names = table.column_names
    for column in declared.columns:
        if column.presence == "required" and column.name not in names:
            raise rules.refusal(
                table=declared.name,
                column=column.name,
                found="no such column",
                wanted=f"{column.type}: {column.meaning}",
            )
    for position, name in enumerate(names):
        if name in names[:position]:
            raise rules.refusal(table=declared.name, column=name, found="two columns", wanted="one")
        if declared.column(name) is None and _opened(declared, name) is None:
            allowed = [column.name for column in declared.columns]
            allowed += [f"{opened.prefix}..." for opened in declared.open]
            raise rules.refusal(
                table=declared.name,
                column=name,
                found="a column of that name",
                wanted=f"no others than {', '.join(allowed)}",
            )


def _opened(declared: Table, name: str) -> Open | None:
    return next((opened for opened in declared.open if name.startswith(opened.prefix)), None)


def _wanted_schema(table: pa.Table, declared: Table) -> pa.Schema:
    """Build the schema for the columns that the table has: names are checked already."""
    names = table.column_names
    widths = {
        column.name: _width(table, column.name, declared)
        for column in declared.columns
        if column.symbolic and column.name in names
    }
    stored = build_schema(
        declared,
        features=widths or None,
        cameras=[
            name.removeprefix(IMAGE_PREFIX) for name in names if name.startswith(IMAGE_PREFIX)
        ],
        optional=[column.name for column in declared.columns if column.name in names],
    )
    joined = [
        pa.field(column.name, parse_type(column.type), nullable=column.nullable)
        for column in declared.columns
        if column.presence == "joined" and column.name in names
    ]
    schema: Any = table.schema  # the stubs leave the type of its fields unknown
    untyped: list[pa.Field[Any]] = [
        schema.field(name).remove_metadata()
        for name in names
        if declared.column(name) is None and name not in stored.names
    ]
    fixed: list[pa.Field[Any]] = list(stored)
    return pa.schema([*joined, *fixed, *untyped], metadata=schema_tag(declared.name))


def _width(table: pa.Table, name: str, declared: Table) -> int:
    """Width of a vector column: of its fixed-size list, or 1 for a plain number."""
    column: Any = table.column(name)
    arrow_type: Any = column.type
    if pa.types.is_fixed_size_list(arrow_type):
        return arrow_type.list_size
    if pa.types.is_floating(arrow_type):
        return 1
    raise rules.refusal(
        table=declared.name,
        column=name,
        found=f"type {type_string(arrow_type)}",
        wanted="type fixed_size_list<float32>[n], or float32 where n is 1",
    )


def _converted(
    table: pa.Table, field: pa.Field[Any], declared: Table, *, cast: bool
) -> pa.ChunkedArray[Any]:
    """Give one column its stored type, and refuse nulls that it may not have."""
    values: Any = table.column(field.name)
    type_text = type_string(field.type)
    if values.type != field.type and canonical_type(values.type) != field.type and not cast:
        raise rules.refusal(
            table=declared.name,
            column=field.name,
            found=f"type {type_string(values.type)} in every row",
            wanted=f"type {type_text}",
        )
    try:
        # also where only the names of list children differ, so that schemas compare equal
        stored = values.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        row = _first_uncastable(values, field.type)
        raise rules.refusal(
            table=declared.name,
            column=field.name,
            row=row,
            found=f"{values[row].as_py()!r} of type {type_string(values.type)}",
            wanted=f"a value that fits {type_text}",
        ) from error
    rules.check_nulls(
        stored,
        table=declared.name,
        column=field.name,
        nullable=field.nullable,
        type_text=type_text,
    )
    return stored


def _first_uncastable(values: Any, wanted: pa.DataType) -> int:
    """Find the first row that does not cast, by halving: a cast fails if any row does."""
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            values.slice(low, middle - low).cast(wanted)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            high = middle
        else:
            low = middle
    return low


def _check_rules(rows: pa.Table, declared: Table) -> None:
    names = rows.column_names
    for column in declared.columns:
        if column.name in names:
            rules.check_values(rows.column(column.name), column, table=declared.name)
    for column in declared.columns:
        if column.enum_by is not None:
            rules.check_depending_enum(
                rows, table=declared.name, column=column.name, rule=column.enum_by
            )
    joined = any(
        column.presence == "joined" and column.name in names for column in declared.columns
    )
    rules.check_unique(
        rows, table=declared.name, key=declared.key if joined else declared.stored_key
    )


def read_schema_tag(
    metadata: Mapping[bytes, bytes] | None, *, place: str = "file", wanted: str | None = None
) -> tuple[str, int]:
    """Read which table and version a file says it is, and refuse what this finedata cannot read.

    Args:
        metadata: Key-value metadata of an Arrow schema or Parquet file.
        place: What the message calls the file.
        wanted: Name that the table must have; None for any published table.

    Returns:
        Table name and schema version.

    Raises:
        ConformError: There is no tag, the table is unknown or another than wanted, or the version
            is not one that this finedata reads.
    """
    found = {key: (metadata or {}).get(key) for key in (SCHEMA_KEY, VERSION_KEY)}
    for key, value in found.items():
        if value is None:
            raise ConformError(
                place=place,
                found=f"no {key.decode()} in its metadata",
                wanted="a file written by finedata",
                next_command="finedata verify on the dataset's root",
            )
    name = (found[SCHEMA_KEY] or b"").decode("utf-8", "replace")
    version = (found[VERSION_KEY] or b"").decode("utf-8", "replace")
    if name not in TABLES or name != (wanted or name):
        raise ConformError(
            place=place, found=f"the table {name!r}", wanted=wanted or ", ".join(TABLES)
        )
    supported = TABLES[name].version
    if version != str(supported):
        newer = version.isdecimal() and int(version) > supported
        raise ConformError(
            place=place,
            found=f"version {version} of the table {name!r}",
            wanted=f"version {supported}, which this finedata reads and writes",
            next_command=(
                f"pip install --upgrade finedata, to one whose schemas/ has v{version}/"
                if newer
                else f"pip install a finedata that wrote schemas v{version}, or convert again"
            ),
        )
    return name, supported
