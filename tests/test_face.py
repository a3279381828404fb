"""The public face: light to import, and exactly what `__all__` says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import finedata

HEAVY = (
    "torch", "transformers", "tensorflow", "tensorflow_datasets", "lerobot", "ray", "fastapi",
    "polars", "pyarrow", "numpy", "pandas", "scipy", "quaternion",
)  # fmt: skip


def modules_after(statement: str) -> set[str]:
    program = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return {name.split(".")[0] for name in done.stdout.split()}


def test_import_is_light() -> None:
    loaded = modules_after("import finedata")
    assert "finedata" in loaded
    assert not loaded & set(HEAVY)


def test_the_command_line_is_light_until_a_verb_runs() -> None:
    assert not modules_after("import finedata.cli") & set(HEAVY)


def test_names_are_what_all_says() -> None:
    assert finedata.__all__ == sorted(finedata.__all__)
    assert dir(finedata) == finedata.__all__
    for name in finedata.__all__:
        assert getattr(finedata, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'opne'"):
        finedata.opne  # noqa: B018


def test_paper_rooms_hold_no_python() -> None:
    root = Path(__file__).parent.parent
    papers = [
        path for room in ("converters", "schemas", "trainers") for path in (root / room).rglob("*")
    ]
    assert len(papers) > 10
    assert not [path for path in papers if path.suffix == ".py"]
