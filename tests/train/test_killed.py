"""A process ended by SIGKILL at a random step, and gone on with, equals one that never was."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from train.killed_run import SETTINGS, train_and_kill
from train.recipes import recipe_file

pytest.importorskip("torch", reason="torch is not installed")

from train.test_loop import assert_same

from finedata.train.log import read_log
from finedata.train.loop import Trained, Trainer

# What a clock says; everything else of an entry follows from the recipe and the shards.
CLOCKS = {"step_s", "samples_per_s", "waiting_share", "mfu"}


def entries(run: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in one.items() if k not in CLOCKS} for one in read_log(run)]


def drawn(checkpoint: Path) -> Counter[str]:
    """Everything that was drawn, the receipts of all beginnings together."""
    found: Counter[str] = Counter()
    path = checkpoint / "training_state/stream_receipts.json"
    for receipt in msgspec.json.decode(path.read_bytes()):
        for one in receipt["drawn"]:
            found[f"{one['view']}/{one['source']}"] += one["samples"]
    return found


@pytest.mark.parametrize("seed", [20261130])
def test_kill_9_at_a_random_step(both: Path, tmp_path: Path, seed: int) -> None:
    def train(run: Path, **more: Any) -> Trained:
        recipe = recipe_file("tiny_oft", **SETTINGS)
        return Trainer(recipe, both, run, device="cpu", **more).train()

    whole = train(tmp_path / "whole", workers=0)
    chance = random.Random(seed)
    run = tmp_path / "run"
    first, second = chance.randint(1, 6), chance.randint(8, 13)
    waits = (chance.uniform(0, 0.05), chance.uniform(0, 0.05))
    train_and_kill(both, run, resume=False, workers=2, after_step=first, wait_s=waits[0])
    train_and_kill(both, run, resume=True, workers=1, after_step=second, wait_s=waits[1])
    reached = read_log(run)[-1]["step"]
    assert first < reached < SETTINGS["steps"]
    again = train(run, workers=0, resume=True)
    assert again.notes == ()
    assert whole.checkpoint is not None
    assert again.checkpoint is not None
    assert_same(whole.checkpoint, again.checkpoint)
    assert entries(run) == entries(whole.run)
    assert drawn(again.checkpoint) == drawn(whole.checkpoint)
    names = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert names == ["000021", "000024", "last"]
