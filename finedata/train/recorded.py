"""Recorded episodes of a dataset as a policy's robot would have met them: `recorded_episodes`.

`seen_by_roles` gives their cameras alone, of any episode.

Which camera is which role, and which column which number, is what the shards say that the policy
was trained on (`roles.toml`); so is which episodes were held out. Without shards a role is the
camera or the feature of its name, and nothing tells what was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from finedata.errors import UsageError
from finedata.shard.shards import Shards
from finedata.shard.stream.fill import camera_matrices
from finedata.shard.stream.parts import read_roles, resolve
from finedata.store.episode import shown_camera

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from finedata.schema.shards_file import ShardSet
    from finedata.shard.stream.parts import Part
    from finedata.store.dataset import Dataset
    from finedata.store.episode import Episode
    from finedata.train.robot import Robot

__all__ = [
    "Recorded",
    "RecordedDepth",
    "Replayed",
    "part_of_episode",
    "recorded_episodes",
    "seen_by_roles",
]

_OWN = {"state": "observation.state"}


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordedDepth:
    """Where in space a camera's pictures are.

    Attributes:
        episode: Its pictures.
        camera: The camera of depth; empty where a model estimated it when sharding.
        unit_m: Metres of one of its numbers.
        matrix: (T or 1, 4 or 9): fx, fy, cx, cy, or the matrix row by row; None where nobody knows.
        size: Width and height of the pictures that the matrix is of.
    """

    episode: Episode
    camera: str
    unit_m: float
    matrix: np.ndarray | None
    size: tuple[int, int]

    def iter_metres(self, frames: Sequence[int]) -> Iterator[np.ndarray | None]:
        """Depth of these frames as shards have it: (height, width) float32 metres, 0 for none.

        None where a frame has no depth at all.

        Raises:
            UsageError: A model estimated it when sharding.
        """
        if not self.camera:
            raise UsageError(
                place=f"depth of {self.episode.episode_id}",
                found="none: that of the shards was estimated",
                wanted="a run with the recipe's depth_model, which estimates it when it is asked",
            )
        scale = self.episode.depth_scale(self.camera)
        for found in self.episode.iter_frames(self.camera, frames):
            # An absent camera of depth has black pictures of colours.
            if found is None or found.ndim == 3:
                yield None
                continue
            numbers = found if scale is None else scale.millimetres(found)
            yield numbers.astype(np.float32) * np.float32(self.unit_m)

    def matrix_of(self, picture: np.ndarray, *, frame: int) -> np.ndarray | None:
        """(3, 3) of the pinhole in pixels of a picture of a frame; None where nobody knows.

        A column may lack it in some frames: there training took the published one, too.
        """
        if self.matrix is None:
            return None
        numbers = self.matrix[min(frame, len(self.matrix) - 1)]
        if not np.isfinite(numbers).all():
            return None
        return camera_matrices(numbers, of=self.size, size=picture.shape[:2])


@dataclass(frozen=True, kw_only=True, eq=False)
class Recorded:
    """One episode by roles.

    Attributes:
        episode: Its pictures.
        robot: Whose numbers they are.
        cameras: Picture role to the camera; absent where the episode has none.
        depths: Picture role to its depth, of what `cameras` has; absent where the roles say none.
        states: State role to (T, width) float32 by `Robot.names`.
        actions: (T, width) float32 by `Robot.action_names`, absolute.
        valid: (T,) bool: an action was commanded.
    """

    episode: Episode
    robot: Robot
    cameras: Mapping[str, str]
    depths: Mapping[str, RecordedDepth]
    states: Mapping[str, np.ndarray]
    actions: np.ndarray
    valid: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Replayed:
    """What a policy said along a recorded episode, and what was done.

    Attributes:
        episode_id: The episode.
        task: What the policy was told.
        embodiment: Its robot.
        fps: Frames a second.
        names: Of the numbers.
        recorded: (T, width) float32.
        valid: (T,) bool: these were commanded.
        states: (T, width) of the same numbers as measured; None where there are none.
        frames: (n,) frames that were predicted.
        asked: (n,) frames whose pictures the policy was shown for each of them.
        predicted: (n, width) float32 for these.
    """

    episode_id: str
    task: str
    embodiment: str
    fps: float
    names: tuple[str, ...]
    recorded: np.ndarray
    valid: np.ndarray
    states: np.ndarray | None
    frames: np.ndarray
    asked: np.ndarray
    predicted: np.ndarray


def recorded_episodes(
    dataset: Dataset,
    robots: Mapping[str, Robot],
    cameras: Sequence[str],
    *,
    shards: Path | None = None,
) -> Iterator[Recorded]:
    """Episodes that have words, in the dataset's order.

    Args:
        dataset: The dataset.
        robots: The policy's.
        cameras: Its picture roles.
        shards: What it was trained on; then only their held-out episodes.

    Raises:
        UsageError: Nothing was held out, or a role is no camera or feature of an episode.
    """
    opened = None if shards is None else Shards.open(shards)
    held_out = None if opened is None else _held_out(opened)
    for episode in dataset.iter_episodes():
        if not episode.task or (held_out is not None and episode.episode_id not in held_out):
            continue
        robot = _robot_of(episode, robots)
        if robot is None:
            continue
        found = held_out[episode.episode_id] if opened and held_out is not None else None
        yield _recorded(episode, robot, cameras, opened, found)


def _held_out(shards: Shards) -> dict[str, ShardSet]:
    """Episodes of the held-out sides, and their sets.

    Raises:
        UsageError: There are none.
    """
    found: dict[str, ShardSet] = {}
    for name, one in shards.sets.items():
        if one.side == "heldout":
            table = shards.episodes(name)
            rows = table.rows(0, len(table), columns=["episode_id"])
            found |= {str(name): one for name in rows.column("episode_id").to_pylist()}
    if not found:
        raise UsageError(
            place=str(shards.root),
            found="shards of which nothing was held out",
            wanted="episodes that the policy was not trained on",
            next_command="finedata shard DIR --out SHARDS --held-out 0.1",
        )
    return found


def _robot_of(episode: Episode, robots: Mapping[str, Robot]) -> Robot | None:
    """The robot of an episode; None where the policy was not trained on it."""
    embodiment = episode.row["embodiment"]
    names = embodiment, f"{embodiment}:{episode.row['source']}/{episode.part}"
    return next((robots[name] for name in names if name in robots), None)


def part_of_episode(shards: Shards, episode_id: str) -> Part:
    """How the set that has an episode fills the roles.

    Raises:
        UsageError: None has it.
    """
    for name, one in shards.sets.items():
        table = shards.episodes(name)
        if episode_id in table.rows(0, len(table), columns=["episode_id"])[0].to_pylist():
            return resolve(one, read_roles(shards, (name,), None))
    raise UsageError(
        place=str(shards.root),
        found=f"no episode {episode_id}",
        wanted="the shards that the policy was trained on, and an episode of them",
    )


def seen_by_roles(
    episode: Episode, cameras: Sequence[str], part: Part | None
) -> tuple[dict[str, str], dict[str, RecordedDepth]]:
    """Picture role to the camera as it is stored, and to where its pictures are in space.

    Args:
        episode: The episode.
        cameras: Picture roles.
        part: How its set fills them; without it a role is the camera of its name, and nothing is
            known of space.

    Returns:
        Both without roles of which the episode has no pictures.

    Raises:
        UsageError: A role is no camera of the episode.
    """
    stored = {shown_camera(name): name for name in episode.cameras}
    missing: set[str] = set(episode.row["cameras_missing"] or ())
    if part is None:
        named = {role: role for role in cameras}
    else:
        named = {role: camera.name for role, (camera, _) in part.cameras.items()}

    def camera(name: str, role: str) -> str | None:
        """As it is stored; None where the episode lacks it."""
        if name not in stored:
            raise UsageError(
                place=f"picture role {role} of {episode.episode_id}",
                found=f"cameras {', '.join(stored)}",
                wanted=f"{name}",
                next_command="--shards SHARDS  # whose roles say which camera it is",
            )
        return None if {name, stored[name]} & missing else stored[name]

    shown = {
        role: found
        for role in cameras
        if role in named and (found := camera(named[role], role)) is not None
    }
    depths: dict[str, RecordedDepth] = {}
    for role, (deep, _, known) in part.depth.items() if part is not None else ():
        found = "" if deep.depth_of else camera(known.camera, role)
        if role in shown and found is not None:
            matrix = np.array([known.matrix]) if isinstance(known.matrix, tuple) else None
            if isinstance(known.matrix, str) and known.matrix:
                matrix = episode.rows()[known.matrix]
            depths[role] = RecordedDepth(
                episode=episode, camera=found, unit_m=known.unit_m, matrix=matrix, size=known.size
            )
    return shown, depths


def _recorded(
    episode: Episode,
    robot: Robot,
    cameras: Sequence[str],
    shards: Shards | None,
    one: ShardSet | None,
) -> Recorded:
    part = None
    if shards is None or one is None:
        columns = {
            role: [f"{_OWN.get(role, role)}:{name}" for name in robot.names(role)]
            for role in (*robot.states, *robot.actions)
        }
    else:
        roles = read_roles(shards, (one.name,), None)
        part = resolve(one, roles)
        columns = {
            role: [
                f"{pick.feature}:{name}"
                for place in range(len(roles.vectors[role].names))
                for pick in part.vectors[role]
                for name, at in zip(pick.names, pick.places, strict=True)
                if at == place
            ]
            for role in (*robot.states, *robot.actions)
        }
    shown, depths = seen_by_roles(episode, cameras, part)
    rows = episode.rows()
    states = {role: _numbers(episode, rows, columns[role]) for role in robot.states}
    valid = rows.get("action_valid", np.ones(len(episode), bool))
    return Recorded(
        episode=episode,
        robot=robot,
        cameras=shown,
        depths=depths,
        states=states,
        actions=np.concatenate(
            [_numbers(episode, rows, columns[role]) for role in robot.actions], -1
        ),
        valid=valid.astype(bool),
    )


def _numbers(
    episode: Episode, rows: Mapping[str, np.ndarray], columns: Sequence[str]
) -> np.ndarray:
    """(T, n) float32 of columns `feature:name`.

    Raises:
        UsageError: The episode has no such column.
    """
    found: list[np.ndarray] = []
    for column in columns:
        feature, _, name = column.partition(":")
        names = episode.names.get(feature, ())
        if name not in names:
            raise UsageError(
                place=f"column {column} of {episode.episode_id}",
                found=", ".join(names) or f"features {', '.join(episode.names)}",
                wanted="the numbers that the policy was trained on",
                next_command="--shards SHARDS  # whose roles say where they are",
            )
        found.append(rows[feature][:, names.index(name)].astype(np.float32))
    return np.stack(found, -1) if found else np.zeros((len(episode), 0), np.float32)
