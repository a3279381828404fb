"""What a demonstrator may do in more than one way, and how demonstrators usually do it.

Colour and place belong to the goal. Arm, approach, rotation and side are manner: goals do not name
them, fine-grained instructions do, and a policy that follows only the goal has each right as often
as the usual manner happens to be it. Demonstrators are skewed on purpose (three of four times the
usual manner), because data that has every manner equally often would punish a policy for not
being told.

Goals vary more than fine-grained texts do, as in the world: no fine-grained text speaks of the mat
or of a yellow block, so a policy that saw only those texts has goals to lose.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Literal, get_args

import msgspec
import numpy as np

from finedata.sim.scene import Colour  # noqa: TC001  (msgspec reads the annotations)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.sim.scene import Scene

ArmName = Literal["left", "right"]
Approach = Literal["above", "side"]
Rotation = Literal["clockwise", "counter-clockwise"]
Place = Literal["tray", "mat"]
Goals = Literal["fine", "raw_only", "all"]

MANNERS: dict[str, tuple[str, ...]] = {
    "arm": get_args(ArmName),
    "approach": get_args(Approach),
    "rotation": get_args(Rotation),
    "side": get_args(ArmName),
}
"""Factor of the manner -> its two values."""
PLACES: tuple[Place, ...] = get_args(Place)
FINE_COLOURS: tuple[Colour, ...] = ("red", "green", "blue")
"""Colours of the blocks that fine-grained texts speak of."""
COMBINATIONS: tuple[tuple[str, ...], ...] = tuple(product(*MANNERS.values()))
"""All sixteen manners, each (arm, approach, rotation, side)."""
_USUALLY = 0.75
_ON_THE_MAT = 0.25


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done, and how.

    Attributes:
        colour: Of the block that is moved.
        arm: Which arm lifts it.
        approach: Whence its gripper comes: from above, or from the side (tool tilted).
        rotation: How the block is turned about the vertical while it is held, seen from above.
        side: In which half of the tray it ends, seen from the robot; None on the mat.
        place: Where it is to be in the end.
    """

    colour: Colour
    arm: ArmName
    approach: Approach
    rotation: Rotation
    side: ArmName | None
    place: Place = "tray"

    @property
    def in_fine_texts(self) -> bool:
        """Whether fine-grained texts speak of such a goal: into the tray, and no yellow block."""
        return self.place == "tray" and self.colour in FINE_COLOURS


def usual(scene: Scene, colour: str, place: Place = "tray") -> Wish:
    """What a demonstrator does who is told the goal only.

    The nearer arm, from above, clockwise, into the half of the tray on that arm's side.
    """
    block = scene.colours.index(colour)  # type: ignore[arg-type]
    near: ArmName = "left" if scene.blocks_m[block][1] > 0 else "right"
    return msgspec.convert(
        {
            "colour": colour,
            "arm": near,
            "approach": "above",
            "rotation": "clockwise",
            "side": near if place == "tray" else None,
            "place": place,
        },
        Wish,
    )


def skewed_wish(scene: Scene, rng: np.random.Generator) -> Wish:
    """A demonstrator's own choice: each factor as usual, and the tray, in three of four cases.

    Args:
        scene: Where.
        rng: Is drawn from six times, whatever comes out.
    """
    colour = scene.colours[int(rng.random() * len(scene.colours))]
    wish = msgspec.structs.asdict(usual(scene, colour))
    side_follows = rng.random() < _USUALLY
    for factor in ("arm", "approach", "rotation"):
        if rng.random() >= _USUALLY:
            wish[factor] = _other(factor, wish[factor])
    wish["side"] = wish["arm"] if side_follows else _other("side", wish["arm"])
    if rng.random() < _ON_THE_MAT:
        wish |= {"place": "mat", "side": None}
    return msgspec.convert(wish, Wish)


def balanced_wishes(scenes: Sequence[Scene], *, seed: int, goals: Goals = "fine") -> list[Wish]:
    """A wish for each scene: all sixteen manners equally often, in an order drawn from the seed.

    Args:
        scenes: Where; as many as sixteen divides for exact balance.
        seed: Of the order and of the goals.
        goals: Those that `fine` texts speak of; those that `raw_only` data has, a yellow block into
            the tray or any onto the mat; or `all`, the mat in a quarter as demonstrators have it.
    """
    rng = np.random.Generator(np.random.PCG64([seed, 77]))
    wishes: list[Wish] = []
    order: list[int] = []
    for scene in scenes:
        if not order:
            order = np.argsort(rng.random(len(COMBINATIONS))).tolist()
        manner = dict(zip(MANNERS, COMBINATIONS[order.pop()], strict=True))
        colour, place = _goal(scene, goals, float(rng.random()), float(rng.random()))
        side = {"side": None} if place == "mat" else {}
        wishes.append(msgspec.convert({"colour": colour, "place": place, **manner, **side}, Wish))
    return wishes


def _goal(scene: Scene, goals: Goals, which: float, where: float) -> tuple[Colour, Place]:
    """A goal of a kind in a scene, by two numbers from 0 to 1."""
    told: list[Colour] = [one for one in scene.colours if one in FINE_COLOURS]
    if goals == "fine":
        return told[int(which * len(told))], "tray"
    if goals == "raw_only" and where < 0.5 and len(told) < len(scene.colours):
        return next(colour for colour in scene.colours if colour not in FINE_COLOURS), "tray"
    mat = goals == "raw_only" or where < _ON_THE_MAT
    return scene.colours[int(which * len(scene.colours))], "mat" if mat else "tray"


def _other(factor: str, value: str) -> str:
    first, second = MANNERS[factor]
    return second if value == first else first
