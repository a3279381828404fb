"""What the judge says of a fact: a verdict, and the number it rests on.

A fact is a mapping with the columns of the published table `facts` that matter here: `dimension`,
`slot`, `value`, `text`, and where known `value_number`, `unit`, `object`, `actor`, `anchor`,
`start_frame`, `end_frame`. Missing ones count as null; without frames the whole episode is meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["EpisodeJudgement", "Fact", "Judged", "Measurement", "Omission", "Verdict"]

Fact = Mapping[str, Any]
Verdict = Literal["confirmed", "contradicted", "untestable"]


@dataclass(frozen=True, slots=True)
class Measurement:
    """The struct `facts.measurement`.

    Attributes:
        name: What was measured, e.g. `travel_left`, `rotation_about_approach`.
        value: Its value, in `unit`.
        unit: `m`, `rad`, `count` or `s`.
        lower: Lowest value that would confirm the fact; None where there is no such bound.
        upper: Highest value that would confirm it.
    """

    name: str
    value: float
    unit: Literal["m", "rad", "count", "s"]
    lower: float | None = None
    upper: float | None = None

    def row(self) -> dict[str, Any]:
        """The struct as the table has it."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "lower": self.lower,
            "upper": self.upper,
        }


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict; `why` is one line for a person."""

    verdict: Verdict
    measurement: Measurement | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Omission:
    """Something that the motion holds and no fact mentions.

    Attributes:
        kind: `retry`, `grasp` or `release`: what was left out.
        arm: Whose it is.
        start_frame: First frame.
        end_frame: One past the last.
        measurement: The number.
        why: One line for a person.
    """

    kind: Literal["retry", "grasp", "release"]
    arm: Literal["right", "left"]
    start_frame: int
    end_frame: int
    measurement: Measurement
    why: str


@dataclass(frozen=True, slots=True)
class EpisodeJudgement:
    """Verdicts in the order of the facts, and what they leave out."""

    judged: tuple[Judged, ...]
    omissions: tuple[Omission, ...]
