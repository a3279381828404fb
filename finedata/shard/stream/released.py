"""The sampling of the papers' released code, named so, to be compared with.

FineVLA trains with StarVLA's loader (`starVLA/dataloader/lerobot_datasets.py`, `mixtures.py`):
every task is a dataset of its own, listed once for the fine-grained view with weight a, where it
has fine-grained text, and once for the raw view with weight b. A dataset is drawn by its weight,
then a step uniformly of all its steps, with replacement. So the ratio of the views is only about
a : b (there are fewer tasks with fine-grained text), every task has equal mass however much data it
has, long episodes weigh more inside a task, and no epoch sees everything.

That code also loses the views through a cache, shows raw instructions where fine-grained ones are
missing and replaces what does not decode by something else at random. None of this is done here.

Draws follow from the seed and the number of the sample alone, so states, ranks and receipts are as
of any stream. Memory is O(episodes), and a map of samples is made as for histories of pictures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from finedata.errors import UsageError
from finedata.schema.stream_receipt import Asked, AskedSource, sequence_digest
from finedata.shard.order.permute import derive_key, uniform
from finedata.shard.stream.mix import VIEW_TIERS, empty_view, is_released, read_released
from finedata.shard.stream.places import SamplePlaces, write_places
from finedata.shard.stream.sequence import Samples, Sequence

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from finedata.schema.shards_file import Policy, Side
    from finedata.shard.order.schedule import Weight
    from finedata.shard.shards import Shards
    from finedata.shard.stream.mix import Mix

_COUNTED_AT_ONCE = 65_536


@dataclass(frozen=True, slots=True)
class _Tasks:
    """The tasks of a view, and their episodes one task after the other.

    Attributes:
        source: (tasks,) number of the source.
        begin: (tasks + 1,) samples before each task.
        shard_set: (episodes,) number of the set.
        episode: (episodes,) number in the set.
        start: (episodes + 1,) samples before each episode.
        sets: Names of the sets of each source, by its number.
    """

    source: np.ndarray
    begin: np.ndarray
    shard_set: np.ndarray
    episode: np.ndarray
    start: np.ndarray
    sets: tuple[tuple[str, ...], ...]


class ReleasedSequence(Sequence):
    """Samples drawn with replacement, each task with equal mass.

    Args:
        shards: The shards.
        mix: `released`, or `released:fg=2,raw=1`.
        seed: Of the draws.
        group: Not used; in the digest.
        policy: Which fine-grained texts count.
        revision: Of the text; the last where None.
        side: `train` or `heldout`.

    Attributes:
        tasks: View to how many tasks it has.

    Raises:
        UsageError: The mixture is none, or a view of it is empty.
        ConformError: A file of the shards is damaged.
        OutputError: The map of samples cannot be kept.
    """

    sampling = "released"

    def __init__(
        self,
        shards: Shards,
        *,
        mix: Mix,
        seed: int = 0,
        group: int = 8,
        policy: Policy = "not_contradicted",
        revision: str | None = None,
        side: Side = "train",
    ) -> None:
        weights = read_released(mix)
        self._begin(
            shards, weights, seed=seed, group=group, policy=policy, revision=revision, side=side
        )
        self._seed = seed
        self._every = shards.document.options.every
        self.views = tuple(sorted(view for view, weight in weights.items() if weight))
        self._tasks: list[_Tasks] = []
        self.sources = ()
        for view in self.views:
            self._add_view(view)
        for name in self.sets:
            write_places(shards, name)
        self._places = SamplePlaces(shards, self.sets)
        self.tasks = dict(
            zip(self.views, (len(tasks.source) for tasks in self._tasks), strict=True)
        )
        whole = math.lcm(*(weights[view].denominator for view in self.views))
        turns = [int(weights[view] * whole) for view in self.views]
        # One entry a task of a view: where its share of the drawn numbers ends.
        self._ends = np.cumsum(np.repeat(turns, list(self.tasks.values())))
        self._first_task = np.cumsum([0, *self.tasks.values()])
        self.asked = [
            self._asked_of(number, weights[view]) for number, view in enumerate(self.views)
        ]
        self.digest = sequence_digest(
            shards=shards.identity, mix=self.asked, seed=seed, group=group, sampling="released"
        )

    def samples(self, start: int, stop: int) -> Samples:
        """Samples start..stop-1."""
        n = np.arange(start, stop, dtype=np.int64)
        turn = (self._draw(n, "task") % np.uint64(self._ends[-1])).astype(np.int64)
        task = np.searchsorted(self._ends, turn, side="right")
        view = np.searchsorted(self._first_task, task, side="right") - 1
        return self._of_tasks(n, view, task - self._first_task[view], n, self._draw(n, "step"))

    def sample_of(self, n: int, view: int, source: int, ordinal: int) -> Samples:
        """Another draw of the same source, where a sample cannot be read.

        Args:
            n: Number of the sample.
            view: Its view.
            source: Its source.
            ordinal: n and how many draws came before.
        """
        number, attempt = np.array([n]), ordinal - n
        tasks = np.flatnonzero(self._tasks[view].source == source)
        task = tasks[int(self._draw(number, "task", attempt)[0]) % len(tasks)]
        step = self._draw(number, "step", attempt)
        return self._of_tasks(number, np.array([view]), np.array([task]), np.array([ordinal]), step)

    def drawn(self, first: int, stop: int) -> Iterator[tuple[str, str, int, int]]:
        """(view, source, 0, how often) of samples first..stop-1, counted; there are no epochs."""
        counts: dict[tuple[int, int], int] = {}
        for start in range(first, stop, _COUNTED_AT_ONCE):
            some = self.samples(start, min(start + _COUNTED_AT_ONCE, stop))
            pairs, often = np.unique(np.stack([some.view, some.source]), axis=1, return_counts=True)
            for view, source, count in zip(*pairs.tolist(), often.tolist(), strict=True):
                counts[view, source] = counts.get((view, source), 0) + count
        for (view, source), count in sorted(counts.items()):
            yield self.views[view], self.sources[view][source], 0, count

    def _draw(self, n: np.ndarray, what: str, attempt: int = 0) -> np.ndarray:
        key = derive_key("finedata.released", self.shards.identity, self._seed, what, attempt)
        return uniform(n, key=key)

    def _of_tasks(
        self,
        n: np.ndarray,
        view: np.ndarray,
        task: np.ndarray,
        ordinal: np.ndarray,
        drawn: np.ndarray,
    ) -> Samples:
        """A step of each task, by the numbers drawn."""
        columns = np.zeros((10, len(n)), np.int64)
        columns[0], columns[1], columns[3] = n, view, ordinal
        for number, tasks in enumerate(self._tasks):
            here = np.flatnonzero(view == number)
            begin, end = tasks.begin[task[here]], tasks.begin[task[here] + 1]
            position = begin + (drawn[here] % (end - begin).astype(np.uint64)).astype(np.int64)
            at = np.searchsorted(tasks.start, position, side="right") - 1
            columns[2, here] = tasks.source[task[here]]
            columns[5, here] = tasks.shard_set[at]
            columns[8, here] = tasks.episode[at]
            columns[9, here] = (position - tasks.start[at]) * self._every
        for shard_set in sorted(set(columns[5].tolist())):
            here = np.flatnonzero(columns[5] == shard_set)
            columns[6:8, here] = self._places.look_up(shard_set, columns[8, here], columns[9, here])
        return Samples.of(columns)

    def _add_view(self, view: str) -> None:
        episodes: dict[tuple[str, str, str], list[tuple[int, int, int]]] = {}
        sets: dict[str, set[str]] = {}
        for number, name in enumerate(self.sets):
            one = self.shards.sets[name]
            if one.tier not in VIEW_TIERS[view]:
                continue
            names = ["task_id", "task", "length"]
            rows = self.shards.episodes(name).rows(0, one.episodes, columns=names).to_pylist()
            fine = self._fine(name, one.episodes) if view == "fg" else [True] * one.episodes
            for episode, (row, taken) in enumerate(zip(rows, fine, strict=True)):
                if taken:
                    key = one.source, one.part, row["task_id"] or row["task"]
                    samples = -(-row["length"] // self._every)
                    episodes.setdefault(key, []).append((number, episode, samples))
                    sets.setdefault(one.source, set()).add(name)
        if not episodes:
            raise empty_view(view, root=self.shards.root, policy=self.policy)
        keys = sorted(episodes)
        sources = sorted({source for source, _, _ in keys})
        rows = np.array([row for key in keys for row in episodes[key]], np.int64)
        start = np.concatenate([[0], np.cumsum(rows[:, 2])])
        ends = np.cumsum([0, *(len(episodes[key]) for key in keys)])
        self.sources = (*self.sources, tuple(sources))
        self._tasks.append(
            _Tasks(
                source=np.array([sources.index(source) for source, _, _ in keys]),
                begin=start[ends],
                shard_set=rows[:, 0],
                episode=rows[:, 1],
                start=start,
                sets=tuple(tuple(sorted(sets[source])) for source in sources),
            )
        )

    def _fine(self, name: str, episodes: int) -> list[bool]:
        """Which episodes of a set have a fine-grained text that passes."""
        revision = None if self.revision is None else self.revision.revision
        table = self.shards.text(name, "episodes", revision=revision)
        allowed = ("reviewed",) if self.policy == "reviewed" else ("reviewed", "not_contradicted")
        rows = table.rows(0, episodes, columns=["fine_grained", "policy"]).to_pylist()
        return [row["fine_grained"] is not None and row["policy"] in allowed for row in rows]

    def _asked_of(self, number: int, weight: Fraction) -> Asked:
        view, tasks = self.views[number], self._tasks[number]
        sizes = np.diff(tasks.begin)
        return Asked(
            view=view,
            weight=_text(weight),
            policy=self.policy if view == "fg" else None,
            sources=[
                AskedSource(
                    source=source,
                    sets=list(tasks.sets[at]),
                    weight=_text(Fraction(int((tasks.source == at).sum()), len(tasks.source))),
                    samples=int(sizes[tasks.source == at].sum()),
                )
                for at, source in enumerate(self.sources[number])
            ],
        )


def open_sequence(
    shards: Shards,
    *,
    mix: Mix,
    sources: Mapping[str, Mapping[str, Weight]] | None = None,
    seed: int = 0,
    group: int = 8,
    policy: Policy = "not_contradicted",
    revision: str | None = None,
    side: Side = "train",
) -> Sequence:
    """The sequence that a mixture asks for; see `Sequence`.

    Raises:
        UsageError: The mixture is none, or a view of it is empty.
        ConformError: A file of the shards is damaged.
    """
    if not is_released(mix):
        return Sequence(
            shards, mix=mix, sources=sources, seed=seed, group=group, policy=policy,
            revision=revision, side=side,
        )  # fmt: skip
    if sources:
        raise UsageError(
            place="sources",
            found="weights of sources, of mix='released'",
            wanted="none: there every task has the same weight",
        )
    return ReleasedSequence(
        shards, mix=mix, seed=seed, group=group, policy=policy, revision=revision, side=side
    )


def _text(weight: Fraction) -> str:
    return f"{weight.numerator}/{weight.denominator}"
