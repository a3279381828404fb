"""Framing: what is good is read, what is damaged costs one record and says so.

All of it holds for records in memory and for large ones, which stay in their file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from corpora.tfrecord import frame_record, masked_crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from finedata.readers.files import open_folder
from finedata.readers.rlds import large_record
from finedata.readers.rlds.large_record import LargePayload
from finedata.readers.rlds.tfrecord import Record, scan_records


@pytest.fixture(autouse=True, scope="module", params=["small", "large"])
def form(request: pytest.FixtureRequest) -> Iterator[str]:
    """Whether payloads come as bytes, or stay in their file and are read in pieces of 16 bytes."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "large":
            patch.setattr(large_record, "_LARGE_BYTES", 0)
            patch.setattr(large_record, "_PIECE_BYTES", 16)
        yield request.param


def scan(folder: Path, data: bytes) -> list[Record]:
    (folder / "file.tfrecord").write_bytes(data)
    reader = open_folder(folder).open("file.tfrecord")
    try:
        return [
            record if record.payload is None else replace(record, payload=record.payload[:])
            for record in scan_records(reader)
        ]
    finally:
        reader.close()


PAYLOADS = [b"first" * 7, b"", b"third" * 1000, b"\x00" * 64]


def test_reads_every_payload(tmp_path: Path) -> None:
    records = scan(tmp_path, b"".join(map(frame_record, PAYLOADS)))
    assert [record.payload for record in records] == PAYLOADS
    assert [record.number for record in records] == [0, 1, 2, 3]
    data = (tmp_path / "file.tfrecord").read_bytes()
    for record in records:
        assert data[record.offset : record.offset + record.length] == record.payload


def test_only_a_large_record_stays_in_its_file(tmp_path: Path, form: str) -> None:
    (tmp_path / "file.tfrecord").write_bytes(frame_record(b"some bytes"))
    reader = open_folder(tmp_path).open("file.tfrecord")
    (record,) = scan_records(reader)
    reader.close()
    assert isinstance(record.payload, LargePayload if form == "large" else bytes)


class _Shrinking:
    """A file that ends earlier than its size says; a network may do that."""

    def __init__(self, data: bytes, *, size: int) -> None:
        self._data = data
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]

    def close(self) -> None: ...


def test_what_cannot_be_read_to_its_end_is_truncated() -> None:
    data = frame_record(b"x" * 100)
    (record,) = scan_records(_Shrinking(data[:52], size=len(data)))
    assert (record.reason, record.length, record.payload) == ("truncated", 40, None)
    assert record.message == "payload of 100 bytes, of which 40 could be read"


def test_empty_file_has_no_record(tmp_path: Path) -> None:
    assert scan(tmp_path, b"") == []


def test_flipped_payload_byte_costs_that_record_only(tmp_path: Path) -> None:
    data = bytearray(b"".join(map(frame_record, PAYLOADS)))
    data[12 + 3] ^= 0x10
    records = scan(tmp_path, bytes(data))
    assert [record.reason for record in records] == ["checksum_mismatch", None, None, None]
    assert [record.payload for record in records[1:]] == PAYLOADS[1:]
    assert "CRC-32C" in records[0].message


@pytest.mark.parametrize("byte", range(12))
def test_flipped_header_byte_costs_that_record_only(tmp_path: Path, byte: int) -> None:
    data = bytearray(b"".join(map(frame_record, PAYLOADS)))
    second = len(frame_record(PAYLOADS[0]))
    data[second + byte] ^= 0x01
    records = scan(tmp_path, bytes(data))
    assert records[1].reason == "framing_error"
    assert [record.payload for record in records if record.payload is not None] == [
        PAYLOADS[0],
        *PAYLOADS[2:],
    ]
    # Nothing between the records is unaccounted for.
    assert records[1].offset == second
    assert records[1].length == len(frame_record(PAYLOADS[1]))


@pytest.mark.parametrize("cut", [1, 5, 16, 500])
def test_truncation_is_the_last_records_failure(tmp_path: Path, cut: int) -> None:
    whole = b"".join(map(frame_record, PAYLOADS[:3]))
    records = scan(tmp_path, whole[:-cut])
    assert [record.payload for record in records[:2]] == PAYLOADS[:2]
    assert records[2].reason == "truncated"
    assert len(records) == 3


def test_a_length_beyond_all_memory_is_not_believed(tmp_path: Path) -> None:
    length = struct.pack("<Q", 1 << 60)
    header = length + struct.pack("<I", masked_crc32c(length))
    records = scan(tmp_path, frame_record(b"good") + header + b"x" * 50)
    assert [record.payload for record in records] == [b"good", None]
    assert (records[1].reason, records[1].length) == ("truncated", 50)


@settings(deadline=None, max_examples=150)
@given(
    payloads=st.lists(st.binary(max_size=60), min_size=1, max_size=6),
    where=st.integers(min_value=0),
    bit=st.integers(0, 7),
)
def test_any_single_flip_costs_at_most_one_record(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes], where: int, bit: int
) -> None:
    data = bytearray(b"".join(map(frame_record, payloads)))
    data[where % len(data)] ^= 1 << bit
    records = scan(tmp_path_factory.mktemp("flip"), bytes(data))
    good = [record.payload for record in records if record.payload is not None]
    assert len(good) == len(payloads) - 1
    assert sum(record.reason is not None for record in records) == 1


def test_real_checksums_are_all_good(real_bridge: Path) -> None:
    reader = open_folder(real_bridge).open("bridge_dataset-train.tfrecord-00000-of-00001")
    records = list(scan_records(reader))
    reader.close()
    # 25 records, and two checksums each: all 50 were compared.
    assert len(records) == 25
    assert [record.reason for record in records] == [None] * 25
