"""`finedata cluster` at the command line: options, JSON, notes, exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

import finedata.errors
from finedata.cli.app import app
from finedata.errors import MissingExtraError, UsageError
from finedata.store.dataset import open_dataset


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["cluster", *map(str, arguments)])


@pytest.fixture
def root(converted: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "bridge"
    shutil.copytree(converted, folder)
    return folder


def test_summary_on_stdout_and_notes_on_stderr(root: Path) -> None:
    done = run(root, "--threads", 1, "--device", "cpu")
    assert done.exit_code == 0, done.output
    rows = open_dataset(root).clusters.collect()
    chosen = open_dataset(root).representatives.collect()
    assert done.stdout.startswith(f"{len(rows)} of ")
    assert f"{len(chosen)} representatives in " in done.stdout
    assert "note: no gate has run" in done.stderr
    assert "left out, no_instruction: " in done.stderr


def test_json_counts_add_up(root: Path) -> None:
    done = run(root, "--k", 2, "--json", "--threads", 1, "--device", "cpu")
    found = json.loads(done.stdout)
    assert found["episodes"] == found["clustered"] + sum(found["left_out"].values())
    assert found["tiles_computed"] == found["tiles"]
    assert max(map(int, found["k_histogram"])) <= 2
    assert "seconds" not in found


def test_options_reach_the_tables(root: Path) -> None:
    arguments = (
        "--k-ratio", 0.5, "--linkage", "complete", "--on", "state", "--gripper-weight", 2,
        "--single-stage", "--band", 0.5, "--float64", "--budget", 3, "--threads", 1,
    )  # fmt: skip
    assert run(root, *arguments, "--device", "cpu").exit_code == 0
    rows = open_dataset(root).clusters.collect()
    assert set(rows["linkage"]) == {"complete"}
    assert set(rows["k_origin"]) == {"proportional"}
    assert len(open_dataset(root).representatives.collect()) == 3


def test_dry_run_writes_nothing(root: Path) -> None:
    done = run(root, "--dry-run", "--device", "cpu")
    assert done.exit_code == 0
    assert "nothing was written" in done.stdout
    assert not (root / "curation" / "clusters.parquet").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--k", 2, "--auto"), "--auto with --k"),
        (("--k", 2, "--recursive"), "--k with --recursive"),
        (("--k-ratio", 2), "(0, 1]"),
        (("--band", 0), "(0, 1]"),
        (("--landmarks-above", 5, "--num-landmarks", 9), "wanted 2 to 5"),
    ],
)
def test_wrong_usage(root: Path, arguments: tuple[object, ...], message: str) -> None:
    done = run(root, *arguments, "--device", "cpu")
    assert isinstance(done.exception, UsageError)
    assert message in str(done.exception)
    assert not (root / "curation" / "clusters.parquet").exists()


def test_not_a_dataset(tmp_path: Path) -> None:
    done = run(tmp_path, "--device", "cpu")
    assert isinstance(done.exception, UsageError)
    assert not list(tmp_path.iterdir())


def test_a_missing_extra_says_how_to_get_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finedata.errors, "find_spec", lambda _: None)
    done = run(root)
    assert isinstance(done.exception, MissingExtraError)
    assert finedata.errors.install_command("curate") in str(done.exception)
