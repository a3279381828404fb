"""Which choices of a clustering run change its output, and the two hashes that stand for them.

Two hashes, because they guard two things: the settings hash stands in every row of the tables;
the distance hash names the ledger of tiles, so that another k or budget finds its distances
again and another weight never does.
"""

from __future__ import annotations

import hashlib
from typing import Literal, TypeAlias, cast

import msgspec
import numpy as np

import finedata
from finedata.errors import UsageError
from finedata.motion.dtw.distances import FrameCost

__all__ = ["ClusterSettings", "Linkage", "Weights", "resolve_device"]

Linkage: TypeAlias = Literal["average", "complete", "single"]

# Raised when the same settings would give other distances, so that no stored tile is believed.
_DISTANCES = 1
_WEIGHTS = ("position_weight", "rotation_weight", "gripper_weight")


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """Weights of the frame cost; see `finedata.motion.dtw.distances.FrameCost`."""

    position: float = 1.0
    rotation: float = 1.0
    gripper: float = 1.0


class ClusterSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can change a byte of the tables.

    Attributes:
        on: Which trajectories are compared.
        k: Clusters of every task; None for another rule.
        k_ratio: Clusters as a share of a task's episodes; None for another rule.
        auto: By the largest gap, whatever the preset says; also where no rule is given.
        recursive: Split again and again by the largest gap.
        linkage: How far apart two clusters are.
        budget: Episodes to choose in all; None for `per_cluster` of every cluster.
        per_cluster: Representatives of a cluster, at most.
        position_weight: Of the frame cost; None for 1, or the preset's.
        rotation_weight: The same, per radian.
        gripper_weight: The same.
        two_stage: Align without the gripper, then charge it along the path.
        band: Sakoe-Chiba radius as a share of the longer track; None for no band.
        float64: Exact arithmetic instead of float32.
        landmarks_above: Tasks with more episodes are compared with landmarks only.
        num_landmarks: How many landmarks; None for 1000, or `landmarks_above` if that is less.
        preset: `finevla` for the choices of FineVLA's released code.
        device: `cpu` or `cuda`: their distances differ in the last digits.
        seed: Of landmarks, samples and random members.
    """

    on: Literal["action", "state"] = "action"
    k: int | None = None
    k_ratio: float | None = None
    auto: bool = False
    recursive: bool = False
    linkage: Linkage = "average"
    budget: int | None = None
    per_cluster: int = 1
    position_weight: float | None = None
    rotation_weight: float | None = None
    gripper_weight: float | None = None
    two_stage: bool = True
    band: float | None = None
    float64: bool = False
    landmarks_above: int = 5000
    num_landmarks: int | None = None
    preset: Literal["finevla"] | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        rules = [name for name in ("k", "k_ratio", "auto", "recursive") if getattr(self, name)]
        _check("k", len(rules) <= 1, " and ".join(rules), "one of them")
        _check("k", self.k is None or self.k >= 1, self.k, "at least 1")
        _check("k_ratio", self.k_ratio is None or 0 < self.k_ratio <= 1, self.k_ratio, "in (0, 1]")
        _check("budget", self.budget is None or self.budget >= 1, self.budget, "at least 1")
        _check("per_cluster", self.per_cluster >= 1, self.per_cluster, "at least 1")
        _check("band", self.band is None or 0 < self.band <= 1, self.band, "in (0, 1]")
        _check("landmarks_above", self.landmarks_above >= 2, self.landmarks_above, "at least 2")
        if self.num_landmarks is not None:
            _check(
                "num_landmarks",
                2 <= self.num_landmarks <= self.landmarks_above,
                self.num_landmarks,
                f"2 to {self.landmarks_above}, which is landmarks_above",
            )
        for name in _WEIGHTS:
            weight = getattr(self, name)
            fine = weight is None or (np.isfinite(weight) and weight >= 0)
            _check(name, fine, weight, "not negative")

    @property
    def dtype(self) -> type[np.floating]:
        """Of the arithmetic and of the stored distances."""
        return cast("type[np.floating]", np.float64 if self.float64 else np.float32)

    @property
    def landmarks(self) -> int:
        """How many landmarks a large task gets."""
        return self.num_landmarks or max(2, min(self.landmarks_above, 1000))

    @property
    def smallest_task(self) -> int:
        """Smaller tasks are left out: FineVLA's code drops those with fewer than three episodes."""
        return 3 if self.preset == "finevla" else 1

    def weights(self, preset: Weights) -> Weights:
        """What was asked for; the preset's where nothing was, if there is a preset."""
        usual = preset if self.preset else Weights()
        given = (self.position_weight, self.rotation_weight, self.gripper_weight)
        chosen = [
            fallback if weight is None else weight
            for weight, fallback in zip(given, msgspec.structs.astuple(usual), strict=True)
        ]
        return Weights(position=chosen[0], rotation=chosen[1], gripper=chosen[2])

    def frame_cost(self, space: str, weights: Weights) -> FrameCost:
        """The cost between frames of `ee`, `joint` or `undeclared` motion."""
        shared = {"position_weight": weights.position, "gripper_weight": weights.gripper}
        if space == "ee":
            return FrameCost(
                space="pose",
                rotation_weight=weights.rotation,
                two_stage=self.two_stage,
                **shared,
            )
        if space == "joint":
            return FrameCost(space="joint", two_stage=self.two_stage, **shared)
        return FrameCost(space="euclidean", position_weight=weights.position)

    def sha256(self) -> str:
        """Hash of all settings and of finedata's version; 64 hex digits."""
        return _sha256({"settings": msgspec.to_builtins(self)})

    def distance_key(self) -> str:
        """Hash of what can change a distance; 64 hex digits."""
        names = ("on", *_WEIGHTS, "two_stage", "band", "float64", "device", "preset")
        shared = {name: getattr(self, name) for name in names}
        return _sha256({"distances": _DISTANCES, "settings": shared})


def resolve_device(device: str) -> Literal["cpu", "cuda"]:
    """Turn `auto` into what is there."""
    if device != "auto":
        return cast("Literal['cpu', 'cuda']", device)
    from finedata.motion.dtw.cuda import cuda_available

    return "cuda" if cuda_available() else "cpu"


def _sha256(content: dict[str, object]) -> str:
    content["finedata"] = finedata.__version__
    return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()


def _check(parameter: str, fine: bool, found: object, wanted: str) -> None:  # noqa: FBT001
    if not fine:
        raise UsageError(parameter=parameter, found=f"{found}", wanted=wanted)
