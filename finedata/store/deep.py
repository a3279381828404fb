"""What the numbers of a camera of depth are, in metres.

LeRobot since 0.6 keeps depth in two ways. A video has codes of 12 bits (HEVC, `gray12le`), spaced
by the logarithm of the distance, and info.json has the spacing; pictures (TIFF) have plain numbers,
and info.json their unit, or else their kind tells it, by LeRobot's own rule when it records: floats
are metres, integers millimetres. Read as colours such a camera is an evenly grey picture that
decodes without a complaint, so what is declared decides: of what is not called depth, and of a
video of depth of which no spacing is said at all, as of before 0.6, nothing is guessed.

0 is no depth. A sensor that saw nothing says 0, and in codes that is the same as all that is nearer
than the first code's distance (1 cm by default): code 0 becomes 0, where LeRobot gives 1 cm.

Source: `quantize_depth` and `dequantize_depth` of lerobot 0.6.1, `datasets/depth_utils.py`, and
`DepthEncoderConfig` of its `configs/video.py`, whose values stand where info.json leaves some out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeGuard, cast

import numpy as np

from finedata.errors import ConformError
from finedata.store.lerobot.stats import picture_stats

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from finedata.store.lerobot.stats import FeatureStats

__all__ = ["DepthScale", "declares_depth", "depth_scale", "video_stats"]

_MOST_CODE = 4095
_DEFAULTS = {"depth_min": 0.01, "depth_max": 10.0, "shift": 3.5}
_UNIT_M = {"mm": 0.001, "m": 1.0}
_FARTHEST_MM = 65535


@dataclass(frozen=True, kw_only=True)
class DepthScale:
    """Numbers of a camera of depth to distances.

    Attributes:
        unit_m: Metres of a number, where it is said.
        nearest_m: Distance of code 0.
        farthest_m: Distance of code 4095; 0 where numbers are no codes.
        shift_m: Added before the logarithm is taken; `None` where codes are spaced evenly.
    """

    unit_m: float | None = None
    nearest_m: float = 0.0
    farthest_m: float = 0.0
    shift_m: float | None = None

    def metres(self, numbers: np.ndarray) -> np.ndarray:
        """Distances in metres, float32, of the same shape; 0 where there is none.

        Args:
            numbers: uint16 as they are stored, or floats of a unit.
        """
        if self.farthest_m:
            return self._codes_m[np.minimum(numbers, _MOST_CODE)]
        found = numbers.astype(np.float32) * np.float32(self._unit_m(numbers))
        return np.nan_to_num(found, posinf=0.0, neginf=0.0)

    def millimetres(self, numbers: np.ndarray) -> np.ndarray:
        """As `metres`, in whole millimetres, uint16; what is farther than 65.535 m is that far."""
        if numbers.dtype == np.uint16 and not self.farthest_m and self.unit_m != _UNIT_M["m"]:
            return numbers
        found = np.rint(self.metres(numbers).astype(np.float64) * 1000)
        return np.clip(found, 0, _FARTHEST_MM).astype(np.uint16)

    def _unit_m(self, numbers: np.ndarray) -> float:
        by_kind = _UNIT_M["m" if np.issubdtype(numbers.dtype, np.floating) else "mm"]
        return self.unit_m or by_kind

    @cached_property
    def _codes_m(self) -> np.ndarray:
        share = np.arange(_MOST_CODE + 1) / _MOST_CODE
        if self.shift_m is None:
            found = self.nearest_m + share * (self.farthest_m - self.nearest_m)
        else:
            low, high = (math.log(one + self.shift_m) for one in (self.nearest_m, self.farthest_m))
            found = np.exp(low + share * (high - low)) - self.shift_m
        found = np.clip(found, self.nearest_m, self.farthest_m)
        found[0] = 0.0
        return found.astype(np.float32)


def declares_depth(info: object) -> TypeGuard[Mapping[str, Any]]:
    """Whether info.json says of a camera that it is one of depth, in either of LeRobot's words."""
    if not isinstance(info, dict):
        return False  # absent, or what no reader of info.json makes sense of
    told = cast("dict[str, Any]", info)
    return bool(told.get("is_depth_map") or told.get("video.is_depth_map"))


def depth_scale(info: Mapping[str, Any] | None, *, video: bool, place: str) -> DepthScale | None:
    """What the numbers of a camera are; `None` where info.json does not say.

    Args:
        info: What info.json has of it beside its shape.
        video: Whether it is a video.
        place: What an error calls it.

    Raises:
        ConformError: What it says makes no distances.
    """
    if not declares_depth(info):
        return None
    if not video:
        unit = info.get("depth_unit")
        if unit not in (None, *_UNIT_M):
            raise ConformError(
                place=place,
                found=f"depth_unit {unit}",
                wanted=", ".join(_UNIT_M),
                next_command="correct meta/info.json of the source, and convert again",
            )
        return DepthScale(unit_m=None if unit is None else _UNIT_M[unit])
    if not any(f"video.{name}" in info for name in (*_DEFAULTS, "use_log")):
        return None
    told = {name: info.get(f"video.{name}", default) for name, default in _DEFAULTS.items()}
    logarithmic = info.get("video.use_log", True)
    numbers = [one for one in told.values() if isinstance(one, int | float) and math.isfinite(one)]
    near, far, shift = (*numbers, 0.0, 0.0, 0.0)[:3]
    spaced = 0 <= near < far and (not logarithmic or near + shift > 0)
    if len(numbers) < len(told) or not spaced or not isinstance(logarithmic, bool):
        raise ConformError(
            place=place,
            found=", ".join(f"video.{name} {value}" for name, value in told.items())
            + f", video.use_log {logarithmic}",
            wanted="numbers of metres, 0 <= depth_min below depth_max, depth_min + shift above 0, "
            "and use_log true or false",
            next_command="correct meta/info.json of the source, and convert again",
        )
    return DepthScale(
        nearest_m=float(near), farthest_m=float(far), shift_m=float(shift) if logarithmic else None
    )


def video_stats(
    pictures: Iterable[np.ndarray], *, info: Mapping[str, Any] | None, place: str
) -> FeatureStats | None:
    """`picture_stats` of a video; of one of depth in the unit that info.json says, or millimetres.

    LeRobot's loader takes them as being in that unit (`rescale_depth_stats`), and never as codes.

    Raises:
        ConformError: See `depth_scale`.
    """
    scale = depth_scale(info, video=True, place=place)
    if scale is None:
        return picture_stats(pictures)
    found = picture_stats(one if one.ndim == 3 else scale.millimetres(one) for one in pictures)
    if found is None or (info or {}).get("depth_unit") != "m":
        return found
    return {
        key: values if key == "count" else [value / 1000 for value in values]
        for key, values in found.items()
    }
