"""Every command has help with an example, and is documented."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from finedata.cli.app import app

ROOT = Path(__file__).parent.parent.parent
COMMANDS = {
    f"{prefix} {name}".strip(): command
    for prefix, group in [("", typer.main.get_command(app))]
    for name, command in group.commands.items()
}
COMMANDS |= {
    f"{name} {inner}": command
    for name, group in list(COMMANDS.items())
    for inner, command in getattr(group, "commands", {}).items()
}


def test_the_walk_found_the_verbs() -> None:
    assert {"convert", "query", "info", "verify", "sources", "sources copy", "demo"} <= set(
        COMMANDS
    )


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_command_is_documented(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    assert f"Example: finedata {name.split()[0]}" in command.help
    documents = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    assert any(f"finedata {name}" in document.read_text() for document in documents)
