"""The published, language-neutral schemas: `schemas/v1/<table>.json`, written and read back.

Declarations of tables become small JSON files that need neither Python nor Arrow to be understood,
and from such a file alone the very `pa.Schema` that the code uses is built again. Documents are
published as JSON Schema, `schemas/v1/<document>.schema.json`. Regenerate with

    python -m finedata.schema.publish [FOLDER]

which writes into the checkout's `schemas/`, and `converters/README.md` beside it, unless a folder
is named. A test compares the committed files with the regenerated text.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from finedata.errors import ConformError, OutputError
from finedata.papers import paper_room
from finedata.schema.bench_summary import BenchFile, BenchSummary
from finedata.schema.codecs_file import CodecsFile
from finedata.schema.columns import Column, Open, Table
from finedata.schema.converter_file import converter_json_schema
from finedata.schema.converter_table import converters_page
from finedata.schema.documents import document_json_schema
from finedata.schema.enums import meanings_of
from finedata.schema.recipe_file import Recipe
from finedata.schema.roles_file import RolesFile
from finedata.schema.shards_file import ShardsFile
from finedata.schema.stream_receipt import StreamReceipt, StreamState
from finedata.schema.tables.all import TABLES, build_schema

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import pyarrow as pa

DOCUMENTS: Mapping[str, tuple[type[msgspec.Struct], str]] = {
    "shards": (ShardsFile, "finedata shards.json"),
    "roles": (RolesFile, "finedata roles.toml"),
    "recipe": (Recipe, "finedata training recipe"),
    "stream-receipt": (StreamReceipt, "receipt of a finedata stream"),
    "stream-state": (StreamState, "state of a finedata stream"),
    "vector-codecs": (CodecsFile, "how a policy's numbers are written and read"),
    "bench": (BenchFile, "bench.json of a benchmark that finedata cut"),
    "bench-summary": (BenchSummary, "summary.json of a finedata benchmark's result"),
}
"""Document -> its type and the title of its JSON Schema."""


def published_texts() -> dict[str, str]:
    """Make the text of every published file.

    Returns:
        Path relative to `schemas/` -> its text, ending with a newline. Whatever is generated from
        the code and published under `schemas/` has its entry here.
    """
    tables = {
        f"v{table.version}/{table.name}.json": table_to_json(table) for table in TABLES.values()
    }
    documents = {
        f"v1/{name}.schema.json": document_json_schema(kind, title=title)
        for name, (kind, title) in DOCUMENTS.items()
    }
    return tables | documents | {"converter.schema.json": converter_json_schema()}


def publish(folder: Path) -> list[Path]:
    """Write every published file; the same code writes the same bytes.

    Args:
        folder: The `schemas/` folder; folders below it are made.

    Returns:
        The files written, sorted.
    """
    written: list[Path] = []
    for name, text in sorted(published_texts().items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        written.append(path)
    return written


def publish_converters_page(folder: Path) -> Path:
    """Write `README.md` of the converters/ room.

    Args:
        folder: The `converters/` folder.

    Returns:
        The file written.
    """
    path = folder / "README.md"
    path.write_text(converters_page(), encoding="utf-8", newline="\n")
    return path


def table_to_json(table: Table) -> str:
    """Write a declaration as JSON.

    Args:
        table: The declaration.

    Returns:
        JSON text with keys in declared order, two spaces of indentation, and a final newline.
    """
    document = {
        "name": table.name,
        "version": table.version,
        "meaning": table.meaning,
        "file": table.file,
        "key": list(table.key),
        "stored_key": list(table.stored_key),
        "open": [_open_to_json(opened) for opened in table.open],
        "columns": [_column_to_json(column) for column in table.columns],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _open_to_json(opened: Open) -> dict[str, Any]:
    return {
        "prefix": opened.prefix,
        "type": opened.type,
        "nullable": opened.nullable,
        "meaning": opened.meaning,
    }


def _column_to_json(column: Column) -> dict[str, Any]:
    """Eight keys in every column; the others only where they say something."""
    entry: dict[str, Any] = {
        "name": column.name,
        "type": column.type,
        "nullable": column.nullable,
        "meaning": column.meaning,
        "unit": column.unit,
        "frame": column.frame,
        "range": None if column.range is None else [_tidy(bound) for bound in column.range],
        "enum": None if column.enum is None else list(column.enum),
    }
    if column.enum is not None:
        entry["enum_meanings"] = meanings_of(column.enum)
    if column.enum_by is not None:
        entry["enum_by"] = {
            "column": column.enum_by.column,
            "values": {value: list(allowed) for value, allowed in column.enum_by.values.items()},
        }
    if column.presence != "required":
        entry["presence"] = column.presence
    if column.never_empty:
        entry["never_empty"] = True
    if column.asked:
        entry["asked"] = column.asked
    if column.fields:
        entry["fields"] = dict(column.fields)
    return entry


def _tidy(bound: float | None) -> float | int | None:
    """Write a whole number as one: 0, not 0.0."""
    return int(bound) if bound is not None and bound.is_integer() else bound


def table_from_json(text: str) -> Table:
    """Read a declaration back.

    Args:
        text: Text of a published file.

    Returns:
        A declaration equal to the one it was written from.

    Raises:
        ConformError: The text is not JSON or not such a declaration; the message has the path.
    """
    try:
        return msgspec.json.decode(text, type=Table)
    except msgspec.DecodeError as error:
        raise ConformError(
            place="published schema", found=str(error), wanted="a file of schemas/v1/"
        ) from error


def schema_from_json(
    text: str,
    *,
    features: Mapping[str, int] | None = None,
    cameras: Sequence[str] = (),
    optional: Collection[str] = (),
) -> pa.Schema:
    """Rebuild an Arrow schema from a published file alone.

    Args:
        text: Text of a published file.
        features: For `frames`: vector column -> its width, as info.json of the part declares.
        cameras: For `frames`: cameras stored as pictures.
        optional: For `frames`: further optional columns that the part has.

    Returns:
        The schema that `arrow_schema(name)` gives, or `frames_schema(...)` with widths.

    Raises:
        ConformError: The text is not a published schema, or a feature is not of its list.
    """
    return build_schema(
        table_from_json(text), features=features, cameras=cameras, optional=optional
    )


def _main(arguments: Sequence[str]) -> None:
    room = Path(arguments[0]) if arguments else paper_room("schemas")
    converters = paper_room("converters")
    if not isinstance(room, Path):
        raise OutputError(
            place=f"the schemas/ room at {room}",
            found="a packed wheel",
            wanted="a folder to write to",
            next_command="python -m finedata.schema.publish FOLDER",
        )
    publish(room)
    if not arguments and isinstance(converters, Path):
        publish_converters_page(converters)


if __name__ == "__main__":
    _main(sys.argv[1:])
