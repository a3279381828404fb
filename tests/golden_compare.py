"""What differs between two folders that verbs wrote, file by file, and what of it was announced.

Parquet is compared column by column, JSON and what a verb said key by key: an entry of
`tests/golden_announced.toml` names files, and the columns or keys that may differ in them.
"""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

LEDGERS = ".finedata"


@dataclass(frozen=True)
class Announced:
    """A difference that is known.

    Attributes:
        files: Patterns of relative paths (`fnmatch`, `*` crosses folders).
        reason: Why they differ.
        columns: Of Parquet: columns that may differ, be new or be gone (`fnmatch` patterns); the
            rest must be equal.
        keys: Of JSON and JSON lines: the same, at any depth.
        sort_by: Of Parquet: columns to sort rows by first, where their order follows an id.
        any: The whole file may differ.
        added: The file may be there in NEW alone.
    """

    files: tuple[str, ...]
    reason: str
    columns: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    sort_by: tuple[str, ...] = ()
    any: bool = False
    added: bool = False

    def fits(self, name: str) -> bool:
        """Whether a file is among those that it is about."""
        return any(fnmatchcase(name, pattern) for pattern in self.files)


def read_announced(path: Path) -> list[Announced]:
    """The entries of the file; unknown keys are an error."""
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("difference", [])
    return [
        Announced(**{key: tuple(v) if isinstance(v, list) else v for key, v in entry.items()})
        for entry in entries
    ]


def files_of(root: Path) -> dict[str, Path]:
    """Relative name to path of every file, ledgers left out."""
    return {
        path.relative_to(root).as_posix(): path
        for path in sorted(root.rglob("*"))
        if path.is_file() and LEDGERS not in path.relative_to(root).parts
    }


def compare(
    old: Path, new: Path, announced: list[Announced]
) -> tuple[int, Counter[int], list[str]]:
    """(files that are equal, files that each entry excuses, what nobody announced)."""
    ours, theirs = files_of(old), files_of(new)
    equal, used, others = 0, Counter[int](), list[str]()
    for name in sorted(ours.keys() | theirs.keys()):
        fitting = [k for k, entry in enumerate(announced) if entry.fits(name)]
        entries = [announced[k] for k in fitting]
        one, other = ours.get(name), theirs.get(name)
        left: str | None = None
        if one is None or other is None:
            added = one is None and any(entry.added for entry in entries)
            left = None if added else f"only in {'OLD' if other is None else 'NEW'}"
        elif one.read_bytes() == other.read_bytes():
            equal += 1
            continue
        elif not any(entry.any for entry in entries):
            left = difference(one, other, entries)
            if left is None and not fitting:
                left = "other bytes, the same content"
        if left is None:
            used.update(fitting)
        else:
            others.append(f"{name}: {left}")
    return equal, used, others


def difference(old: Path, new: Path, entries: list[Announced]) -> str | None:
    """What differs between two files once announced columns and keys are left out."""
    if old.suffix == ".parquet":
        return _parquet_difference(old, new, entries)
    keys = {key for entry in entries for key in entry.keys}
    if old.suffix in (".json", ".jsonl", ".txt") and keys:
        one, other = (_without_keys(path, keys) for path in (old, new))
        return None if one == other else _first_difference(one, other)
    return _first_difference(old.read_bytes(), new.read_bytes())


def _parquet_difference(old: Path, new: Path, entries: list[Announced]) -> str | None:
    import pyarrow.parquet as pq

    dropped = {column for entry in entries for column in entry.columns}
    order = [column for entry in entries for column in entry.sort_by]
    tables = []
    for path in (old, new):
        table = pq.ParquetFile(path).read()
        table = table.drop_columns(
            [
                name
                for name in table.column_names
                if any(fnmatchcase(name, pattern) for pattern in dropped)
            ]
        )
        tables.append(table.sort_by([(name, "ascending") for name in order]) if order else table)
    one, other = tables
    found: list[str] = []
    if one.num_rows != other.num_rows:
        found.append(f"{one.num_rows} rows became {other.num_rows}")
    for name in dict.fromkeys([*one.column_names, *other.column_names]):
        if name not in one.column_names or name not in other.column_names:
            found.append(f"column {name} only in {'OLD' if name in one.column_names else 'NEW'}")
        elif not _equal(one[name], other[name]):
            found.append(f"column {name}{_example(one[name], other[name])}")
    if not found and one.schema.metadata != other.schema.metadata and not dropped:
        found.append("metadata of the schema")
    return "; ".join(found) or None


def _equal(old: Any, new: Any) -> bool:
    """Whether two columns hold the same; a NaN is one, though Arrow says that it equals nothing."""
    if old.equals(new):
        return True
    return old.type == new.type and repr(old.to_pylist()) == repr(new.to_pylist())


def _example(old: Any, new: Any) -> str:
    if old.type != new.type:
        return f" ({old.type} became {new.type})"
    for row, (a, b) in enumerate(zip(old.to_pylist(), new.to_pylist(), strict=False)):
        if repr(a) != repr(b):
            return f" (row {row}: {str(a)[:60]!r} became {str(b)[:60]!r})"
    return ""


def _without_keys(path: Path, keys: set[str]) -> bytes:
    """JSON, JSON lines, or what a verb said, with keys left out at any depth."""

    def cut(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: cut(inner) for name, inner in value.items() if name not in keys}
        return [cut(inner) for inner in value] if isinstance(value, list) else value

    text = path.read_text(encoding="utf-8")
    head, _, rest = text.partition("\n") if text.startswith("exit ") else ("", "", text)
    try:
        parts = [json.loads(rest)]
    except json.JSONDecodeError:
        parts = []
        for line in rest.splitlines():
            try:
                parts.append(json.loads(line))
            except json.JSONDecodeError:
                parts.append(line)
    return "\n".join([head, *(json.dumps(cut(part), sort_keys=True) for part in parts)]).encode()


def _first_difference(one: bytes, other: bytes) -> str:
    length = min(len(one), len(other))
    at = next((k for k in range(length) if one[k] != other[k]), length)
    around = slice(max(at - 30, 0), at + 50)
    return f"byte {at} of {len(one)} and {len(other)}: {one[around]!r} became {other[around]!r}"
