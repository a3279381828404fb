"""`finedata sources`: a line for each converter, everything as JSON, a copy, a draft."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from sources import generic_lerobot
from typer.testing import CliRunner

from finedata.cli.app import app
from finedata.schema.converter_file import decode_converter, list_converters

FINEDATA = Path(sys.executable).parent / "finedata"


def test_one_line_a_converter() -> None:
    result = CliRunner().invoke(app, ["sources"])
    assert result.exit_code == 0
    header, *lines = result.stdout.splitlines()
    assert header.split() == ["NAME", "SOURCE", "READER", "ROBOT", "FPS", "LICENCE"]
    assert [line.split()[0] for line in lines] == [f.converter.name for f in list_converters()]
    assert len(lines) >= 11
    by_name = {line.split()[0]: line for line in lines}
    for word in ("DROID", "rlds", "franka_panda", "15", "CC-BY-4.0"):
        assert word in by_name["droid"].split()
    assert "clock" in by_name["rh20t"]
    assert "file,15" in by_name["galaxea"]


def test_json_has_everything() -> None:
    rows = {
        row["name"]: row
        for row in json.loads(CliRunner().invoke(app, ["sources", "--json"]).stdout)
    }
    assert set(rows) == {file.converter.name for file in list_converters()}
    option = rows["rt_1"]["options"]["rotation_delta"]
    assert option["default"] in option["choices"]
    assert option["why"]
    assert rows["rt_1"]["doubts"]
    (variant,) = rows["droid"]["variants"]
    assert variant["arms"][0]["state"]["rotation"]["encoding"] == "euler_xyz_extrinsic"
    assert [form["name"] for form in rows["galaxea"]["variants"]] == ["lerobot", "rlds"]


def test_copy_decodes_and_is_not_overwritten(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    assert CliRunner().invoke(app, ["sources", "copy", "droid", str(mine)]).exit_code == 0
    assert decode_converter(mine.read_text(), origin="x").converter.name == "droid"
    assert CliRunner().invoke(app, ["sources", "copy", "droid", str(mine)]).exit_code != 0


def test_a_draft_goes_to_stdout_and_advice_to_stderr(tmp_path: Path) -> None:
    generic_lerobot.write(tmp_path, episodes=1)
    done = subprocess.run(
        [str(FINEDATA), "sources", "draft", str(tmp_path), "--name", "mine"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert decode_converter(done.stdout, origin="x").converter.name == "mine"
    assert "finedata convert mine.toml" in done.stderr
    assert str(tmp_path) not in done.stdout


@pytest.mark.parametrize("address", ["nowhere", "."])
def test_a_folder_without_episodes_is_refused(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = subprocess.run(
        [str(FINEDATA), "sources", "draft", address], capture_output=True, text=True, check=False
    )
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
