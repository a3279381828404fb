"""Small pieces of HTML: the only way in which text and numbers reach the page, always escaped.

Everything that a dataset says passes `escape` or `said`; only this room's own words are written
as markup. The page fetches nothing: style in a `<style>`, pictures in `data:` addresses, no script.
"""

from __future__ import annotations

import base64
from importlib.resources import files
from typing import TYPE_CHECKING

from finedata.report.drawing.svg import escape, number_text

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST_TEXT = 240
NEXT_GATE = "The gate has not run: <code>finedata gate DIR</code>."
NEXT_CLUSTER = "Nothing is clustered yet: <code>finedata cluster DIR</code>."
# Forbids everything that the page does not need, should an escape ever be forgotten.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

Cell = str | int | float | None


def said(value: object, *, longest: int = LONGEST_TEXT) -> str:
    """Text of a dataset: escaped, cut where very long, its direction kept to itself."""
    return f'<bdi dir="auto">{escape(value, longest=longest)}</bdi>'


def note(markup: str, *, warn: bool = False) -> str:
    """A paragraph beside the matter; `warn` for what the reader should act on."""
    return f'<p class="note{" warn" if warn else ""}">{markup}</p>'


def table(
    caption: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    last: Sequence[Cell] | None = None,
) -> str:
    """A table; numbers are set flush right, whole ones in full, the others to three digits.

    Args:
        caption: What it shows; markup.
        heads: Names of the columns; plain text.
        rows: Cells: markup, a number, or `None` for an empty one.
        last: A row of totals.
    """
    numeric = [
        bool(rows) and all(not isinstance(row[i], str) for row in rows) for i in range(len(heads))
    ]
    head = "".join(
        f'<th scope="col"{_class(n)}>{escape(name)}</th>'
        for name, n in zip(heads, numeric, strict=True)
    )
    body = "".join(f"<tr>{_cells(row)}</tr>" for row in rows)
    foot = f"<tfoot><tr>{_cells(last)}</tr></tfoot>" if last is not None else ""
    return (
        f'<div class="wide"><table><caption>{caption}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody>{foot}</table></div>"
    )


def _class(numeric: bool) -> str:  # noqa: FBT001  (a word of markup, not a switch)
    return ' class="n"' if numeric else ""


def _cells(row: Sequence[Cell]) -> str:
    return "".join(_cell(cell) for cell in row)


def _cell(cell: Cell) -> str:
    if isinstance(cell, str):
        return f"<td>{cell}</td>"
    if cell is None:
        return '<td class="n"></td>'
    return f'<td class="n">{f"{cell:,}" if isinstance(cell, int) else number_text(cell)}</td>'


def pairs(rows: Sequence[tuple[str, str]]) -> str:
    """A list of names and markup."""
    return f"<dl>{''.join(f'<dt>{escape(k)}</dt><dd>{v}</dd>' for k, v in rows)}</dl>"


def figure(drawing: str, caption: str) -> str:
    """A picture with its caption in markup."""
    return f"<figure>{drawing}<figcaption>{caption}</figcaption></figure>"


def jpeg_image(data: bytes, *, alt: str, width: int, height: int) -> str:
    """A JPEG inside the page."""
    encoded = base64.b64encode(data).decode()
    return (
        f'<img src="data:image/jpeg;base64,{encoded}" alt="{escape(alt)}" '
        f'width="{width}" height="{height}">'
    )


def page(title: str, sections: Sequence[tuple[str, str, str]], *, lead: str, foot: str) -> str:
    """The whole document.

    Args:
        title: Plain text.
        sections: (anchor, heading, markup), in order.
        lead: Markup below the title.
        foot: Markup at the end.
    """
    style = files("finedata.report").joinpath("style.css").read_text("utf-8")
    links = "".join(f'<a href="#{escape(a)}">{escape(h)}</a> ' for a, h, _ in sections)
    body = "".join(
        f'<section id="{escape(a)}"><h2>{escape(h)}</h2>{markup}</section>\n'
        for a, h, markup in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"<header><h1>{escape(title)}</h1>{lead}"
        f'<nav aria-label="Contents">{links}</nav></header>\n<main>\n{body}</main>\n'
        f"<footer>{foot}</footer>\n</body>\n</html>\n"
    )
