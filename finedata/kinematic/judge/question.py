"""A fact made ready to be judged: its words folded, its arm and its frames found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from finedata.kinematic.judge.claims import Judged, Measurement
from finedata.kinematic.words import vocabulary as say

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finedata.kinematic.judge.claims import Fact
    from finedata.kinematic.measured import ArmMeasured, GripperEvent, Measured, Vector3


@dataclass(frozen=True, slots=True)
class Question:
    """What a fact claims, where, and of whom.

    Attributes:
        slot: The slot.
        value: The value, folded.
        text: The sentence, folded.
        number: The number, in `unit`.
        unit: `m`, `rad`, `count`, `s` or None.
        object: Whether an object is named.
        actor: `right`, `left`, `both`, or None where no arm is named.
        start: First frame.
        end: One past the last frame.
        fps: Frames a second.
        whole: Whether it is about the whole episode.
    """

    slot: str
    value: str
    text: str
    number: float | None
    unit: str | None
    object: bool
    actor: str | None
    start: int
    end: int
    fps: float
    whole: bool

    @classmethod
    def of(cls, fact: Fact, measured: Measured) -> Question | None:
        """Read a fact; None where its frames lie outside the episode."""
        start, end = fact.get("start_frame"), fact.get("end_frame")
        first = 0 if start is None else max(0, int(start))
        last = measured.frames if end is None else min(measured.frames, int(end))
        if last <= first:
            return None
        value, text = say.normal(fact.get("value")), say.normal(fact.get("text"))
        actor = fact.get("actor")
        if actor not in ("right", "left", "both"):
            actor = say.arm_claim(text) if text else None
        number = fact.get("value_number")
        return cls(
            slot=str(fact.get("slot")),
            value=value,
            text=text,
            number=None if number is None or not np.isfinite(number) else float(number),
            unit=fact.get("unit"),
            object=bool(fact.get("object")),
            actor=actor,
            start=first,
            end=last,
            fps=measured.fps,
            whole=first == 0 and last == measured.frames,
        )

    def of_object_alone(self, arm: ArmMeasured) -> bool:
        """Whether it may be about a thing that moves by itself: named, not held, no arm in it."""
        if not self.object or say.mentions_robot(self.text) or self.actor is not None:
            return False
        return float(arm.gripper_closed[self.start : self.end].mean()) < 0.5

    def events(self, arm: ArmMeasured, kind: str, *, margin_s: float = 0.0) -> list[GripperEvent]:
        """The arm's gripper events of a kind of which half or more lies in the frames, or near."""
        first, last = self.start - margin_s * self.fps, self.end + margin_s * self.fps
        return [
            event
            for event in arm.events
            if event.kind == kind
            and 2.0 * (min(event.end_frame, last) - max(event.start_frame, first))
            >= event.end_frame - event.start_frame
        ]


@dataclass(frozen=True, slots=True)
class Travel:
    """Along one axis, within some frames: net way, longest way forth, longest way back."""

    net: float
    forth: float
    back: float


def travel_along(track: NDArray[np.float64], axis: Vector3, question: Question) -> Travel:
    """How far a track goes along an axis within the frames of a fact, to the first one after them.

    Args:
        track: (T, 3).
        axis: Unit vector.
        question: Whose frames count.
    """
    from finedata.kinematic.kernels.shapes import travel

    end = min(question.end + 1, len(track))
    net, forth, back = travel(track, np.array(axis), question.start, end)
    return Travel(float(net), float(forth), float(back))


def untestable(why: str, measurement: Measurement | None = None) -> Judged:
    """A verdict for what cannot be told."""
    return Judged("untestable", measurement, why)
