"""What a verification found: how much was checked, and every problem.

The checks put in what they find and what they want; the report keeps what differs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Problem", "VerifyReport"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it should be."""

    place: str
    found: str
    wanted: str


@dataclass(slots=True)
class VerifyReport:
    """What was checked, and what was wrong."""

    episodes: int = 0
    failed: int = 0
    frames: int = 0
    pictures: int = 0
    problems: list[Problem] = field(default_factory=list[Problem])

    def expect(self, place: str, found: object, wanted: object) -> None:
        """Record a problem where `found` is not `wanted`."""
        if found != wanted:
            self.problems.append(Problem(place, str(found), str(wanted)))

    def require(self, place: str, *, holds: bool, wanted: str) -> None:
        """Record a problem where something does not hold."""
        if not holds:
            self.problems.append(Problem(place, "something else", wanted))
