"""The documents of the checkout, taken apart: links, headings, blocks of code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
FILES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / name / "README.md" for name in ("converters", "examples", "schemas")),
        ROOT / "benchmarks" / "RESULTS.md",
    ]
)
_FENCE = re.compile(r"^( *)(```+)([^\n`]*)\n(.*?)^\1\2 *$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)[^)]*\)")


@dataclass(frozen=True)
class Block:
    """A block of code; `language` is empty where none is said, also of indented blocks."""

    file: str
    language: str
    text: str


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose_of(text: str) -> str:
    """Without fenced blocks."""
    return _FENCE.sub("", text)


def links_of(text: str) -> list[str]:
    found = _LINK.findall(re.sub(r"`[^`]*`", "", prose_of(text)))
    return [link for link in found if not re.match(r"\w+:", link)]


def anchors_of(text: str) -> set[str]:
    """As GitHub names headings."""
    anchors: set[str] = set()
    for heading in re.findall(r"^#+ (.+?) *#*$", prose_of(text), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        anchors.add(slug)
    return anchors


def blocks_of(path: Path) -> list[Block]:
    text, file = path.read_text("utf-8"), name_of(path)
    found = [
        Block(file, language.strip(), re.sub(f"^{indent}", "", body, flags=re.MULTILINE))
        for indent, _, language, body in _FENCE.findall(text)
    ]
    indented: list[str] = []
    blank = True
    for line in [*prose_of(text).splitlines(), ""]:
        if line.startswith("    ") and (blank or indented):
            indented.append(line[4:])
        elif line.strip():
            if indented:
                found.append(Block(file, "", "\n".join(indented)))
            indented = []
        blank = not line.strip()
    return [*found, Block(file, "", "\n".join(indented))] if indented else found


def inline_code(text: str) -> list[str]:
    found = re.findall(r"(?<!`)`([^`]+)`(?!`)", prose_of(text))
    return [" ".join(code.replace("\\|", "|").split()) for code in found]
