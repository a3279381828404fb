"""The robot's numbers as a client wants them: which rotations, which way a gripper counts.

The dataset's own convention is the default: unit quaternions xyzw, and grippers as the share that
is open. Benchmarks have others, and the wrong one raises no error and fails every episode; so it is
asked for by name, once, and holds for actions and states alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from finedata.motion.quaternion import canonicalise
from finedata.motion.rotation import from_quaternion_xyzw, to_quaternion_xyzw

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Form", "GripperForm", "RotationForm"]

RotationForm: TypeAlias = Literal[
    "quaternion_xyzw", "quaternion_wxyz", "rotation_vector", "euler_xyz_extrinsic", "rotation_6d"
]
GripperForm: TypeAlias = Literal["open", "closed", "open_signed", "closed_signed"]
_QUATERNION = ("qx", "qy", "qz", "qw")
_ENDINGS: dict[RotationForm, tuple[str, ...]] = {
    "quaternion_xyzw": _QUATERNION,
    "quaternion_wxyz": ("qw", "qx", "qy", "qz"),
    "rotation_vector": ("rx", "ry", "rz"),
    "euler_xyz_extrinsic": ("roll", "pitch", "yaw"),
    "rotation_6d": tuple(f"r{k}" for k in range(6)),
}
# What is 0 and 1 of an opening there, as (scale, offset).
_GRIPPERS: dict[GripperForm, tuple[float, float]] = {
    "open": (1.0, 0.0),
    "closed": (-1.0, 1.0),
    "open_signed": (2.0, -1.0),
    "closed_signed": (-2.0, 1.0),
}


@dataclass(frozen=True, kw_only=True)
class Form:
    """A client's conventions.

    Attributes:
        rotation: How rotations are written. Turns of a rotation vector are at most half a circle;
            `rotation_6d` is the first two columns of the matrix, one behind the other.
        gripper: `open`: 1 is open; `closed`: 1 is closed; `..._signed`: -1 stands for 0.
    """

    rotation: RotationForm = "quaternion_xyzw"
    gripper: GripperForm = "open"

    def names(self, names: Sequence[str]) -> tuple[str, ...]:
        """Of numbers in this form, for numbers by the dataset's names."""
        found: list[str] = []
        for name, kind in _parts(names):
            if kind == "rotation":
                found += [name.removesuffix("qx") + end for end in _ENDINGS[self.rotation]]
            else:
                found.append(name)
        return tuple(found)

    def written(self, values: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """(steps, width) by the dataset's names, in this form; float32."""
        found: list[np.ndarray] = []
        at = 0
        for _, kind in _parts(names):
            if kind == "rotation":
                quaternion = values[:, at : at + 4].astype(np.float64)
                if self.rotation != "quaternion_xyzw":
                    quaternion = from_quaternion_xyzw(
                        canonicalise(quaternion), encoding=self.rotation
                    )
                found.append(quaternion)
                at += 4
                continue
            one = values[:, at : at + 1]
            scale, offset = _GRIPPERS[self.gripper]
            found.append(one * scale + offset if kind == "gripper" else one)
            at += 1
        return np.concatenate(found, -1).astype(np.float32)

    def read(self, values: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """(width,) in this form, by the dataset's names; float32. The inverse of `written`."""
        found: list[np.ndarray] = []
        at, width = 0, len(_ENDINGS[self.rotation])
        for _, kind in _parts(names):
            if kind == "rotation":
                written = values[None, at : at + width].astype(np.float64)
                if self.rotation == "quaternion_xyzw":
                    found.append(written[0])
                else:
                    found.append(to_quaternion_xyzw(written, encoding=self.rotation)[0])
                at += width
                continue
            one = values[at : at + 1]
            scale, offset = _GRIPPERS[self.gripper]
            found.append((one - offset) / scale if kind == "gripper" else one)
            at += 1
        return np.concatenate(found).astype(np.float32)


def _parts(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The first name of each part and what it is; a quaternion is one part."""
    at = 0
    while at < len(names):
        name = names[at]
        prefix = name.removesuffix("qx")
        whole = [prefix + ending for ending in _QUATERNION]
        if name.endswith("qx") and list(names[at : at + 4]) == whole:
            yield name, "rotation"
            at += 4
        else:
            yield name, "gripper" if name.endswith("gripper") else "plain"
            at += 1
