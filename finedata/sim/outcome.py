"""What an episode did, read from the physics: never from what a policy says or was asked.

Arm and approach are taken where the block leaves its support; rotation is what the block itself
turned about the vertical from then on; place and side are where it lies in the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from finedata.sim.expert import SIDE_PITCH_RAD
from finedata.sim.world import ARMS, BLOCK_HALF_M, MAT_HALF_M, TRAY_HALF_M

if TYPE_CHECKING:
    from finedata.sim.factors import Place, Wish
    from finedata.sim.scene import Scene
    from finedata.sim.world import View

FACTORS = ("colour", "place", "arm", "approach", "rotation", "side")
_LIFTED_M = 0.025
_LET_GO_M = 0.04
_TURNED_RAD = np.pi / 4
_IN_HAND_M = 0.035


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What happened; null where nothing did.

    Attributes:
        colour: Of the block that lies in the tray or on the mat in the end and was lifted; of the
            one that was lifted first, where none lies there.
        place: Where that block lies, let go and low; null anywhere else.
        arm: Which arm lifted it.
        approach: How that arm's tool was tilted when the block left its support.
        rotation: The sense in which the block was turned, 45 degrees at least.
        side: The half of the tray that it lies in; null on the mat.
        lift_frame: When it left its support.
        turned_rad: How far it was turned, counter-clockwise positive, seen from above.
        lifts: How often a block left its support.
    """

    colour: str | None
    place: str | None
    arm: str | None
    approach: str | None
    rotation: str | None
    side: str | None
    lift_frame: int | None
    turned_rad: float
    lifts: int


def outcome_of(scene: Scene, views: list[View]) -> Outcome:
    """Read an episode.

    Args:
        scene: Where it was.
        views: What was observable at each frame, and after the last action.
    """
    places = np.stack([view.blocks_m for view in views])  # (T, 3, 3)
    up = places[:, :, 2] > BLOCK_HALF_M[2] + _LIFTED_M  # (T, 3)
    starts = up & ~np.vstack([np.zeros((1, 3), bool), up[:-1]])
    lifted = [k for k in range(3) if starts[:, k].any()]
    last = views[-1]
    there = {k: place for k in lifted if (place := place_of(last, k))}
    first = sorted(lifted, key=lambda k: int(np.argmax(starts[:, k])))
    if not first:
        return Outcome(
            colour=None, place=None, arm=None, approach=None, rotation=None, side=None,
            lift_frame=None, turned_rad=0.0, lifts=0,
        )  # fmt: skip
    block = next(iter(there), first[0])
    place = there.get(block)
    frame = int(np.flatnonzero(starts[:, block])[-1])
    arm = _nearest_arm(views[frame], block)
    pitch = views[frame].arms[arm].pitch_rad if arm else 0.0
    yaws = np.unwrap([float(view.blocks_yaw_rad[block]) for view in views[frame:]])
    turned = float(yaws[-1] - yaws[0])
    return Outcome(
        colour=scene.colours[block],
        place=place,
        arm=arm,
        approach=None if arm is None else "side" if pitch < SIDE_PITCH_RAD / 2 else "above",
        rotation=None
        if abs(turned) < _TURNED_RAD
        else "counter-clockwise"
        if turned > 0
        else "clockwise",
        side=None
        if place != "tray"
        else "left"
        if last.blocks_m[block][1] > last.tray_m[1]
        else "right",
        lift_frame=frame,
        turned_rad=turned,
        lifts=int(starts.sum()),
    )


def scored(outcome: Outcome, wish: Wish) -> dict[str, bool]:
    """`goal`, each factor, and `all`: what was wished and came true.

    The goal is the block of that colour at that place, whatever the manner. Nothing is said of the
    side where the mat was wished.
    """
    factors = {
        name: getattr(outcome, name) == getattr(wish, name)
        for name in FACTORS
        if name != "side" or wish.side is not None
    }
    goal = factors["colour"] and factors["place"]
    return {"goal": goal, **factors, "all": goal and all(factors.values())}


def place_of(view: View, block: int) -> Place | None:
    """Where a block lies: in the tray or on the mat, low, and in no hand; None where it does not.

    Args:
        view: What is observable.
        block: Which of the three.
    """
    x, y, z = view.blocks_m[block]
    places: tuple[tuple[Place, tuple[float, float], tuple[float, float]], ...] = (
        ("tray", view.tray_m, TRAY_HALF_M),
        ("mat", view.mat_m, MAT_HALF_M),
    )
    found: Place | None = next(
        (
            name
            for name, at, half in places
            if abs(x - at[0]) < half[0] and abs(y - at[1]) < half[1]
        ),
        None,
    )
    held = any(
        np.linalg.norm(np.array(view.arms[arm].position_m) - view.blocks_m[block]) < _LET_GO_M
        for arm in ARMS
    )
    return found if z < BLOCK_HALF_M[2] + 0.02 and not held else None


def _nearest_arm(view: View, block: int) -> str | None:
    far = {
        arm: float(np.linalg.norm(np.array(view.arms[arm].position_m) - view.blocks_m[block]))
        for arm in ARMS
    }
    arm = min(far, key=far.__getitem__)
    return arm if far[arm] < _IN_HAND_M else None
