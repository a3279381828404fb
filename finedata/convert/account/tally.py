"""What became of each thing of a source, counted over its episodes, and told once a thing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from finedata.convert.verify.report import Thing, Verdict

if TYPE_CHECKING:
    from finedata.convert.verify.report import VerifyReport

# The worst that was found of a thing is its verdict.
_ORDER: tuple[Verdict, ...] = ("lost", "renamed", "kept", "left_out", "absent")


@dataclass(slots=True)
class Tally:
    """The verdicts on one thing."""

    kind: str
    name: str
    verdicts: Counter[Verdict] = field(default_factory=Counter[Verdict])
    stored: dict[str, None] = field(default_factory=dict[str, None])
    because: dict[str, None] = field(default_factory=dict[str, None])
    lost: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])

    def kept(self, *stored: str, same: bool, because: str = "") -> None:
        """It is in an episode of the output under these names; `same` where that is its own."""
        self.verdicts["kept" if same else "renamed"] += 1
        self.stored |= dict.fromkeys(stored)
        if because:
            self.because[because] = None

    def left_out(self, because: str) -> None:
        """It is not, and that is said."""
        self.verdicts["left_out"] += 1
        self.because[because] = None

    def absent(self, because: str) -> None:
        """The source has nothing of it in an episode."""
        self.verdicts["absent"] += 1
        self.because[because] = None

    def is_lost(self, place: str, found: str, wanted: str) -> None:
        """It is not, or is another one, and nobody says why."""
        self.verdicts["lost"] += 1
        if len(self.lost) < 3:
            self.lost.append((place, found, wanted))

    @property
    def thing(self) -> Thing:
        """The verdict over all episodes: the worst of them."""
        met: list[Verdict] = [one for one in _ORDER if self.verdicts[one]]
        verdict = met[0] if met else _ORDER[-1]
        return Thing(
            self.kind,
            self.name,
            verdict,
            tuple(self.stored),
            "; ".join(list(self.because)[:3]),
            self.verdicts[verdict],
        )


class Tallies:
    """The tallies of one source, made as things are met."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Tally] = {}

    def of(self, kind: str, name: str) -> Tally:
        """The tally of a thing."""
        return self._known.setdefault((kind, name), Tally(kind, name))

    def report(self, report: VerifyReport, *, source: str) -> None:
        """Tell every thing's verdict, and of what is lost the first places; by kind and name."""
        # Features meet here out of sets, so the order of meeting is another one in each process.
        for _, tally in sorted(self._known.items()):
            report.things.append(tally.thing)
            for place, found, wanted in tally.lost:
                report.add(place, found, wanted)
            more = tally.verdicts["lost"] - len(tally.lost)
            if more > 0:
                report.add(
                    f"{source}: {tally.kind} {tally.name}", f"lost in {more} more episodes", "none"
                )
        report.not_checked.sort()
