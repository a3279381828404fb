"""The room's face: its names, and what importing it loads."""

from __future__ import annotations

import inspect
import subprocess
import sys

import finedata.motion

HEAVY = {"pyarrow", "polars", "fsspec", "torch", "scipy", "quaternion", "numba", "pandas"}


def test_names_are_those_that_the_room_imports():
    own = {
        name
        for name, value in vars(finedata.motion).items()
        if not name.startswith("_") and not inspect.ismodule(value) and name != "annotations"
    }
    assert own == set(finedata.motion.__all__)


def test_importing_loads_numpy_only():
    program = "import finedata.motion, sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "numpy" in loaded
    assert not loaded & HEAVY
