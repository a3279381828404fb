"""A file is whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from finedata.errors import OutputError
from finedata.store.atomic import atomic_path, write_atomic


def test_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.parquet"
    with atomic_path(target) as partial:
        partial.write_bytes(b"half")
        assert not target.exists()
        # LeRobot reads every *.parquet of its folders, hidden ones too.
        assert partial.suffix == ".partial"
    assert target.read_bytes() == b"half"
    assert list(target.parent.iterdir()) == [target]


def test_a_failing_block_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_atomic(target, "old")

    def fail() -> None:
        with atomic_path(target) as partial:
            partial.write_text("new")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_an_output_error_with_a_next_step(tmp_path: Path) -> None:
    def fail() -> None:
        with atomic_path(tmp_path / "file"):
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"No space left on device.*\n?.*same command") as caught:
        fail()
    assert caught.value.exit_code == 1
    assert "file" in caught.value.place
