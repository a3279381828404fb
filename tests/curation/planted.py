"""A corpus with planted truth: a folder and a seed go in, Bridge's own bytes and the plan come out.

Twelve tasks, each done in three to five known strategies. An episode of a strategy is warped in
time, goes somewhat beside the plan, starts and aims somewhere near it, and carries the noise of
the sensors. On top come corrupted logs, whose actions or states are not those of the motion. The
arm and the bytes are those of the demo corpus; the plan is all here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from corpora.arm import Variation, simulate
from corpora.declaration import (
    CORPUS_NAME,
    CORPUS_VERSION,
    camera_names,
    shard_file_name,
    write_declaration,
)
from corpora.pictures import black_jpeg
from corpora.record import encode_bridge_episode
from corpora.tfrecord import write_tfrecord
from corpora.ways import Task, Way, Waypoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from corpora.arm import Motion

__all__ = ["CORRUPTIONS", "PlantedEpisode", "plan_tasks", "write_planted_corpus"]

_PREFIX = "/nfs/kun2/users/homer/datasets/bridge_data_all/"
_PICTURE = 16
_DOWN = (0.0, -0.15, 0.0)

# What is done, where the thing is and where it goes (x forward, y left, z up, metres).
_TASKS = (
    ("put the carrot on the plate", (0.20, 0.13, 0.02), (0.32, -0.10, 0.02)),
    ("move the cup to the left side of the table", (0.30, -0.14, 0.02), (0.27, 0.15, 0.02)),
    ("put the spoon in the pot", (0.18, -0.12, 0.02), (0.33, 0.11, 0.04)),
    ("fold the cloth from right to left", (0.26, -0.15, 0.02), (0.26, 0.14, 0.02)),
    ("put the banana in the basket", (0.34, 0.10, 0.02), (0.19, -0.12, 0.04)),
    ("take the lid off the pot", (0.30, 0.08, 0.06), (0.20, -0.14, 0.02)),
    ("stack the green block on the red one", (0.22, 0.16, 0.02), (0.31, -0.06, 0.05)),
    ("put the knife on the cutting board", (0.35, -0.08, 0.02), (0.22, 0.14, 0.03)),
    ("sweep the beans to the right", (0.28, 0.15, 0.02), (0.24, -0.15, 0.02)),
    ("put the bread in the toaster", (0.19, 0.09, 0.02), (0.34, -0.13, 0.05)),
    ("move the can next to the stove", (0.33, 0.13, 0.02), (0.21, -0.11, 0.02)),
    ("place the towel in the drawer", (0.21, -0.15, 0.02), (0.35, 0.07, 0.03)),
)


@dataclass(frozen=True, kw_only=True)
class _Style:
    """A strategy, whatever the task: how the hand is held, and by where the thing is carried."""

    name: str
    grasp: tuple[float, float, float]
    lift_m: float
    beside_m: float
    over_m: float
    regrasp: bool = False


_STYLES = (
    _Style(name="over the top", grasp=(0.0, -0.1, 0.1), lift_m=0.14, beside_m=0.0, over_m=0.26),
    _Style(name="low and flat", grasp=(0.0, -0.6, 0.0), lift_m=0.035, beside_m=0.0, over_m=0.05),
    _Style(name="far round", grasp=(0.0, -0.1, 0.9), lift_m=0.09, beside_m=0.13, over_m=0.12),
    _Style(name="near round", grasp=(0.0, -0.1, -0.9), lift_m=0.09, beside_m=-0.10, over_m=0.12),
    _Style(
        name="in two goes",
        grasp=(0.5, -0.1, 0.0),
        lift_m=0.07,
        beside_m=0.03,
        over_m=0.025,
        regrasp=True,
    ),
)
# One sigma of waypoints, hand, thing and goal, start. So much that in most tasks two episodes of
# one strategy lie further apart than some two of different ones.
_VARIATION = Variation(waypoint_m=0.016, angle_rad=0.1, layout_m=0.02, start_m=0.03, pace=0.2)
_MEAN_LENGTH = 42


@dataclass(frozen=True)
class PlantedEpisode:
    """What is true of one record.

    Args:
        locator: As the receipts have it.
        instruction: The task.
        strategy: How it was done, in the record's motion before anything was corrupted.
        corruption: What was done to the log; None for a clean one.
        length: Steps.
    """

    locator: str
    instruction: str
    strategy: str
    corruption: str | None
    length: int


def plan_tasks() -> list[Task]:
    """The tasks; task t has 3 + t % 3 strategies, beginning with another one each time."""
    tasks: list[Task] = []
    for number, (instruction, thing, goal) in enumerate(_TASKS):
        styles = [_STYLES[(number + k) % len(_STYLES)] for k in range(3 + number % 3)]
        tasks.append(
            Task(
                instruction=instruction,
                folder=f"bridge_data_v2/planted/task_{number:02d}",
                kind="carry",
                shape="carrot",
                object_m=thing,
                goal_m=goal,
                ways=tuple(_way(style, thing, goal) for style in styles),
            )
        )
    return tasks


def _way(style: _Style, thing: tuple[float, float, float], goal: tuple[float, float, float]) -> Way:
    middle = ((thing[0] + goal[0]) / 2 + style.beside_m, (thing[1] + goal[1]) / 2)
    half = (middle[0], middle[1], style.over_m)
    grasp, lift = style.grasp, style.lift_m
    put_down = (
        (
            Waypoint("base", half, grasp, 1.0, 0.6),
            Waypoint("base", (half[0], half[1], 0.15), grasp, 1.0, 1.0),
            Waypoint("base", half, grasp, 1.0, 1.0),
            Waypoint("base", half, grasp, 0.0, 0.6),
        )
        if style.regrasp
        else ()
    )
    return Way(
        style.name,
        1.0,
        (
            Waypoint("base", (0.24, 0.0, 0.2), _DOWN, 1.0, 0.0),
            Waypoint("object", (0.0, 0.0, lift + 0.03), grasp, 1.0, 1.5),
            Waypoint("object", (0.0, 0.0, 0.012), grasp, 1.0, 1.0),
            Waypoint("object", (0.0, 0.0, 0.010), grasp, 0.0, 0.6),
            Waypoint("object", (0.0, 0.0, lift), grasp, 0.0, 0.9),
            Waypoint("base", half, grasp, 0.0, 1.5),
            *put_down,
            Waypoint("goal", (0.0, 0.0, lift), grasp, 0.0, 1.5),
            Waypoint("goal", (0.0, 0.0, 0.02), grasp, 0.0, 0.9),
            Waypoint("goal", (0.0, 0.0, 0.02), grasp, 1.0, 0.6),
            Waypoint("goal", (-0.06, 0.02, 0.16), _DOWN, 1.0, 1.6),
        ),
    )


def _once(task: Task, way: Way, rng: np.random.Generator) -> Motion:
    """One episode: each segment quicker or slower than planned, by up to a factor of two."""
    shares = rng.uniform(-1.0, 1.0, len(way.waypoints))
    warped = tuple(
        replace(waypoint, share=waypoint.share * 2.0 ** float(share))
        for waypoint, share in zip(way.waypoints, shares, strict=True)
    )
    return simulate(
        task,
        replace(way, waypoints=warped),
        variation=_VARIATION,
        mean_length=_MEAN_LENGTH,
        rng=rng,
    )


def _of_another(state: np.ndarray, action: np.ndarray, other: Motion) -> None:
    taken = np.resize(other.action, action.shape)
    action[:] = taken


def _wrong_sign(state: np.ndarray, action: np.ndarray, other: Motion) -> None:
    action[:, 1] *= -1.0


def _shifted(state: np.ndarray, action: np.ndarray, other: Motion) -> None:
    # Steps refer to the target before: one far step moves all targets.
    action[1, :3] += (0.12, -0.15, 0.08)


def _scaled(state: np.ndarray, action: np.ndarray, other: Motion) -> None:
    action[:, :3] *= 2.5


def _inverted_gripper(state: np.ndarray, action: np.ndarray, other: Motion) -> None:
    action[:, 6] = 1.0 - action[:, 6]


def _frozen(state: np.ndarray, action: np.ndarray, other: Motion) -> None:
    state[:] = state[0]


CORRUPTIONS: dict[str, Callable[[np.ndarray, np.ndarray, Motion], None]] = {
    "action of another episode": _of_another,
    "wrong sign of y": _wrong_sign,
    "shifted": _shifted,
    "scaled": _scaled,
    "gripper inverted": _inverted_gripper,
    "frozen state": _frozen,
}
"""Each changes state (T, 7) and action (T, 7) in place."""


def write_planted_corpus(
    folder: Path, *, seed: int = 0, corrupted_of_each: int = 3
) -> list[PlantedEpisode]:
    """Write `folder/bridge_dataset/1.0.0`, to be converted with `bridge_v2`.

    Args:
        folder: Made where it is not there.
        seed: Decides everything.
        corrupted_of_each: Corrupted logs of each kind, on top of the clean ones.

    Returns:
        The plan, in the order of the records.
    """
    rng = np.random.default_rng([seed, 21])
    tasks = plan_tasks()
    drafts: list[tuple[Task, Way, str | None]] = []
    for task in tasks:
        # 15 to 25 an episode; strategies of unequal weight, none with fewer than four.
        count = int(rng.integers(15, 26))
        spare = count - 4 * len(task.ways)
        shares = rng.dirichlet(np.full(len(task.ways), 2.0))
        counts = 4 + (rng.multinomial(spare, shares) if spare > 0 else np.zeros(5, int))
        drafts += [
            (task, way, None) for way, n in zip(task.ways, counts, strict=False) for _ in range(n)
        ]
    for turn, kind in enumerate(k for k in CORRUPTIONS for _ in range(corrupted_of_each)):
        task = tasks[(5 * turn) % len(tasks)]
        drafts.append((task, task.ways[turn % len(task.ways)], kind))
    order = rng.permutation(len(drafts)).tolist()
    payloads, planted = [], []
    for number, index in enumerate(order):
        payload, episode = _record(drafts[index], tasks, number, seed)
        payloads.append(payload)
        planted.append(episode)
    target = folder / CORPUS_NAME / CORPUS_VERSION
    target.mkdir(parents=True)
    write_tfrecord(target / shard_file_name("train", 0, 1), payloads)
    sizes = {"train": [(len(payloads), sum(len(payload) + 16 for payload in payloads))]}
    write_declaration(target, image_size=_PICTURE, cameras=1, splits=sizes)
    return planted


def _record(
    draft: tuple[Task, Way, str | None], tasks: list[Task], number: int, seed: int
) -> tuple[bytes, PlantedEpisode]:
    task, way, corruption = draft
    rng = np.random.default_rng([seed, 22, number])
    motion = _once(task, way, rng)
    state, action = motion.state.copy(), motion.action.copy()
    if corruption is not None:
        # Another task's, or another strategy's of the same task.
        elsewhere = task if number % 2 else tasks[(tasks.index(task) + 1) % len(tasks)]
        others = [other for other in elsewhere.ways if other.name != way.name]
        CORRUPTIONS[corruption](state, action, _once(elsewhere, others[0], rng))
    path = f"numpy_256/{task.folder}/train/out.npy"
    payload = encode_bridge_episode(
        state=state,
        action=action,
        pictures={camera_names(1)[0]: [black_jpeg(_PICTURE)] * len(state)},
        instruction=task.instruction,
        file_path=_PREFIX + path,
        source_episode_id=number,
    )
    return payload, PlantedEpisode(
        locator=f"{path}#{number}",
        instruction=task.instruction,
        strategy=way.name,
        corruption=corruption,
        length=len(state),
    )
