"""`verify` sees what it claims to see: every kind of change to the output, and to the source."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Corpus
from corpora.tfrecord import frame_record, write_tfrecord

from finedata.convert.verify.run import verify
from finedata.errors import UsageError
from finedata.readers.files import open_folder
from finedata.readers.rlds.tfrecord import scan_records


def payloads_of(file: Path) -> list[bytes]:
    reader = open_folder(file.parent).open(file.name)
    with closing(reader):
        return [record.payload for record in scan_records(reader) if record.payload]


def with_another_picture(payload: bytes) -> bytes:
    """The record with one bit changed in the middle of its first camera's pixels."""
    where = payload.index(b"\xff\xda") + 100
    return payload[:where] + bytes([payload[where] ^ 1]) + payload[where + 1 :]


@pytest.fixture
def copy(converted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(converted, tmp_path / "copy"))


def rewrite(path: Path, name: str, change: object) -> None:
    """Change one column of a Parquet file, keeping everything else."""
    file = pq.ParquetFile(path)
    groups = [file.read_row_group(i) for i in range(file.num_row_groups)]
    file.close()
    with pq.ParquetWriter(path, groups[0].schema) as writer:
        for number, table in enumerate(groups):
            if number == 1:
                index = table.schema.get_field_index(name)
                column = change(table.column(name).combine_chunks())
                table = table.set_column(index, table.schema.field(index), column)
            writer.write_table(table)


def change_state(column: pa.Array) -> pa.Array:
    values = column.flatten().to_numpy().copy()
    values[5] += 1e-4
    return pa.FixedSizeListArray.from_arrays(pa.array(values), type=column.type)


def swap_sign(column: pa.Array) -> pa.Array:
    values = column.flatten().to_numpy().copy().reshape(-1, 8)
    values[3, 3:7] *= -1
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), type=column.type)


def change_picture(column: pa.Array) -> pa.Array:
    rows = column.to_pylist()
    rows[0]["bytes"] = rows[1]["bytes"]
    return pa.array(rows, column.type)


def shift_index(column: pa.Array) -> pa.Array:
    return pa.array(column.to_numpy() + 1)


def test_an_untouched_dataset_has_no_problem(corpus: Corpus, copy: Path) -> None:
    report = verify(copy, input=corpus.folder)
    assert report.problems == []
    assert (report.episodes, report.failed) == (18, 4)
    assert report.frames == sum(t.length for t in corpus.truths if t.kind != "failed")


@pytest.mark.parametrize(
    ("name", "change", "place"),
    [
        ("observation.state", change_state, "column observation.state"),
        ("observation.state", swap_sign, "column observation.state"),
        ("action", change_state, "column action"),
        ("observation.images.image_0", change_picture, "sha256 of image_0"),
        ("index", shift_index, "frames.index"),
    ],
)
def test_a_changed_column_is_seen(
    corpus: Corpus, copy: Path, name: str, change: object, place: str
) -> None:
    rewrite(copy / "data/chunk-000/file-000.parquet", name, change)
    problems = verify(copy, input=corpus.folder).problems
    assert any(place in problem.place for problem in problems)


def test_a_lost_receipt_is_seen(corpus: Corpus, copy: Path) -> None:
    path = copy / "curation/receipts.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    problems = verify(copy, input=corpus.folder).problems
    assert any("receipts" in problem.place for problem in problems)


def test_a_changed_source_is_seen(corpus: Corpus, copy: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(corpus.folder, tmp_path / "source"))
    (file,) = source.glob("*val*")
    first, *others = payloads_of(file)
    data = bytearray(file.read_bytes())
    data[200] ^= 1
    file.write_bytes(bytes(data))
    # Its checksum tells: a record that was written would fail now.
    (problem,) = verify(copy, input=source).problems
    assert problem.place == f"{file.name}, record 0: why it failed"
    assert (problem.found, problem.wanted) == ("None", "checksum_mismatch")
    # Framed anew the record is whole, and is not the one that was converted.
    write_tfrecord(file, [with_another_picture(first), *others])
    problems = verify(copy, input=source).problems
    assert {problem.place.partition(": ")[2].partition(" image_")[0] for problem in problems} == {
        "sha256 of the record",
        "sha256 of",
        "frames of",
    }
    assert all(f"{file.name}, record 0: " in problem.place for problem in problems)
    file.unlink()
    problems = verify(copy, input=source).problems
    assert [problem.found for problem in problems] == ["no such file in the source"] * 2


def test_a_record_without_a_receipt_is_seen(corpus: Corpus, copy: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(corpus.folder, tmp_path / "source"))
    (file,) = source.glob("*val*")
    with file.open("ab") as stream:
        stream.write(frame_record(b"one more"))
    problems = verify(copy, input=source).problems
    assert [problem.found for problem in problems] == ["no receipt"]
    assert file.name in problems[0].place


def test_a_failure_that_would_not_fail_is_seen(corpus: Corpus, copy: Path) -> None:
    path = copy / "curation/receipts.parquet"
    table = pq.read_table(path)
    reasons = table["reason"].to_pylist()
    row = reasons.index("zero_steps")
    reasons[row] = "missing_feature"
    column = pa.array(reasons, pa.string())
    index = table.schema.get_field_index("reason")
    pq.write_table(table.set_column(index, table.schema.field(index), column), path)
    (problem,) = verify(copy, input=corpus.folder).problems
    assert (problem.found, problem.wanted) == ("missing_feature", "zero_steps")


def test_no_dataset_is_wrong_usage(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no finedata\.json"):
        verify(tmp_path, input=corpus.folder)
