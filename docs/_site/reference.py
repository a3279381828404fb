"""The reference: one page a noun of the face, and one of functions, from their docstrings."""

from __future__ import annotations

import inspect

import finedata

__all__ = ["pages"]


def pages() -> list[tuple[str, str, str]]:
    """(title, name, content) of each page; the content is Markdown for mkdocstrings."""
    names = [name for name in finedata.__all__ if not name.startswith("__")]
    things = {name: getattr(finedata, name) for name in names}
    made = [("Functions", "functions", "# Functions\n\n" + _blocks(things, classes=False))]
    for name, thing in things.items():
        if inspect.isclass(thing):
            made.append((name, name.lower(), f"# {name}\n\n" + _block(thing)))
    return made


def _blocks(things: dict[str, object], *, classes: bool) -> str:
    wanted = [one for one in things.values() if inspect.isclass(one) is classes]
    return "\n".join(_block(one) for one in wanted)


def _block(thing: object) -> str:
    path = f"{thing.__module__}.{thing.__qualname__}"  # pyright: ignore
    return f"::: {path}\n"
