"""Maps of what policies look at: one page, several policies side by side on the same pictures.

Colours of one query, way of pooling and camera have one scale for all policies, from nothing to the
largest weight of any of them, so what is brighter is larger. Numbers stand beside: how much of the
attention is on pictures at all, and how much of that on a camera lies inside boxes that a user
names. A map says where weights are, not why an action was chosen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import simplejpeg  # pyright: ignore[reportMissingTypeStubs]  (it has none)
from PIL import Image

from finedata.errors import UsageError
from finedata.report.drawing.svg import escape
from finedata.report.html import Cell, figure, jpeg_image, note, page, said, table
from finedata.store.atomic import write_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["Box", "read_box", "share_inside", "write_attention_page"]

_SIDE = 224
_BOX = re.compile(r"([^=]+)=([^:]+):([^,]+),([^,]+),([^,]+),([^,]+)")
_TITLES = {
    "max": "largest weight of any layer, head and token",
    "mean": "mean over layers, heads and tokens",
    "top": "mean of the largest few",
}
# From nothing to the largest weight, over a grey picture.
_COLOURS = np.array([[0, 0, 0], [86, 20, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]])


@dataclass(frozen=True, kw_only=True)
class Box:
    """A named part of a camera's picture.

    Attributes:
        name: What is there.
        camera: The camera's role.
        x0: Left, as a share of the width; as all of these.
        y0: Top.
        x1: Right.
        y1: Bottom.
    """

    name: str
    camera: str
    x0: float
    y0: float
    x1: float
    y1: float


def read_box(text: str) -> Box:
    """A box from `NAME=CAMERA:X0,Y0,X1,Y1`, in shares of width and height.

    Raises:
        UsageError: It is none.

    Example:
        >>> read_box("cup=front:0.2,0.5,0.4,0.8").x1
        0.4
    """
    found = _BOX.fullmatch(text)
    try:
        numbers = [float(number) for number in found.groups()[2:]] if found else []
    except ValueError:
        numbers = []
    if (
        found is None
        or len(numbers) != 4
        or not (0 <= numbers[0] < numbers[2] <= 1 and 0 <= numbers[1] < numbers[3] <= 1)
    ):
        raise UsageError(
            parameter="box", found=text, wanted="NAME=CAMERA:X0,Y0,X1,Y1, shares from 0 to 1"
        )
    x0, y0, x1, y1 = numbers
    return Box(name=found[1].strip(), camera=found[2].strip(), x0=x0, y0=y0, x1=x1, y1=y1)


def share_inside(weights: np.ndarray, box: Box) -> float:
    """The share of a map's weight inside a box; a cell that is cut counts by its area.

    Args:
        weights: (rows, columns) of one camera.
        box: The part of its picture.

    Example:
        >>> left = Box(name="left", camera="front", x0=0.0, y0=0.0, x1=0.5, y1=1.0)
        >>> share_inside(np.array([[3.0, 1.0]]), left)
        0.75
    """
    rows, columns = weights.shape

    def inside(count: int, low: float, high: float) -> np.ndarray:
        edges = np.arange(count + 1) / count
        return np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, None) * count

    area = inside(rows, box.y0, box.y1)[:, None] * inside(columns, box.x0, box.x1)
    whole = float(weights.sum())
    # A camera that is not there is not attended to.
    return float((weights * area).sum()) / whole if whole else 0.0


def write_attention_page(
    out: Path,
    found: Mapping[str, Any],
    pictures: Mapping[str, np.ndarray],
    *,
    text: str,
    place: str,
    k: int,
    boxes: Sequence[Box] = (),
) -> Path:
    """Write the page.

    Args:
        out: The file; replaced.
        found: Name of a policy to its `finedata.train.attention.Attention`.
        pictures: Camera role to (height, width, 3) uint8.
        text: What the policies were told.
        place: Episode and frame, as a reader says it.
        k: What `top` is the mean of.
        boxes: Whose shares are told.

    Raises:
        OutputError: It cannot be written.
    """
    first = next(iter(found.values()))
    sections = [
        (f"q{number}", f"Query: {query}", _query(query, found, pictures, boxes, k=k))
        for number, query in enumerate(first.maps)
    ]
    told = "; ".join(
        f"{escape(name)}: {len(one.layers)} of {one.layers_in_all} layers have attention matrices, "
        f"{one.heads} heads, {one.said} tokens said"
        for name, one in found.items()
    )
    lead = f"<p>{said(place)}: {said(text)}</p><p>{told}.</p>"
    foot = "Where weights are large is not yet why an action was chosen."
    write_atomic(out, page("What the policy looks at", sections, lead=lead, foot=foot))
    return out


def _query(
    query: str,
    found: Mapping[str, Any],
    pictures: Mapping[str, np.ndarray],
    boxes: Sequence[Box],
    *,
    k: int,
) -> str:
    rows: list[list[Cell]] = [
        [said(name), 100 * one.on_pictures[query]] for name, one in found.items()
    ]
    shown = table("Attention on pictures", ["policy", "% of all attention"], rows)
    if boxes:
        rows = [
            [said(box.name), said(box.camera), said(name), said(how),
             100 * share_inside(one.maps[query][how][box.camera], box),
             100 * (box.x1 - box.x0) * (box.y1 - box.y0)]
            for box in boxes
            for name, one in found.items()
            for how in one.maps[query]
        ]  # fmt: skip
        heads = ["box", "camera", "policy", "map", "% inside", "% of the picture"]
        shown += table("Of the attention on a camera, inside boxes", heads, rows)
    ways = next(iter(found.values())).maps[query]
    for how in ways:
        title = _TITLES[how] + (f" ({k})" if how == "top" else "")
        shown += f"<h3>{escape(how)}: {escape(title)}</h3>"
        for camera, pixels in pictures.items():
            maps = {name: one.maps[query][how][camera] for name, one in found.items()}
            largest = max(float(weights.max()) for weights in maps.values())
            mine = [box for box in boxes if box.camera == camera]
            drawn = [_picture(pixels, None, mine, alt=f"{camera}, as it is")] + [
                _picture(
                    pixels, w / largest if largest else w, mine, alt=f"{name}, {camera}, {how}"
                )
                for name, w in maps.items()
            ]
            names = ", ".join(["as it is", *maps])
            shown += figure(
                f'<div class="strip">{"".join(drawn)}</div>',
                f"{said(camera)}, left to right: {said(names)}; white is {largest:.3g}",
            )
    return shown or note("nothing")


def _picture(
    pixels: np.ndarray, weights: np.ndarray | None, boxes: Sequence[Box], *, alt: str
) -> str:
    size = (_SIDE, _SIDE)
    base = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR), np.float64)
    if weights is not None:
        heat = Image.fromarray(weights.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
        level = np.clip(np.asarray(heat), 0, 1)
        stops = np.linspace(0, 1, len(_COLOURS))
        colours = np.stack([np.interp(level, stops, _COLOURS[:, c]) for c in range(3)], -1)
        grey = base.mean(-1, keepdims=True)
        base = 0.35 * grey + 0.65 * colours
    drawn = np.ascontiguousarray(base.round().astype(np.uint8))
    for box in boxes:
        top, bottom = (min(_SIDE - 1, int(y * _SIDE)) for y in (box.y0, box.y1))
        left, right = (min(_SIDE - 1, int(x * _SIDE)) for x in (box.x0, box.x1))
        drawn[[top, bottom], left : right + 1] = 255
        drawn[top : bottom + 1, [left, right]] = 255
    data = simplejpeg.encode_jpeg(drawn, quality=90)
    return jpeg_image(data, alt=alt, width=_SIDE, height=_SIDE)
