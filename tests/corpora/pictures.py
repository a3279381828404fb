"""What the cameras of the demo corpus see: a pose and an object go in, JPEG bytes come out.

Each scene is painted once per camera, in perspective: a wooden table, a wall, what stands still,
and camera grain in a few variants. A picture is then a copy of that with the arm and the thing
drawn on it, so that hundreds are made in a second. They need not be beautiful, but different from
each other, hard enough to compress that their size is a real one, and right: whoever looks at them
beside the motion sees the same thing happen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import simplejpeg  # pyright: ignore[reportMissingTypeStubs]: it has none
from corpora.drawing import View, draw_arm, draw_fixture, draw_object
from PIL import Image

from finedata.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from corpora.arm import Motion
    from numpy.typing import NDArray

__all__ = [
    "CAMERAS",
    "JPEG_QUALITY",
    "Scene",
    "black_jpeg",
    "encode_jpeg",
    "paint_scene",
    "render_motion",
]

JPEG_QUALITY = 90
_GRAIN_VARIANTS = 8
_GRAIN = 2.7

# Over the left shoulder, from the right, from behind, from above: all see the drawer's front.
_EYES = ((-0.08, 0.46, 0.46), (0.02, -0.58, 0.38), (-0.22, 0.10, 0.62), (0.16, 0.05, 0.85))
_LOOK_AT = (0.26, 0.0, 0.06)

CAMERAS = len(_EYES)
"""How many cameras there are to look through."""


@dataclass(frozen=True, eq=False)
class Scene:
    """One camera's picture of a scene without the arm.

    Args:
        view: Where the camera stands.
        shape: What thing is handled here.
        backgrounds: (8, size, size, 3) uint8, the same picture with different grain.
    """

    view: View
    shape: str
    backgrounds: NDArray[np.uint8]


def encode_jpeg(picture: NDArray[np.uint8]) -> bytes:
    """One RGB picture (height, width, 3) as a JPEG of quality 90 with halved chroma."""
    return simplejpeg.encode_jpeg(
        np.ascontiguousarray(picture), quality=JPEG_QUALITY, colorsubsampling="420"
    )


def black_jpeg(image_size: int) -> bytes:
    """What stands for a camera that was not there: every pixel is zero."""
    return encode_jpeg(np.zeros((image_size, image_size, 3), np.uint8))


def paint_scene(
    shape: str, goal_m: NDArray[np.float64], *, camera: int, image_size: int, seed: int
) -> Scene:
    """Paint what stands still.

    Args:
        shape: `carrot`, `drawer` or `cup`.
        goal_m: (3,) where the plate or the cupboard stands, base frame.
        camera: Which camera, 0 to 3.
        image_size: Height and width in pixels.
        seed: Decides wood, wall and grain.

    Returns:
        A scene for `render_motion`.

    Raises:
        UsageError: There is no such camera.
    """
    if not 0 <= camera < CAMERAS:
        raise UsageError(
            place="camera", found=str(camera), wanted=f"a number from 0 to {CAMERAS - 1}"
        )
    view = View.looking_at(_LOOK_AT, eye=_EYES[camera], size=image_size)
    rng = np.random.default_rng([seed, camera, *shape.encode()])
    base = _room(view, rng)
    drawing = Image.fromarray(base)
    draw_fixture(drawing, view, shape=shape, goal_m=goal_m)
    painted = np.asarray(drawing, np.float32)
    grain = rng.normal(0.0, _GRAIN, (_GRAIN_VARIANTS, image_size, image_size, 1))
    backgrounds = np.clip(painted + grain.astype(np.float32), 0, 255).astype(np.uint8)
    return Scene(view, shape, backgrounds)


def render_motion(scene: Scene, motion: Motion, *, grain: int = 0) -> Iterator[bytes]:
    """Film an episode.

    Args:
        scene: From `paint_scene`.
        motion: What happens.
        grain: Which variant of the grain comes first; they follow each other.

    Yields:
        One JPEG per step.
    """
    for step, state in enumerate(motion.state.astype(np.float64)):
        background = scene.backgrounds[(grain + step) % len(scene.backgrounds)]
        picture = Image.fromarray(background)
        draw_object(
            picture,
            scene.view,
            shape=scene.shape,
            position_m=motion.object_m[step],
            goal_m=motion.goal_m,
        )
        draw_arm(picture, scene.view, state=state)
        yield encode_jpeg(np.asarray(picture))


def _room(view: View, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(size, size, 3) uint8: the table top in perspective, and what is behind it."""
    x, y, on_table = view.table_points()
    base = np.array([rng.uniform(150, 185), rng.uniform(115, 140), rng.uniform(80, 105)])
    texture = _octaves(rng, 512, octaves=7)
    # Long grain along x, as planks have: the texture is stretched eightfold in that direction.
    wood = texture[_wrap(x * 90), _wrap(y * 700)] * 30 + texture[_wrap(x * 400), _wrap(y * 400)] * 6
    planks = np.where(np.abs((y * 8) % 1.0 - 0.5) > 0.47, -26.0, 0.0)
    wall = _octaves(rng, view.size, octaves=6)[..., None] * 22 + rng.uniform(95, 170, 3)
    table = base + (wood + planks)[..., None]
    return np.clip(np.where(on_table[..., None], table, wall), 0, 255).astype(np.uint8)


def _wrap(index: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.floor(index).astype(np.int64) % 512


def _octaves(rng: np.random.Generator, size: int, *, octaves: int) -> NDArray[np.float64]:
    """(size, size) noise of about unit variance: grids of doubling fineness, halving weight."""
    total = np.zeros((size, size))
    for octave in range(octaves):
        count = 2 ** (octave + 2)
        grid = rng.standard_normal((count, count))
        total += 0.62**octave * _stretch(_stretch(grid, size).T, size).T
    return total / total.std()


def _stretch(rows: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Each row of (K, N), linearly interpolated to `size` columns."""
    at = np.arange(size) * ((rows.shape[1] - 1) / (size - 1))
    left = np.minimum(at.astype(np.int64), rows.shape[1] - 2)
    return rows[:, left] + (at - left) * (rows[:, left + 1] - rows[:, left])
