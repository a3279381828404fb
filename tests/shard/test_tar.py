"""Tars against the standard library's reader, and the external shuffle against a plain sort."""

from __future__ import annotations

import hashlib
import random
import tarfile
from typing import TYPE_CHECKING

import google_crc32c
import numpy as np
import pytest

from finedata.errors import OutputError
from finedata.shard.making.spill import Spilled, read_tar_samples, write_spill
from finedata.shard.making.tar import Sample, member_headers, write_energon_index, write_tar

if TYPE_CHECKING:
    from pathlib import Path

SUFFIXES = ("main.jpg", "state.npy", "meta.json")


def samples(count: int) -> list[Sample]:
    draw = random.Random(count)
    return [
        Sample(
            f"{i:09d}", tuple(draw.randbytes(draw.choice([0, 1, 511, 512, 513])) for _ in SUFFIXES)
        )
        for i in range(count)
    ]


def test_the_standard_library_reads_what_was_written(tmp_path: Path):
    written = samples(20)
    write_tar(tmp_path / "a.tar", written, suffixes=SUFFIXES)
    with tarfile.open(tmp_path / "a.tar") as opened:
        members = opened.getmembers()
        assert [m.name for m in members] == [f"{s.key}.{x}" for s in written for x in SUFFIXES]
        found = [opened.extractfile(m).read() for m in members]  # type: ignore[union-attr]
        assert found == [content for s in written for content in s.members]
        for member in members:
            assert (member.mtime, member.uid, member.gid, member.mode) == (0, 0, 0, 0o644)
            assert (member.uname, member.gname, member.isfile()) == ("", "", True)


def test_places_point_at_the_bytes(tmp_path: Path):
    path, written = tmp_path / "a.tar", samples(9)
    places = write_tar(path, written, suffixes=SUFFIXES)
    content = path.read_bytes()
    assert places.sha256 == hashlib.sha256(content).hexdigest()
    assert places.total_bytes == len(content)
    for i, sample in enumerate(written):
        for j, member in enumerate(sample.members):
            at, size = places.offset[i][j], places.size[i][j]
            assert content[at : at + size] == member
            assert places.crc32c[i][j] == google_crc32c.value(member)
    with tarfile.open(path) as opened:
        starts = [m.offset for m in opened.getmembers()][:: len(SUFFIXES)]
    assert places.sample_offset[:-1] == starts


def test_batches_leave_no_trace_in_the_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    written = samples(40)
    once = write_tar(tmp_path / "once.tar", written, suffixes=SUFFIXES)
    monkeypatch.setattr("finedata.shard.making.tar._BATCH_BYTES", 1500)
    pieces = write_tar(tmp_path / "pieces.tar", written, suffixes=SUFFIXES)
    assert (tmp_path / "pieces.tar").read_bytes() == (tmp_path / "once.tar").read_bytes()
    assert pieces.sample_offset == once.sample_offset
    for name in ("offset", "size", "crc32c"):
        assert np.array_equal(getattr(pieces, name), getattr(once, name)), name


def test_energons_index_is_offsets_and_an_end(tmp_path: Path):
    places = write_tar(tmp_path / "a.tar", samples(3), suffixes=SUFFIXES)
    write_energon_index(tmp_path / "a.tar", places.sample_offset)
    index = np.frombuffer((tmp_path / "a.tar.idx").read_bytes(), "<u8")
    assert index.tolist() == places.sample_offset
    assert len(index) == 4


def test_headers_are_those_of_the_standard_library():
    named = {"000000001.main.jpg": 12345, "x": 0, "k" * 100: (8 << 30) - 1, "é.~": 8}
    wanted = b""
    for name, size in named.items():
        info = tarfile.TarInfo(name)
        info.size = size
        wanted += info.tobuf(tarfile.USTAR_FORMAT)
    names = [name.encode() for name in named]
    assert member_headers(names, np.array(list(named.values()))) == wanted


def test_what_no_header_holds_is_refused(tmp_path: Path):
    with pytest.raises(OutputError, match="101 bytes"):
        member_headers([b"x", b"x" * 101], np.array([1, 1]))
    with pytest.raises(OutputError):
        member_headers([b"x"], np.array([8 << 30]))
    with pytest.raises(OutputError):
        write_tar(tmp_path / "a.tar", [Sample("k" * 99, (b"",))], suffixes=("x.jpg",))
    assert list(tmp_path.iterdir()) == []


def spilled(units: int, tars: list[int]) -> list[list[Spilled]]:
    """Samples of every place of every tar, dealt to units in no order."""
    draw = random.Random(units)
    everything = [
        Spilled(tar, position, tar * 1000 + position, (draw.randbytes(draw.randint(0, 40)), b"x"))
        for tar, count in enumerate(tars)
        for position in range(count)
    ]
    draw.shuffle(everything)
    return [everything[unit::units] for unit in range(units)]


def test_each_tar_gets_its_samples_in_their_places(tmp_path: Path):
    units, paths = spilled(3, [5, 0, 7]), []
    for number, unit in enumerate(units):
        paths.append(tmp_path / f"{number}.spill")
        write_spill(paths[-1], unit, num_members=2)
    for tar, count in enumerate([5, 0, 7]):
        numbers, members = read_tar_samples(paths, tar, num_members=2, count=count)
        wanted = sorted(
            (s for unit in units for s in unit if s.tar == tar), key=lambda s: s.position
        )
        assert numbers.tolist() == [s.number for s in wanted]
        assert list(members) == [s.members for s in wanted]


@pytest.mark.parametrize("damage", ["missing unit", "unit twice", "cut"])
def test_spills_of_another_run_are_refused(tmp_path: Path, damage: str):
    paths = []
    for number, unit in enumerate(spilled(2, [4])):
        paths.append(tmp_path / f"{number}.spill")
        write_spill(paths[-1], unit, num_members=2)
    if damage == "missing unit":
        paths.pop()
    elif damage == "unit twice":
        paths.append(paths[0])
    else:
        paths[0].write_bytes(paths[0].read_bytes()[7:])
    with pytest.raises(OutputError, match="next: remove"):
        read_tar_samples(paths, 0, num_members=2, count=4)
