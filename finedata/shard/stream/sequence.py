"""The global sequence: which sample of which tar is number n, and its name.

It is the mixture (arithmetic) laid over the tars of the sets of each view. A source is all its sets
of the view one after the other, by name and tar; which samples of a tar a fine-grained view takes
is one bit each in the text revision's files. Nothing is kept that grows with samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from finedata.errors import ConformError, UsageError
from finedata.schema.stream_receipt import Asked, AskedSource, sequence_digest
from finedata.shard.order.mixture import Mixture, View
from finedata.shard.order.schedule import exact_weights
from finedata.shard.order.source import SourceOrder, select
from finedata.shard.stream.mix import VIEW_TIERS, empty_view, read_mix

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from finedata.schema.shards_file import Policy, ShardSet, Side
    from finedata.shard.order.schedule import Weight
    from finedata.shard.shards import Shards
    from finedata.shard.stream.mix import Mix


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples of the sequence, one entry each, all (n,) int64.

    Attributes:
        n: Number in the sequence.
        view: Index into the sequence's views.
        source: Index into that view's sources.
        ordinal: How often that source of that view was drawn before.
        epoch: Of that source in that view.
        shard_set: Index into the sequence's sets.
        tar: Place in that set's list of tars.
        place: Place in that tar.
        episode: Number of the episode in its set.
        frame_index: Frame in the episode.
    """

    n: np.ndarray
    view: np.ndarray
    source: np.ndarray
    ordinal: np.ndarray
    epoch: np.ndarray
    shard_set: np.ndarray
    tar: np.ndarray
    place: np.ndarray
    episode: np.ndarray
    frame_index: np.ndarray

    def __len__(self) -> int:
        return len(self.n)

    @classmethod
    def of(cls, columns: Any) -> Samples:
        """Samples of (10, n) int64, or ten columns, in the order of the attributes."""
        return cls(*columns)

    def columns(self) -> np.ndarray:
        """(10, n) int64, in the order of the attributes."""
        return np.stack([getattr(self, name) for name in self.__slots__])

    def slice(self, start: int, stop: int) -> Samples:
        """Entries start..stop-1."""
        return Samples.of(getattr(self, name)[start:stop] for name in self.__slots__)


@dataclass(frozen=True, slots=True)
class _Tars:
    """The tars of one source in one view, in the order of the shards of its `SourceOrder`."""

    shard_set: np.ndarray
    number: np.ndarray


