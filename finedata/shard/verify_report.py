"""What `verify` finds of shards, and what its checks of one set hand to each other."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from finedata.store.summary import Summary

__all__ = ["SetTables", "ShardProblem", "ShardReport"]


@dataclass(frozen=True, slots=True)
class ShardProblem:
    """Something that is not as it should be."""

    place: str
    found: str
    wanted: str


@dataclass(slots=True)
class ShardReport(Summary):
    """What was checked, and what was wrong.

    Attributes:
        sets: Sets.
        tars: Tars, byte for byte.
        samples: Samples of them.
        frames: Rows of numbers.
        texts: Text revisions.
        compared: Episodes whose numbers were held against a dataset: in the tables and in the tars.
        pictures: Pictures that are a dataset's, by their SHA-256.
        rebuilt: Indexes that were missing, and were made again from their tars.
        not_checked: What was not looked at, and why.
        problems: What is wrong.
    """

    sets: int = 0
    tars: int = 0
    samples: int = 0
    frames: int = 0
    texts: int = 0
    compared: int = 0
    pictures: int = 0
    rebuilt: list[str] = field(default_factory=list[str])
    not_checked: list[str] = field(default_factory=list[str])
    problems: list[ShardProblem] = field(default_factory=list[ShardProblem])

    def expect(self, place: str, found: object, wanted: object) -> bool:
        """Record a problem where `found` is not `wanted`; whether it is."""
        if found != wanted:
            self.problems.append(ShardProblem(place, str(found), str(wanted)))
        return found == wanted

    def require(self, place: str, *, holds: bool, found: str, wanted: str = "what follows") -> None:
        """Record a problem where something does not hold."""
        if not holds:
            self.problems.append(ShardProblem(place, found, wanted))


@dataclass(slots=True)
class SetTables:
    """What the checks of a set need of each other."""

    ids: list[str]
    lengths: np.ndarray
    first_row: np.ndarray
    # Of each sample, in (tar, place) order: its episode and frame, fingerprints of its members.
    episodes: list[np.ndarray] = field(default_factory=list[np.ndarray])
    frames: list[np.ndarray] = field(default_factory=list[np.ndarray])
    prints: list[np.ndarray] = field(default_factory=list[np.ndarray])
