"""The ledger remembers, refuses strangers, and is held by one run at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from finedata.errors import OutputError, UsageError
from finedata.store.run.ledger import Ledger

SETTINGS = {"source": "bridge_v2 1.0.0", "options": "{}"}


def test_remembers_across_runs(tmp_path: Path) -> None:
    with Ledger(tmp_path / "out", run_key="k", settings=SETTINGS) as ledger:
        ledger.put("file", 2, b"two")
        ledger.put("file", 1, b"one")
        ledger.put("shard", 1, b"other")
    with Ledger(tmp_path / "out", run_key="k", settings=SETTINGS) as ledger:
        assert ledger.get("file", 2) == b"two"
        assert ledger.get("file", 3) is None
        assert list(ledger.payloads("file")) == [b"one", b"two"]


def test_other_settings_are_refused_and_named(tmp_path: Path) -> None:
    Ledger(tmp_path, run_key="k", settings=SETTINGS).close()
    with pytest.raises(UsageError, match=r"source = bridge_v2 1\.0\.0 \(now droid 1\.0\.1\)"):
        Ledger(tmp_path, run_key="other", settings=SETTINGS | {"source": "droid 1.0.1"})


def test_somebody_elses_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UsageError, match=r"thesis\.tex"):
        Ledger(tmp_path, run_key="k", settings=SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(UsageError, match="a file"):
        Ledger(tmp_path / "out", run_key="k", settings=SETTINGS)


def test_one_run_at_a_time(tmp_path: Path) -> None:
    with (
        Ledger(tmp_path, run_key="k", settings=SETTINGS),
        pytest.raises(OutputError, match="another run"),
    ):
        Ledger(tmp_path, run_key="k", settings=SETTINGS)
    Ledger(tmp_path, run_key="k", settings=SETTINGS).close()


def test_a_killed_run_leaves_what_it_put(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from finedata.store.run.ledger import Ledger\n"
        f"ledger = Ledger(Path({str(tmp_path)!r}), run_key='k', settings={SETTINGS!r})\n"
        "ledger.put('file', 1, b'one')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    with Ledger(tmp_path, run_key="k", settings=SETTINGS) as ledger:
        assert ledger.get("file", 1) == b"one"


def test_a_damaged_ledger_says_so(tmp_path: Path) -> None:
    Ledger(tmp_path, run_key="k", settings=SETTINGS).close()
    for path in (tmp_path / ".finedata").glob("ledger.sqlite*"):
        path.write_bytes(b"not a database" * 300)
    with pytest.raises(OutputError, match=r"ledger\.sqlite"):
        Ledger(tmp_path, run_key="k", settings=SETTINGS)


def test_a_damaged_side_ledger_spares_the_dataset(tmp_path: Path) -> None:
    """Clusters and calls keep their ledgers in a finished dataset: only the file may go."""
    settings = {"weights": "1"}
    with Ledger(tmp_path / "out", run_key="k", settings=settings, name="cluster-1") as ledger:
        ledger.put("tile", 1, b"one")
    file = tmp_path / "out/.finedata/cluster-1.sqlite"
    file.write_bytes(b"garbage" * 1000)
    with pytest.raises(OutputError) as caught:
        Ledger(tmp_path / "out", run_key="k", settings=settings, name="cluster-1")
    assert caught.value.place == str(file)
    assert f"remove {file} " in caught.value.next_command
    assert "output folder" not in caught.value.next_command


def test_beside_an_output_that_holds_nothing_but_itself(tmp_path: Path) -> None:
    for out in (tmp_path / "shards", tmp_path / "report.html"):
        with Ledger.beside(out, run_key="k", settings=SETTINGS) as ledger:
            ledger.put("tar", 0, out.name.encode())
            with pytest.raises(OutputError, match="another run"):
                Ledger.beside(out, run_key="k", settings=SETTINGS)
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "a.tar").touch()
    (tmp_path / "report.html").touch()
    for out in (tmp_path / "shards", tmp_path / "report.html"):
        with Ledger.beside(out, run_key="k", settings=SETTINGS) as ledger:
            assert ledger.get("tar", 0) == out.name.encode()
        with pytest.raises(UsageError, match="the work of other settings"):
            Ledger.beside(out, run_key="other", settings=SETTINGS)
    assert [path.name for path in (tmp_path / "shards").iterdir()] == ["a.tar"]


def test_beside_somebody_elses_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").touch()
    with pytest.raises(UsageError, match=r"thesis\.tex"):
        Ledger.beside(tmp_path / "thesis", run_key="k", settings=SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis"]
