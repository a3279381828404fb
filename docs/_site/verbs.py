"""One page a verb, written from the command line itself, so that no page can be out of date.

The pages exist in the site only: on a plain git host `finedata VERB --help` says the same, and the
pages of the rooms explain it.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import typer

from finedata.cli.app import app

__all__ = ["ROOMS", "command_of", "commands", "room_of", "verb_page"]

ROOMS = {
    "attention": "train.md",
    "card": "hub.md",
    "convert": "converters.md",
    "demo": "tutorial.md",
    "doctor": "start.md",
    "episodes": "tables.md",
    "export": "tables.md",
    "info": "tables.md",
    "merge": "tables.md",
    "publish": "hub.md",
    "pull": "hub.md",
    "query": "tables.md",
    "sources": "converters.md",
    "status": "start.md",
    "summary": "annotate.md",
    "view": "review.md",
}
"""Verb to the page that explains its room, where the page has another name."""


def room_of(name: str) -> str:
    """The page that explains a verb: its own, that of `ROOMS`, or the list of all."""
    own = Path(__file__).parent.parent / f"{name}.md"
    return own.name if own.is_file() else ROOMS.get(name, "commands.md")


@cache
def commands() -> dict[str, Any]:
    """Every verb with its inner verbs: `annotate`, `annotate facts`, ..."""
    found: dict[str, Any] = {}
    for name, command in typer.main.get_command(app).commands.items():  # pyright: ignore
        found[name] = command
        for inner, inner_command in getattr(command, "commands", {}).items():
            found[f"{name} {inner}"] = inner_command
    return found


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words behind `finedata` call, and its arguments.

    Raises:
        KeyError: There is no such verb.
    """
    every = commands()
    command, rest = every[words[0]], words[1:]
    inner = getattr(command, "commands", {})
    if rest and rest[0] in inner:
        return inner[rest[0]], rest[1:]
    # `finedata train RECIPE` and `finedata review DIR` are short for an inner verb.
    for short in ("run", "serve"):
        if short in inner and rest and not rest[0].startswith("-"):
            return inner[short], rest
    return command, rest


def verb_page(name: str) -> str:
    """The page of a verb, with those of its inner verbs, as Markdown."""
    every = commands()
    lines = [f"# finedata {name}", ""]
    lines += [*_help(every[name]), f"[More about it](../{room_of(name)})", ""]
    inner = [whole for whole in every if whole.startswith(f"{name} ")]
    if not inner or not hasattr(every[name], "commands") or _own_options(every[name]):
        lines += _parameters(name, every[name])
    for whole in inner:
        lines += [f"## finedata {whole}", ""]
        if every[whole].help != every[name].help:
            lines += _help(every[whole])
        lines += _parameters(whole, every[whole])
    return "\n".join(lines) + "\n"


def _help(command: Any) -> list[str]:
    lines: list[str] = []
    for paragraph in command.help.strip().split("\n\n"):
        text = " ".join(paragraph.split())
        if text.startswith("Example: "):
            lines += ["```", text.removeprefix("Example: "), "```", ""]
        else:
            lines += [_plain(text), ""]
    # Neighbouring examples are one block.
    return "\n".join(lines).replace("```\n\n```\n", "").split("\n")


def _own_options(command: Any) -> list[Any]:
    return [one for one in command.params if one.param_type_name == "option" and not one.hidden]


def _parameters(name: str, command: Any) -> list[str]:
    context = command.make_context(name, [], resilient_parsing=True)
    usage = " ".join(command.collect_usage_pieces(context)).replace("{", "").replace("}", "")
    lines = ["```", f"finedata {name} {usage}", "```", ""]
    shown = [one for one in command.params if not getattr(one, "hidden", False)]
    if not shown:
        return lines
    lines += ["| | means |", "|---|---|"]
    for one in shown:
        spelled, means = one.get_help_record(context)
        means = _plain(re.sub(r"  \[(.+)\]$", r" (\1)", means or ""))
        lines.append(f"| `{_cell(spelled)}` | {_cell(means)} |")
    return [*lines, ""]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _plain(text: str) -> str:
    """Text of a terminal as Markdown: nothing in it is markup but back ticks."""
    parts = text.split("`")
    parts[::2] = [
        part.replace("*", "\\*").replace("_", "\\_").replace("<", "&lt;") for part in parts[::2]
    ]
    return "`".join(parts)
