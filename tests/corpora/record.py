"""One BridgeData-V2 record: an episode's arrays and pictures go in, the payload's bytes come out.

Every key of the real records is written, with the real types and the real slips: `has_image_*` is
always false, per-step tensors lie flattened one after the other, bools are int64 lists. Build a
record with `bridge_step_features` + `bridge_metadata_features`, change it, and hand it to
`encode_example` to get an odd one.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
from corpora.declaration import camera_names
from corpora.example import encode_example

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from corpora.example import FeatureValue
    from numpy.typing import NDArray

__all__ = [
    "bridge_metadata_features",
    "bridge_step_features",
    "encode_bridge_episode",
    "instruction_embedding",
]


def instruction_embedding(instruction: str) -> NDArray[np.float32]:
    """A stand-in for the sentence embedding: 512 float32 of norm 1, all zero for no instruction.

    The real ones come from a sentence encoder; these depend on the text through its sha256 only.
    """
    if not instruction:
        return np.zeros(512, np.float32)
    digest = hashlib.sha256(instruction.encode()).digest()
    vector = np.random.default_rng(list(digest)).standard_normal(512)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def bridge_step_features(
    *,
    state: NDArray[np.float32],
    action: NDArray[np.float32],
    pictures: Mapping[str, Sequence[bytes]],
    instruction: str,
) -> dict[str, FeatureValue]:
    """The `steps/...` features of one record.

    Args:
        state: (T, 7) float32: x, y, z in metres; roll, pitch, yaw in radians, relative to the
            default rotation; gripper, 1 = open. Base frame.
        action: (T, 7) float32: the step of the commanded target in base axes, and the gripper.
            Its length decides T for the per-step scalars.
        pictures: By camera (`image_0`), T encoded pictures.
        instruction: Repeated in each step.

    Returns:
        Features by key, in the order of writing.
    """
    length = len(action)
    first, last = np.zeros(length, bool), np.zeros(length, bool)
    first[:1], last[-1:] = True, True
    return {
        "steps/action": action.astype(np.float32),
        "steps/discount": np.ones(length, np.float32),
        "steps/is_first": first,
        "steps/is_last": last,
        "steps/is_terminal": last,
        "steps/language_embedding": np.tile(instruction_embedding(instruction), length),
        "steps/language_instruction": [instruction.encode()] * length,
        **{f"steps/observation/{name}": frames for name, frames in pictures.items()},
        "steps/observation/state": state.astype(np.float32),
        "steps/reward": last.astype(np.float32),
    }


def bridge_metadata_features(
    *, file_path: str, source_episode_id: int, has_language: bool, cameras: int = 4
) -> dict[str, FeatureValue]:
    """The `episode_metadata/...` features of one record.

    Args:
        file_path: The path of the original `out.npy` on its makers' machine.
        source_episode_id: The number of the episode inside that file.
        has_language: Whether there is an instruction.
        cameras: How many `has_image_*` there are. All are false, as in the real corpus, whose
            builder looked for the cameras in the wrong place.

    Returns:
        Features by key, in the order of writing.
    """
    return {
        "episode_metadata/episode_id": np.array([source_episode_id], np.int64),
        "episode_metadata/file_path": [file_path.encode()],
        **{f"episode_metadata/has_{name}": np.array([False]) for name in camera_names(cameras)},
        "episode_metadata/has_language": np.array([has_language]),
    }


def encode_bridge_episode(
    *,
    state: NDArray[np.float32],
    action: NDArray[np.float32],
    pictures: Mapping[str, Sequence[bytes]],
    instruction: str,
    file_path: str,
    source_episode_id: int,
    cameras: int | None = None,
    packed: bool = True,
) -> bytes:
    """The payload of one record; see `bridge_step_features` and `bridge_metadata_features`.

    Lengths are not checked: records that disagree with themselves are wanted too.

    Args:
        state: (T, 7) float32.
        action: (T, 7) float32.
        pictures: By camera, T encoded pictures.
        instruction: Empty for an episode without language.
        file_path: The path of the original file.
        source_episode_id: The number inside that file.
        cameras: Number of `has_image_*` flags; by default that of `pictures`.
        packed: Whether numbers are packed on the wire.

    Returns:
        The serialised `tf.train.Example`, not framed.
    """
    steps = bridge_step_features(
        state=state, action=action, pictures=pictures, instruction=instruction
    )
    metadata = bridge_metadata_features(
        file_path=file_path,
        source_episode_id=source_episode_id,
        has_language=bool(instruction),
        cameras=len(pictures) if cameras is None else cameras,
    )
    return encode_example({**metadata, **steps}, packed=packed)