class Sequence:
    """The samples of a mixture of shards, by number.

    `finedata.shard.stream.released` has another, for comparison.

    Args:
        shards: The shards.
        mix: View to weight.
        sources: View to (source to weight); by number of samples where a view is not named.
        seed: Of everything.
        group: How many shards are mixed.
        policy: Which fine-grained texts count.
        revision: Of the text; the last where None.
        side: `train` or `heldout`.

    Attributes:
        sets: Names of the sets, by number.
        views: Names of the views, by number.
        sources: Names of the sources of each view, by number.
        asked: What the receipt says of the mixture.
        digest: See `sequence_digest`.

    Raises:
        UsageError: The mixture is none, or a view of it is empty.
        ConformError: A file of the shards is damaged.
    """

    sampling: Literal["scheduled", "released"] = "scheduled"
    views: tuple[str, ...]
    sources: tuple[tuple[str, ...], ...]
    asked: list[Asked]
    digest: str

    def __init__(
        self,
        shards: Shards,
        *,
        mix: Mix,
        sources: Mapping[str, Mapping[str, Weight]] | None = None,
        seed: int = 0,
        group: int = 8,
        policy: Policy = "not_contradicted",
        revision: str | None = None,
        side: Side = "train",
    ) -> None:
        weights = read_mix(mix)
        own = dict(sources or {})
        unknown = sorted(set(own) - set(weights))
        if unknown:
            raise UsageError(place="sources", found=", ".join(unknown), wanted=", ".join(weights))
        self._begin(
            shards, weights, seed=seed, group=group, policy=policy, revision=revision, side=side
        )
        self._number = {name: k for k, name in enumerate(self.sets)}
        self._tars: dict[tuple[str, str], _Tars] = {}
        self._orders: dict[tuple[str, str], SourceOrder] = {}
        self._bits = lru_cache(maxsize=None)(self._open_bits)
        self._starts = {name: _starts(shards.sets[name]) for name in self.sets}
        # What no weight asks for is not opened; a weight of zero stays in what was asked.
        views = [self._view(name, own.get(name)) for name in sorted(weights)]
        self.mixture = Mixture(views, weights=weights, seed=seed)
        self.views = tuple(view.name for view in self.mixture.views)
        self.sources = tuple(view.sources for view in self.mixture.views)
        self.asked = [
            self._asked(view, weight)
            for view, weight in zip(views, self.mixture.schedule.weights, strict=True)
        ]
        self.digest = sequence_digest(
            shards=shards.identity, mix=self.asked, seed=seed, group=group
        )

    def _begin(
        self,
        shards: Shards,
        weights: Mapping[str, Fraction],
        *,
        seed: int,
        group: int,
        policy: Policy,
        revision: str | None,
        side: Side,
    ) -> None:
        """What every sequence has, before its mixture."""
        if shards.document.sample != "step":
            raise UsageError(
                place=str(shards.root),
                found="one sample an episode",
                wanted="one sample a time step",
                next_command="finedata shard DATASET --out SHARDS --type step",
            )
        if group < 1:
            raise UsageError(place="group", found=str(group), wanted="one shard or more")
        self.shards = shards
        self.seed = seed
        self.group = group
        self.policy: Policy = policy
        self.revision = shards.text_revision(revision) if "fg" in weights else None
        self.sets: tuple[str, ...] = tuple(
            sorted(
                one.name
                for one in shards.sets.values()
                if one.side == side and any(one.tier in VIEW_TIERS[view] for view in weights)
            )
        )
        self._episode_id = lru_cache(maxsize=65_536)(self._read_episode_id)

    @property
    def shares(self) -> dict[str, float]:
        """`view/source` to the share of the samples that is asked for."""
        return {
            f"{view.view}/{source.source}": float(Fraction(view.weight) * Fraction(source.weight))
            for view in self.asked
            for source in view.sources
        }

    def samples(self, start: int, stop: int) -> Samples:
        """Samples start..stop-1 of the sequence.

        Raises:
            ConformError: An index or a bitmap is damaged.
        """
        draws = self.mixture.draw(start, stop)
        columns = np.empty((3, len(draws.n)), np.int64)
        for number, view in enumerate(self.mixture.views):
            of_view = np.flatnonzero(draws.view == number)
            for source in map(int, np.unique(draws.source[of_view])):
                here = of_view[draws.source[of_view] == source]
                columns[:, here] = self._find(
                    view.name, view.sources[source], draws.shard[here], draws.rank[here]
                )
        return self._named(draws.n, draws.view, draws.source, draws.ordinal, draws.epoch, *columns)

    def drawn(self, first: int, stop: int) -> Iterator[tuple[str, str, int, int]]:
        """(view, source, epoch, how often) of samples first..stop-1; by arithmetic."""
        before, after = self.mixture.drawn(first), self.mixture.drawn(stop)
        for view in self.mixture.views:
            for source, order in zip(view.sources, view.orders, strict=True):
                at, end = before[view.name, source], after[view.name, source]
                while at < end:
                    epoch = at // order.size
                    upto = min(end, (epoch + 1) * order.size)
                    yield view.name, source, epoch, upto - at
                    at = upto

    def sample_of(self, n: int, view: int, source: int, ordinal: int) -> Samples:
        """The sample of an ordinal of a source, as if it were number n of the sequence."""
        place = self.mixture.views[view].orders[source].place(np.array([ordinal]))
        names = self.views[view], self.mixture.views[view].sources[source]
        found = self._find(*names, place.shard, place.rank)
        fixed = (np.array([value], np.int64) for value in (n, view, source, ordinal))
        return self._named(*fixed, place.epoch, *found)

    def tar_of(self, view: str, source: str, shard: int) -> tuple[int, int]:
        """Number of the set, and of the tar in it, of a shard of a source's order."""
        tars = self._tars[view, source]
        return int(tars.shard_set[shard]), int(tars.number[shard])

    def episode_id(self, shard_set: int, episode: int) -> str:
        """Id of an episode by its number in a set."""
        return self._episode_id(shard_set, episode)

    def names(self, samples: Samples) -> Iterator[tuple[int, str, str, int]]:
        """(n, view, episode_id, frame_index) of each, as the chain takes them."""
        rows: list[list[int]] = samples.columns().T.tolist()
        for n, view, _, _, _, shard_set, _, _, episode, frame_index in rows:
            yield n, self.views[view], self._episode_id(shard_set, episode), frame_index

    def _view(self, name: str, weights: Mapping[str, Weight] | None) -> View:
        orders: dict[str, SourceOrder] = {}
        chosen = [
            self.shards.sets[one]
            for one in self.sets
            if self.shards.sets[one].tier in VIEW_TIERS[name]
        ]
        for source in sorted({one.source for one in chosen}):
            sets = [one for one in chosen if one.source == source]
            self._tars[name, source] = _Tars(
                np.repeat([self._number[one.name] for one in sets], [len(s.tars) for s in sets]),
                np.concatenate([np.arange(len(one.tars)) for one in sets]),
            )
            orders[source] = SourceOrder(
                np.concatenate([self._counts(name, one) for one in sets]),
                identity=self.shards.identity,
                view=name,
                source=source,
                seed=self.seed,
                group=self.group,
            )
            self._orders[name, source] = orders[source]
        if not any(order.size for order in orders.values()):
            raise empty_view(name, root=self.shards.root, policy=self.policy)
        exact = exact_weights(weights, place=f"sources of {name}") if weights else None
        return View(name, orders=orders, weights=exact, seed=self.seed)

    def _asked(self, view: View, weight: Fraction) -> Asked:
        return Asked(
            view=view.name,
            weight=_text(weight),
            policy=self.policy if view.name == "fg" else None,
            sources=[
                AskedSource(
                    source=source,
                    sets=[
                        self.sets[int(k)]
                        for k in np.unique(self._tars[view.name, source].shard_set)
                    ],
                    weight=_text(share),
                    samples=order.size,
                )
                for source, order, share in zip(
                    view.sources, view.orders, view.schedule.weights, strict=True
                )
            ],
        )

    def _counts(self, view: str, one: ShardSet) -> np.ndarray:
        """How many samples of each tar of a set a view takes, as shards.json says."""
        if view != "fg":
            return np.array([tar.samples for tar in one.tars], np.int64)
        texts = () if self.revision is None else self.revision.sets
        found = next((text for text in texts if text.name == one.name), None)
        counts: list[int] = [] if found is None else getattr(found, self.policy)
        if len(counts) != len(one.tars):
            raise ConformError(
                place=f"text revision {self.revision and self.revision.revision}, set {one.name}",
                found=f"counts of {len(counts)} tars",
                wanted=f"{len(one.tars)}: words of every tar of the set",
                next_command=f"finedata shard {self.shards.root} --text DATASET",
            )
        self._bits(one.name)
        return np.array(counts, np.int64)

    def _find(
        self, view: str, source: str, shard: np.ndarray, rank: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Set, tar and place of the eligible samples of these ranks in these shards."""
        tars = self._tars[view, source]
        shard_set, number = tars.shard_set[shard], tars.number[shard]
        if view != "fg":
            return shard_set, number, rank
        place = np.empty_like(rank)
        for one in np.unique(shard):
            here = np.flatnonzero(shard == one)
            name, tar = self.sets[tars.shard_set[one]], int(tars.number[one])
            length = self.shards.sets[name].tars[tar].samples
            bits = self._tar_bits(name, tar)
            self._check_bits(view, source, int(one), bits)
            place[here] = select(bits, rank[here], length=length)
        return shard_set, number, place

    def _named(self, *columns: Any) -> Samples:
        """Complete n, view, source, ordinal, epoch, set, tar, place with episode and frame."""
        shard_set, tar, place = columns[5:]
        episode, frame_index = np.empty_like(place), np.empty_like(place)
        key = shard_set << 32 | tar
        for one in np.unique(key):
            here = np.flatnonzero(key == one)
            index = self.shards.index(self.sets[int(one) >> 32], int(one) & 0xFFFFFFFF)
            episode[here] = index.take("episode", place[here])
            frame_index[here] = index.take("frame_index", place[here])
        return Samples.of((*columns, episode, frame_index))

    def _tar_bits(self, set_name: str, tar: int) -> np.ndarray:
        """Which samples of a tar have fine-grained text, bit 0 being its first sample."""
        bits, starts = self._bits(set_name), self._starts[set_name]
        start, stop = int(starts[tar]), int(starts[tar + 1])
        piece = bits[start // 8 : -(-stop // 8)]
        if start % 8 == 0 and stop % 8 == 0:
            return piece
        flags = np.unpackbits(piece, bitorder="little")[start % 8 : start % 8 + stop - start]
        return np.packbits(flags, bitorder="little")

    def _open_bits(self, set_name: str) -> np.ndarray:
        if self.revision is None:
            raise KeyError(set_name)
        return self.shards.fine_bits(set_name, revision=self.revision.revision, policy=self.policy)

    def _check_bits(self, view: str, source: str, shard: int, bits: np.ndarray) -> None:
        """Refuse a bitmap that is not the one whose counts shards.json has."""
        wanted = int(self._orders[view, source].counts[shard])
        found = int(np.bitwise_count(bits).sum())
        if found != wanted:
            tars = self._tars[view, source]
            name, tar = self.sets[int(tars.shard_set[shard])], int(tars.number[shard])
            raise ConformError(
                place=f"fine-grained samples of {self.shards.tar_path(name, tar)}",
                found=f"{found} bits",
                wanted=f"{wanted}, as shards.json has them",
                next_command=f"finedata verify {self.shards.root}",
            )

    def _read_episode_id(self, shard_set: int, episode: int) -> str:
        return self.shards.episodes(self.sets[shard_set]).value("episode_id", episode)


def _starts(one: ShardSet) -> np.ndarray:
    """Where the samples of each tar begin in the set's, and where the last one's end."""
    return np.cumsum([0, *(tar.samples for tar in one.tars)])


def _text(weight: Fraction) -> str:
    return f"{weight.numerator}/{weight.denominator}"
