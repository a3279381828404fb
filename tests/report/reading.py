"""What a strict reader finds in a report: tags that close, text, tables, pictures."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

__all__ = ["Page", "drawings", "read_page"]

_VOID = {"meta", "img", "br"}
_SVG = "{http://www.w3.org/2000/svg}"


class Page(HTMLParser):
    """Refuses tags that do not nest; keeps every tag, its attributes and the tables."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.tables: list[tuple[str, list[list[str]]]] = []
        self._cell: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append(("", []))
        elif tag == "tr":
            self.tables[-1][1].append([])
        if tag in ("td", "th", "caption"):
            self._cell = []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        found = self.open.pop() if self.open else "nothing"
        if found != tag:
            message = f"</{tag}> closes <{found}>"
            raise ValueError(message)
        if tag in ("td", "th", "caption") and self._cell is not None:
            said = "".join(self._cell)
            if tag == "caption":
                self.tables[-1] = (said, self.tables[-1][1])
            else:
                self.tables[-1][1][-1].append(said)
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)
        if self._cell is not None:
            self._cell.append(data)

    def table(self, caption: str) -> list[list[str]]:
        """The rows, heads first, of the one table whose caption begins so."""
        (found,) = [rows for said, rows in self.tables if said.startswith(caption)]
        return found


def read_page(html: str) -> Page:
    page = Page()
    page.feed(html)
    page.close()
    assert page.open == []
    return page


def drawings(html: str) -> list[ET.Element]:
    """Every SVG of a page, each read as XML by itself."""
    found: list[ET.Element] = []
    for markup in re.findall(r"<svg .*?</svg>", html, re.DOTALL):
        named = (
            markup if "xmlns=" in markup else markup.replace("<svg", f'<svg xmlns="{_SVG[1:-1]}"')
        )
        found.append(ET.fromstring(named))
    return found
