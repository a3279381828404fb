"""Lines and polygons in perspective: points in the base frame go in, pixels on a picture come out.

A pinhole camera and a handful of shapes, drawn from back to front with Pillow. The arm is drawn
from its measured pose: two links by the law of cosines, the hand along the tool's own axes, the
fingers as far apart as the state says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from corpora.pose import DEFAULT_ROTATION, rotation_from_rpy
from PIL import ImageDraw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = ["View", "draw_arm", "draw_fixture", "draw_object"]

_FOCAL = 1.05  # focal length over picture width
_SHOULDER_M = np.array([0.0, 0.0, 0.12])
_LINK_M = 0.25
_HAND_M = 0.12
_FINGER_M = 0.05

_METAL = (42, 44, 48)
_METAL_LIGHT = (78, 82, 88)
_FINGER = (24, 24, 26)
_SHADOW = (88, 66, 46)


@dataclass(frozen=True, eq=False)
class View:
    """A pinhole camera.

    Args:
        eye_m: (3,) where it stands, base frame.
        rotation: (3, 3), rows are the camera's right, down and forward axes in the base frame.
        size: Height and width of its pictures in pixels.
    """

    eye_m: NDArray[np.float64]
    rotation: NDArray[np.float64]
    size: int

    @classmethod
    def looking_at(cls, target_m: Sequence[float], *, eye: Sequence[float], size: int) -> View:
        """A camera at `eye` that has `target_m` in the middle of its picture, upright."""
        eye_m = np.array(eye)
        forward = np.array(target_m) - eye_m
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, (0.0, 0.0, 1.0))
        right /= np.linalg.norm(right)
        return cls(eye_m, np.stack([right, np.cross(forward, right), forward]), size)

    def project(self, points_m: NDArray[np.float64]) -> list[tuple[float, float]]:
        """Points (N, 3) of the base frame as (column, row) in pixels."""
        right, down, depth = ((points_m - self.eye_m) @ self.rotation.T).T
        scale = _FOCAL * self.size / np.maximum(depth, 0.05)
        half = self.size / 2
        columns, rows = (right * scale + half).tolist(), (down * scale + half).tolist()
        return list(zip(columns, rows, strict=True))

    def pixels_per_metre(self, point_m: NDArray[np.float64]) -> float:
        """How large a metre is at a point (3,)."""
        depth = float((point_m - self.eye_m) @ self.rotation[2])
        return _FOCAL * self.size / max(depth, 0.05)

    def table_points(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """Where each pixel's ray meets z = 0: x, y (size, size), and whether on the table."""
        axis = (np.arange(self.size) + 0.5 - self.size / 2) / (_FOCAL * self.size)
        column, row = np.meshgrid(axis, axis)
        ray = np.stack([column, row, np.ones_like(row)], axis=-1) @ self.rotation
        reach = self.eye_m[2] / np.maximum(-ray[..., 2], 1e-6)
        x, y = (self.eye_m[k] + reach * ray[..., k] for k in (0, 1))
        on_table = (ray[..., 2] < 0) & (x > -0.15) & (x < 0.55) & (np.abs(y) < 0.38)
        return x, y, on_table


def draw_fixture(picture: Image, view: View, *, shape: str, goal_m: NDArray[np.float64]) -> None:
    """Draw what stands still: the carrot's plate, the drawer's cupboard, the cup's mat."""
    draw = ImageDraw.Draw(picture)
    ground = np.array([goal_m[0], goal_m[1], 0.0])
    if shape == "carrot":
        draw.polygon(view.project(_disc(_shift(ground, 0.004, -0.004, 0), 0.074)), fill=_SHADOW)
        draw.polygon(view.project(_disc(_shift(ground, 0, 0, 0.008), 0.072)), fill=(226, 224, 216))
        draw.polygon(view.project(_disc(_shift(ground, 0, 0, 0.008), 0.050)), fill=(206, 208, 206))
    elif shape == "drawer":
        low, high = _shift(ground, 0.006, -0.11, 0.0), _shift(ground, 0.13, 0.11, 0.12)
        _box(draw, view, low, high, (196, 168, 128))
    else:
        corners = np.array([(-0.06, -0.05, 0), (0.06, -0.05, 0), (0.06, 0.05, 0), (-0.06, 0.05, 0)])
        draw.polygon(view.project(ground + corners), fill=(150, 60, 56))
        draw.polygon(view.project(ground + 0.8 * corners), fill=(176, 88, 76))


def draw_object(
    picture: Image,
    view: View,
    *,
    shape: str,
    position_m: NDArray[np.float64],
    goal_m: NDArray[np.float64],
) -> None:
    """Draw the thing that is handled where it is (3,), with its shadow on the table."""
    draw = ImageDraw.Draw(picture)
    if shape == "drawer":
        # The front stands where the fingers push; the sides reach back into the cupboard. Drawn
        # from far to near for a camera on the arm's side of it.
        front = position_m * (1.0, 1.0, 0.0)
        back = np.array([goal_m[0] + 0.006, front[1] + 0.09, 0.075])
        if back[0] > front[0] + 0.014:
            _box(draw, view, _shift(front, 0.0, -0.09, 0.015), back, (170, 138, 98))
        _box(
            draw,
            view,
            _shift(front, 0.0, -0.10, 0.01),
            _shift(front, 0.014, 0.10, 0.10),
            (214, 190, 150),
        )
        _box(
            draw,
            view,
            _shift(front, -0.012, -0.02, 0.05),
            _shift(front, 0.0, 0.02, 0.062),
            (92, 84, 78),
        )
        return
    ground = np.array([position_m[0], position_m[1], 0.001])
    draw.polygon(view.project(_disc(ground, 0.03)), fill=_SHADOW)
    if shape == "carrot":
        _carrot(draw, view, position_m)
    else:
        _cup(draw, view, position_m)


