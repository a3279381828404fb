"""Tars elsewhere of which a stream reads few samples: by ranges, and not whole.

Episodes that were annotated after they were sharded lie scattered over tars that were shuffled
before. Of such a tar the fine-grained view may want one sample in a hundred, and fetching all of it
would move a hundred times what is read. So where no other view of the stream reads a tar and at
most `SHARE` of its samples are wanted, exactly those come, by the places that the tar's index has:
neighbours in one request, small gaps read over (the smallest first) while not more is read over
than is wanted. So at most twice `SHARE` of the tar moves. They lie behind each other in one file of
the cache, which is fetched once, counted, removed and shared as tars are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from finedata.shard.ranges import Ranges
from finedata.shard.stream.mix import VIEW_TIERS

if TYPE_CHECKING:
    from finedata.schema.shards_file import Policy
    from finedata.shard.shards import Shards

SHARE = 1 / 8
"""Of a tar's samples; where more are wanted, the tar comes whole."""
# Tars of which the ranges are kept in memory.
_KEPT = 256


class FewSamples:
    """Which tars of a stream come by ranges.

    Args:
        shards: The shards; of those in a folder nothing is fetched.
        sets: The sets of the stream.
        views: Its views.
        revision: Of the text.
        policy: Which fine-grained texts count.

    Attributes:
        name: Of the words; with the tar it says which samples are wanted.
        wanted: (set, number of the tar) to how many of its samples are wanted, of these tars.
    """

    def __init__(
        self,
        shards: Shards,
        *,
        sets: tuple[str, ...],
        views: tuple[str, ...],
        revision: str | None,
        policy: Policy,
    ) -> None:
        self._shards = shards
        self._revision = revision
        self._policy: Policy = policy
        self.name = f"{(revision or '')[:16]}-{policy}"
        self._ranges: dict[tuple[str, int], Ranges] = {}
        self.wanted: dict[tuple[str, int], int] = {}
        if shards.remote is None or revision is None or "fg" not in views:
            return
        others = {tier for view in views if view != "fg" for tier in VIEW_TIERS[view]}
        for text in shards.text_revision(revision).sets:
            one = shards.sets[text.name]
            if text.name not in sets or one.tier not in VIEW_TIERS["fg"] or one.tier in others:
                continue
            counts: list[int] = getattr(text, policy)
            for number, (tar, count) in enumerate(zip(one.tars, counts, strict=True)):
                if 0 < count <= SHARE * tar.samples:
                    self.wanted[text.name, number] = count

    def ranges(self, set_name: str, number: int) -> Ranges | None:
        """The ranges of a tar; None where it comes whole.

        Raises:
            ConformError: The index or the bitmap is damaged.
            SourceError: They did not come.
        """
        key = set_name, number
        if key not in self.wanted or self._revision is None:
            return None
        if key not in self._ranges:
            tars = self._shards.sets[set_name].tars
            before = sum(tar.samples for tar in tars[:number])
            bits = self._shards.fine_bits(set_name, revision=self._revision, policy=self._policy)
            flags = np.unpackbits(
                bits[before // 8 : -(-(before + tars[number].samples) // 8)], bitorder="little"
            )
            places = np.flatnonzero(flags[before % 8 : before % 8 + tars[number].samples])
            index = self._shards.index(set_name, number)
            # From content to content: the header of a sample's first member is of no use here.
            begin = index.take("member_offset", places).min(axis=1)
            end = (index.take("member_offset", places) + index.take("member_size", places)).max(1)
            if len(self._ranges) >= _KEPT:
                del self._ranges[next(iter(self._ranges))]
            self._ranges[key] = Ranges.of(begin, end - begin, places, name=self.name)
        return self._ranges[key]

    def says(self) -> str:
        """What a user should know of it; "" where every tar comes whole."""
        if not self.wanted:
            return ""
        return (
            f"{sum(self.wanted.values()):,} samples of {len(self.wanted):,} tars were annotated "
            f"after they were sharded, at most {SHARE:.1%} of a tar: they are read by ranges"
        )
