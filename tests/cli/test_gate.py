"""`finedata gate` as a user runs it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from finedata.cli.app import app
from finedata.store.dataset import open_dataset

RUN = CliRunner()


@pytest.fixture
def dataset(converted, tmp_path) -> Path:
    return Path(shutil.copytree(converted, tmp_path / "bridge"))


def test_it_says_what_it_found_and_writes_it(dataset) -> None:
    result = RUN.invoke(app, ["gate", str(dataset)])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    found = open_dataset(dataset).verdicts.collect()
    passed = (found["verdict"] == "pass").sum()
    assert lines[0].startswith(f"{len(found)} episodes")
    assert f"{passed} pass" in lines[0]
    assert any("non_finite" in line and line.endswith("1") for line in lines)
    assert any(
        "widowx_250, bridge_v2: threshold" in line and "percentile" in line for line in lines
    )
    assert result.stderr == ""


def test_json_dry_run_and_options(dataset) -> None:
    options = ["--json", "--dry-run", "--method", "released", "--min-frames", "3"]
    result = RUN.invoke(app, ["gate", str(dataset), *options])
    summary = json.loads(result.stdout)
    assert summary["method"] == "released"
    assert summary["thresholds"][0]["origin"] == "preset"
    assert not summary["written"]
    assert not (dataset / "curation" / "gate.parquet").exists()


def test_a_scale_changes_the_scores(dataset) -> None:
    medians = []
    for scale in ([], ["--scale", "position_m=0.002", "--scale", "gripper=0.5"]):
        result = RUN.invoke(app, ["gate", str(dataset), "--json", "--dry-run", *scale])
        medians.append(json.loads(result.stdout)["thresholds"][0]["median"])
    assert medians[1] > medians[0]


@pytest.mark.parametrize(
    "options",
    [
        ["--scale", "size=1"],
        ["--scale", "gripper=much"],
        ["--scale", "gripper=0"],
        ["--threshold", "1", "--percentile", "5"],
        ["--percentile", "200"],
        ["--method", "nearest"],
        ["--min-frames", "0"],
    ],
)
def test_wrong_options_exit_with_two(dataset, options) -> None:
    from finedata.errors import UsageError

    result = RUN.invoke(app, ["gate", str(dataset), *options])
    wrong = result.exit_code == 2 or isinstance(result.exception, UsageError)
    assert wrong, result.output
    assert not (dataset / "curation" / "gate.parquet").exists()
