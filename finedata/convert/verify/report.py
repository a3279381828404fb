"""What a verification found: how much was checked, what became of each thing, every problem.

The checks put in what they find and what they want; the report keeps what differs, and of each
feature, camera and task of the source what became of it. What was not measured is listed as that:
a report never says of anything that it is right without having looked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from finedata.store.summary import Summary

__all__ = ["Problem", "Thing", "Verdict", "VerifyReport"]

Verdict = Literal["kept", "renamed", "left_out", "absent", "lost"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it should be."""

    place: str
    found: str
    wanted: str


@dataclass(frozen=True, slots=True)
class Thing:
    """What became of something that the source declares or holds.

    Attributes:
        kind: `feature`, `camera`, `task` or `episode`.
        name: The source's own name of it.
        verdict: `kept` under its name, `renamed`, `left_out` for a reason that is recorded,
            `absent` (declared, and no episode of the source holds it), or `lost`: a problem.
        stored: What it is called in the output.
        because: Why it is left out, or how it is known what became of it.
        episodes: In how many written episodes it was looked for and found so.
    """

    kind: str
    name: str
    verdict: Verdict
    stored: tuple[str, ...] = ()
    because: str = ""
    episodes: int = 0


@dataclass(slots=True)
class VerifyReport(Summary):
    """What was checked, and what was wrong.

    Attributes:
        episodes: Written episodes that were held against the source.
        failed: Failed ones whose reason was found again.
        frames: Rows.
        pictures: Pictures and frames of videos.
        things: What became of each feature, camera and task of the source, and of each episode
            that is not in the output.
        not_checked: What was not looked at, and why.
        problems: What is wrong.
    """

    episodes: int = 0
    failed: int = 0
    frames: int = 0
    pictures: int = 0
    things: list[Thing] = field(default_factory=list[Thing])
    not_checked: list[str] = field(default_factory=list[str])
    problems: list[Problem] = field(default_factory=list[Problem])
    _known: set[Problem | str] = field(default_factory=set["Problem | str"], repr=False)

    def expect(self, place: str, found: object, wanted: object) -> None:
        """Record a problem where `found` is not `wanted`."""
        if found != wanted:
            self.add(place, str(found), str(wanted))

    def require(self, place: str, *, holds: bool, wanted: str) -> None:
        """Record a problem where something does not hold."""
        if not holds:
            self.add(place, "something else", wanted)

    def add(self, place: str, found: str, wanted: str) -> None:
        """Record a problem, once."""
        problem = Problem(place, found, wanted)
        if problem not in self._known:
            self._known.add(problem)
            self.problems.append(problem)

    def note(self, text: str) -> None:
        """Say once what was not checked, and why."""
        if text not in self._known:
            self._known.add(text)
            self.not_checked.append(text)

    def counts(self) -> dict[str, dict[str, int]]:
        """Kind of thing -> verdict -> how many."""
        found: dict[str, dict[str, int]] = {}
        for thing in self.things:
            verdicts = found.setdefault(thing.kind, {})
            verdicts[thing.verdict] = verdicts.get(thing.verdict, 0) + 1
        return found
