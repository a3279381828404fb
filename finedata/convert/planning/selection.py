"""Which episodes the user asked for: positions, ranges, ids, a number of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finedata.errors import UsageError

if TYPE_CHECKING:
    from finedata.convert.context import ConvertOptions


@dataclass(frozen=True, slots=True)
class Selection:
    """Which episodes the user asked for; empty sets ask for all."""

    ranges: tuple[tuple[int, int], ...] = ()
    ids: frozenset[str] = frozenset()
    most: int | None = None

    @property
    def all(self) -> bool:
        """Whether every episode is asked for (up to `most`)."""
        return not self.ranges and not self.ids

    def wants(self, position: int, identity: str) -> bool:
        """Whether the episode at this position of the source, with this id, is asked for."""
        if self.all or identity in self.ids:
            return True
        return any(first <= position <= last for first, last in self.ranges)

    def beyond(self, position: int) -> bool:
        """Whether nothing from this position on can be asked for."""
        return not self.all and not self.ids and all(last < position for _, last in self.ranges)

    def size(self, episodes: int) -> int:
        """How many of a source's episodes can be chosen at most."""
        chosen = episodes
        if not self.all:
            inside = [(a, min(b, episodes - 1)) for a, b in self.ranges]
            chosen = len(self.ids) + sum(max(b - a + 1, 0) for a, b in inside)
        return chosen if self.most is None else min(chosen, self.most)


def parse_selection(options: ConvertOptions) -> Selection:
    """Read `--episodes` and `--max-episodes`.

    Raises:
        UsageError: Neither a position, a range of positions, nor an episode id.
    """
    ranges: list[tuple[int, int]] = []
    ids: set[str] = set()
    for text in options.episodes:
        first, dash, last = text.partition("-")
        if first.isdigit() and (not dash or last.isdigit()):
            ranges.append((int(first), int(last if dash else first)))
        elif dash and len(last.rpartition("-")[2].lstrip("x")) == 16:
            ids.add(text)
        else:
            raise UsageError(
                parameter="episodes",
                found=f"{text!r}",
                wanted="a position, a range of positions such as 10-19, or an episode id",
                next_command="--episodes 0,5,10-19",
            )
    return Selection(tuple(ranges), frozenset(ids), options.max_episodes)
