"""What results say: rates with Wilson's intervals, and differences of policies scene by scene.

Scenes are paired, so a difference is a mean over scenes of two scores, with a bootstrap over the
scenes; differences between seeds of training are another thing, and stand in different results.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from finedata.errors import UsageError
from finedata.sim.outcome import FACTORS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.sim.evaluate import Result

__all__ = ["SCORES", "Difference", "Rate", "differences", "rates", "wilson"]

SCORES = ("goal", *FACTORS, "all")
_Z = 1.959963984540054
_DRAWS = 2_000


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """How often something came true.

    Attributes:
        score: `goal`, a factor, or `all`.
        share: Of the scenes.
        low: Lower end of Wilson's 95 % interval.
        high: Its upper end.
        scenes: How many.
    """

    score: str
    share: float
    low: float
    high: float
    scenes: int


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A result against the first one, scene by scene.

    Attributes:
        policy: Whose.
        against: Name of the first.
        score: `goal`, a factor, or `all`.
        mean: Of the differences.
        low: Lower end of the bootstrap's 95 % interval.
        high: Its upper end.
    """

    policy: str
    against: str
    score: str
    mean: float
    low: float
    high: float


def wilson(share: float, trials: int) -> tuple[float, float]:
    """Wilson's score interval of 95 % (JASA 22, 1927, 209-212).

    Example:
        >>> low, high = wilson(0.5, 10)
        >>> round(low, 4), round(high, 4)
        (0.2366, 0.7634)
    """
    middle = (share + _Z**2 / (2 * trials)) / (1 + _Z**2 / trials)
    half = (
        _Z
        / (1 + _Z**2 / trials)
        * float(np.sqrt(share * (1 - share) / trials + _Z**2 / (4 * trials**2)))
    )
    return min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half))


def rates(result: Result) -> list[Rate]:
    """Every score of a result; the side among the scenes in which the tray was wished."""
    found: list[Rate] = []
    for score in SCORES:
        votes = [one.scored[score] for one in result.episodes if score in one.scored]
        if not votes:
            continue
        share = sum(votes) / len(votes)
        low, high = wilson(share, len(votes))
        found.append(Rate(score=score, share=share, low=low, high=high, scenes=len(votes)))
    return found


def differences(results: Sequence[Result], *, seed: int = 0) -> list[Difference]:
    """Every further result against the first.

    Args:
        results: Of the same scenes and wishes.
        seed: Of the bootstrap.

    Raises:
        UsageError: Other scenes.
    """
    first = results[0]
    found: list[Difference] = []
    for result in results[1:]:
        if (result.scenes_sha256, result.mujoco) != (first.scenes_sha256, first.mujoco):
            raise UsageError(
                place=result.policy,
                found="scenes, wishes or a MuJoCo that are not those of the first result",
                wanted=f"those of {first.policy}: scenes {first.settings.first} and on, "
                f"{first.settings.scenes} of them, seed {first.settings.seed}",
                next_command="finedata sim evaluate with the same --scenes, --first and --seed",
            )
        for score in SCORES:
            apart = np.array(
                [
                    float(mine.scored[score]) - float(theirs.scored[score])
                    for mine, theirs in zip(result.episodes, first.episodes, strict=True)
                    if score in mine.scored
                ]
            )
            if not len(apart):
                continue
            rng = np.random.Generator(np.random.PCG64([seed, 6]))
            draws = rng.integers(0, len(apart), (_DRAWS, len(apart)))
            low, high = np.quantile(apart[draws].mean(axis=1), [0.025, 0.975])
            found.append(
                Difference(
                    policy=result.policy, against=first.policy, score=score,
                    mean=float(apart.mean()), low=float(low), high=float(high),
                )
            )  # fmt: skip
    return found
