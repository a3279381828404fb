"""`finedata.json`: the marker at the root of a dataset, written last, read first.

Its existence means that the dataset is complete.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from finedata.errors import ConformError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "DATASET_FILE",
    "DatasetFile",
    "DerivedFrom",
    "OriginEntry",
    "PartEntry",
    "SourceEntry",
    "read_dataset_file",
]

DATASET_FILE = "finedata.json"


class PartEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One LeRobot dataset inside a finedata dataset; `path` is relative to the root.

    `renamed` has features whose name is not the source's, and its name there; `left_out` features
    of the source of which nothing was made, and why.
    """

    name: str
    path: str
    embodiment: str
    fps: float
    episodes: int
    frames: int
    renamed: dict[str, str] = {}
    left_out: dict[str, str] = {}


class SourceEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Where episodes came from, with the converter file that read them."""

    name: str
    title: str
    revision: str
    home: str
    licence: str
    citation: str
    shards: int
    missing_shards: list[str]
    converter_sha256: str
    converter: str


class OriginEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A dataset of which another was made, in the words of its own finedata.json."""

    sources: list[str]
    finedata_version: str
    options: dict[str, Any]
    counts: dict[str, int]
    derived_from: DerivedFrom | None = None


class DerivedFrom(msgspec.Struct, frozen=True, kw_only=True):
    """How a dataset was made of others; `where` is the SQL condition of a selection."""

    how: Literal["selection", "merge"]
    where: str
    origins: list[OriginEntry]


class DatasetFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What finedata.json says; `derived_from` is there where it was made of other datasets."""

    schema: str = msgspec.field(name="finedata.schema")
    version: int = msgspec.field(name="finedata.version")
    finedata_version: str
    libraries: dict[str, str]
    sources: list[SourceEntry]
    parts: list[PartEntry]
    options: dict[str, Any]
    counts: dict[str, int]
    derived_from: DerivedFrom | None = None


def read_dataset_file(root: Path) -> DatasetFile:
    """Read the marker of a dataset.

    Raises:
        UsageError: There is none: no dataset, or one that is not finished.
        ConformError: It is not one that this version of finedata reads.
    """
    path = root / DATASET_FILE
    if not path.is_file():
        begun = (root / ".finedata").is_dir()
        raise UsageError(
            place=str(root),
            found="a run that has not finished" if begun else f"no {DATASET_FILE}",
            wanted="a finedata dataset",
            next_command=f"finedata status {root}  # what was begun; the same command continues it"
            if begun
            else "finedata convert SOURCE --input DIR --out DIR",
        )
    try:
        found = msgspec.json.decode(path.read_bytes(), type=DatasetFile)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConformError(
            place=str(path), found=f"{error}", wanted="a finedata.json of version 1"
        ) from error
    if found.schema != "dataset" or found.version != 1:
        raise ConformError(
            place=str(path),
            found=f"schema {found.schema!r}, version {found.version}",
            wanted="schema 'dataset', version 1",
            next_command="pip install --upgrade finedata",
        )
    return found
