"""How a task looks: a map of its episodes and a tree of its clusters, as SVG.

A cluster is a colour (c0 to c7 of the style sheet) and a shape, so that neither is the only sign;
what can be pointed at has a `<title>`, which browsers show on hovering.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from finedata.report.drawing.svg import (
    Frame,
    counted,
    element,
    escape,
    nice_step,
    nice_ticks,
    number_text,
    picture,
    polyline,
    text,
    y_axis,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

COLOURS = 8
_SHAPES = 4


@dataclass(frozen=True, slots=True)
class MapPoint:
    """A point of a map.

    Attributes:
        x: Any unit, the same as y.
        y: Upwards.
        group: Number of its cluster, from 0.
        name: Shown on hovering.
        medoid: Whether it is ringed.
        badge: Number of a representative, as in its film strip; empty for the others.
    """

    x: float
    y: float
    group: int
    name: str
    medoid: bool = False
    badge: str = ""


def marker(
    x: float, y: float, radius: float, group: int, *, content: str = "", extra: str = ""
) -> str:
    """A cluster's sign: colour by number modulo 8, shape so that neighbours differ in both."""
    class_ = f"c{group % COLOURS} {extra}".strip()
    shape = (group + group // COLOURS) % _SHAPES
    r = radius
    if shape == 0:
        return element("circle", content, cx=x, cy=y, r=r, class_=class_)
    corners = {
        1: [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
        2: [(0.0, -1.25), (1.1, 0.8), (-1.1, 0.8)],
        3: [(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)],
    }[shape]
    points = " ".join(f"{x + a * r:.1f},{y + b * r:.1f}" for a, b in corners)
    return element("polygon", content, points=points, class_=class_)


def point_map(points: Sequence[MapPoint], *, label: str, unit: str) -> str:
    """Points in a plane whose axes mean nothing: a scale bar instead of axes.

    Args:
        points: All of them; one unit is as long in x as in y.
        label: For readers who cannot see.
        unit: What the scale bar measures.
    """
    width, height, edge = 420.0, 340.0, 22.0
    xs, ys = [p.x for p in points], [p.y for p in points]
    wide, high = max(xs) - min(xs), max(ys) - min(ys)
    # Units of the drawing for one of the distance; points in one place get any.
    scale = min(
        (width - 2 * edge) / wide if wide else math.inf,
        (height - 2 * edge - 24) / high if high else math.inf,
    )
    flat = not math.isfinite(scale)
    scale = 1.0 if flat else scale
    x_middle, y_middle = (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2

    def at(p: MapPoint) -> tuple[float, float]:
        x = width / 2 + (p.x - x_middle) * scale
        return x, (height - 24) / 2 - (p.y - y_middle) * scale

    body: list[str] = [
        element("rect", x=0.5, y=0.5, width=width - 1, height=height - 1, class_="sheet")
    ]
    for p in sorted(points, key=lambda p: (bool(p.badge), p.medoid)):
        x, y = at(p)
        title = element("title", escape(p.name))
        if p.medoid:
            body.append(element("circle", cx=x, cy=y, r=11.0, class_="ring"))
        chosen = bool(p.badge)
        radius = 7.0 if chosen else 3.4
        body.append(marker(x, y, radius, p.group, content=title, extra="" if chosen else "faint"))
        if chosen:
            # Twice: the first, thick and in the ground's colour, keeps the second readable.
            body += [text(x + 10, y - 7, p.badge, class_=c) for c in ("badge halo", "badge")]
    if not flat:
        body += _scale_bar(scale, height, unit, room=width - 2 * edge)
    return picture(body, width=width, height=height, label=label, class_="plot map")


def _scale_bar(scale: float, height: float, unit: str, *, room: float) -> list[str]:
    step = nice_step(room / scale / 2, 3)
    long = step * scale
    y = height - 16
    return [
        element(
            "path", d=f"M12,{y - 4:.1f}V{y:.1f}H{12 + long:.1f}V{y - 4:.1f}", class_="bar-line"
        ),
        text(20 + long, y + 2, f"{unit} {number_text(step)}", class_="tick"),
    ]


@dataclass(frozen=True, slots=True)
class Tree:
    """A dendrogram: leaves from left to right, merges from low to high.

    Attributes:
        leaves: (episodes under it, cluster number or -1 where several, label).
        merges: (left node, right node, height); leaves are 0 to L - 1, merges follow.
        cut: Height at which the tree was cut, where it was cut at one.
    """

    leaves: tuple[tuple[int, int, str], ...]
    merges: tuple[tuple[int, int, float], ...]
    cut: float | None = None


@dataclass(slots=True)
class _Node:
    x: float
    y: float
    group: int


def dendrogram(tree: Tree, *, label: str, title: str) -> str:
    """Leaves along the bottom, merges at their heights, the cut as a dashed line.

    Args:
        tree: See `Tree`.
        label: For readers who cannot see.
        title: Of the vertical axis, with its unit.
    """
    frame = Frame(width=420.0, height=340.0, left=50.0, top=30.0, bottom=34.0)
    top = max((height for *_, height in tree.merges), default=0.0)
    y = frame.y_scale(0.0, top * 1.04 or 1.0)
    x = frame.x_scale(-0.5, len(tree.leaves) - 0.5)
    ticks = nice_ticks(0.0, top * 1.04 or 1.0, 5)
    body = [y_axis(frame, y, ticks, title)]
    nodes = [_Node(x(float(i)), y(0.0), group) for i, (_, group, _) in enumerate(tree.leaves)]
    for left, right, height in tree.merges:
        a, b = nodes[left], nodes[right]
        group = a.group if a.group == b.group else -1
        level = y(height)
        points = [(a.x, a.y), (a.x, level), (b.x, level), (b.x, b.y)]
        class_ = f"branch c{group % COLOURS}" if group >= 0 else "branch"
        body.append(polyline(points, class_=class_))
        nodes.append(_Node((a.x + b.x) / 2, level, group))
    base = frame.height - frame.bottom
    for i, (size, group, name) in enumerate(tree.leaves):
        at = x(float(i))
        said = element("title", escape(counted(size, "episode")))
        if group >= 0:
            body.append(marker(at, base + 8, 3.4, group, content=said))
        if name:
            body.append(text(at, base + 24, name, class_="leaf", anchor="middle"))
    if tree.cut is not None:
        level = y(tree.cut)
        right = frame.width - frame.right
        body.append(element("line", x1=frame.left, x2=right, y1=level, y2=level, class_="mark"))
        body.append(text(right, level - 5, "cut", class_="mark-label", anchor="end"))
    return picture(body, width=frame.width, height=frame.height, label=label, class_="plot tree")
