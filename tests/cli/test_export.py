"""The verb as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from finedata.cli import export
from finedata.errors import UsageError
from finedata.store.dataset import open_dataset

app = typer.Typer()
app.command("export", help=export.HELP)(export.export)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_says_what_it_wrote(converted: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    text = run(str(converted), "--format", "unified80", "--out", str(out))
    counts = open_dataset(converted).info.counts
    wanted = (
        f"{counts['written']} episodes, {counts['frames_written']} frames as unified80 in {out}"
    )
    assert wanted in text
    assert (out / "unified_output" / "unified_meta.json").is_file()


def test_json_counts_what_a_script_needs(converted: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = [str(converted), "--out", str(out), "--json", "--where", "length > 20"]
    dry = json.loads(run(*arguments, "--format", "starvla", "--dry-run", "--keep-pictures"))
    assert not out.exists()
    found = json.loads(run(*arguments, "--format", "starvla", "--keep-pictures"))
    assert found["episodes"] == dry["episodes"] > 0
    assert found["frames"] == dry["frames"]
    assert found["counts"]["episodes_without_fine_grained"] == found["episodes"]
    assert found["parts"] == ["."]


def test_a_wrong_format_lists_the_right_ones(converted: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"lerobot-v2\.1, starvla, unified80, rlds"):
        run(str(converted), "--format", "zarr", "--out", str(tmp_path / "out"))
