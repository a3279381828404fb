"""`finedata verify` at the command line, above all `--pose`: table, JSON, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from sources import droid, robomind_v1
from typer.testing import CliRunner

from finedata.cli.app import app
from finedata.convert.run import convert
from finedata.errors import FinedataError, UsageError
from finedata.papers import paper_room


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["verify", *map(str, arguments)])


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("droid")
    droid.write(folder)
    return folder


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DROID's converter with another encoding."""
    text = (paper_room("converters") / "droid.toml").read_text()
    assert '"euler_xyz_extrinsic"' in text
    path = tmp_path_factory.mktemp("toml") / "broken.toml"
    path.write_text(text.replace('"euler_xyz_extrinsic"', '"rotation_vector"'))
    return path


def test_a_right_converter_is_confirmed_in_a_table(source: Path) -> None:
    done = run("--source", "droid", "--input", source, "--pose")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "droid, droid_rlds, franka_panda, right arm: confirmed"
    assert lines[1] == "  3 episodes compared; robot model: franka_panda"
    assert lines[2].startswith("  state: euler_xyz_extrinsic; action: absolute, euler_xyz")
    head = next(line.split() for line in lines if line.lstrip().startswith("reading"))
    assert head[:3] == ["reading", "declared", "deg"]
    declared = next(line.split() for line in lines if line.startswith("    euler_xyz_extrinsic "))
    assert declared[1] == "yes"
    assert float(declared[2]) < 1e-4
    other = next(line.split() for line in lines if line.startswith("    rotation_vector "))
    assert float(other[1]) > 5.0
    assert lines[-1] == "confirmed; 3 episodes looked at, 0 of them not read"


def test_a_wrong_converter_is_contradicted_and_exits_with_1(source: Path, broken: Path) -> None:
    done = run("--source", broken, "--input", source, "--pose")
    assert done.exit_code == 1
    assert "right arm: contradicted" in done.stdout
    assert "state_rotation: contradicted: declared rotation_vector leaves" in done.stdout


def test_json_gives_everything(source: Path, broken: Path) -> None:
    done = run("--source", broken, "--input", source, "--pose", "--json", "--pose-episodes", 1)
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert (found["verdict"], found["looked_at"], found["failed"]) == ("contradicted", 1, 0)
    (arm,) = found["arms"]
    assert (arm["arm"], arm["model"], arm["episodes"]) == ("right", "franka_panda", 1)
    rotation, position, action = arm["parts"]
    assert (rotation["part"], position["part"], action["part"]) == (
        "state_rotation", "state_position", "action",
    )  # fmt: skip
    assert len(rotation["readings"]) == 10
    best = rotation["readings"][0]
    assert (best["name"], best["declared"]) == ("euler_xyz_extrinsic", False)
    assert best["residual_deg"] < 1e-4
    assert position["readings"][0]["residual_m"] < 1e-5


def test_a_dataset_is_checked_by_its_own_converter(
    source: Path, broken: Path, tmp_path: Path
) -> None:
    convert("droid", input=source, out=tmp_path / "right")
    convert(str(broken), input=source, out=tmp_path / "wrong")
    assert run(tmp_path / "right", "--input", source, "--pose").exit_code == 0
    assert run(tmp_path / "wrong", "--input", source, "--pose").exit_code == 1
    # The round trip is right with either: it proves another thing.
    done = run(tmp_path / "wrong", "--input", source)
    assert done.exit_code == 0
    assert "0 problems" in done.stdout


def test_what_the_norm_decided_and_what_cannot_be_told_are_shown(tmp_path: Path) -> None:
    robomind_v1.write(tmp_path)
    where = ("--source", "robomind_v1", "--input", tmp_path, "--pose")
    done = run(*where)
    assert done.exit_code == 0
    decided = "(quaternion_or_euler, decided by the norm of the numbers)"
    assert done.stdout.count(f"state: euler_xyz_extrinsic {decided}") == 2
    assert done.stdout.count(f"state: quaternion_xyzw {decided}") == 2
    assert "  undecided: no pose recorded, joints only: nothing to hold them against" in done.stdout
    # A choice of the converter file is taken: the Euler angles are then read as a quaternion.
    chosen = run(*where, "--option", "agilex_rotation=quaternion_xyzw", "--json")
    arms = [arm for arm in json.loads(chosen.stdout)["arms"] if arm["variant"] == "agilex"]
    assert {(arm["encoding"], arm["decided_by_norm"]) for arm in arms} == {
        ("quaternion_xyzw", False)
    }


def test_episodes_that_are_not_read_are_said(source: Path, tmp_path: Path) -> None:
    droid.write(tmp_path)
    file = sorted(tmp_path.rglob("*.tfrecord-00001-*"))[0]
    file.write_bytes(file.read_bytes()[:-9])
    done = run("--source", "droid", "--input", tmp_path, "--pose")
    assert done.exit_code == 0
    assert "3 episodes looked at, 1 of them not read" in done.stdout
    assert f"not read: {file.name}, record 0: " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--pose",), "no dataset and no converter"),
        (("--pose", "--source", "droid", "DIR"), "both a dataset and a converter"),
        (("--pose", "--source", "dorid"), "wanted one of"),
        (("--pose", "--source", "droid", "--option", "x=y"), "'x'"),
        (("--pose", "--source", "droid", "--option", "x"), "NAME=CHOICE"),
        ((), "no dataset"),
        (("--source", "droid"), "no dataset"),
        (("--source", "droid", "DIR"), "--source or --option without --pose"),
    ],
)
def test_wrong_usage(source: Path, arguments: tuple[str, ...], message: str) -> None:
    done = run(*arguments, "--input", source)
    assert isinstance(done.exception, UsageError)
    assert message in str(done.exception)
    assert done.stdout == ""


def test_nothing_to_read_is_an_error(source: Path) -> None:
    done = run("--source", "bc_z", "--input", source, "--pose")
    assert isinstance(done.exception, FinedataError)
    assert "at least one episode that the converter reads" in str(done.exception)
