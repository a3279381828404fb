"""Kept code belongs to the sources of every kernel in it."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

MODULES = [
    "finedata.motion.dtw.batch",
    "finedata.motion.dtw.path",
    "finedata.kinematic.kernels.segments",
    "finedata.kinematic.kernels.shapes",
    "finedata.kinematic.kernels.tracks",
]
INNER = """
from finedata.motion.dtw.compiling import kernel

@kernel
def inner(x):
    return x + {added}
"""
OUTER = """
import sys
from finedata.motion.dtw.compiling import cached_kernel
from inner_kernels import inner

@cached_kernel
def outer(x):
    return inner(x)

if __name__ == "__main__":
    print(outer(1.0), sum(outer.stats.cache_hits.values()))
"""


def _run(folder: Path, *, added: int) -> list[str]:
    (folder / "inner_kernels.py").write_text(INNER.format(added=added), encoding="utf-8")
    (folder / "outer_kernels.py").write_text(OUTER, encoding="utf-8")
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder / "kept")}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    # Python takes byte code for fresh by size and whole second, and both are alike here.
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    command = [sys.executable, str(folder / "outer_kernels.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_an_inner_kernel_that_changed_is_compiled_again(tmp_path: Path) -> None:
    assert _run(tmp_path, added=1) == ["2.0", "0"]
    assert _run(tmp_path, added=1) == ["2.0", "1"], "code of the same sources was not kept"
    assert _run(tmp_path, added=2) == ["3.0", "0"], "code of other sources was taken"


@pytest.mark.parametrize("name", MODULES)
def test_kernels_call_those_of_their_folder(name: str) -> None:
    """The key knows the modules of the folder and no others."""
    module = importlib.import_module(name)
    folder = Path(str(module.__file__)).parent
    seen = _kernel_files(vars(module), set())
    assert seen
    for path in seen:
        assert path.parent == folder


def _kernel_files(names: dict[str, Any], seen: set[Path]) -> set[Path]:
    """Files of the kernels and intrinsics among some names, and of what those call."""
    for value in list(names.values()):
        function = getattr(value, "py_func", None) or getattr(value, "_defn", None)
        if isinstance(function, FunctionType):
            path = Path(function.__code__.co_filename)
            if path not in seen:
                seen.add(path)
                _kernel_files(function.__globals__, seen)
    return seen
