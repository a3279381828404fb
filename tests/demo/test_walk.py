"""The demo's walk: what it prints of a step is what the command that it shows prints."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from shard.curation import curate
from typer.testing import CliRunner

from finedata.api import open as open_dataset
from finedata.cli.app import app
from finedata.demo.walk import _publish, _shard


def test_the_demo_streams_as_its_command_does(converted: Path, tmp_path: Path):
    dataset = tmp_path / "bridge"
    shutil.copytree(converted, dataset)
    curate(dataset)
    lines = list(_shard(open_dataset(dataset), tmp_path / "shards"))
    (command,) = [line for line in lines if "$ finedata stream" in line]
    assert "--mix raw=1 " in command  # no fine-grained text in these shards
    run = CliRunner().invoke(app, shlex.split(command)[2:])
    assert run.exit_code == 0, run.output
    receipt = [f"   {line}" for line in run.output.splitlines()]
    assert receipt[0].startswith("   samples 0 to 128 of sequence ")
    assert lines[-len(receipt) :] == receipt
    assert any(line.startswith("   a batch: image_0 (32, ") for line in lines)


def test_the_demo_ends_with_what_publishing_takes(converted: Path, tmp_path: Path):
    dataset, shards = tmp_path / "bridge", tmp_path / "shards"
    shutil.copytree(converted, dataset)
    curate(dataset)
    opened = open_dataset(dataset)
    opened.shard(shards)
    lines = list(_publish(opened, shards, number=14))
    (command,) = [line for line in lines if "$ finedata publish" in line]
    run = CliRunner().invoke(app, shlex.split(command)[2:])
    assert run.exit_code == 0, run.output
    assert lines[3:] == [f"   {line}" for line in run.output.splitlines()]
    assert any("the tag v3.0 is moved last" in line for line in lines)
