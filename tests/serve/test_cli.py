"""`finedata serve` as a user types it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from serve.conftest import picture
from typer.testing import CliRunner

import finedata as fd
from finedata.cli.app import app
from finedata.errors import UsageError

pytest.importorskip("torch", reason="torch is not installed")


def test_a_dry_run_says_what_clients_must_show(tiny_run: Path) -> None:
    done = CliRunner().invoke(app, ["serve", str(tiny_run), "--dry-run", "--rotation",
                                    "rotation_vector", "--execute", "2"])  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "tiny_oft, step 2: pictures front; 2 of 4 steps an answer" in done.output
    assert "arm is told right_x, right_y, right_z, right_rx, right_ry, right_rz" in done.output
    done = CliRunner().invoke(app, ["serve", str(tiny_run), "--dry-run", "--json"])
    assert json.loads(done.stdout)["available_unnorm_keys"] == ["arm"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--key", "image"], "found no pair"),
        (["--key", "image=left"], "found 'left'"),
        (["--execute", "9"], "execute: found 9"),
        (["--reasoning"], "a policy with the head oft"),
        (["--host", "0.0.0.0"], "found no key"),
    ],
)
def test_what_cannot_be_served(tiny_run: Path, options: list[str], told: str) -> None:
    done = CliRunner().invoke(app, ["serve", str(tiny_run), *options])
    assert isinstance(done.exception, UsageError)
    assert told in str(done.exception)


def test_a_process_serves_until_it_is_told_to_end(tiny_run: Path) -> None:
    program = "import torch; torch.set_num_threads(1); from finedata.cli import main; main()"
    command = [sys.executable, "-c", program, "serve", tiny_run, "--port", "0", "--device", "cpu"]
    with subprocess.Popen(
        [*command, "--key", "observation/image=front", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            told = json.loads(process.stdout.readline())
            with fd.connect(told["listening"]["address"]) as policy:
                assert policy.metadata == told["metadata"]
                said = policy.act({"observation/image": picture(), "prompt": "do 1"})
                assert said.actions.shape == (4, 8)
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130, errors
    assert errors == "stopped\n"