def draw_arm(picture: Image, view: View, *, state: NDArray[np.float64]) -> None:
    """Draw the arm at a state (7,): x, y, z, roll, pitch, yaw, gripper; see the module's head."""
    draw = ImageDraw.Draw(picture)
    tool = rotation_from_rpy(state[3:6]) @ DEFAULT_ROTATION
    along, across = tool[:, 0], tool[:, 1]
    tip = state[:3]
    palm = tip - _FINGER_M * along
    wrist = palm - _HAND_M * along
    elbow = _elbow(wrist)
    _tube(draw, view, np.zeros(3), _SHOULDER_M, 0.085, _METAL)
    _tube(draw, view, _SHOULDER_M, elbow, 0.052, _METAL_LIGHT)
    _tube(draw, view, elbow, wrist, 0.044, _METAL)
    _tube(draw, view, wrist, palm, 0.040, _METAL_LIGHT)
    half_opening = 0.008 + 0.030 * float(state[6])
    _tube(draw, view, palm - 0.042 * across, palm + 0.042 * across, 0.020, _METAL)
    for side in (-half_opening, half_opening):
        _tube(draw, view, palm + side * across, tip + side * across, 0.011, _FINGER)


def _elbow(wrist_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """The elbow above the line from shoulder to wrist, both links 0.25 m (law of cosines)."""
    reach = wrist_m - _SHOULDER_M
    distance = float(np.linalg.norm(reach))
    middle = _SHOULDER_M + reach / 2
    height = np.sqrt(max(_LINK_M**2 - (distance / 2) ** 2, 0.0))
    flat = np.array([reach[0], reach[1], 0.0])
    flat /= max(float(np.linalg.norm(flat)), 1e-6)
    up = np.array([-flat[0] * reach[2], -flat[1] * reach[2], float(flat @ reach)])
    return middle + height * up / max(float(np.linalg.norm(up)), 1e-6)


def _tube(
    draw: ImageDraw.ImageDraw,
    view: View,
    start_m: NDArray[np.float64],
    end_m: NDArray[np.float64],
    width_m: float,
    colour: tuple[int, int, int],
) -> None:
    width = width_m * view.pixels_per_metre((start_m + end_m) / 2)
    points = view.project(np.stack([start_m, end_m]))
    draw.line(points, fill=colour, width=max(1, round(width)))
    for column, row in points:
        r = width / 2
        draw.ellipse((column - r, row - r, column + r, row + r), fill=colour)


def _shift(point_m: NDArray[np.float64], x: float, y: float, z: float) -> NDArray[np.float64]:
    return point_m + np.array([x, y, z])


def _disc(centre_m: NDArray[np.float64], radius_m: float) -> NDArray[np.float64]:
    angle = np.linspace(0.0, 2.0 * np.pi, 20, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)], axis=-1)
    return centre_m + radius_m * ring


def _carrot(draw: ImageDraw.ImageDraw, view: View, centre_m: NDArray[np.float64]) -> None:
    ends = centre_m + np.array([(-0.05, 0.0, -0.004), (0.03, 0.0, 0.0), (0.055, 0.0, 0.002)])
    scale = view.pixels_per_metre(centre_m)
    points = view.project(ends)
    draw.line(points[1:], fill=(70, 140, 52), width=max(2, round(0.018 * scale)))
    steps = np.arange(7)[:, None] / 6
    body = view.project(ends[0] + steps * (ends[1] - ends[0]))
    for (column, row), thickness in zip(body, np.linspace(0.006, 0.019, 7).tolist(), strict=True):
        r = thickness * scale
        draw.ellipse((column - r, row - r, column + r, row + r), fill=(234, 122, 34))


def _cup(draw: ImageDraw.ImageDraw, view: View, centre_m: NDArray[np.float64]) -> None:
    top, bottom = _shift(centre_m, 0, 0, 0.03), _shift(centre_m, 0, 0, -0.032)
    _tube(draw, view, bottom, top, 0.056, (38, 84, 190))
    draw.polygon(view.project(_disc(_shift(top, 0, 0, 0.012), 0.030)), fill=(86, 134, 226))
    draw.polygon(view.project(_disc(_shift(top, 0, 0, 0.012), 0.024)), fill=(22, 48, 116))


def _box(
    draw: ImageDraw.ImageDraw,
    view: View,
    low_m: NDArray[np.float64],
    high_m: NDArray[np.float64],
    colour: tuple[int, int, int],
) -> None:
    """An axis-aligned box: of each pair of faces the one that the camera sees, shaded by axis."""
    for axis, shade in ((0, 0.92), (1, 0.74), (2, 1.08)):
        corners = np.empty((4, 3))
        others = [k for k in range(3) if k != axis]
        middle = (low_m[axis] + high_m[axis]) / 2
        corners[:, axis] = high_m[axis] if view.eye_m[axis] > middle else low_m[axis]
        for row, (a, b) in enumerate(((0, 0), (1, 0), (1, 1), (0, 1))):
            corners[row, others[0]] = (low_m, high_m)[a][others[0]]
            corners[row, others[1]] = (low_m, high_m)[b][others[1]]
        fill = tuple(min(255, round(channel * shade)) for channel in colour)
        draw.polygon(view.project(corners), fill=fill)
