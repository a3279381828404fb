"""Which old parts make each part of a merged dataset, what it is called, and how it is written.

Parts may become one where everything that their numbers can mean is equal. A part that stays as
it was is linked; where several become one, files are copied with new indices.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl
import pyarrow.parquet as pq

from finedata.store.damaged import reading
from finedata.store.dataset_file import PartEntry
from finedata.store.lerobot.layout import read_info
from finedata.store.merge.part_copy import PartSlice, copy_part, link_part
from finedata.store.merge.table_copy import TableOrigin
from finedata.store.remote.path import readable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from finedata.store.dataset import Dataset

# Which episodes were converted, not how: halves of a source differ in nothing else.
_SELECTING_OPTIONS = ("episodes", "max_episodes")


@dataclass
class NewPart:
    """A part of the merged dataset: parts of datasets by their number, in order."""

    name: str
    members: list[tuple[int, PartEntry]] = field(default_factory=list[tuple[int, PartEntry]])


def grouped_parts(datasets: Sequence[Dataset], *, concatenate: bool) -> list[NewPart]:
    """Parts that become one together: each alone, or with `concatenate` all of a kind."""
    groups: dict[object, NewPart] = {}
    for number, dataset in enumerate(datasets):
        for part in dataset.parts:
            key: object = (number, part.name)
            if concatenate:
                key = _kind(dataset, part)
            groups.setdefault(key, NewPart(part.name)).members.append((number, part))
    return list(groups.values())


def _kind(dataset: Dataset, part: PartEntry) -> str:
    """What two parts must have in common to be one: everything that numbers can mean."""
    root = dataset.root / part.path
    info = read_info(root)
    names = dataset.episodes.filter(pl.col("part") == part.name).select("source").unique()
    sources = set(names.collect()["source"].to_list())
    converters = sorted(
        (source.name, source.converter_sha256)
        for source in dataset.info.sources
        if source.name in sources
    )
    options = {k: v for k, v in dataset.info.options.items() if k not in _SELECTING_OPTIONS}
    kind = {
        "embodiment": part.embodiment,
        "fps": part.fps,
        "features": info["features"],
        "sources": converters,
        "options": options,
        "schemas": [_schema_text(root, pattern) for pattern in ("data", "meta/episodes")],
    }
    return msgspec.json.encode(kind, order="sorted").decode()


def _schema_text(root: Path, folder: str) -> str:
    file = min(root.glob(f"{folder}/*/*.parquet"), default=None)
    if file is None:
        return ""
    with reading(file):
        schema: Any = pq.read_schema(readable(file))  # pyright: ignore[reportUnknownMemberType]  (its stub is partly untyped)
    return str(schema.remove_metadata())


def named_parts(parts: list[NewPart], datasets: Sequence[Dataset]) -> list[NewPart]:
    """Give every part a name of its own: its old one, then with its source, then a number."""
    names = [part.name for part in parts]
    taken: set[str] = {name for name in names if names.count(name) == 1}
    for part in parts:
        if part.name in taken and names.count(part.name) == 1:
            continue
        number, entry = part.members[0]
        rows = datasets[number].episodes.filter(pl.col("part") == entry.name)
        source = rows.select("source").first().collect().item() if entry.episodes else "part"
        base = part.name if part.name.startswith(source) else f"{source}-{part.name}"
        count, unique = 1, base
        while unique in taken:
            count += 1
            unique = f"{base}_{count}"
        part.name = unique
        taken.add(unique)
    return parts


def write_part(
    datasets: Sequence[Dataset], part: NewPart, folder: Path, *, alone: bool
) -> PartEntry:
    """Write the files of a new part into the folder of a dataset; `alone` puts them at its top."""
    path = "." if alone else part.name
    target = folder / path
    if len(part.members) == 1:
        number, entry = part.members[0]
        source = datasets[number].root / entry.path
        return link_part(source, target, name=part.name, entry=entry, path=path)
    # LeRobot knows one stretch of episodes a split: one split of all of them, then the next.
    splits: dict[str, None] = {}
    for number, entry in part.members:
        rows = datasets[number].episodes.filter(pl.col("part") == entry.name)
        ordered = rows.select(pl.col("split").fill_null("train")).collect()["split"]
        splits |= dict.fromkeys(ordered.unique(maintain_order=True).to_list())
    slices = [
        PartSlice(datasets[number].root / entry.path, split=split)
        for split in splits
        for number, entry in part.members
    ]
    return copy_part(slices, target, name=part.name, path=path)


def table_origins(datasets: Sequence[Dataset], parts: Sequence[NewPart]) -> list[TableOrigin]:
    """What to take from the tables of each dataset, and under which names of parts."""
    names: list[dict[str, str]] = [{} for _ in datasets]
    joined: list[set[str]] = [set() for _ in datasets]
    for part in parts:
        for number, entry in part.members:
            names[number][entry.name] = part.name
            if len(part.members) > 1:
                joined[number].add(entry.name)
    return [
        TableOrigin(dataset.root, None, names[number], frozenset(joined[number]))
        for number, dataset in enumerate(datasets)
    ]
