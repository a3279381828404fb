"""Sidecar files: every form, every damage, names that would leave the folder, repeated reads."""

from __future__ import annotations

import errno
import json
from dataclasses import dataclass, field
from pathlib import Path

import fsspec
import pytest

from finedata.readers import sidecars
from finedata.readers.files import RangeReader, SourceFile, SourceFolder, open_folder
from finedata.readers.sidecars import (
    inside_name,
    is_pattern,
    matching_names,
    open_sidecar,
)


@dataclass
class CountingFolder:
    """A folder that counts how often bytes are read, or fails as it is told."""

    inner: SourceFolder
    reads: list[str] = field(default_factory=list)
    listings: int = 0
    failure: OSError | None = None

    @property
    def address(self) -> str:
        return self.inner.address

    def files(self) -> list[SourceFile]:
        self.listings += 1
        return self.inner.files()

    def read_all(self, name: str) -> bytes:
        return self.inner.read_all(name)

    def open(self, name: str) -> RangeReader:
        if self.failure is not None:
            raise self.failure
        return _CountingReader(self, name, self.inner.open(name))

    def child(self, name: str) -> SourceFolder:
        self.listings += 1
        return self.inner.child(name)


class _CountingReader:
    def __init__(self, folder: CountingFolder, name: str, inner: RangeReader) -> None:
        self._folder, self._name, self._inner, self.size = folder, name, inner, inner.size

    def read(self, offset: int, length: int) -> bytes:
        self._folder.reads.append(self._name)
        return self._inner.read(offset, length)

    def close(self) -> None:
        self._inner.close()


def _keys(tmp_path: Path, name: str, data: bytes, *, key_field: str | None) -> list[str] | None:
    (tmp_path / name).write_bytes(data)
    records = open_sidecar(open_folder(tmp_path), name).records(key_field=key_field)
    return None if records is None else list(records)


@pytest.mark.parametrize(
    ("name", "data", "key_field"),
    [
        ("a.json", b'[{"id": 1, "x": [{}]}, {"x": 1}, {"id": "b"}, 5, {"id": 1, "x": 0}]', "id"),
        ("a.jsonl", b'{"id": 1}\n\n{"nothing": 0}\nnot json\n{"id": "b"}\n', "id"),
        ("a.CSV", b"\xef\xbb\xbfid,text\n1,x\nb\n", "id"),
        ("b.json", b'{"1": {}, "b": "text"}', None),
    ],
)
def test_records_are_found_by_key_whatever_the_form(
    tmp_path: Path, name: str, data: bytes, key_field: str | None
) -> None:
    assert _keys(tmp_path, name, data, key_field=key_field) == ["1", "b"]


def test_the_first_of_two_records_with_one_key_counts(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"id": 1, "x": "first"}, {"id": 1, "x": "second"}]')
    records = open_sidecar(open_folder(tmp_path), "a.json").records(key_field="id")
    assert records is not None
    assert json.loads(bytes(records["1"]))["x"] == "first"


def test_a_csv_row_is_an_object_of_texts(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('task,instruction\r\nt,"put a, then b"\r\nu,x,surplus\r\n')
    records = open_sidecar(open_folder(tmp_path), "a.csv").records(key_field="task")
    assert records is not None
    assert json.loads(bytes(records["t"])) == {"task": "t", "instruction": "put a, then b"}
    assert json.loads(bytes(records["u"])) == {"task": "u", "instruction": "x"}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.json", b""),
        ("a.json", b"[]"),
        ("a.json", b"{}"),
        ("a.json", b'[{"id": "a"}, {"id": "b"'),
        ("a.json", b"[1, 2]"),
        ("a.json", b"[" * 100_000),
        ("a.json", b'[{"id": "\xff"}]'),
        ("a.jsonl", b""),
        ("a.csv", b""),
        ("a.csv", b"other\n1\n"),
        ("a.csv", b"id,x\n\xff,\xfe\n"),
        ("a.csv", b'id\n"never closed\n'),
        ("a.csv", b"id\n" + b"x" * 200_000),
    ],
)
def test_damage_gives_no_records_and_no_error(tmp_path: Path, name: str, data: bytes) -> None:
    assert _keys(tmp_path, name, data, key_field="id") is None


def test_what_is_not_there_is_missing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    folder = open_folder(tmp_path)
    for name in ("nothing", "file/below", "folder", "x" * 300):
        assert open_sidecar(folder, name).problem == "missing"


def test_a_disk_that_fails_for_now_is_no_absence(tmp_path: Path) -> None:
    failing = CountingFolder(open_folder(tmp_path), failure=OSError(errno.EIO, "bad disk"))
    with pytest.raises(OSError, match="bad disk"):
        open_sidecar(failing, "a.json")


def test_a_file_is_read_once_until_its_size_changes(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"k": 1}')
    folder = CountingFolder(open_folder(tmp_path))
    first = open_sidecar(folder, "a.json")
    assert open_sidecar(folder, "a.json") is first
    assert first.records(key_field=None) is first.records(key_field=None)
    assert folder.reads == ["a.json"]
    (tmp_path / "a.json").write_text('{"key": 1}')
    assert list(open_sidecar(folder, "a.json").records(key_field=None) or ()) == ["key"]
    assert folder.reads == ["a.json", "a.json"]


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sidecars, "MAX_SIDECAR_BYTES", 20)
    monkeypatch.setattr(sidecars, "_REMEMBERED_BYTES", 25)
    for name, size in (("a", 10), ("b", 10), ("c", 10), ("large", 21)):
        (tmp_path / name).write_bytes(b" " * size)
    folder = CountingFolder(open_folder(tmp_path))
    for name in ("a", "b", "a", "c", "a", "b"):
        open_sidecar(folder, name)
    assert folder.reads == ["a", "b", "c", "b"]
    large = open_sidecar(folder, "large")
    assert (large.problem, large.data) == ("unreadable", b"")


def test_a_remote_file_is_not_even_asked_for_twice() -> None:

    address = "memory://sidecars-test"
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/sidecars-test/a.json", b'{"k": 1}')
    memory.pipe_file("/sidecars-test/notes/b.json", b"{}")
    folder = CountingFolder(open_folder(address))
    open_sidecar(folder, "a.json")
    folder.failure = OSError(errno.EIO, "asked again")
    assert list(open_sidecar(folder, "a.json").records(key_field=None) or ()) == ["k"]
    assert matching_names(folder, "notes/*.json") == ["notes/b.json"]
    assert matching_names(folder, "absent/*.json") == []


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("a/b.json", "a/b.json"),
        ("/a//./b.json", "a/b.json"),
        ("a/..b/c", "a/..b/c"),
        ("../a", None),
        ("a/../../b", None),
        ("a/..", None),
        ("a\\..\\b", None),
        ("a\0b", None),
        ("/", None),
        ("", None),
    ],
)
def test_names_stay_inside_the_folder(name: str, inside: str | None) -> None:
    assert inside_name(name) == inside


def test_a_pattern_lists_one_folder_once(tmp_path: Path) -> None:
    for name in ("notes/b.json", "notes/a.json", "notes/a.txt", "notes/deep/c.json", "d.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    folder = CountingFolder(open_folder(tmp_path))
    assert matching_names(folder, "notes/*.json") == ["notes/a.json", "notes/b.json"]
    assert matching_names(folder, "notes/[b].json") == ["notes/b.json"]
    assert folder.listings == 1
    assert matching_names(folder, "*.json") == ["d.json"]
    assert matching_names(folder, "absent/*") == []
    assert is_pattern("a/b?.json")
    assert not is_pattern("a[1]/b.json")
