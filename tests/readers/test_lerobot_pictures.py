"""Pictures of an image column: slices of one buffer are the rows one by one, nulls and all."""

from __future__ import annotations

import pyarrow as pa
import pytest

from finedata.readers.files import open_folder
from finedata.readers.lerobot.pictures import ArrowPictures

ROWS = [b"first", b"", b"third picture", b"4", b"five"]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
@pytest.mark.parametrize("rows", [ROWS, [*ROWS[:2], None, *ROWS[3:]], ROWS[:0]])
def test_in_memory_is_the_rows_one_by_one(tmp_path, kind, rows):
    column = pa.chunked_array([rows[:2], [], rows[2:]], type=kind)
    pictures = ArrowPictures(column, open_folder(tmp_path))
    for first, last in ((0, 5), (1, 4), (2, 3), (3, 3)):
        wanted = [row or b"" for row in rows[first:last]]
        values = pictures.slab(first, last).in_memory()
        assert [values[k] for k in range(len(values))] == wanted
        assert values.buffer == b"".join(wanted)


def test_a_null_with_bytes_behind_it_stays_empty(tmp_path):
    offsets, data = pa.array([0, 3, 6, 9], pa.int32()).buffers()[1], pa.py_buffer(b"onetwosix")
    valid = pa.py_buffer(bytes([0b101]))
    column = pa.chunked_array([pa.Array.from_buffers(pa.binary(), 3, [valid, offsets, data])])
    values = ArrowPictures(column, open_folder(tmp_path)).in_memory()
    assert [values[k] for k in range(3)] == [b"one", b"", b"six"]


def test_pictures_in_files_are_read(tmp_path):
    (tmp_path / "b.jpg").write_bytes(b"from a file")
    column = pa.chunked_array([[b"one", None, b"three"]], type=pa.binary())
    pictures = ArrowPictures(column, open_folder(tmp_path), {1: ("b.jpg", 11)})
    values = pictures.in_memory()
    assert [values[k] for k in range(3)] == [b"one", b"from a file", b"three"]
