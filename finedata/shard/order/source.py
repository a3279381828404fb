"""In which order a source gives its samples: a pure function, so nothing has to be remembered.

Sample `ordinal` of a source lies in epoch `ordinal // N`. Each epoch shuffles the shards, cuts
the shuffled list into groups of W shards, and shuffles the samples of each group among
themselves: reading stays sequential (W shards are open at a time) although neighbours of one
epoch are strangers in the next. Everything comes from `permute` under a key made of the shards'
identity, the view, the source, the seed and the epoch. Weights, wording, ranks and workers are
not in that list, so changing a ratio or a text changes nobody else's order.

A view may take only some samples of a shard (those with fine-grained text). Then N counts those,
and a bitmap says which they are; `select` finds the j-th set bit. Memory is O(shards).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from finedata.shard.order.permute import derive_key, permute

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run of ordinals lies, one entry for each.

    Attributes:
        epoch: (n,) int64.
        shard: (n,) int64: index into the source's shards.
        rank: (n,) int64: its place among the eligible samples of that shard, from 0.
    """

    epoch: np.ndarray
    shard: np.ndarray
    rank: np.ndarray


class SourceOrder:
    """The order of one source in one view.

    Args:
        counts: (shards,) how many samples of each shard are in the view.
        identity: Digest of the shards.
        view: Name of the view.
        source: Name of the source.
        seed: The user's.
        group: How many shards are mixed (W).
    """

    def __init__(
        self,
        counts: np.ndarray,
        *,
        identity: str,
        view: str,
        source: str,
        seed: int,
        group: int = 8,
    ) -> None:
        self.counts = np.asarray(counts, np.int64)
        self.group = group
        self.size = int(self.counts.sum())
        self._key = (identity, view, source, seed)
        # Two epochs meet in a batch at most where an epoch is longer than a batch; small sources
        # turn over faster, and their epochs are small.
        self._epoch = lru_cache(maxsize=8)(self._lay_out)

    def place(self, ordinals: np.ndarray) -> Place:
        """Where these ordinals lie.

        Args:
            ordinals: (n,) whole numbers of zero or more, in any order.
        """
        ordinals = np.asarray(ordinals, np.int64)
        epochs, ranks = np.divmod(ordinals, self.size)
        shard = np.empty_like(ordinals)
        rank = np.empty_like(ordinals)
        for epoch in np.unique(epochs):
            of_epoch = np.flatnonzero(epochs == epoch)
            order, ends, group_ends = self._epoch(int(epoch))
            groups = np.searchsorted(group_ends, ranks[of_epoch], side="right")
            for group in np.unique(groups):
                here = of_epoch[groups == group]
                start = int(group_ends[group - 1]) if group else 0
                size = int(group_ends[group]) - start
                key = derive_key(*self._key, int(epoch), "samples", int(group))
                inside = permute(ranks[here] - start, size=size, key=key) + start
                slot = np.searchsorted(ends, inside, side="right")
                shard[here] = order[slot]
                rank[here] = inside - np.where(slot, ends[slot - 1], 0)
        return Place(epochs, shard, rank)

    def next_groups(self, ordinal: int) -> Iterator[tuple[int, int]]:
        """Every shard with the ordinal at which its group begins, from this ordinal on.

        Groups of this epoch that are not over come first, then those of the next epoch.
        """
        epoch, rank = divmod(ordinal, self.size)
        seen: set[int] = set()
        for number in (epoch, epoch + 1):
            order, ends, group_ends = self._epoch(number)
            starts = np.concatenate([[0], group_ends[:-1]])
            group = np.searchsorted(group_ends, ends, side="left")
            for shard, at in zip(order.tolist(), group.tolist(), strict=True):
                over = number == epoch and group_ends[at] <= rank
                if not over and shard not in seen:
                    seen.add(shard)
                    yield shard, number * self.size + int(starts[at])

    def _lay_out(self, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The shuffled shards that have samples; where each one's, each group's samples end."""
        filled = np.flatnonzero(self.counts)
        key = derive_key(*self._key, epoch, "shards")
        order = filled[permute(np.arange(len(filled)), size=len(filled), key=key)]
        ends = np.cumsum(self.counts[order])
        last_of_group = np.minimum(
            np.arange(self.group - 1, len(ends) + self.group - 1, self.group), len(ends) - 1
        )
        return order, ends, ends[last_of_group]


def select(bits: np.ndarray, ranks: np.ndarray, *, length: int) -> np.ndarray:
    """Positions of the set bits of these ranks.

    Args:
        bits: uint8, little bit order: bit p of the map is `bits[p // 8] >> (p % 8) & 1`.
        ranks: (n,) which set bits, from zero.
        length: How many bits count.

    Returns:
        (n,) int64.
    """
    positions = np.flatnonzero(np.unpackbits(bits, count=length, bitorder="little"))
    return positions[ranks]
