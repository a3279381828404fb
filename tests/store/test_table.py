"""Many writers of the annotation tables: whole or not there, no number twice, no change unseen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from finedata.errors import ConformError, StaleRowError, UsageError
from finedata.schema.makers import revised
from finedata.store.dataset import Dataset
from finedata.store.tables.table import (
    annotation_files,
    append_rows,
    undo_unfinished,
    write_table,
)

WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from store.test_table import step
from finedata.store.tables.table import append_rows
for number in range(5):
    with append_rows(Path(sys.argv[2]), ("steps",)) as writer:
        writer.add("steps", [step(f"{sys.argv[3]}-{number}")])
"""
KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from store.test_table import instruction, step
import finedata.store.atomic as atomic
from finedata.store.tables.table import append_rows
left, sync = int(sys.argv[3]), atomic.sync_folder
def counted(folder):
    global left
    left -= 1
    if left == 0:
        os._exit(9)
    sync(folder)
atomic.sync_folder = counted
import finedata.store.tables.table as table
table.sync_folder = counted
with append_rows(Path(sys.argv[2]), ("steps", "instructions")) as writer:
    writer.add("steps", [step("new")])
    writer.add("instructions", [instruction("new")])
"""
TESTS = str(Path(__file__).parent.parent)


def step(step_id: str, **changed) -> dict:
    return {
        "step_id": step_id,
        "episode_id": "e",
        "step_index": 0,
        "start_frame": 0,
        "end_frame": 2,
        "start_s": 0.0,
        "end_s": 0.4,
        "text": "grasp",
        "text_original": None,
        "language": "en",
        "kind": "subtask",
        "arm": None,
        "primitive_action": None,
        "object": None,
        "problem": None,
        **PROVENANCE,
    } | changed


def instruction(instruction_id: str) -> dict:
    return {
        "instruction_id": instruction_id,
        "episode_id": "e",
        "kind": "alternative",
        "is_primary": False,
        "order": 0,
        "text": "grasp it",
        "text_original": None,
        "language": "en",
        "steps": None,
        "fact_ids": None,
        **PROVENANCE,
    }


PROVENANCE = {
    "origin": "human",
    "annotator": "ana",
    "run_id": "0" * 16,
    "prompt_sha256": None,
    "call_id": None,
    "revision": 0,
    "review_status": "unreviewed",
}


def steps(root: Path) -> dict[str, str]:
    found = Dataset(root, None).steps.collect()
    return dict(zip(found["step_id"], found["text"], strict=True))


def append(root: Path, *ids: str) -> None:
    with append_rows(root, ("steps",)) as writer:
        writer.add("steps", [step(name) for name in ids])


def test_numbers_go_up_from_one_and_files_stay(tmp_path) -> None:
    append(tmp_path, "a", "b")
    first = annotation_files(tmp_path, "steps")[0].read_bytes()
    append(tmp_path, "c")
    append(tmp_path)
    files = annotation_files(tmp_path, "steps")
    assert [path.name for path in files] == ["part-00001.parquet", "part-00002.parquet"]
    assert files[0].read_bytes() == first
    assert pq.read_metadata(files[0]).row_group(0).column(0).compression == "ZSTD"


def test_two_writers_at_once_take_no_number_twice(tmp_path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", WRITER, TESTS, str(tmp_path), name])
        for name in ("a", "b")
    ]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert len(annotation_files(tmp_path, "steps")) == 10
    assert set(steps(tmp_path)) == {f"{name}-{number}" for name in "ab" for number in range(5)}


@pytest.mark.parametrize("after", range(1, 6))
def test_kill_9_leaves_the_old_or_the_new(tmp_path, after) -> None:
    append(tmp_path, "old")
    command = [sys.executable, "-c", KILLED, TESTS, str(tmp_path), str(after)]
    code = subprocess.run(command, check=False, timeout=60).returncode
    instructions = Dataset(tmp_path, None).instructions.collect().height
    # read before anybody cleared up: both tables are as before, or both as after
    assert (len(steps(tmp_path)), instructions) in ((1, 0), (2, 1))
    assert (instructions == 1) == (code == 0 or after == 4)
    undo_unfinished(tmp_path)
    assert (len(steps(tmp_path)), instructions) in ((1, 0), (2, 1))
    if instructions == 0:
        assert [path.name for path in tmp_path.glob("annotations/*/*.parquet")] == [
            "part-00001.parquet"
        ]


def test_a_row_that_does_not_conform_writes_nothing(tmp_path) -> None:
    append(tmp_path, "old")

    def write() -> None:
        with append_rows(tmp_path, ("steps", "instructions")) as writer:
            writer.add("instructions", [instruction("i")])
            writer.add("steps", [step("s", kind="nothing")])

    with pytest.raises(ConformError):
        write()
    assert len([path for path in tmp_path.rglob("part-*") if path.is_file()]) == 1
    assert steps(tmp_path) == {"old": "grasp"}


def test_tables_that_are_not_appended_to(tmp_path) -> None:
    for table in ("calls", "gate", "frames", "nothing"):
        with pytest.raises(UsageError, match=table), append_rows(tmp_path, (table,)):
            pass


def test_the_newest_revision_is_read(tmp_path) -> None:
    append(tmp_path, "a", "b")
    with append_rows(tmp_path, ("steps",)) as writer:
        first = revised("steps", step("a"), text="lift")
        again = revised("steps", first, text="lift it")
        writer.revise("steps", [first])
        writer.revise("steps", [again])
    assert steps(tmp_path) == {"a": "lift it", "b": "grasp"}
    assert Dataset(tmp_path, None).history("steps").collect().height == 4
    with append_rows(tmp_path, ("steps",)) as writer:
        writer.revise("steps", [revised("steps", again, text="lift the cup")])
    assert steps(tmp_path)["a"] == "lift the cup"


def test_a_change_of_an_old_revision_is_refused(tmp_path) -> None:
    append(tmp_path, "a", "b")
    with append_rows(tmp_path, ("steps",)) as writer:
        writer.revise("steps", [revised("steps", step("a"), text="lift")])

    def revise(table: str, rows: list[dict]) -> None:
        with append_rows(tmp_path, (table,)) as writer:
            writer.revise(table, rows)

    with pytest.raises(StaleRowError, match="revision 1 of it, wanted revision 0"):
        revise("steps", [step(name, text="put", revision=1) for name in "ba"])
    assert steps(tmp_path) == {"a": "lift", "b": "grasp"}
    with pytest.raises(UsageError, match="no such row"):
        revise("steps", [step("c", revision=1)])
    with pytest.raises(UsageError, match="'reviews'"):
        revise("reviews", [])


def test_a_table_given_in_pieces_keeps_their_order(tmp_path) -> None:
    from store.test_write_table import rows

    whole = pq.read_table(write_table(tmp_path, "representatives", rows())).sort_by("rank")
    path = write_table(tmp_path, "representatives", (whole.slice(i, 1) for i in range(3)))
    assert pq.read_table(path)["episode_id"].to_pylist() == ["b", "a", "c"]
    assert pq.ParquetFile(path).num_row_groups == 3

    def broken():
        yield whole.slice(0, 1)
        raise KeyError

    before = path.read_bytes()
    with pytest.raises(KeyError):
        write_table(tmp_path, "representatives", broken())
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["representatives.parquet"]
