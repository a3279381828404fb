"""What the tests of bad input share: convert, hold the counts against each other, look."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from finedata.convert.context import ConvertOptions
from finedata.convert.run import convert
from finedata.convert.verify.run import verify
from finedata.schema.enums import RECEIPT_FLAGS, RECEIPT_REASONS
from finedata.store.dataset import open_dataset

__all__ = ["Opened", "Rows", "reasons", "receipts_of", "truncate"]

Rows = list[dict[str, Any]]


def receipts_of(
    converter: str, source: Path, out: Path, options: ConvertOptions | None = None
) -> Rows:
    """Convert; every receipt, in order, after the counts were held against each other."""
    summary = convert(converter, input=source, out=out, options=options)
    rows = open_dataset(out).receipts.collect().to_dicts()
    written = [row for row in rows if row["status"] == "written"]
    failed = [row for row in rows if row["status"] == "failed"]
    assert summary.found == len(rows) == len(written) + len(failed)
    assert (summary.episodes, summary.failed) == (len(written), len(failed))
    assert summary.frames == sum(row["frames_written"] for row in written)
    for row in rows:
        assert row["frames_read"] == row["frames_written"] + row["frames_dropped"]
        assert set(row["flags"]) <= set(RECEIPT_FLAGS)
    for row in failed:
        assert row["reason"] in RECEIPT_REASONS
        assert row["message"]
    report = verify(out, input=source)
    assert report.problems == [], report.problems[:3]
    assert report.episodes == len(written)
    return rows


def reasons(rows: Rows) -> list[str | None]:
    return [row["reason"] for row in rows]


def truncate(file: Path, keep: float = 0.6) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: int(keep * len(data))])


class Opened:
    """Every path that was opened while it watches, by `os.open` or Python's `open`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths: list[str] = []
        really = os.open

        def note(path: Any, flags: int, *rest: Any, **named: Any) -> int:
            self.paths.append(os.path.realpath(os.fsdecode(path)))
            return really(path, flags, *rest, **named)

        monkeypatch.setattr(os, "open", note)
