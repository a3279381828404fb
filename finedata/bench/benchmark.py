"""A benchmark: its videos, what is scored of each, and the digests that pin both.

One noun for RoboFine-Bench as it was released and for a benchmark that `finedata bench make` cut.
Both are read by `reading`. What a result may be compared with hangs on the rows, not on the files:
the same questions in another file are the same benchmark.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from finedata.errors import SourceError
from finedata.schema.bench_summary import Benchmark as Pinned
from finedata.schema.bench_summary import item_id
from finedata.schema.conform import conform
from finedata.schema.documents import canonical_json
from finedata.schema.identity import hash16
from finedata.schema.tables.all import arrow_schema
from finedata.store.tables.table import TableFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = [
    "AXES",
    "BENCH_FILE",
    "Benchmark",
    "Row",
    "Track",
    "make_item",
    "read_rows",
    "write_rows",
]

Row = dict[str, Any]
Track = Literal["vqa", "caption"]
BENCH_FILE = "bench.json"

AXES: dict[str, tuple[str, ...]] = {
    "grounding": ("active_actor", "target_object", "initial_configuration"),
    "action": (
        "action_sequence",
        "contact_and_approach",
        "trajectory_and_orientation",
        "body_motion",
    ),
    "state": ("object_interaction", "final_configuration", "failure_and_recovery"),
}
"""RoboFine-Bench's three axes and their dimensions (FineVLA, Table 2)."""


@dataclass(frozen=True, eq=False)
class Benchmark:
    """Videos and items, in the order of their keys.

    Attributes:
        root: Folder that paths of views are relative to.
        name: What it is called.
        revision: Which state of it.
        samples: Rows of `bench_samples`.
        items: Rows of `bench_items`.
        notes: What reading it found.
        annotators: Who made the ground truth, where known; see `BenchFile`.
    """

    root: Path
    name: str
    revision: str
    samples: list[Row]
    items: list[Row]
    notes: list[str] = field(default_factory=list[str])
    annotators: tuple[str, ...] = ()

    @cached_property
    def by_sample(self) -> dict[tuple[str, str], list[Row]]:
        """(track, sample id) -> items by name, numbers in names as numbers."""
        found: dict[tuple[str, str], list[Row]] = {}
        for item in sorted(self.items, key=lambda item: _natural(item["name"])):
            found.setdefault((item["track"], item["sample_id"]), []).append(item)
        return found

    def items_of(self, sample_id: str, track: str) -> list[Row]:
        """Items of a video."""
        return self.by_sample.get((track, sample_id), [])

    def asked(self, track: str) -> list[Row]:
        """Videos that are asked about: usable, and with an item of the track."""
        return [
            sample
            for sample in self.samples
            if sample["usable"] and self.items_of(sample["sample_id"], track)
        ]

    def pinned(self) -> Pinned:
        """Name, revision and the digests of the rows."""
        return Pinned(
            name=self.name,
            revision=self.revision,
            samples_sha256=rows_digest(self.samples, "bench_samples", without=("duration_s",)),
            items_sha256=rows_digest(self.items, "bench_items"),
            samples=len(self.samples),
            items=len(self.items),
        )

    def track(self, track: str) -> Benchmark:
        """The same with the items of one track only."""
        items = [item for item in self.items if item["track"] == track]
        return Benchmark(
            self.root, self.name, self.revision, self.samples, items, self.notes, self.annotators
        )

    def limited(self, track: str, limit: int | None, *, seed: int) -> Benchmark:
        """So many videos, spread over datasets: each dataset's n-th video before any's n+1-th."""
        if limit is None:
            return self
        turn: dict[str, int] = {}
        order: list[tuple[int, str, Row]] = []
        asked = self.asked(track)
        for sample in sorted(asked, key=lambda s: hash16(f"{seed}/limit/{s['sample_id']}")):
            number = turn[sample["dataset"]] = turn.get(sample["dataset"], -1) + 1
            order.append((number, sample["dataset"], sample))
        chosen = {s["sample_id"] for _, _, s in sorted(order, key=lambda one: one[:2])[:limit]}
        return Benchmark(
            self.root,
            self.name,
            self.revision,
            [sample for sample in self.samples if sample["sample_id"] in chosen],
            [item for item in self.items if item["sample_id"] in chosen],
            [*self.notes, f"{limit} of {len(asked)} videos only"],
            self.annotators,
        )


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]


def make_item(sample: Row, track: Track, name: str) -> Row:
    """A row of `bench_items` of which nothing but its name is known.

    Args:
        sample: Row of `bench_samples`: the video.
        track: What is asked of it.
        name: What the item is called; no other of the video and track is called so.
    """
    return {
        "item_id": item_id(sample["sample_id"], track=track, name=name),
        "sample_id": sample["sample_id"],
        "dataset": sample["dataset"],
        "track": track,
        "name": name,
        "slot": None,
        "question": None,
        "answer_type": None,
        "options": [],
        "fact_text": None,
        "object": None,
        "error_type": None,
        "fact_id": None,
    }


def read_rows(path: Path, table: str) -> list[Row]:
    """Rows of a table's file, in the order of the table's key.

    Raises:
        SourceError: It is not there, or is no such table.
    """
    try:
        stored = pq.ParquetFile(path).read()  # pyright: ignore[reportUnknownMemberType]
        return conform(stored, table).to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        raise SourceError(place=str(path), found=f"{error}", wanted=f"the table {table}") from error


def write_rows(path: Path, table: str, rows: Iterable[Row]) -> None:
    """Write rows as a table's file, whole or not at all."""
    with TableFile[Row](path, table) as file:
        for row in rows:
            file.add(row)


def rows_digest(rows: Sequence[Row], table: str, *, without: Sequence[str] = ()) -> str:
    """SHA-256 over the rows' canonical JSON, one a line, every column of the table there."""
    names = [name for name in arrow_schema(table).names if name not in without]
    digest = sha256()
    for row in rows:
        digest.update(canonical_json({name: row.get(name) for name in names}) + b"\n")
    return digest.hexdigest()
