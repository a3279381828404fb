"""What a table declaration is made of: `Column`, `EnumBy`, `Open` and `Table`.

Three things are made from one declaration, so that they cannot differ: the Arrow schema, the checks
of `conform()`, and the published JSON. Types are written as text (`list<string>`), so a declaration
needs no pyarrow and reads the same in code and in JSON.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - msgspec reads the annotations
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Column", "EnumBy", "Open", "Presence", "Table"]

Presence = Literal["required", "optional", "joined"]


@dataclass(frozen=True, slots=True)
class EnumBy:
    """A closed list that depends on another column of the same row.

    Args:
        column: The deciding column.
        values: Value of the deciding column -> values allowed here.
    """

    column: str
    values: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Columns that a table allows beyond its declared ones.

    Args:
        prefix: Beginning of the column names; a whole name is its own prefix.
        type: Type that such a column must have; "" for any.
        nullable: Whether a row may have no value.
        meaning: What they are.
    """

    prefix: str
    type: str = ""
    nullable: bool = True
    meaning: str


@dataclass(frozen=True, slots=True)
class Column:
    """One column. Not null unless it says `nullable=True`.

    Args:
        name: Its name in Arrow and Parquet.
        type: `string`, `bool`, `binary`, `int32`, `int64`, `uint32`, `float32`, `float64`,
            `timestamp[us, UTC]`, `list<T>`, `struct<name: T, ...>` or `fixed_size_list<T>[n]`,
            where `n` stays a letter if the width is decided per part.
        meaning: One line.
        nullable: Whether a row may have no value.
        unit: SI unit, or "" where there is none.
        frame: Coordinate frame, or "" where there is none.
        range: Lowest and highest allowed number, inclusive; None for an open side.
        enum: The closed list, for a string or for the elements of a list of strings.
        enum_by: A closed list that depends on another column.
        presence: `required`; `optional`: a file may lack the column; `joined`: never in a file,
            added on reading.
        never_empty: Whether the empty string is refused, white space counting as empty.
        fields: Field -> meaning where the type contains a struct.
        asked: Of nullable columns of `facts`: what a teacher is told to fill it with; "" where
            none is told.
    """

    name: str
    type: str
    meaning: str
    nullable: bool = False
    unit: str = ""
    frame: str = ""
    range: tuple[float | None, float | None] | None = None
    enum: tuple[str, ...] | None = None
    enum_by: EnumBy | None = None
    presence: Presence = "required"
    never_empty: bool = False
    fields: Mapping[str, str] = field(default_factory=dict[str, str])
    asked: str = ""

    @property
    def symbolic(self) -> bool:
        """Whether the width is a letter: `fixed_size_list<float32>[n]`."""
        return self.type.endswith("[n]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table of finedata.

    Args:
        name: Its name, also the stem of its JSON file.
        version: Version of the schema.
        meaning: One line: what one row is.
        file: Where it lies under the dataset's root.
        key: Columns that name one row of the table as it is read.
        stored_key: Columns that are unique within one file, where that differs from `key`.
        columns: The declared columns, in order.
        open: Further columns that are allowed.
    """

    name: str
    version: int = 1
    meaning: str
    file: str
    key: tuple[str, ...]
    stored_key: tuple[str, ...]
    columns: tuple[Column, ...]
    open: tuple[Open, ...] = ()

    def column(self, name: str) -> Column | None:
        """Find a declared column; None where there is none of that name."""
        return next((column for column in self.columns if column.name == name), None)
