"""The package is imported where POSIX is not, and its statements run on Pythons to come.

No module needs `fcntl` and its like to be loaded.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import finedata

POSIX_ONLY = {"fcntl", "grp", "pwd", "resource", "termios"}
IMPORT_ALL = f"""
import importlib, importlib.util, pkgutil, sys
import numba, polars, pyarrow.parquet  # what they need is their affair
torch = importlib.util.find_spec("torch") and importlib.util.find_spec("transformers")
if torch:
    import torch, transformers
for name in {sorted(POSIX_ONLY)!r}:
    sys.modules[name] = None
import finedata
for module in pkgutil.walk_packages(finedata.__path__, "finedata."):
    if not module.name.endswith("__main__") and (torch or ".train." not in module.name):
        importlib.import_module(module.name)
"""


def test_no_module_imports_what_only_posix_has() -> None:
    found = []
    for path in Path(finedata.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            found += [f"{path}: {name}" for name in names if name in POSIX_ONLY]
    assert found == []


def test_every_module_is_loaded_without_them() -> None:
    command = [sys.executable, "-W", "ignore", "-c", IMPORT_ALL]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_statement_has_numbered_places() -> None:
    """`?1` beside a sequence is an error from Python 3.14 on, and a warning since 3.12."""
    found = [
        f"{path}:{node.lineno}"
        for path in Path(finedata.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.search(r"\b(select|insert|update|delete)\b.*\?\d", node.value, re.DOTALL)
    ]
    assert found == []
