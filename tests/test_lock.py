"""The lock pins what our commands install, as plain pip constraints that name no place."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
PINS = [Requirement(line.split("  #")[0]) for line in LOCK if not line.startswith("#")]
PYTHONS = [{"python_version": f"3.{n}", "python_full_version": f"3.{n}.0"} for n in (11, 12, 13)]


def _asked_for() -> list[Requirement]:
    project = PROJECT["project"]
    groups = [
        *project["optional-dependencies"].values(),
        project["dependencies"],
        PROJECT["build-system"]["requires"],
        ["pip", "setuptools", "editables"],  # what installs and builds
    ]
    files = [ROOT / "tests" / "lerobot_oracle" / "requirements.txt", ROOT / "constraints.in"]
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    groups.append([line for line in lines if line and not line.startswith("#")])
    asked = [Requirement(entry) for group in groups for entry in group]
    return [requirement for requirement in asked if requirement.name != project["name"]]


@pytest.mark.parametrize("python", PYTHONS, ids=lambda python: python["python_version"])
def test_everything_asked_for_is_pinned_within_its_bounds(python: dict[str, str]) -> None:
    pins = {
        canonicalize_name(pin.name): pin
        for pin in PINS
        if pin.marker is None or pin.marker.evaluate(python)
    }
    assert len(pins) > 100
    for asked in _asked_for():
        (pin,) = pins[canonicalize_name(asked.name)].specifier
        assert pin.operator == "=="
        assert asked.specifier.contains(pin.version), f"{asked} is pinned at {pin}: make lock"


def test_it_names_no_place_and_asks_nothing_of_pip() -> None:
    for pin in PINS:
        assert pin.url is None
        assert not pin.extras
    for line in LOCK:
        assert not re.search(r"://|--|^/|file:|@", line), line


def test_lower_bounds_are_printed_as_pins() -> None:
    printed = subprocess.run(
        [sys.executable, ROOT / ".ci" / "lower_bounds.py"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert "numpy==2.0" in printed
    assert "pyright==1.1.400" in printed, "an extra of the dependency is no matter"
    assert len(printed) == len({line.split("==")[0] for line in printed}) > 40
    for asked in PROJECT["project"]["dependencies"]:
        name, bound = re.split(r">=|,", asked)[:2]
        assert f"{name}=={bound}" in printed
