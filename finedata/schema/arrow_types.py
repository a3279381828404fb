"""Type strings to Arrow types and back: `list<struct<arm: string, lag_frames: int32>>`.

Declarations and `schemas/v1/*.json` write types in this grammar. It is ours and small, because
pyarrow prints types but cannot parse them, and prints them differently from release to release:

    type   = scalar | "list<" type ">" | "struct<" field {", " field} ">"
           | "fixed_size_list<" type ">[" width "]"
    field  = name ": " type
    scalar = "string" | "bool" | "binary" | "int32" | "int64" | "uint32" | "float32" | "float64"
           | "timestamp[us, UTC]"
    width  = digits | "n"          "n" is decided per part and must be given to parse
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from finedata.errors import ConformError

_SCALARS: dict[str, pa.DataType] = {
    "string": pa.string(),
    "bool": pa.bool_(),
    "binary": pa.binary(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "uint32": pa.uint32(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "timestamp[us, UTC]": pa.timestamp("us", tz="UTC"),
}
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_list_view)


def vector_type(width: int) -> pa.DataType:
    """Build the stored type of a float32 vector feature.

    LeRobot v3.0 stores a feature of shape [1] as a plain scalar column, and refuses to load a list
    in its place.

    Args:
        width: Number of elements, at least 1.

    Returns:
        `fixed_size_list<float32>[width]`, or `float32` where the width is 1.
    """
    return pa.float32() if width == 1 else pa.list_(pa.float32(), width)


def parse_type(text: str, *, n: int | None = None) -> pa.DataType:
    """Parse a type string.

    Args:
        text: A type of the grammar above.
        n: Width that stands for the letter `n`.

    Returns:
        The Arrow type; children are nullable and have pyarrow's default names.

    Raises:
        ConformError: The text is not of the grammar, or holds `n` while none is given.
    """
    parsed, rest = _parse(text, whole=text, n=n)
    if rest:
        raise _malformed(text, rest)
    return parsed


def _parse(text: str, *, whole: str, n: int | None) -> tuple[pa.DataType, str]:
    """Parse the type that `text` begins with; return it with what follows."""
    if text.startswith("list<"):
        value, rest = _parse(text[5:], whole=whole, n=n)
        return pa.list_(value), _after(rest, ">", whole)
    if text.startswith("fixed_size_list<"):
        value, rest = _parse(text[16:], whole=whole, n=n)
        width, closed, rest = _after(rest, ">[", whole).partition("]")
        if width == "n" and n is not None:
            # a scalar where n is 1, see vector_type
            return vector_type(n) if value == pa.float32() else pa.list_(value, n), rest
        if not closed or not width.isdecimal():
            raise _malformed(whole, width)
        return pa.list_(value, int(width)), rest
    if text.startswith("struct<"):
        return _parse_struct(text[7:], whole=whole, n=n)
    for name, scalar in _SCALARS.items():
        if text.startswith(name):  # no scalar's name begins with another's
            return scalar, text[len(name) :]
    raise _malformed(whole, text)


def _parse_struct(text: str, *, whole: str, n: int | None) -> tuple[pa.DataType, str]:
    fields: list[tuple[str, pa.DataType]] = []
    rest = text
    while True:
        name, colon, rest = rest.partition(": ")
        if not colon or not name.isidentifier():
            raise _malformed(whole, name)
        value, rest = _parse(rest, whole=whole, n=n)
        fields.append((name, value))
        if not rest.startswith(", "):
            return pa.struct(fields), _after(rest, ">", whole)
        rest = rest[2:]


def _after(text: str, mark: str, whole: str) -> str:
    if not text.startswith(mark):
        raise _malformed(whole, text)
    return text[len(mark) :]


def _malformed(whole: str, part: str) -> ConformError:
    return ConformError(
        place=f"type {whole!r}",
        found=repr(part),
        wanted="string, bool, binary, int32, int64, uint32, float32, float64, timestamp[us, UTC], "
        "list<T>, struct<name: T, ...> or fixed_size_list<T>[width]",
    )


def type_string(arrow_type: pa.DataType) -> str:
    """Write an Arrow type as a type string; types outside the grammar as pyarrow prints them.

    Args:
        arrow_type: Any Arrow type.

    Returns:
        Text that `parse_type` reads back, if the type is of the grammar.
    """
    # pyarrow's stubs know the children of nested types only on their generic classes
    nested: Any = arrow_type
    if pa.types.is_list(arrow_type):
        return f"list<{type_string(nested.value_type)}>"
    if pa.types.is_fixed_size_list(arrow_type):
        return f"fixed_size_list<{type_string(nested.value_type)}>[{nested.list_size}]"
    if pa.types.is_struct(arrow_type):
        fields = ", ".join(f"{field.name}: {type_string(field.type)}" for field in nested)
        return f"struct<{fields}>"
    known = next((text for text, scalar in _SCALARS.items() if scalar == arrow_type), "")
    return known or str(arrow_type)


def canonical_type(arrow_type: pa.DataType) -> pa.DataType:
    """Replace every physical variant by the stored one, at any depth.

    `large_string` and `string_view` become `string`, the same for `binary` and `list`; children
    become nullable and get pyarrow's default names. Polars and pandas write such variants, and
    they hold the same values.

    Args:
        arrow_type: Any Arrow type.

    Returns:
        The type with the same values in the stored form; other types unchanged.
    """
    nested: Any = arrow_type
    if pa.types.is_large_string(arrow_type) or pa.types.is_string_view(arrow_type):
        return pa.string()
    if pa.types.is_large_binary(arrow_type) or pa.types.is_binary_view(arrow_type):
        return pa.binary()
    if any(is_kind(arrow_type) for is_kind in _LISTS):
        return pa.list_(canonical_type(nested.value_type))
    if pa.types.is_fixed_size_list(arrow_type):
        width: int = nested.list_size
        return pa.list_(canonical_type(nested.value_type), width)
    if pa.types.is_struct(arrow_type):
        return pa.struct([(field.name, canonical_type(field.type)) for field in nested])
    return arrow_type
