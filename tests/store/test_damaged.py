"""A damaged file's error says how to get that file back."""

from __future__ import annotations

from pathlib import Path

import pytest

from finedata.store.damaged import damaged_file


@pytest.mark.parametrize(
    ("name", "next_command"),
    [
        ("curation/gate.parquet", "finedata gate d"),
        ("curation/clusters.parquet", "finedata cluster d"),
        ("curation/representatives.parquet", "finedata cluster d"),
        # no verb writes these again: to remove them would lose episodes
        ("curation/receipts.parquet", "fetch it again"),
        ("annotations/gate/gate.parquet", "fetch it again"),
        ("meta/episodes/chunk-000/file-000.parquet", "fetch it again"),
    ],
)
def test_the_next_command_gets_the_file_back(name: str, next_command: str) -> None:
    error = damaged_file(Path("d") / name, found="x", wanted="y")
    assert (error.next_command or "").startswith(next_command)
    assert "remove" not in (error.next_command or "")


def test_the_first_line_is_said_and_never_nothing() -> None:
    assert damaged_file(Path("a"), found="one\ntwo", wanted="y").found == "one"
    assert damaged_file(Path("a"), found=OSError(), wanted="y").found == "OSError()"
