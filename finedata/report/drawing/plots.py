"""Three pictures of a report as SVG: a histogram with thresholds, a funnel, lines with a band.

Every bar has a `<title>`, which browsers show on hovering; colours are classes of the style sheet
and never the only sign: lines differ in dashes too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from finedata.report.drawing.svg import (
    Frame,
    Scale,
    count_text,
    element,
    escape,
    nice_step,
    nice_ticks,
    number_text,
    picture,
    polyline,
    text,
    x_axis,
    y_axis,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_FIRST_MARK = 32.0


@dataclass(frozen=True, slots=True)
class Bins:
    """Counts of a histogram.

    Attributes:
        edges: B + 1 edges at round numbers; a bin holds `edges[i] <= x < edges[i + 1]`.
        stacks: What is stacked, from the bottom: (class, label, B counts).
        beyond: As many counts as stacks: values at or above the last edge.
    """

    edges: tuple[float, ...]
    stacks: tuple[tuple[str, str, tuple[int, ...]], ...]
    beyond: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A line across a histogram at a value, with its label."""

    value: float
    label: str


def histogram(bins: Bins, *, title: str, label: str, marks: Sequence[Mark] = ()) -> str:
    """Stacked bars, thresholds as dashed lines, a last bar apart for what lies beyond.

    Args:
        bins: The counts.
        title: Of the horizontal axis, with its unit.
        label: For readers who cannot see.
        marks: Thresholds; those outside the picture are said at its edge.
    """
    frame = Frame(top=30.0 + 14.0 * min(len(marks), 4), height=226.0 + 14.0 * min(len(marks), 4))
    beyond = sum(bins.beyond)
    gap = 44.0 if beyond else 0.0
    scale = Scale(bins.edges[0], bins.edges[-1], frame.left, frame.width - frame.right - gap)
    totals = [sum(counts) for counts in zip(*(s[2] for s in bins.stacks), strict=True)]
    top = max([*totals, beyond, 1])
    y = frame.y_scale(0.0, float(top))
    body = [y_axis(frame, y, _count_ticks(top), "episodes")]
    slots = [
        (scale(low), scale(high), f"{number_text(low)} to {number_text(high)}")
        for low, high in zip(bins.edges[:-1], bins.edges[1:], strict=True)
    ]
    columns = [[s[2][i] for s in bins.stacks] for i in range(len(slots))]
    if beyond:
        right = frame.width - frame.right
        slots.append((right - 30, right, f"{number_text(bins.edges[-1])} or more"))
        columns.append(list(bins.beyond))
    for (left, right, where), counts in zip(slots, columns, strict=True):
        body += _bar(left, right, where, counts, bins, y)
    if beyond:
        at = frame.width - frame.right - 15
        shown = f"≥ {number_text(bins.edges[-1])}"
        body.append(
            text(at, frame.height - frame.bottom + 17, shown, class_="tick", anchor="middle")
        )
    body.append(x_axis(frame, scale, nice_ticks(bins.edges[0], bins.edges[-1]), title))
    body += _marks(frame, scale, marks)
    body += _legend(frame, [(class_, name) for class_, name, _ in bins.stacks])
    return picture(body, width=frame.width, height=frame.height, label=label)


def _bar(
    left: float, right: float, where: str, counts: list[int], bins: Bins, y: Scale
) -> list[str]:
    said = ", ".join(
        f"{count_text(n)} {s[1]}" for n, s in zip(counts, bins.stacks, strict=True) if n
    )
    bars: list[str] = []
    below = 0
    inset = min(0.75, (right - left) * 0.1)
    for (class_, _, _), count in zip(bins.stacks, counts, strict=True):
        if count:
            high, low = y(float(below + count)), y(float(below))
            bars.append(
                element(
                    "rect",
                    element("title", escape(f"{where}: {said}")),
                    x=left + inset,
                    y=high,
                    width=right - left - 2 * inset,
                    height=max(low - high, 0.5),
                    class_=class_,
                )
            )
        below += count
    return bars


def _count_ticks(top: int) -> list[float]:
    step = max(nice_step(float(top), 5), 1.0)
    return [k * step for k in range(int(top / step + 1e-9) + 1)]


def _marks(frame: Frame, scale: Scale, marks: Sequence[Mark]) -> list[str]:
    drawn: list[str] = []
    for number, mark in enumerate(marks):
        inside = scale.low <= mark.value <= scale.high
        x = scale(min(max(mark.value, scale.low), scale.high))
        if inside:
            y_low = frame.height - frame.bottom
            y_top = _FIRST_MARK + 14 * number - 9
            drawn.append(element("line", x1=x, x2=x, y1=y_top, y2=y_low, class_="mark"))
        where = "" if inside else (" (further right)" if mark.value > scale.high else " (left)")
        late = x > (scale.start + scale.end) / 2
        drawn.append(
            text(
                x + (-5 if late else 5),
                _FIRST_MARK + 14 * number,
                f"{mark.label}{where}",
                class_="mark-label",
                anchor="end" if late else "start",
            )
        )
    return drawn


