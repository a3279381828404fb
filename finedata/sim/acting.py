"""Acting in a scene: what a policy is shown, what it may answer, and policies without training.

What is observable has the names that a recorded dataset has. An answer is refused where it is of
another shape, and ends its episode where it is no number; targets where no arm gets are cut off by
the world and counted here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import numpy as np

from finedata.errors import UsageError
from finedata.sim.episode import objects_of, play
from finedata.sim.expert import command
from finedata.sim.factors import usual
from finedata.sim.outcome import Outcome
from finedata.sim.world import ARMS, NotFiniteError, Pose, in_reach, pose_columns, pose_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from finedata.sim.factors import Wish
    from finedata.sim.scene import Scene
    from finedata.sim.world import View, World

__all__ = ["ACTION_NAMES", "SCRIPTED", "Acted", "Mind", "Scripted", "act_out", "observed"]

SCRIPTED = ("expert", "usual", "random")
"""What needs no training: the expert that knows the wish; one that knows the goal and does it as
demonstrators usually do; targets drawn without looking."""
_POSE = ("x", "y", "z", "qx", "qy", "qz", "qw", "gripper")
ACTION_NAMES = tuple(f"{arm}_{name}" for arm in ARMS for name in _POSE)
_OBJECT_NAMES = (
    *(
        f"block_{k}_{name}"
        for k in range(3)
        for name in ("x", "y", "z", "cos_yaw", "sin_yaw", "red", "green", "blue")
    ),
    "tray_x",
    "tray_y",
    "mat_x",
    "mat_y",
)


class Acted(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy did in a scene; the fields are those of `Judged`."""

    outcome: Outcome
    frames: int
    fault: str
    out_of_reach: int


class Mind(Protocol):
    """What acts: told when an episode begins, then asked for the next actions."""

    def begin(self, scene: Scene, wish: Wish | None) -> None:
        """An episode begins. Only a scripted policy looks at either, and needs a wish."""
        ...

    def act(self, view: View, scene: Scene, prompt: str, pictures: Any) -> np.ndarray:
        """(steps, 16) absolute targets by `ACTION_NAMES`.

        Args:
            view: What is observable.
            scene: Where: its blocks' colours are observable too.
            prompt: The words.
            pictures: Gives camera -> pixels, where a policy wants them.
        """
        ...


class Scripted:
    """A policy that needs no training; see `SCRIPTED`.

    Args:
        name: Which.
    """

    def __init__(self, name: str) -> None:
        if name not in SCRIPTED:
            raise UsageError(
                parameter="policy", found=f"{name!r}", wanted=f"one of {', '.join(SCRIPTED)}"
            )
        self._name = name

    def begin(self, scene: Scene, wish: Wish | None) -> None:
        """Take what it knows: all of the wish, its goal, or nothing.

        Raises:
            UsageError: There is no wish: it reads no words.
        """
        if wish is None:
            raise UsageError(
                place=self._name, found="words without a wish", wanted="a wish: it reads no words"
            )
        self._wish = wish if self._name == "expert" else usual(scene, wish.colour, wish.place)
        self._rng = np.random.Generator(np.random.PCG64([scene.number, 5]))

    def act(self, view: View, scene: Scene, prompt: str, pictures: Any) -> np.ndarray:
        """One step of the expert, or eight towards a place drawn over the table."""
        del prompt, pictures
        if self._name != "random":
            return _row(command(view, self._wish, colours=scene.colours))[None]
        low, high = np.array([0.2, -0.3, 0.02, -1.4]), np.array([0.65, 0.3, 0.25, 1.4])
        drawn = low + (high - low) * self._rng.random((2, 4))
        opened = self._rng.random(2) < 0.5
        poses = {
            arm: Pose(
                position_m=(float(drawn[k, 0]), float(drawn[k, 1]), float(drawn[k, 2])),
                yaw_rad=float(drawn[k, 3]),
                pitch_rad=0.0,
                open=float(opened[k]),
            )
            for k, arm in enumerate(ARMS)
        }
        return np.repeat(_row(poses)[None], 8, axis=0)


def observed(view: View, scene: Scene) -> dict[str, float]:
    """Every observable number by its name in a recorded dataset."""
    numbers = dict(zip(ACTION_NAMES, _row(view.arms).tolist(), strict=True))
    return numbers | dict(zip(_OBJECT_NAMES, objects_of(scene, view).tolist(), strict=True))


def act_out(
    mind: Mind, scene: Scene, wish: Wish | None, prompt: str, *, execute: int, world: World,
    eyes: Any = None, watch: Callable[[World], None] | None = None,
) -> Acted:  # fmt: skip
    """Let a policy act in a scene once.

    Args:
        mind: What acts.
        scene: Where.
        wish: For a scripted policy; others are not told.
        prompt: What is said.
        execute: Steps of an answer that are taken.
        world: One to use again.
        eyes: What draws the pictures that the policy is shown.
        watch: Is shown the world before each action, and after the last one.

    Raises:
        UsageError: An answer is of another shape, or empty.
        FinedataError: The policy's server is gone.
    """
    mind.begin(scene, wish)
    waiting: list[np.ndarray] = []
    beyond = frames = 0

    def controller(view: View, frame: int) -> dict[str, Pose]:
        nonlocal beyond, frames
        frames = frame + 1
        if watch is not None:
            watch(world)
        if not waiting:
            pictures = None if eyes is None else (lambda: eyes.pixels(world))
            waiting.extend(_checked(mind.act(view, scene, prompt, pictures))[:execute])
        row = waiting.pop(0)
        poses = {arm: pose_of(row[8 * k : 8 * k + 8]) for k, arm in enumerate(ARMS)}
        beyond += not all(in_reach(pose) for pose in poses.values())
        return poses

    fault = ""
    try:
        with np.errstate(invalid="ignore", divide="ignore"):
            outcome = play(scene, controller, world=world).outcome
    except NotFiniteError:
        fault, frames, beyond = "not_finite", 0, 0
        outcome = Outcome(
            colour=None, place=None, arm=None, approach=None, rotation=None, side=None,
            lift_frame=None, turned_rad=0.0, lifts=0,
        )  # fmt: skip
    if watch is not None:
        watch(world)
    return Acted(outcome=outcome, frames=frames, fault=fault, out_of_reach=beyond)


def _checked(said: np.ndarray) -> np.ndarray:
    """An answer as (steps, 16) float64.

    Raises:
        UsageError: It is of another shape, or empty: nothing would be judged but the first pose.
    """
    answer = np.asarray(said, np.float64)
    if answer.ndim != 2 or answer.shape[1] != len(ACTION_NAMES) or not len(answer):
        raise UsageError(
            place="the policy's answer",
            found=f"an array of shape {answer.shape}",
            wanted=f"(steps, {len(ACTION_NAMES)}), one step at least: {', '.join(ACTION_NAMES)}",
        )
    return answer


def _row(poses: Mapping[str, Pose]) -> np.ndarray:
    return np.array([number for arm in ARMS for number in pose_columns(poses[arm])])
