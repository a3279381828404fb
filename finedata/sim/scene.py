"""A scene is a pure function of its number: where blocks, tray and mat are.

Lengths are metres in the robot's base frame, which both arms share: x forward, y left, z up, the
table's top at z = 0. Blocks take one of three slots each and are shifted within it, so no scene
has to be drawn again: an earlier rejection sampler could loop for minutes.
"""

from __future__ import annotations

from typing import Literal, get_args

import msgspec
import numpy as np

Colour = Literal["red", "green", "blue", "yellow"]
COLOURS: tuple[Colour, ...] = get_args(Colour)
_SLOTS_Y_M = (-0.17, 0.0, 0.17)
_SLOT_X_M = 0.33
_JITTER_M, _JITTER_RAD = 0.025, 0.25
_TRAY_M, _TRAY_JITTER_M = (0.56, 0.0), 0.02
_MAT_M, _MAT_JITTER_M = (0.54, 0.29), 0.02


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """A scene.

    Attributes:
        number: Its number.
        colours: Of the three blocks.
        blocks_m: (x, y) of each block.
        yaws_rad: How far each is turned about the vertical.
        tray_m: (x, y) of the middle of the tray.
        mat_m: (x, y) of the middle of the mat, which lies to the left or the right of the tray.
    """

    number: int
    colours: tuple[Colour, Colour, Colour]
    blocks_m: tuple[tuple[float, float], ...]
    yaws_rad: tuple[float, ...]
    tray_m: tuple[float, float]
    mat_m: tuple[float, float]


def scene_of(number: int) -> Scene:
    """The scene of a number.

    Args:
        number: From 0; equal numbers give equal scenes, in every process.

    Example:
        >>> scene_of(7) == scene_of(7), scene_of(7).colours == scene_of(8).colours
        (True, False)
    """
    rng = np.random.Generator(np.random.PCG64([number, 1]))
    order: list[int] = np.argsort(rng.random(len(COLOURS))).tolist()
    slots: list[int] = np.argsort(rng.random(3)).tolist()
    jitter = 2 * rng.random((3, 2)) - 1
    turn = 2 * rng.random(3) - 1
    tray = 2 * rng.random(2) - 1
    mat = 2 * rng.random(2) - 1
    beside = 1 if rng.random() < 0.5 else -1
    colours: list[Colour] = [COLOURS[k] for k in order[:3]]
    return Scene(
        number=number,
        colours=(colours[0], colours[1], colours[2]),
        blocks_m=tuple(
            (
                _SLOT_X_M + _JITTER_M * float(jitter[k, 0]),
                _SLOTS_Y_M[slots[k]] + _JITTER_M * float(jitter[k, 1]),
            )
            for k in range(3)
        ),
        yaws_rad=tuple(_JITTER_RAD * float(one) for one in turn),
        tray_m=(
            _TRAY_M[0] + _TRAY_JITTER_M * float(tray[0]),
            _TRAY_M[1] + _TRAY_JITTER_M * float(tray[1]),
        ),
        mat_m=(
            _MAT_M[0] + _MAT_JITTER_M * float(mat[0]),
            beside * (_MAT_M[1] + _MAT_JITTER_M * float(mat[1])),
        ),
    )
