"""A file is whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from finedata.errors import OutputError, UsageError
from finedata.store.atomic import atomic_folder, atomic_path, check_new_folder, write_atomic


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


def test_a_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()  # empty: as good as none
    left = tmp_path / ".out.partial"
    left.mkdir()
    (left / "of a killed run").touch()
    with atomic_folder(target) as folder:
        (folder / "file").touch()
        assert not list(target.iterdir())
    assert [path.name for path in target.iterdir()] == ["file"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_failing_block_leaves_no_folder(tmp_path: Path) -> None:
    def fail() -> None:
        with atomic_folder(tmp_path / "out") as folder:
            (folder / "file").touch()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not list(tmp_path.iterdir())


def test_only_a_new_or_empty_folder_is_written(tmp_path: Path) -> None:
    check_new_folder(tmp_path)
    check_new_folder(tmp_path / "new")
    (tmp_path / "file").touch()
    for path, found in [
        (tmp_path, "something there"),
        (tmp_path / "file", "something there"),
        (tmp_path / "none" / "..", "no name"),
    ]:
        with pytest.raises(UsageError, match=found):
            check_new_folder(path)
