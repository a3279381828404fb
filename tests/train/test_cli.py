"""`finedata train`: its changes are recorded, its lines tell what was drawn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from finedata.cli.app import app
from finedata.cli.train import _learnt
from finedata.errors import UsageError

pytest.importorskip("torch", reason="torch is not installed")

SET = [
    "--set", "steps=2", "--set", "batch=4", "--set", "micro_batch=4", "--set", "horizon=4",
    "--set", "max_tokens=256", "--set", "log_every=1",
]  # fmt: skip


def test_a_run_by_its_recipes_name(both: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = ["train", "tiny_oft", "--shards", str(both), "--out", str(out), "--workers", "0"]
    done = CliRunner().invoke(app, [*command, "--mix", "fg=1,raw=1", *SET, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["step"], found["notes"]) == (2, [])
    config = json.loads(
        (Path(found["checkpoint"]) / "pretrained_model/train_config.json").read_text()
    )
    assert config["name"] == "tiny_oft"
    assert config["changed"]["mix"] == "fg=1,raw=1"
    assert config["recipe"]["mix"] == "fg=1,raw=1"
    assert "samples/s" in done.stderr
    again = CliRunner().invoke(app, [*command, "--mix", "fg=1,raw=1", *SET, "--resume"])
    assert again.exit_code == 0
    assert "step 2" in again.stdout
    refused = CliRunner().invoke(app, [*command, "--set", "stpes=3"])
    assert "did you mean `steps`" in str(refused.exception)
    assert isinstance(refused.exception, UsageError)


def test_what_was_learnt_is_said_in_words_and_more_accuracy_is_better() -> None:
    before = {"samples": 8.0, "l1": 0.5, "action": 4.0, "action_accuracy": 0.2}
    now = {"samples": 8.0, "l1": 0.6, "action": 3.0, "action_accuracy": 0.4}
    lines = _learnt("fg", now, before)
    assert lines[0].startswith("On 8 samples of held-out episodes (view fg)")
    assert lines[2] == "  cross-entropy of a token of action: 3.000; before training 4.000"
    assert lines[3] == "  tokens of action that were the likeliest: 40.0%; before training 20.0%"
    assert lines[4] == "  2 of these 3 numbers are better than before training"
    lessons = _learnt("facts/steps", {"samples": 4.0, "words": 1.0, "words_accuracy": 0.5}, {})
    assert lessons[0] == "On 4 lessons of held-out episodes (facts/steps):"
