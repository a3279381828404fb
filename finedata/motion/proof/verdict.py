"""When a convention counts as proved: by how much its reading fits better than all others.

`confirmed`: the declared reading fits, and is at least three times better than the next one that
can be told from it. `contradicted`: another one fits, and is at least three times better.
`undecided`: all else, said why. Several episodes are judged together by the same rule.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from finedata.motion.proof.readings import EQUIVALENT_DEG, EQUIVALENT_M, RankedBy, Reading, by_score

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["PartEvidence", "PartName", "Verdict", "judge", "pool_parts"]

Verdict = Literal["confirmed", "contradicted", "undecided"]
PartName = Literal["state_rotation", "state_position", "action"]

_CLEARLY = 3.0
# (floor, limit, unit): differences below the floor are rounding; a reading beyond the limit fits
# too badly to decide anything.
_SCALES: dict[RankedBy, tuple[float, float, str]] = {
    "residual_deg": (EQUIVALENT_DEG, 5.0, "degrees"),
    "residual_after_constant_tool_deg": (EQUIVALENT_DEG, 5.0, "degrees after a constant tool"),
    "residual_m": (EQUIVALENT_M, 0.05, "m"),
    "residual_after_constant_tool_m": (EQUIVALENT_M, 0.05, "m after a constant tool"),
    "unexplained": (0.01, 0.5, "of the motion unexplained"),
}
# An arm is on its way to a commanded rotation, never at it.
_ACTION_LIMIT_DEG = 15.0


@dataclass(frozen=True, slots=True)
class PartEvidence:
    """One question, its readings best first, and the answer.

    Attributes:
        part: The question.
        verdict: The answer.
        reason: Why, in words.
        readings: Best first; none where there is no evidence at all.
        episodes: How many episodes tell; 0 where there was nothing to compare.
    """

    part: PartName
    verdict: Verdict
    reason: str
    readings: tuple[Reading, ...] = ()
    episodes: int = 0


def judge(
    part: PartName, readings: list[Reading], *, tool_can_be_told: bool = True, episodes: int = 1
) -> PartEvidence:
    """Weigh the declared reading against the best one that can be told from it.

    Args:
        part: Which question.
        readings: Best first.
        tool_can_be_told: Whether there is motion enough to tell a constant tool from an encoding.
        episodes: How many episodes the readings are means of.
    """
    in_doubt = any("constant_tool" in reading.ranked_by for reading in readings)
    if in_doubt and not tool_can_be_told:
        reason = "no reading is the flange's, and too little motion to tell a tool by"
        return PartEvidence(part, "undecided", reason, tuple(readings), 0)
    if not any(np.isfinite(reading.score) for reading in readings):
        reason = "nothing finite, or no motion, to compare"
        return PartEvidence(part, "undecided", reason, tuple(readings), 0)
    verdict, reason = _weigh(part, readings, episodes=episodes)
    return PartEvidence(part, verdict, reason, tuple(readings), episodes)


def _weigh(part: PartName, readings: list[Reading], *, episodes: int) -> tuple[Verdict, str]:
    declared = next((reading for reading in readings if reading.declared), None)
    if declared is None:
        return "undecided", "the declared reading was not among those that were tried"
    floor, limit, unit = _SCALES[declared.ranked_by]
    if part == "action" and declared.ranked_by == "residual_deg":
        limit = _ACTION_LIMIT_DEG
    rivals = [reading for reading in readings if not reading.same_as_declared]
    if not rivals:
        return "undecided", f"{declared.name}: no other reading differs on these frames"
    rival = min(rivals, key=lambda reading: reading.score)
    both = (
        f"declared {declared.name} leaves {declared.score:.3g} {unit}, "
        f"{rival.name} {rival.score:.3g}"
    )
    declared_score, rival_score = max(declared.score, floor), max(rival.score, floor)
    if min(declared_score, rival_score) > limit:
        return "undecided", f"{both}: none fits (within {limit:g})"
    if rival_score * _CLEARLY <= declared_score:
        return "contradicted", both
    if declared_score * _CLEARLY <= rival_score:
        return "confirmed", both
    near = f"{both}: less than {_CLEARLY:g} times apart"
    if rival.better_in_episodes is None:
        return "undecided", near
    return "undecided", f"{near}, better in {rival.better_in_episodes} of {episodes} episodes"


def pool_parts(parts: Sequence[PartEvidence]) -> PartEvidence:
    """Judge one part of several episodes together, over the episodes that can tell."""
    told = [part for part in parts if part.episodes]
    if not told:
        return parts[0]
    # A constant tool that one episode needs is there in all of them.
    ranks: list[RankedBy] = [reading.ranked_by for part in told for reading in part.readings]
    tooled: list[RankedBy] = [rank for rank in ranks if "constant_tool" in rank]
    ranked_by = (tooled or ranks)[0]
    by_episode = [
        {reading.name: replace(reading, ranked_by=ranked_by) for reading in part.readings}
        for part in told
    ]
    readings: list[Reading] = []
    for name in by_episode[0]:
        better = sum(_beats_declared(episode, name) for episode in by_episode)
        mean = _mean_reading([episode[name] for episode in by_episode if name in episode])
        readings.append(replace(mean, better_in_episodes=better))
    return judge(told[0].part, by_score(readings), episodes=sum(part.episodes for part in told))


def _beats_declared(episode: Mapping[str, Reading], name: str) -> bool:
    declared = next((reading for reading in episode.values() if reading.declared), None)
    return declared is not None and name in episode and episode[name].score < declared.score


def _mean_reading(readings: Sequence[Reading]) -> Reading:
    lags = _finite(reading.lag_frames for reading in readings)
    offsets = [reading.tool_offset_m for reading in readings if reading.tool_offset_m is not None]
    x, y, z = np.mean(offsets, axis=0).tolist() if offsets else (0.0, 0.0, 0.0)
    return Reading(
        name=readings[0].name,
        declared=readings[0].declared,
        ranked_by=readings[0].ranked_by,
        same_as_declared=all(reading.same_as_declared for reading in readings),
        residual_deg=_mean(reading.residual_deg for reading in readings),
        residual_deg_max=_most(reading.residual_deg_max for reading in readings),
        residual_deg_last=_mean(reading.residual_deg_last for reading in readings),
        residual_after_constant_tool_deg=_mean(
            reading.residual_after_constant_tool_deg for reading in readings
        ),
        residual_m=_mean(reading.residual_m for reading in readings),
        residual_m_max=_most(reading.residual_m_max for reading in readings),
        residual_m_last=_mean(reading.residual_m_last for reading in readings),
        residual_after_constant_tool_m=_mean(
            reading.residual_after_constant_tool_m for reading in readings
        ),
        tool_offset_m=(x, y, z) if offsets else None,
        lag_frames=round(float(np.median(lags))) if lags else None,
        unexplained=_mean(reading.unexplained for reading in readings),
    )


def _finite(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _mean(values: Iterable[float | None]) -> float | None:
    finite = _finite(values)
    return float(np.mean(finite)) if finite else None


def _most(values: Iterable[float | None]) -> float | None:
    return max(_finite(values), default=None)
