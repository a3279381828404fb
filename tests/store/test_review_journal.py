"""A decision that was acknowledged is there, or the journal says that it is not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from store.decisions import decision

from finedata.errors import ConformError, OutputError, UsageError
from finedata.store.dataset import Dataset
from finedata.store.review_journal import ReviewJournal, journal_path, read_journal
from finedata.store.tables.table import annotation_files, append_rows, compact_reviews

SCRIPT = Path(__file__).parent / "decisions.py"


def journal_of(root: Path, numbers: range) -> None:
    with ReviewJournal(root) as journal:
        for number in numbers:
            journal.append(decision(number))


def ids(root: Path) -> list[str]:
    """As a reader sees them."""
    return Dataset(root, None).table("reviews").collect()["review_id"].to_list()


def test_kill_9_during_a_thousand_decisions_loses_none_that_was_acknowledged(tmp_path) -> None:
    acknowledged = 0
    deaths = 0
    while acknowledged < 1000:
        command = [sys.executable, str(SCRIPT), str(tmp_path), str(acknowledged), "1000"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                acknowledged = int(line) + 1
                if acknowledged % 400 == 0:
                    process.kill()
                    deaths += 1
                    break
        found = ids(tmp_path)
        assert len(found) >= acknowledged
        assert found == [f"r{number:06d}" for number in range(len(found))]
    assert deaths == 2
    assert len(ids(tmp_path)) == 1000
    assert compact_reviews(tmp_path) == 1000
    assert len(ids(tmp_path)) == 1000


def test_what_was_decided_is_what_is_read(tmp_path) -> None:
    rows = [
        decision(1),
        decision(2, decision="skip", before=None, after=None, seconds=None),
        decision(3, decision="send_back", blind=True, target_revision=3),
        decision(4, decision="move", before='{"start_frame": 3}'),
        decision(5, decision="undo"),
    ]
    with ReviewJournal(tmp_path) as journal:
        for row in rows:
            journal.append(row)
    dataset = Dataset(tmp_path, None)
    waiting = dataset.table("reviews").collect()
    stored = waiting.to_dicts()
    assert [row | {"seconds": 0.1 if row["seconds"] else None} for row in stored] == rows
    assert compact_reviews(tmp_path) == 5
    assert read_journal(tmp_path).num_rows == 0
    assert dataset.table("reviews").collect().equals(waiting)
    [path] = annotation_files(tmp_path, "reviews")
    assert path.name == "part-00001.parquet"


def test_the_same_decision_twice_is_one_and_another_of_its_name_refused(tmp_path) -> None:
    with ReviewJournal(tmp_path) as journal:
        for _ in range(2):
            journal.append(decision(1))
        with pytest.raises(UsageError, match="another decision"):
            journal.append(decision(1, decision="reject"))
        assert compact_reviews(tmp_path) == 1
        journal.append(decision(1))
        with pytest.raises(UsageError, match="another decision"):
            journal.append(decision(1, decision="reject"))
        journal.append(decision(2))
    assert ids(tmp_path) == ["r000001", "r000002"]


@pytest.mark.parametrize(
    "changed",
    [{"decision": "maybe"}, {"reviewer": " "}, {"target_revision": -1}, {"blind": None}, {"x": 1}],
)
def test_a_decision_that_does_not_conform_is_refused(tmp_path, changed) -> None:
    with ReviewJournal(tmp_path) as journal:
        with pytest.raises(ConformError):
            journal.append(decision(1, **changed))
        journal.append(decision(2))
    assert ids(tmp_path) == ["r000002"]


def test_no_journal_is_no_decision_and_makes_none(tmp_path) -> None:
    assert read_journal(tmp_path).num_rows == 0
    assert compact_reviews(tmp_path) == 0
    assert list(tmp_path.iterdir()) == []


def error_or_ids(root: Path) -> list[str] | ConformError:
    try:
        return ids(root)
    except ConformError as error:
        return error


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> Path:
    """A journal whose writer was killed: some decisions in the file, some in the log."""
    root = tmp_path_factory.mktemp("killed")
    journal_of(root, range(40))
    compact_reviews(root)
    command = [sys.executable, str(SCRIPT), str(root), "40", "100000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if int(line) == 60:
                process.kill()
                break
    assert (journal_path(root).parent / "journal.sqlite-wal").stat().st_size > 0
    return root


@pytest.mark.parametrize("name", ["journal.sqlite", "journal.sqlite-wal", "journal.head"])
def test_a_journal_cut_anywhere_is_whole_or_an_error(killed, tmp_path, name) -> None:
    wanted = ids(killed)
    size = (journal_path(killed).parent / name).stat().st_size
    places = sorted({*range(0, size, max(1, size // 60)), 1, size - 1})
    errors = 0
    for place in places:
        root = tmp_path / str(place)
        shutil.copytree(killed, root)
        # an index of the log that a reader left there would be made anew after a crash
        (journal_path(root).parent / "journal.sqlite-shm").unlink(missing_ok=True)
        with (journal_path(root).parent / name).open("r+b") as file:
            file.truncate(place)
        found = error_or_ids(root)
        if isinstance(found, ConformError):
            errors += 1
            assert "journal" in found.place
            assert "restore" in found.next_command
            with pytest.raises(ConformError):
                ReviewJournal(root)
            assert isinstance(error_or_ids(root), ConformError)
        else:
            # what was written after the last acknowledgement may be lost with the kill
            assert found in (wanted, wanted[:-1])
        shutil.rmtree(root)
    assert errors > len(places) // 3


@pytest.mark.parametrize("name", ["journal.sqlite", "journal.sqlite-wal"])
def test_a_journal_without_a_file_is_an_error(killed, tmp_path, name) -> None:
    root = tmp_path / "d"
    shutil.copytree(killed, root)
    (journal_path(root).parent / name).unlink()
    with pytest.raises(ConformError, match="acknowledged"):
        ids(root)
    with pytest.raises(ConformError, match="acknowledged"):
        ReviewJournal(root)
    with pytest.raises(ConformError, match="acknowledged"):
        compact_reviews(root)


def test_a_changed_decision_is_an_error(tmp_path) -> None:
    journal_of(tmp_path, range(3))
    path = journal_path(tmp_path)
    path.write_bytes(path.read_bytes().replace(b'"f1"', b'"f7"'))
    with pytest.raises(ConformError, match="decision 2 is not as it was written"):
        ids(tmp_path)


def test_the_remedy_of_the_message_works(killed, tmp_path) -> None:
    root = tmp_path / "d"
    shutil.copytree(killed, root)
    log = journal_path(root).parent / "journal.sqlite-wal"
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size // 2)
    (journal_path(root).parent / "journal.head").unlink()
    kept = ids(root)
    assert 40 < len(kept) < 60
    journal_of(root, range(1000, 1003))
    assert ids(root) == [*kept, "r001000", "r001001", "r001002"]


@pytest.mark.parametrize("after", range(1, 7))
def test_compaction_killed_anywhere_loses_and_doubles_nothing(tmp_path, after) -> None:
    journal_of(tmp_path, range(3))
    compact_reviews(tmp_path)
    journal_of(tmp_path, range(3, 10))
    wanted = [f"r{number:06d}" for number in range(10)]
    command = [sys.executable, str(SCRIPT), str(tmp_path), "compact", str(after)]
    done = subprocess.run(command, check=False, timeout=60).returncode
    assert done == (9 if after < 6 else 0)
    assert ids(tmp_path) == wanted
    journal_of(tmp_path, range(10, 11))
    compact_reviews(tmp_path)
    assert ids(tmp_path) == [*wanted, "r000010"]
    assert read_journal(tmp_path).num_rows == 0
    assert not list(tmp_path.rglob("*.partial"))


def test_what_decisions_change_comes_with_them_or_not_at_all(tmp_path) -> None:
    journal_of(tmp_path, range(2))

    def fail(writer, decisions) -> None:
        raise KeyError(decisions[0]["review_id"])

    with pytest.raises(KeyError, match="r000000"):
        compact_reviews(tmp_path, apply=fail)
    assert annotation_files(tmp_path, "reviews") == []
    seen = []
    assert compact_reviews(tmp_path, apply=lambda writer, rows: seen.extend(rows)) == 2
    assert [row["review_id"] for row in seen] == ["r000000", "r000001"]
    assert compact_reviews(tmp_path, apply=fail) == 0


def test_two_writers_at_once(tmp_path) -> None:
    commands = [
        [sys.executable, str(SCRIPT), str(tmp_path), str(first), str(first + 40)]
        for first in (0, 1000)
    ]
    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
    moved = 0
    while any(process.poll() is None for process in processes):
        moved += compact_reviews(tmp_path)
    assert [process.returncode for process in processes] == [0, 0]
    moved += compact_reviews(tmp_path)
    assert moved == 80
    assert len(set(ids(tmp_path))) == len(ids(tmp_path)) == 80


def test_a_full_disk_acknowledges_nothing(tmp_path, monkeypatch) -> None:
    import finedata.store.review_journal as module

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with ReviewJournal(tmp_path) as journal:
        journal.append(decision(1))
        monkeypatch.setattr(module.os, "write", full)
        with pytest.raises(OutputError, match="No space left"):
            journal.append(decision(2))
        monkeypatch.undo()
        journal.append(decision(2))
        journal.append(decision(3))
    assert ids(tmp_path) == ["r000001", "r000002", "r000003"]


def test_copies_take_decisions_along(tmp_path) -> None:
    from finedata.store.merge.table_copy import TableOrigin, copy_annotations

    root, out = tmp_path / "a", tmp_path / "b"
    journal_of(root, range(2))
    with append_rows(root, ("reviews",)) as writer:
        writer.add("reviews", [decision(0), decision(7)])
    copy_annotations([TableOrigin(root, None, {})], out)
    assert ids(out) == ["r000000", "r000007", "r000001"]
    assert not (out / ".finedata").exists()
