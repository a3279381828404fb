"""One episode: a controller in a scene, at ten actions a second, until it is done or time is up.

A demonstration's noise is on what is executed, never on what is recorded as the action: the label
is what the expert would do in the state it was brought to, so a policy learns the way back
(DART, Laskey et al. 2017, arXiv:1703.09327). Noise is drawn ahead, from the scene's number alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from finedata.sim.expert import command
from finedata.sim.factors import skewed_wish
from finedata.sim.outcome import outcome_of, place_of, scored
from finedata.sim.scene import scene_of
from finedata.sim.world import ARMS, Pose, World, block_rgba, pose_columns

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from finedata.sim.factors import Wish
    from finedata.sim.outcome import Outcome
    from finedata.sim.scene import Scene
    from finedata.sim.world import View

MOST_FRAMES = 60
_SETTLED_FRAMES = 2


class Episode(msgspec.Struct, frozen=True, kw_only=True):
    """What was played.

    Attributes:
        scene: Where.
        views: What was observable before each action, and after the last.
        actions: Arm -> (T,) poses that were commanded.
        outcome: What happened.
        pictures: Camera -> (T) encoded pictures; empty where none were asked for.
    """

    scene: Scene
    views: list[View]
    actions: list[dict[str, Pose]]
    outcome: Outcome
    pictures: dict[str, list[bytes]]

    def states(self) -> NDArray[np.float32]:
        """(T, 16) x, y, z, qx, qy, qz, qw, gripper of the right arm, then of the left."""
        return _columns([view.arms for view in self.views[:-1]])

    def targets(self) -> NDArray[np.float32]:
        """(T, 16) the same of what was commanded."""
        return _columns(self.actions)

    def objects(self) -> NDArray[np.float32]:
        """(T, 28) of each block x, y, z, cos and sin of its yaw, its RGB; x, y of tray and mat.

        Colours are part of what is seen, so that a policy can tell blocks apart.
        """
        return np.stack([objects_of(self.scene, view) for view in self.views[:-1]])


def objects_of(scene: Scene, view: View) -> NDArray[np.float32]:
    """(28,) as in `Episode.objects`."""
    found: list[float] = []
    for k in range(3):
        yaw = float(view.blocks_yaw_rad[k])
        found += [*view.blocks_m[k], np.cos(yaw), np.sin(yaw), *block_rgba(scene.colours[k])[:3]]
    return np.array([*found, *view.tray_m, *view.mat_m], np.float32)


class Noise:
    """What pushes a demonstrator: noise of a colour, and now and then a kick of three frames.

    Args:
        seed: Of all of it.
        scale: 0 for none, 1 for as much as a good half of demonstrations bear.
    """

    def __init__(self, seed: int, *, scale: float) -> None:
        rng = np.random.Generator(np.random.PCG64([seed, 2]))
        white = rng.standard_normal((MOST_FRAMES, 4)) * [0.006, 0.006, 0.006, 0.05]
        kicks = rng.random(MOST_FRAMES) < 0.06
        kick = rng.standard_normal((MOST_FRAMES, 4)) * [0.02, 0.02, 0.01, 0.1]
        self._pushes = np.zeros((MOST_FRAMES, 4))
        drift = np.zeros(4)
        for t in range(MOST_FRAMES):
            drift = 0.7 * drift + white[t]
            self._pushes[t] += drift
            if kicks[t]:
                self._pushes[t : t + 3] += kick[t]
        self._pushes *= scale

    def pushed(self, pose: Pose, *, frame: int, near_m: float) -> Pose:
        """What is executed instead; less the nearer the tool is to the block."""
        push = self._pushes[frame] * np.clip(near_m / 0.08, 0.15, 1.0)
        x, y, z = np.array(pose.position_m) + push[:3]
        return Pose(
            position_m=(float(x), float(y), float(z)),
            yaw_rad=pose.yaw_rad + float(push[3]),
            pitch_rad=pose.pitch_rad,
            open=pose.open,
        )


def play(
    scene: Scene,
    controller: Callable[[View, int], dict[str, Pose]],
    *,
    execute: Callable[[View, dict[str, Pose], int], dict[str, Pose]] | None = None,
    camera: Any = None,
    world: World | None = None,
) -> Episode:
    """Play a controller in a scene.

    Args:
        scene: Where.
        controller: What it sees and the frame to what it commands.
        execute: What is done instead of the command; the command itself by default.
        camera: What draws pictures (`finedata.sim.camera.Cameras`); None for none.
        world: One to use again.

    Raises:
        NotFiniteError: A command that is not finite.
    """
    world = world or World(scene)
    world.reset(scene)
    views, actions = [world.view()], list[dict[str, Pose]]()
    pictures: dict[str, list[bytes]] = {}
    quiet = 0
    for frame in range(MOST_FRAMES):
        if camera is not None:
            for name, data in camera.pictures(world).items():
                pictures.setdefault(name, []).append(data)
        wanted = controller(views[-1], frame)
        actions.append(wanted)
        world.step(wanted if execute is None else execute(views[-1], wanted, frame))
        views.append(world.view())
        quiet = quiet + 1 if settled(views[-1]) else 0
        if quiet >= _SETTLED_FRAMES:
            break
    return Episode(
        scene=scene,
        views=views,
        actions=actions,
        outcome=outcome_of(scene, views),
        pictures=pictures,
    )


def settled(view: View) -> bool:
    """Whether a block lies at a place and every gripper has left it: nothing is left to do."""
    if not any(place_of(view, k) for k in range(3)):
        return False
    return all(
        min(float(np.linalg.norm(np.array(pose.position_m) - one)) for one in view.blocks_m) > 0.08
        for pose in view.arms.values()
    )


def demonstrate(
    number: int, *, noise: float = 0.8, wish: Wish | None = None, camera: Any = None,
    world: World | None = None,
) -> tuple[Episode, Wish, bool]:  # fmt: skip
    """A demonstration: the expert in the scene of a number, pushed about.

    Args:
        number: Of the scene; noise and wish are drawn from it too.
        noise: Scale of the pushes.
        wish: What to do; a demonstrator's own choice by default.
        camera: As for `play`.
        world: As for `play`.

    Returns:
        The episode, the wish, and whether all of it came true.
    """
    scene = scene_of(number)
    wish = wish or skewed_wish(scene, np.random.Generator(np.random.PCG64([number, 3])))
    pushes, block = Noise(number, scale=noise), scene.colours.index(wish.colour)

    def controller(view: View, frame: int) -> dict[str, Pose]:
        del frame
        return command(view, wish, colours=scene.colours)

    def execute(view: View, wanted: dict[str, Pose], frame: int) -> dict[str, Pose]:
        tool = np.array(view.arms[wish.arm].position_m)
        near = float(np.linalg.norm(tool - view.blocks_m[block]))
        return {**wanted, wish.arm: pushes.pushed(wanted[wish.arm], frame=frame, near_m=near)}

    found = play(scene, controller, execute=execute if noise else None, camera=camera, world=world)
    return found, wish, scored(found.outcome, wish)["all"]


def _columns(poses: list[dict[str, Pose]]) -> NDArray[np.float32]:
    rows = [[number for arm in ARMS for number in pose_columns(one[arm])] for one in poses]
    return np.array(rows, np.float32)
