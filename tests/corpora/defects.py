"""How episodes of the demo corpus are broken: something whole goes in, something broken comes out.

Three moments: the motion and pictures before they are encoded, the features of the record, and the
framed bytes. `failed` are those that cannot be an episode, `flagged` those that can and should be
written with a flag.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from corpora.arm import Motion
    from corpora.example import FeatureValue

__all__ = ["DEFECTS", "Defect", "break_features", "break_frame", "break_motion", "break_pictures"]

_FRAME_HEADER = 12


@dataclass(frozen=True)
class Defect:
    """A way of being broken.

    Args:
        kind: What a converter should make of it.
        meaning: In words.
        everywhere: Whether it is planted by `with_defects`; the others have options of their own.
    """

    kind: Literal["failed", "flagged", "good"]
    meaning: str
    everywhere: bool = True


DEFECTS: dict[str, Defect] = {
    "checksum_mismatch": Defect("failed", "a bit of the payload flipped after the CRC was taken"),
    "zero_steps": Defect("failed", "an episode of no steps"),
    "unequal_lengths": Defect("failed", "state has one row fewer than action"),
    "missing_feature": Defect("failed", "no steps/action"),
    "nan_state": Defect("flagged", "one row of state is NaN"),
    "undecodable_picture": Defect("flagged", "one picture of image_0 is no picture"),
    "empty_picture": Defect("flagged", "one picture of image_0 has no bytes"),
    "empty_instruction": Defect("flagged", "no instruction, as in the scripted part"),
    "frozen_state": Defect("flagged", "state never changes though actions do"),
    "missing_camera": Defect("flagged", "the last real camera's feature is absent"),
    "duplicate_id": Defect("good", "the key of another record", everywhere=False),
    "truncated": Defect("failed", "the file ends inside the payload", everywhere=False),
}
"""Every defect, in the order of planting."""


def break_motion(defect: str | None, motion: Motion) -> Motion:
    """Change the numbers: `zero_steps`, `nan_state` and `frozen_state`."""
    if defect == "zero_steps":
        return replace(
            motion, state=motion.state[:0], action=motion.action[:0], object_m=motion.object_m[:0]
        )
    if defect not in ("nan_state", "frozen_state"):
        return motion
    state = motion.state.copy()
    if defect == "nan_state":
        state[len(state) // 2] = np.nan
    else:
        state[:] = state[0]
    return replace(motion, state=state)


def break_pictures(
    defect: str | None, pictures: dict[str, list[bytes]], *, last_real_camera: str
) -> dict[str, list[bytes]]:
    """Change the pictures: `undecodable_picture`, `empty_picture` and `missing_camera`."""
    if defect == "missing_camera":
        return {name: frames for name, frames in pictures.items() if name != last_real_camera}
    replacement = {"undecodable_picture": b"this is no picture " * 40, "empty_picture": b""}
    if defect not in replacement:
        return pictures
    frames = list(pictures["image_0"])
    frames[len(frames) // 3] = replacement[defect]
    return {**pictures, "image_0": frames}


def break_features(
    defect: str | None, features: dict[str, FeatureValue]
) -> dict[str, FeatureValue]:
    """Change the record: `unequal_lengths` and `missing_feature`."""
    if defect == "unequal_lengths":
        state = features["steps/observation/state"]
        return {**features, "steps/observation/state": state[:-1]}
    if defect == "missing_feature":
        return {name: value for name, value in features.items() if name != "steps/action"}
    return features


def break_frame(defect: str | None, frame: bytes) -> bytes:
    """Change the framed bytes: `checksum_mismatch` and `truncated`."""
    if defect == "truncated":
        return frame[: len(frame) * 3 // 5]
    if defect != "checksum_mismatch":
        return frame
    middle = _FRAME_HEADER + (len(frame) - _FRAME_HEADER) // 2
    return frame[:middle] + bytes([frame[middle] ^ 0x10]) + frame[middle + 1 :]
