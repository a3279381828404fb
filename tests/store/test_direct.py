"""What is written past the cache is what was given, whatever the sizes and the file system."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finedata.store import direct
from finedata.store.direct import DirectFile

BLOCK = 8192


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "_BLOCK_BYTES", BLOCK)


def write(path: Path, pieces: list[bytes]) -> None:
    file = DirectFile(path)
    taken = 0
    for piece in pieces:
        assert file.write(piece) == len(piece)
        taken += len(piece)
        assert file.tell() == taken
    file.close()
    file.close()
    assert file.closed


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 3 * BLOCK), max_size=8))
def test_any_sizes(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    path = tmp_path_factory.mktemp("direct") / "file"
    pieces = [bytes([i + 1]) * size for i, size in enumerate(sizes)]
    write(path, pieces)
    assert path.read_bytes() == b"".join(pieces)


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK])
def test_replaces_an_old_file(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old" * 20_000)
    write(path, [b"n" * size])
    assert path.read_bytes() == b"n" * size


def test_a_file_system_that_refuses_at_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refuse(path: object, flags: int, *mode: int) -> int:
        if flags & direct._O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(path, flags, *mode)

    monkeypatch.setattr(os, "open", refuse)
    write(tmp_path / "file", [b"x" * (2 * BLOCK + 3)])
    assert (tmp_path / "file").read_bytes() == b"x" * (2 * BLOCK + 3)


def test_a_file_system_that_refuses_at_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    refused = []

    def refuse_once(descriptor: int, data: memoryview) -> int:
        if not refused:
            refused.append(len(data))
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(descriptor, data[:1000])

    monkeypatch.setattr(os, "write", refuse_once)
    pieces = [bytes([i]) * BLOCK for i in range(3)]
    write(tmp_path / "file", pieces)
    if direct._O_DIRECT:
        assert refused
    assert (tmp_path / "file").read_bytes() == b"".join(pieces)


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    file = DirectFile(tmp_path / "file")
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        file.write(b"x" * (2 * BLOCK))
    with pytest.raises(OSError, match="No space left"):
        file.close()
    assert file.closed
