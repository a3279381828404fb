# pyright: basic, reportMissingImports=false
"""Arms, objects and places in a state, found by the names of its numbers, and seen from the tools.

Nothing is said of which simulator or robot it is: a number called `block_0_x` is of an object, and
objects are what has the same numbers under other digits. Positions are seen in the robot's axes and
in each tool's, at three scales, all but the widest bent: what is near is told to the millimetre.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from finedata.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

POSE = ("x", "y", "z", "qx", "qy", "qz", "qw", "gripper")
"""Ends of the names of an arm's numbers."""
# Metres: the breadth of a table, of a hand, and of what a grasp must meet.
_SCALES_M = (0.3, 0.08, 0.02)
_GEOMETRY = re.compile(r"[xyz]|(cos|sin)_.*|q[xyzw]")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Where in the states what is.

    Attributes:
        arms: (arms, 8) places of `POSE`.
        objects: (objects, features) places of what every object has.
        features: Their names.
        places: (places, 2) places of x and y of what lies still.
        rest: All other numbers.
    """

    arms: tuple[tuple[int, ...], ...]
    objects: tuple[tuple[int, ...], ...]
    features: tuple[str, ...]
    places: tuple[tuple[int, int], ...]
    rest: tuple[int, ...]


def scene_of_names(names: Sequence[str]) -> Scene:
    """Find arms, objects and places in states by their names.

    Args:
        names: Of the states side by side: `left_x` ... `left_gripper` are an arm, `block_0_x` and
            what else has `block_0_` an object, `tray_x` and `tray_y` a place.

    Raises:
        UsageError: There is no arm.
    """
    at = {name: k for k, name in enumerate(names)}
    used: set[int] = set()

    def taken(*found: str) -> tuple[int, ...]:
        places = tuple(at[name] for name in found)
        used.update(places)
        return places

    prefixes = [name.removesuffix("qx") for name in names if name.endswith("qx")]
    arms = tuple(
        taken(*(prefix + end for end in POSE))
        for prefix in prefixes
        if all(prefix + end in at for end in POSE)
    )
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        if found := re.fullmatch(r"(.+_\d+)_(.+)", name):
            groups[found[1]].append(found[2])
    if not arms:
        raise UsageError(
            parameter="states",
            found=", ".join(names) or "no states",
            wanted=f"an arm: numbers that end in {', '.join(POSE)}",
        )
    features = next((tuple(one) for one in groups.values() if {"x", "y", "z"} <= {*one}), ())
    objects = tuple(
        taken(*(f"{prefix}_{one}" for one in features))
        for prefix, mine in groups.items()
        if tuple(mine) == features
    )
    places = tuple(
        taken(name, name[:-1] + "y")
        for k, name in enumerate(names)
        if k not in used and name.endswith("_x") and name[:-1] + "y" in at
    )
    rest = tuple(k for k in range(len(names)) if k not in used)
    return Scene(arms=arms, objects=objects, features=features, places=places, rest=rest)  # type: ignore[arg-type]


class Seen(nn.Module):
    """What is seen of a state; it learns nothing.

    Args:
        names: Of the states side by side.

    Attributes:
        objects: How many there are.
        of_arms: Numbers of all arms and places together.
        of_object: Numbers of an object.
        of_looks: Numbers by which objects are told apart: all that is no geometry, and position.
        rest: Numbers that are of nothing known.
    """

    arm_places: torch.Tensor
    object_places: torch.Tensor
    place_places: torch.Tensor
    rest_places: torch.Tensor

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        scene = scene_of_names(names)
        features = scene.features
        self._xyz = [features.index(axis) for axis in "xyz"] if scene.objects else []
        geometry = [k for k, name in enumerate(features) if _GEOMETRY.fullmatch(name)]
        self._turned = [k for k in geometry if k not in self._xyz]
        self._looks = [k for k in range(len(features)) if k not in geometry]
        arms, places, scales = len(scene.arms), len(scene.places), len(_SCALES_M)
        self.objects = len(scene.objects)
        self.of_arms = arms * (3 + 9 + 1) + places * 2 * (1 + arms * scales)
        self.of_object = 3 + len(self._turned) + arms * 6 * scales + places * 2 * scales
        self.of_looks = len(self._looks) + 3
        self.rest = len(scene.rest)
        for name, found in (
            ("arm", scene.arms), ("object", scene.objects), ("place", scene.places),
            ("rest", scene.rest),
        ):  # fmt: skip
            at = torch.tensor(found, dtype=torch.long)
            self.register_buffer(f"{name}_places", at, persistent=False)

    def forward(
        self, state: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Arms, places and the rest (n, of_arms + rest); objects (n, objects, of_object); looks.

        Args:
            state: (n, width), metres and unit quaternions.
        """
        arms = state[:, self.arm_places]  # (n, arms, 8)
        tool = _matrix(arms[..., 3:7])  # (n, arms, 3, 3)
        own = [arms[..., :3] / _SCALES_M[0], tool.flatten(2), arms[..., 7:]]
        places = state[:, self.place_places] if self.place_places.numel() else None
        if places is not None:
            own.append(_scaled(places[:, None] - arms[:, :, None, :2]).flatten(2))
        seen = [torch.cat(own, -1).flatten(1), state[:, self.rest_places]]
        if places is not None:
            seen.append(places.flatten(1))
        if not self.objects:
            return torch.cat(seen, -1), None, None
        things = state[:, self.object_places]  # (n, objects, features)
        at = things[..., self._xyz]
        away = at[:, :, None] - arms[:, None, :, :3]  # (n, objects, arms, 3)
        from_tool = (tool[:, None] * away[..., None]).sum(-2)  # the transposed rotation of each
        objects = [at / _SCALES_M[0], things[..., self._turned]]
        objects.append(_scaled(torch.cat([away, from_tool], -1)).flatten(2))
        if places is not None:
            objects.append(_scaled(places[:, None] - at[:, :, None, :2]).flatten(2))
        looks = torch.cat([things[..., self._looks], at], -1)
        return torch.cat(seen, -1), torch.cat(objects, -1), looks


def _scaled(away_m: torch.Tensor) -> torch.Tensor:
    """Distances at each scale; all but the widest are bent, and tell only what is near."""
    wide, *near = _SCALES_M
    return torch.cat([away_m / wide, *(torch.tanh(away_m / one) for one in near)], -1)


def _matrix(xyzw: torch.Tensor) -> torch.Tensor:
    """(..., 4) unit quaternions to (..., 3, 3); q and -q are one."""
    x, y, z, w = xyzw.unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, -1).unflatten(-1, (3, 3))
