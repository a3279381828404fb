"""Taking over annotations that other projects released: whose they are, and of which episode.

An id that means no episode of the dataset is an error with counts, and nothing is written: text at
the wrong episode would never be noticed. Numbers in released files are those of the source, so they
are looked up in the receipts, never in the dataset's own order, unless the caller says so. Rows are
of one run, named by the bytes of the files: the same import twice adds nothing. What was taken from
where is kept in `annotations/imports/<run_id>.json`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from finedata.annotate.importing.ids import Episodes, Unmatched
from finedata.annotate.importing.rows import FORMATS, Taken, released_files
from finedata.errors import ConformError, UsageError
from finedata.schema.identity import hash16
from finedata.store.atomic import write_atomic
from finedata.store.dataset import open_dataset
from finedata.store.summary import Summary
from finedata.store.tables.table import append_rows, undo_unfinished

if TYPE_CHECKING:
    from finedata.annotate.importing.ids import By

__all__ = ["ImportSummary", "import_annotations"]

Origin = Literal["teacher", "human", "source"]

_TABLES = ("steps", "traces", "instructions")
_TOLD = 10


class ImportSummary(Summary, msgspec.Struct, frozen=True, kw_only=True):
    """What an import did.

    Attributes:
        format: Name of the format.
        run_id: Name of the run, in every row.
        origin: Who is said to have made the rows.
        annotator: The same by name.
        files: Files that were read.
        episodes: Episodes that the files are about and the dataset has.
        before: Of these, those that the same import had brought before.
        unmatched: Ids that mean no episode of the dataset.
        rows: Table -> rows written now.
        counts: What was left out and why: `empty_traces`, `unreadable_traces`, `rows_<style>`.
        reasons: Why traces are unreadable -> how many, at most twenty.
        receipt: Where this is kept, relative to the dataset.
    """

    format: str
    run_id: str
    origin: Origin
    annotator: str
    files: int
    episodes: int
    before: int
    unmatched: int
    rows: dict[str, int]
    counts: dict[str, int]
    reasons: dict[str, int]
    receipt: str


def import_annotations(
    root: str | Path,
    released: str | Path,
    *,
    format: str,
    by: By = "source",
    ids: str | Path | None = None,
    origin: Origin | None = None,
    annotator: str = "",
    unmatched: Unmatched = "refuse",
) -> ImportSummary:
    """Take over released annotations.

    Args:
        root: Root of the dataset.
        released: The file, or the folder, as the project released it.
        format: A key of `FORMATS`.
        by: What numbers in the files count: the `source`'s episodes, or the `dataset`'s (of a file
            that an export of this dataset wrote).
        ids: JSON Lines of `{"id": ..., "episode_id": ...}`, for ids that are neither.
        origin: Who made them; by the format otherwise.
        annotator: The same by name; by the format otherwise.
        unmatched: `refuse` the whole import where an id means no episode, or `skip` those.

    Raises:
        UsageError: No such format or file; or ids that mean no episode, with counts.
        ConformError: A file cannot be read, or is about longer episodes than the dataset has.
        OutputError: A file cannot be written.

    Example:
        >>> import_annotations("rdt", "rdt_v21", format="finevla")  # doctest: +SKIP
    """
    path, source = Path(root), Path(released)
    if format not in FORMATS:
        raise UsageError(
            parameter="format", found=f"{format!r}", wanted=f"one of {', '.join(FORMATS)}"
        )
    known = FORMATS[format]
    whose: Origin = known.origin if origin is None else origin
    annotator = annotator or known.annotator
    undo_unfinished(path)
    dataset = open_dataset(path)
    files = released_files(source, known)
    digests = {name: _sha256(file) for name, file in files.items()}
    said = {"import": format, "files": digests, "origin": whose, "annotator": annotator}
    run_id = hash16(msgspec.json.encode(said, order="deterministic").decode())
    matched = Episodes(dataset, by=by, ids=None if ids is None else Path(ids))
    taken = Taken(run_id=run_id, origin=whose, annotator=annotator)
    found = {
        one.episode_id: one
        for one in (matched.of(key) for key in known.read(source, files, taken))
        if one is not None
    }
    _check(matched, found, unmatched=unmatched, place=str(source))
    for episode_id in matched.order:
        if episode_id in found:
            taken.add(found[episode_id].row, found[episode_id].given)
    receipt = f"annotations/imports/{run_id}.json"
    done = _done(dataset, run_id)
    with append_rows(path, _TABLES) as writer:
        for table in _TABLES:
            writer.add(table, [r for r in taken.rows[table] if r["episode_id"] not in done])
    summary = ImportSummary(
        format=format,
        run_id=run_id,
        origin=whose,
        annotator=annotator,
        files=len(files),
        episodes=len(found),
        before=len(done & set(found)),
        unmatched=len(matched.missing),
        rows=dict(writer.counts),
        counts={name: count for name, count in sorted(taken.counts.items()) if count},
        reasons=dict(sorted(taken.reasons.items(), key=lambda one: (-one[1], one[0]))[:20]),
        receipt=receipt,
    )
    _write_receipt(path / receipt, summary, digests, found)
    return summary


def _check(matched: Episodes, found: dict[str, Any], *, unmatched: Unmatched, place: str) -> None:
    """Refuse ids that mean nothing.

    Raises:
        UsageError: There are some, or nothing else.
    """
    missing = matched.missing
    total = len(found) + len(missing)
    if not total:
        raise UsageError(place=place, found="no annotation in it", wanted="at least one")
    if not missing or (found and unmatched == "skip"):
        return
    reasons = Counter(reason for _, reason in missing)
    told = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common())
    names = ", ".join(name for name, _ in missing[:_TOLD]) + (" ..." if missing[_TOLD:] else "")
    raise UsageError(
        place=place,
        found=f"{len(missing)} of {total} ids mean no episode of {matched.root}: {told}: {names}",
        wanted="ids of the source's episodes, as its receipts have them; nothing was written",
        next_command=("--unmatched skip takes the others" if found else matched.advice()),
    )


def _done(dataset: Any, run_id: str) -> set[str]:
    import polars as pl

    found: set[str] = set()
    for table in _TABLES:
        rows = dataset.table(table).filter(pl.col("run_id") == run_id)
        found |= set(rows.select("episode_id").unique().collect()["episode_id"].to_list())
    return found


def _write_receipt(
    path: Path, summary: ImportSummary, digests: dict[str, str], found: dict[str, Any]
) -> None:
    """What was read, and which released id is which episode; nothing of when or how often."""
    content: dict[str, Any] = {
        "format": summary.format,
        "run_id": summary.run_id,
        "origin": summary.origin,
        "annotator": summary.annotator,
        "unmatched": summary.unmatched,
        "counts": summary.counts,
        "sha256": digests,
        "ids": {one.name: episode_id for episode_id, one in sorted(found.items())},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConformError(place=str(path), found=str(error), wanted="a file") from error
