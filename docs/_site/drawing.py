"""SVG by hand: enough for lines, bars and words, and the same bytes on every machine.

Colours are of a palette that people with red-green blindness tell apart (Okabe and Ito, 2008).
"""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BLUE", "GREEN", "GREY", "ORANGE", "PURPLE", "RED", "Drawing", "Scale"]

BLUE, ORANGE, GREEN, RED, PURPLE, GREY = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#d55e00",
    "#cc79a7",
    "#767676",
)
INK, PAPER = "#222222", "#ffffff"


class Scale:
    """Numbers to pixels, linearly."""

    def __init__(self, low: float, high: float, start: float, stop: float) -> None:
        self.low, self.high, self.start, self.stop = low, high, start, stop

    def __call__(self, value: float) -> float:
        """The pixel of a number."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.stop - self.start)


class Drawing:
    """A picture in the making.

    Args:
        width: In pixels.
        height: In pixels.
        title: What a reader who sees nothing is told.
    """

    def __init__(self, width: int, height: int, title: str) -> None:
        self._head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img" '
            'font-family="system-ui, sans-serif" font-size="13">'
            f"<title>{escape(title)}</title>"
            f'<rect width="{width}" height="{height}" fill="{PAPER}"/>'
        )
        self._parts: list[str] = []

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        colour: str = INK,
        anchor: str = "start",
        size: int = 13,
        bold: bool = False,
    ) -> None:
        """Words with their base line at y."""
        weight = ' font-weight="600"' if bold else ""
        self._parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}" '
            f'font-size="{size}"{weight}>{escape(words)}</text>'
        )

    def rect(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        fill: str,
        stroke: str = "none",
        opacity: float = 1.0,
        radius: float = 0,
    ) -> None:
        """A rectangle."""
        seen = "" if opacity == 1 else f' fill-opacity="{opacity:g}"'
        self._parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
            f'rx="{radius:g}" fill="{fill}" stroke="{stroke}"{seen}/>'
        )

    def line(
        self,
        points: Sequence[tuple[float, float]],
        *,
        colour: str = INK,
        width: float = 1.5,
        dash: str = "",
        opacity: float = 1.0,
    ) -> None:
        """A line through points."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        seen = "" if opacity == 1 else f' stroke-opacity="{opacity:g}"'
        self._parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" '
            f'stroke-width="{width:g}"{dashed}{seen}/>'
        )

    def dots(
        self, points: Sequence[tuple[float, float]], *, colour: str, radius: float = 2.5
    ) -> None:
        """A dot at each point."""
        for x, y in points:
            self._parts.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{colour}"/>'
            )

    def arrow(self, start: tuple[float, float], stop: tuple[float, float]) -> None:
        """A straight arrow."""
        (x0, y0), (x1, y1) = start, stop
        length = max(((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5, 1e-9)
        ux, uy = (x1 - x0) / length, (y1 - y0) / length
        self.line([start, stop], colour=GREY)
        left = (x1 - 7 * ux - 4 * uy, y1 - 7 * uy + 4 * ux)
        right = (x1 - 7 * ux + 4 * uy, y1 - 7 * uy - 4 * ux)
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (stop, left, right))
        self._parts.append(f'<polygon points="{points}" fill="{GREY}"/>')

    def image(self, x: float, y: float, width: float, height: float, *, jpeg: bytes) -> None:
        """A picture, which the file carries."""
        self._parts.append(
            f'<image x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
            f'href="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"/>'
        )

    def axes(
        self, x: Scale, y: Scale, *, ticks_x: Sequence[float], ticks_y: Sequence[float]
    ) -> None:
        """A frame with ticks and thin lines at the ticks of y."""
        for value in ticks_y:
            level = y(value)
            self.line([(x.start, level), (x.stop, level)], colour="#dddddd", width=1)
            self.text(x.start - 6, level + 4, f"{value:g}", anchor="end", size=11, colour=GREY)
        for value in ticks_x:
            self.text(x(value), y.start + 16, f"{value:g}", anchor="middle", size=11, colour=GREY)
        self.line([(x.start, y.stop), (x.start, y.start), (x.stop, y.start)], colour=GREY, width=1)

    def svg(self) -> str:
        """The whole picture."""
        return "\n".join([self._head, *self._parts, "</svg>"]) + "\n"