def _legend(frame: Frame, entries: list[tuple[str, str]]) -> list[str]:
    if len(entries) < 2:
        return []
    drawn: list[str] = []
    x = frame.left + 60
    for class_, name in entries:
        drawn.append(element("rect", x=x, y=5.0, width=10.0, height=10.0, class_=class_))
        drawn.append(text(x + 15, 14.0, name, class_="tick"))
        x += 40 + 7.0 * len(name)
    return drawn


def funnel_bars(steps: Sequence[tuple[str, int, str]], *, label: str) -> str:
    """One bar a step, each as long as its share of the first.

    Args:
        steps: (name, episodes left, what was set aside in words; empty where nothing).
        label: For readers who cannot see.
    """
    width, left, row = 760.0, 160.0, 34.0
    most = max((count for _, count, _ in steps), default=0) or 1
    scale = Scale(0.0, float(most), 0.0, 250.0)
    body: list[str] = []
    for number, (name, count, aside) in enumerate(steps):
        y = number * row + 6
        long = max(scale(float(count)), 1.0) if count else 0.0
        body.append(text(left - 12, y + 16, name, class_="label", anchor="end"))
        body.append(element("rect", x=left, y=y, width=250.0, height=22.0, class_="track"))
        if long:
            body.append(element("rect", x=left, y=y, width=long, height=22.0, class_="kept"))
        shown = f"{count_text(count)}  ·  {100 * count / most:.3g} %"
        body.append(text(left + 262, y + 16, shown, class_="label strong"))
        if aside:
            body.append(text(left + 400, y + 16, aside, class_="tick"))
    return picture(body, width=width, height=len(steps) * row + 6, label=label)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a chart, named at its right end."""

    name: str
    class_: str
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    low: tuple[float, ...] = field(default=())
    high: tuple[float, ...] = field(default=())


def line_chart(
    lines: Sequence[Line],
    *,
    x_title: str,
    y_title: str,
    label: str,
    mark: Mark | None = None,
    from_zero: bool = True,
) -> str:
    """Lines, with bands where they have low and high, over axes that begin at zero.

    Args:
        lines: From back to front; each has at least one point.
        x_title: With its unit.
        y_title: With its unit.
        label: For readers who cannot see.
        mark: A line across at one x.
        from_zero: Begin the vertical axis at zero; else where the lines do.
    """
    frame = Frame(height=320.0, right=150.0, top=48.0)
    x_high = max(max(line.xs) for line in lines) or 1.0
    y_high = max(max((*line.ys, *line.high)) for line in lines) * 1.03 or 1.0
    y_low = 0.0
    if not from_zero:
        low, high = min(min(line.ys) for line in lines), max(max(line.ys) for line in lines)
        room = 0.05 * (high - low) or 1e-3 + 0.05 * abs(high)
        y_low, y_high = low - room, high + room
    x, y = frame.x_scale(0.0, x_high), frame.y_scale(y_low, y_high)
    body = [
        y_axis(frame, y, nice_ticks(y_low, y_high, 5), y_title),
        x_axis(frame, x, nice_ticks(0.0, x_high), x_title),
    ]
    for line in lines:
        if line.low:
            upper = [(x(a), y(b)) for a, b in zip(line.xs, line.high, strict=True)]
            lower = [(x(a), y(b)) for a, b in zip(line.xs, line.low, strict=True)]
            body.append(
                polyline([*upper, *reversed(lower)], class_=f"band {line.class_}", closed=True)
            )
    for line in lines:
        points = [(x(a), y(b)) for a, b in zip(line.xs, line.ys, strict=True)]
        body.append(polyline(points, class_=f"line {line.class_}"))
    if mark is not None:
        body += _marks(frame, x, [mark])
    body += _line_names(frame, lines, y)
    return picture(body, width=frame.width, height=frame.height, label=label)


def _line_names(frame: Frame, lines: Sequence[Line], y: Scale) -> list[str]:
    """Names at the right ends, pushed apart so that none covers another."""
    wanted = sorted(((y(line.ys[-1]), line) for line in lines), key=lambda pair: pair[0])
    base = frame.height - frame.bottom - 2
    places: list[float] = []
    for at, _ in wanted:
        places.append(max(at, places[-1] + 16) if places else at)
    for i in range(len(places) - 1, -1, -1):
        most = base if i == len(places) - 1 else places[i + 1] - 16
        places[i] = min(places[i], most)
    left = frame.width - frame.right + 6
    drawn: list[str] = []
    for place, (_, line) in zip(places, wanted, strict=True):
        ends = [(left, place), (left + 18, place)]
        drawn.append(polyline(ends, class_=f"line {line.class_}"))
        drawn.append(text(left + 23, place + 4, line.name, class_="tick strong"))
    return drawn
