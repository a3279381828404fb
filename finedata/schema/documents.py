"""JSON documents beside the tables: strict in, one form out, and digests over one canonical form.

A document says which kind and version it is before anything else in it is believed, so that one of
a newer finedata is told apart from a damaged one. What names or seals other things is a SHA-256
over *canonical JSON*: keys sorted by code point, no white space, UTF-8, no NaN. Preimages hold
texts and whole numbers only (a weight is "1/3", not 0.333), because programs differ in how they
write fractions.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated, Any, TypeVar, cast

import msgspec

from finedata.errors import ConformError
from finedata.schema.json_schema import json_schema
from finedata.schema.strict import Strict

__all__ = [
    "Count",
    "FileDigest",
    "Sha256",
    "canonical_json",
    "decode_document",
    "digest_of",
    "document_json_schema",
    "encode_document",
]

Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
"""64 lower-case hex digits."""
Count = Annotated[int, msgspec.Meta(ge=0)]
"""A whole number of zero or more."""

Document = TypeVar("Document", bound=msgspec.Struct)


class FileDigest(Strict, frozen=True, kw_only=True):
    """A file: its path relative to the document, with `/` on every system, its size and digest."""

    path: str
    bytes: Count
    sha256: Sha256


class _Head(msgspec.Struct, frozen=True):
    schema: str = msgspec.field(name="finedata.schema")
    version: int = msgspec.field(name="finedata.version")


def canonical_json(value: Any) -> bytes:
    r"""Write a value in the one form that digests are taken of.

    Args:
        value: Objects, lists, texts, whole numbers, booleans and null; structs count as objects.

    Raises:
        ConformError: It holds a fraction.

    Example:
        >>> canonical_json({"b": [1, None], "a": "é"})
        b'{"a":"\xc3\xa9","b":[1,null]}'
    """
    plain = msgspec.to_builtins(value)
    _refuse_fractions(plain, "$")
    return msgspec.json.encode(plain, order="sorted")


def _refuse_fractions(value: Any, path: str) -> None:
    if isinstance(value, float):
        raise ConformError(
            place=f"canonical JSON at {path}", found=repr(value), wanted="a text or a whole number"
        )
    if isinstance(value, dict):
        for name, item in cast("dict[str, Any]", value).items():
            _refuse_fractions(item, f"{path}.{name}")
    elif isinstance(value, list | tuple):
        for place, item in enumerate(cast("list[Any]", value)):
            _refuse_fractions(item, f"{path}[{place}]")


def digest_of(value: Any) -> str:
    """SHA-256 of a value's canonical JSON, 64 hex digits.

    Raises:
        ConformError: It holds a fraction.
    """
    return sha256(canonical_json(value)).hexdigest()


def decode_document(data: bytes | str, kind: type[Document], *, place: str) -> Document:
    """Decode a document strictly.

    Args:
        data: Its JSON.
        kind: Its type; the fields `finedata.schema` and `finedata.version` have one value each.
        place: What messages call it.

    Raises:
        ConformError: It is no JSON, another document, of another version, or not as the type says.
    """
    wanted = {field.encode_name: field.default for field in msgspec.structs.fields(kind)}
    name, version = wanted["finedata.schema"], wanted["finedata.version"]
    try:
        head = msgspec.json.decode(data, type=_Head)
        if (head.schema, head.version) == (name, version):
            return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConformError(
            place=place, found=str(error), wanted=f"a document as in schemas/v1/{name}.schema.json"
        ) from error
    newer = head.schema == name and head.version > version
    raise ConformError(
        place=place,
        found=f"document {head.schema!r}, version {head.version}",
        wanted=f"document {name!r}, version {version}",
        next_command="pip install --upgrade finedata" if newer else "",
    )


def encode_document(document: msgspec.Struct) -> bytes:
    """Write a document as a file has it: two spaces of indentation, a final newline."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def document_json_schema(kind: type[msgspec.Struct], *, title: str) -> str:
    """The JSON Schema of a document, as published; kind and version are required."""
    schema = json_schema(kind)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = title
    for declared in schema["$defs"].values():
        head = [name for name in declared["properties"] if name.startswith("finedata.")]
        declared["required"] = [*head, *declared.get("required", [])]
    return (
        msgspec.json.format(msgspec.json.encode(schema, order="sorted"), indent=2).decode() + "\n"
    )
