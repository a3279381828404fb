"""Folders and ranges: local and remote give the same, and what cannot be had is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from finedata.errors import MissingExtraError, UsageError
from finedata.readers.files import SourceFile, open_folder

CONTENT = bytes(range(256)) * 40


@pytest.fixture(params=["local", "file://", "memory://"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "data"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.bin").write_bytes(CONTENT)
    (folder / "deep" / "b.bin").write_bytes(b"b")
    if request.param != "memory://":
        yield f"file://{folder}" if request.param == "file://" else str(folder)
        return
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/files/data", recursive=True)
    yield "memory://files/data"
    memory.rm("/files", recursive=True)


def test_lists_and_reads_ranges(address: str) -> None:
    folder = open_folder(address)
    assert folder.files() == [SourceFile("a.bin", len(CONTENT)), SourceFile("deep/b.bin", 1)]
    assert folder.read_all("a.bin") == CONTENT
    assert folder.child("deep").read_all("b.bin") == b"b"
    reader = folder.open("a.bin")
    assert reader.size == len(CONTENT)
    assert reader.read(1000, 300) == CONTENT[1000:1300]
    assert reader.read(len(CONTENT) - 5, 100) == CONTENT[-5:]
    assert reader.read(len(CONTENT) + 5, 10) == b""
    reader.close()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="found a file"):
        open_folder(tmp_path / "file")


def test_unknown_scheme_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="nosuch"):
        open_folder("nosuch://bucket/folder")


def test_missing_library_is_named() -> None:
    try:
        import s3fs  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtraError, match=r"finedata\[remote\]"):
            open_folder("s3://bucket/folder")
    else:
        pytest.skip("s3fs is installed")


def test_empty_remote_folder_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="no file"):
        open_folder("memory://nothing/here").files()
