"""What is true of an episode of the demo corpus: a record's arrays go in, its truth comes out.

A test converts the corpus and compares; nothing here may come from the code under test.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from corpora.pose import integrate_targets, rotation_from_rpy, tool_quaternions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

__all__ = ["EpisodeTruth", "Kind", "PoseTruth", "picture_digests", "pose_truth"]

Kind: TypeAlias = Literal["good", "near_duplicate", "failed", "flagged"]


@dataclass(frozen=True, eq=False)
class PoseTruth:
    """The canonical motion of one episode; the fields are those of `EpisodeTruth`."""

    position_m: NDArray[np.float64]
    tool_quaternion_xyzw: NDArray[np.float64]
    gripper_open: NDArray[np.float64]
    target_position_m: NDArray[np.float64]
    target_quaternion_xyzw: NDArray[np.float64]
    target_gripper_open: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class EpisodeTruth(PoseTruth):
    """What a converter should find in one record.

    All arrays are float64, computed from the float32 numbers as stored. Of a `flagged` episode they
    tell what lies in the file (its NaN too); of a `failed` one what was there before it was broken,
    which nobody can read back.

    Args:
        position_m: (T, 3) measured tool position, base frame.
        tool_quaternion_xyzw: (T, 4) measured tool orientation, default rotation included; row 0 has
            w >= 0, then continuous.
        gripper_open: (T,) 1 = open, 0 = closed, not clipped.
        target_position_m: (T, 3) the commanded target, integrated.
        target_quaternion_xyzw: (T, 4) its orientation; row 0 on the side of the measured row 0.
        target_gripper_open: (T,) as commanded.
        file_path: `episode_metadata/file_path`.
        source_episode_id: `episode_metadata/episode_id`; with `file_path` the unique key.
        instruction: Empty where there is none.
        task_instruction: What the episode does, also where `instruction` is empty.
        way: The name of the way it was done.
        length: Number of steps in the record.
        kind: `near_duplicate` is as good as `good`, and close to another one.
        defect: What is wrong with it, one of `corpora.defects.DEFECTS`.
        near_duplicate_of: `record_index` of the episode that this one repeats.
        split: `train` or `val`.
        shard_file: Name of the file, without folder.
        record_index: Number of the record in the corpus, over all files in order.
        record_in_shard: Number of the record in its file, from 0.
        byte_offset: Where its frame (12 bytes of header first) begins in the file.
        payload_bytes: Length of the payload, without framing; of a truncated one as announced.
        payload_sha256: Of the payload as it lies in the file.
        camera_sha256: By camera (`image_0`), the sha256 of each picture in hex digits.
    """

    file_path: str
    source_episode_id: int
    instruction: str
    task_instruction: str
    way: str
    length: int
    kind: Kind
    defect: str | None
    near_duplicate_of: int | None
    split: str
    shard_file: str
    record_index: int
    record_in_shard: int
    byte_offset: int
    payload_bytes: int
    payload_sha256: str
    camera_sha256: dict[str, tuple[str, ...]]


def pose_truth(state: NDArray[np.float32], action: NDArray[np.float32]) -> PoseTruth:
    """The canonical motion that BridgeData-V2's numbers mean.

    Args:
        state: (T, 7) float32 as stored; row 0 finite.
        action: (T, 7) float32 as stored.

    Returns:
        The six arrays, float64.
    """
    if len(state) == 0:
        none = np.zeros((0, 3)), np.zeros((0, 4)), np.zeros(0)
        return PoseTruth(*none, *none)
    measured = tool_quaternions(rotation_from_rpy(state[:, 3:6]))
    target_position, target_rotation = integrate_targets(state, action)
    return PoseTruth(
        position_m=state[:, :3].astype(np.float64),
        tool_quaternion_xyzw=measured,
        gripper_open=state[:, 6].astype(np.float64),
        target_position_m=target_position,
        target_quaternion_xyzw=tool_quaternions(target_rotation, first=measured[0]),
        target_gripper_open=action[:, 6].astype(np.float64),
    )


def picture_digests(pictures: Mapping[str, Iterable[bytes]]) -> dict[str, tuple[str, ...]]:
    """The sha256 of every picture, in hex digits, by camera."""
    return {
        name: tuple(hashlib.sha256(frame).hexdigest() for frame in frames)
        for name, frames in pictures.items()
    }
