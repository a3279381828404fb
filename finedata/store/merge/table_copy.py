"""Which rows of curation and annotation tables a new dataset takes over: all, or its episodes'.

They are streamed in the order of the datasets. Rows are never changed but for names of parts and,
where rankings meet, ranks.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from finedata.errors import ConformError
from finedata.schema.conform import conform
from finedata.schema.tables.all import arrow_schema
from finedata.store.damaged import reading
from finedata.store.remote.path import readable
from finedata.store.review_journal import read_journal
from finedata.store.tables.arrow_compute import compute
from finedata.store.tables.table import REVISED, TableFile, annotation_files, part_path

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class TableOrigin:
    """A dataset whose tables are copied.

    Attributes:
        root: Its folder.
        episode_ids: Episodes whose rows are taken; `None` for all rows, failed receipts included.
        parts: New name of each part by its old one.
        unclustered: Old names of parts whose clusters mean nothing in the new dataset.
    """

    root: Path
    episode_ids: Collection[str] | None
    parts: Mapping[str, str]
    unclustered: frozenset[str] = field(default_factory=frozenset[str])


def copy_receipts(origins: Sequence[TableOrigin], out: Path) -> dict[str, int]:
    """Copy receipts; a record that failed in several datasets is counted once.

    Returns:
        Counts of the new dataset: found, written, failed, frames_read, frames_written,
        frames_dropped (frames of written episodes only).

    Raises:
        ConformError: An episode has no receipt.
        OutputError: The disk is full, or the file cannot be written.
    """
    counts: Counter[str] = Counter()
    known: set[str] = set()
    written = _written_ids(origins) if len(origins) > 1 else set[str]()

    def rows() -> Iterator[pa.Table]:
        for origin in origins:
            for table in _curation_rows(origin, "receipts"):
                ids, statuses = table["episode_id"].to_pylist(), table["status"].to_pylist()
                keep: list[bool] = []
                for episode_id, status in zip(ids, statuses, strict=True):
                    twice = episode_id in known or (status == "failed" and episode_id in written)
                    keep.append(not twice)
                    known.add(episode_id)
                kept: Any = table.filter(pa.array(keep))
                _count(kept, counts)
                yield kept

    _write(out / "curation" / "receipts.parquet", "receipts", rows())
    for origin in origins:
        missing = set(origin.episode_ids or ()) - known
        if missing:
            raise ConformError(
                place=f"{origin.root}, table receipts",
                found=f"no row of {min(missing)}, and {len(missing) - 1} more",
                wanted="one for every episode",
            )
    names = ("found", "written", "failed", "frames_read", "frames_written", "frames_dropped")
    return {name: counts[name] for name in names}


def _written_ids(origins: Sequence[TableOrigin]) -> set[str]:
    found: set[str] = set()
    for origin in origins:
        for table in _curation_rows(origin, "receipts"):
            mask = compute("equal", table["status"], "written")
            found.update(table["episode_id"].filter(mask).to_pylist())
    return found


def _count(receipts: Any, counts: Counter[str]) -> None:
    written = receipts.filter(compute("equal", receipts["status"], "written"))
    counts["found"] += receipts.num_rows
    counts["written"] += written.num_rows
    counts["failed"] += receipts.num_rows - written.num_rows
    for name in ("frames_read", "frames_written", "frames_dropped"):
        counts[name] += compute("sum", written[name]).as_py() or 0


def copy_curation(origins: Sequence[TableOrigin], out: Path) -> dict[str, int]:
    """Copy gate, clusters and representatives, where a dataset has them.

    Where several datasets have representatives, their rankings are interleaved: the first of
    each, then the second of each, so that the N first are still a selection of all.

    Returns:
        Rows left out by table: of parts that were joined with others, as nobody clustered the
        joined part.
    """
    left_out: dict[str, int] = {}
    for name in ("gate", "clusters"):
        tables = (table for origin in origins for table in _curation_rows(origin, name))
        _write(out / "curation" / f"{name}.parquet", name, tables)
    ranked: list[pa.Table] = []
    for number, origin in enumerate(origins):
        ranked += [
            table.append_column("origin", pa.repeat(number, table.num_rows))
            for table in _curation_rows(origin, "representatives")
        ]
    if ranked:
        _write(out / "curation" / "representatives.parquet", "representatives", [_reranked(ranked)])
    for origin in origins:
        for name in ("clusters", "representatives"):
            count = sum(
                table.num_rows for table in _curation_rows(origin, name, only_unclustered=True)
            )
            if count:
                left_out[name] = left_out.get(name, 0) + count
    return left_out


def _reranked(tables: list[pa.Table]) -> pa.Table:
    rows: Any = pa.concat_tables(tables)
    several = len(set(rows["origin"].to_pylist())) > 1
    if several:
        rows = rows.sort_by([("rank", "ascending"), ("origin", "ascending")])
        place = rows.column_names.index("rank")
        ranks = pa.array(range(rows.num_rows), pa.int64())
        rows = rows.set_column(place, rows.schema.field("rank"), ranks)
    return conform(rows.drop_columns(["origin"]), "representatives")


def _curation_rows(
    origin: TableOrigin, name: str, *, only_unclustered: bool = False
) -> Iterator[Any]:
    """Rows of a curation table that are taken, under the new names of the parts."""
    path = origin.root / "curation" / f"{name}.parquet"
    if not path.is_file():
        return
    schema = arrow_schema(name)
    for table in _scanned(path):
        rows: Any = table.select(schema.names).cast(schema)
        if origin.episode_ids is not None:
            rows = rows.filter(_is_in(rows["episode_id"], origin.episode_ids))
        if name in ("clusters", "representatives"):
            parts = [cluster.partition("/")[0] for cluster in rows["cluster_id"].to_pylist()]
            chosen = [(part in origin.unclustered) == only_unclustered for part in parts]
            rows = rows.filter(pa.array(chosen, pa.bool_()))
        if rows.num_rows:
            yield _renamed(rows, origin.parts)


def _renamed(rows: Any, parts: Mapping[str, str]) -> Any:
    if all(old == new for old, new in parts.items()):
        return rows
    for name in ("part", "cluster_id"):
        if name not in rows.column_names:
            continue
        values: list[str | None] = []
        for text in rows[name].to_pylist():
            part, slash, rest = (text or "").partition("/")
            values.append(None if text is None else f"{parts.get(part, part)}{slash}{rest}")
        place = rows.column_names.index(name)
        rows = rows.set_column(place, rows.schema.field(name), pa.array(values, pa.string()))
    return rows


def copy_annotations(origins: Sequence[TableOrigin], out: Path) -> None:
    """Copy all annotations of the chosen episodes, every revision, and reviews of them.

    Decisions that are in a journal become a file: nobody decides in the new dataset yet.
    """
    for name in (*REVISED, "calls"):
        _copy_annotation(origins, out, name)
    number = 0
    for origin in origins:
        waiting = read_journal(origin.root)
        stored: set[str] = set()
        for path in annotation_files(origin.root, "reviews"):
            target = part_path(out, "reviews", number)
            number += _write(target, "reviews", _review_rows(origin, _scanned(path)))
            if waiting.num_rows:
                for table in _scanned(path):
                    stored.update(table["review_id"].to_pylist())
        new = [review_id not in stored for review_id in waiting["review_id"].to_pylist()]
        rows: Any = waiting.filter(pa.array(new, pa.bool_()))
        number += _write(part_path(out, "reviews", number), "reviews", _review_rows(origin, [rows]))


def _copy_annotation(origins: Sequence[TableOrigin], out: Path, name: str) -> None:
    number = 0
    for origin in origins:
        for path in annotation_files(origin.root, name):
            number += _write(part_path(out, name, number), name, _episode_rows(origin, path))


def _episode_rows(origin: TableOrigin, path: Path) -> Iterator[Any]:
    for table in _scanned(path):
        if origin.episode_ids is None:
            yield table
        else:
            yield table.filter(_is_in(table["episode_id"], origin.episode_ids))


def _review_rows(origin: TableOrigin, tables: Iterable[Any]) -> Iterator[Any]:
    """Reviews name a row of some table: those whose row is taken too."""
    if origin.episode_ids is None:
        yield from tables
        return
    targets: dict[str, set[str]] = {}
    for table in tables:
        keep: list[bool] = []
        names, ids = table["target_table"].to_pylist(), table["target_id"].to_pylist()
        for name, target_id in zip(names, ids, strict=True):
            if name not in targets:
                targets[name] = _taken_ids(origin, name)
            keep.append(target_id in targets[name])
        yield table.filter(pa.array(keep, pa.bool_()))


def _taken_ids(origin: TableOrigin, name: str) -> set[str]:
    column = REVISED.get(name)
    if column is None:
        return set(origin.episode_ids or ())
    taken: set[str] = set()
    for path in annotation_files(origin.root, name):
        for table in _episode_rows(origin, path):
            taken.update(table[column].to_pylist())
    return taken


def _scanned(path: Path) -> Iterator[Any]:
    with reading(path), pq.ParquetFile(readable(path)) as file:
        schema = file.schema_arrow
        for batch in cast("Any", file).iter_batches(batch_size=_ROWS_AT_ONCE):
            yield pa.Table.from_batches([batch], schema=schema)


def _write(path: Path, name: str, tables: Iterable[Any]) -> bool:
    """Write a table's file in a new dataset, where it has a row; whether it has."""
    filled = (table for table in tables if table.num_rows)
    first = next(filled, None)
    if first is None:
        return False
    with TableFile[Any](path, name, copied=True) as file:
        for table in chain([first], filled):
            file.write(table)
    return True


def _is_in(column: Any, values: Collection[str]) -> Any:
    return compute("is_in", column, value_set=pa.array(values, pa.string()))
