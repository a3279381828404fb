"""The doors between rooms, and the lint and type rules of the house, hold."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [["lint-imports", "--no-cache"], ["ruff", "check", "."], ["ruff", "format", "--check", "."]],
    ids=lambda command: " ".join(command[:2]),
)
def test_house_rule(command: list[str]) -> None:
    tool = BIN / command[0]
    if not tool.exists():
        pytest.skip(f"{command[0]} is not installed: make test installs it")
    done = subprocess.run(
        [str(tool), *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_command_line_calls_the_face_and_nothing_below() -> None:
    # Types that tell two results of one verb apart; and what a verb's frame needs.
    allowed = ("finedata.cli", "finedata.api", "finedata.errors", "finedata.demo.walk")
    frame = {"finedata.engine.local", "finedata.store.damaged", "finedata.store.remote.path"}
    reached: set[str] = set()
    for path in sorted((ROOT / "finedata" / "cli").glob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        types = {
            id(node)
            for branch in ast.walk(tree)
            if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.dump(branch.test)
            for node in ast.walk(branch)
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom) or id(node) in types:
                continue
            module = node.module or ""
            is_type = all(alias.name[0].isupper() for alias in node.names)
            if module.startswith("finedata.") and not module.startswith(allowed) and not is_type:
                reached.add(module)
    assert reached <= frame
