"""Rates over a share, as SVG: every run a point with its interval, a line through the means.

Seeds are points of their own, side by side where they would cover each other, so that the reader
sees how far they lie apart and does not take the whisker of one for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finedata.report.drawing.clusters import marker
from finedata.report.drawing.svg import (
    Frame,
    Scale,
    element,
    escape,
    number_text,
    picture,
    polyline,
    text,
    x_axis,
    y_axis,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_EDGE = 26.0
_SERIES_APART, _POINTS_APART = 7.0, 3.5


@dataclass(frozen=True, slots=True)
class RatePoint:
    """A rate, all of it in percent.

    Attributes:
        x: The share that it is drawn over.
        y: The rate.
        low: Lower end of its interval.
        high: Upper end.
        name: Shown on hovering.
    """

    x: float
    y: float
    low: float
    high: float
    name: str


@dataclass(frozen=True, slots=True)
class RateSeries:
    """Points of one kind, named on the right."""

    name: str
    points: tuple[RatePoint, ...]


def rate_chart(series: Sequence[RateSeries], *, x_title: str, y_title: str, label: str) -> str:
    """Points with whiskers over shares from 0 to 100 percent.

    Args:
        series: Each has at least one point; colours and shapes are by its place.
        x_title: With its unit.
        y_title: With its unit.
        label: For readers who cannot see.
    """
    frame = Frame(width=720.0, height=320.0, right=140.0, top=36.0)
    inside = Scale(0.0, 100.0, frame.left + _EDGE, frame.width - frame.right - _EDGE)
    y = frame.y_scale(0.0, 100.0)
    places = sorted({point.x for one in series for point in one.points})
    body = [
        y_axis(frame, y, [0.0, 20.0, 40.0, 60.0, 80.0, 100.0], y_title),
        x_axis(frame, inside, _apart(places), x_title),
    ]
    for number, one in enumerate(series):
        shift = _SERIES_APART * (number - (len(series) - 1) / 2)
        group = f"c{number}"
        columns = {x: [p for p in one.points if p.x == x] for x in places}
        means = [
            (inside(x) + shift, y(sum(p.y for p in points) / len(points)))
            for x, points in columns.items()
            if points
        ]
        if len(means) > 1:
            body.append(polyline(means, class_=f"branch {group}"))
        for x, points in columns.items():
            for k, point in enumerate(points):
                at = inside(x) + shift + _POINTS_APART * (k - (len(points) - 1) / 2)
                ends = [(at, y(point.low)), (at, y(point.high))]
                body.append(polyline(ends, class_=f"branch thin {group}"))
                said = element("title", escape(point.name))
                body.append(marker(at, y(point.y), 3.6, number, content=said))
        row = frame.top + 14 + 20 * number
        body.append(marker(frame.width - frame.right + 14, row - 4, 4.5, number))
        body.append(text(frame.width - frame.right + 26, row, one.name, class_="tick strong"))
    return picture(body, width=frame.width, height=frame.height, label=label)


def _apart(places: list[float]) -> list[float]:
    """Ticks that do not cover each other."""
    kept: list[float] = []
    for place in places:
        if not kept or place - kept[-1] >= 4.0:
            kept.append(float(number_text(place)))
    return kept
