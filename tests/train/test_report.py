"""The page of runs: one line for seeds of one recipe, curves and receipts beside each other."""

from __future__ import annotations

from pathlib import Path

import pytest
from train.test_loop import trainer
from typer.testing import CliRunner

from finedata.cli.app import app
from finedata.errors import UsageError
from finedata.report.training import write_training_report

pytest.importorskip("torch", reason="torch is not installed")


def test_runs_side_by_side(both: Path, tmp_path: Path) -> None:
    for name, changes in {"one": {}, "two": {"seed": 7}, "three": {"lr_vlm": 5e-4}}.items():
        trainer(both, tmp_path / name, eval_every=2, eval_samples=4, **changes).train(stop=2)
    out = tmp_path / "runs.html"
    runs = [str(tmp_path / name) for name in ("one", "two", "three")]
    done = CliRunner().invoke(app, ["train", "report", *runs, "--out", str(out)])
    assert done.exit_code == 0, done.output
    page = out.read_text()
    assert "3 runs of 2 recipes" in page
    assert "one and 1 more seeds" in page
    assert page.count('class="band s0"') == 3  # loss, and held-out L1 of two views
    assert "right_x_m" in page
    assert "lr_vlm" in page
    assert "seed" in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
    with pytest.raises(UsageError, match=r"recipe\.toml"):
        write_training_report([tmp_path], out)


def test_tensorboard_opens_the_log(both: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from finedata.train.loop import Trainer

    from train.recipes import recipe_file  # isort: skip

    file = recipe_file(steps=2, batch=4, micro_batch=4, horizon=4, max_tokens=256, log_every=1)
    Trainer(
        file, both, tmp_path / "run", workers=0, device="cpu", trackers=("tensorboard",)
    ).train()
    events = EventAccumulator(str(tmp_path / "run/tensorboard"))
    events.Reload()
    assert {"loss", "terms/l1", "samples_per_s", "drawn/raw/a"} <= set(events.Tags()["scalars"])
    assert [one.step for one in events.Scalars("loss")] == [1, 2]
