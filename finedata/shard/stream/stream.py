"""A stream: batches of the sequence to one rank, its position, and the record of what it gave.

Position is one number, how many samples of the *global* sequence were given to all ranks together.
A global batch is a run of the sequence and a rank takes a contiguous slice of it, so neither ranks
nor workers are part of what a sample's number means, and a run may go on with others of both.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import msgspec
import numpy as np

from finedata.errors import ConformError, UsageError
from finedata.schema.codecs_file import CodecsFile
from finedata.schema.roles_file import roles_digest
from finedata.schema.stream_receipt import BadSample, StreamState, content_digest
from finedata.shard.stream.action_statistics import statistics_digest
from finedata.shard.stream.ahead import reads_ahead
from finedata.shard.stream.batch import Batch
from finedata.shard.stream.fill import Filler
from finedata.shard.stream.record import Record
from finedata.shard.stream.ring import Ring
from finedata.shard.stream.sequence import Samples
from finedata.shard.stream.settings import as_text
from finedata.shard.stream.words import needs_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from finedata.schema.stream_receipt import StreamReceipt
    from finedata.shard.stream.fill import Bad
    from finedata.shard.stream.sequence import Sequence
    from finedata.shard.stream.settings import Wanted

__all__ = ["OnBad", "Stream"]

OnBad: TypeAlias = Literal["raise", "next"]
# Drawing in blocks costs a sample some microseconds less than drawing batch by batch.
_BLOCK = 4_096
# Of a commit, in a state: enough to tell two apart, and a state is small.
_COMMIT_DIGITS = 16
_LOG = logging.getLogger(__name__)


class Stream:
    """Batches of an exact mixture; see `finedata.shard.stream.opening`, which opens one.

    It is an iterable with state, as torch's `StatefulDataLoader` wants it: iterating goes on where
    it stopped, for ever or up to `stop`.
    """

    def __init__(
        self,
        sequence: Sequence,
        wanted: Wanted,
        *,
        batch: int,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
        on_bad: OnBad = "raise",
        bad_quota: int = 100,
        stop: int | None = None,
        other_content: bool = False,
    ) -> None:
        if not 0 <= rank < world or batch < 1 or batch % world:
            raise UsageError(
                parameter="batch",
                place="batch, rank and world",
                found=f"{batch}, {rank}, {world}",
                wanted="a global batch that the ranks divide, and rank less than world",
            )
        if workers < 0 or bad_quota < 0 or (stop is not None and stop < 0):
            raise UsageError(
                parameter="workers",
                place="workers, bad_quota, stop",
                found=f"{workers}, {bad_quota}, {stop}",
                wanted="numbers of zero or more",
            )
        if on_bad not in ("raise", "next"):
            raise UsageError(parameter="on_bad", found=repr(on_bad), wanted="raise, next")
        self.sequence = sequence
        self.wanted = wanted
        self.batch = batch
        self.rank = rank
        self.world = world
        self.workers = workers
        self.stop = stop
        self._on_bad = on_bad
        self._bad_quota = bad_quota
        self._other_content = other_content
        self._filler = Filler(sequence.shards, wanted)
        self._layout = self._filler.layout(batch // world)
        self._roles = roles_digest(wanted.roles)
        self._words = as_text(wanted.words, sequence.views)
        self._numbers = as_text(wanted.numbers) | {"size": "x".join(map(str, wanted.size))}
        if wanted.depth:
            self._numbers |= {"depth": "metres"}
        if wanted.pictures.history:
            self._numbers |= {f"picture {k}": v for k, v in as_text(wanted.pictures).items()}
        if wanted.numbers.normalise != "none":
            self._numbers["statistics"] = statistics_digest(
                [*sequence.shards.document.statistics, *wanted.statistics]
            )
        text = ""
        if wanted.revision is not None:
            text = sequence.shards.text_revision(wanted.revision).sha256
        self._text = text
        self.content = content_digest(
            roles=self._roles, text=text, words=self._words, numbers=self._numbers
        )
        self._record = Record(sequence)
        self._n = 0
        self._block: Samples | None = None
        self._ring: Ring | None = None
        self._ahead = reads_ahead(sequence)
        # From afar, samples of later batches would ask for indexes that nobody needs yet.
        self._block_size = _BLOCK if self._ahead is None else 1
        # First number and end of the next global batch that nobody reads yet.
        self._first_ahead = self._next_ahead = 0

    @property
    def n(self) -> int:
        """How many samples of the global sequence were given."""
        return self._n

    @property
    def vectors(self) -> dict[str, tuple[str, ...]]:
        """Vector role to the names of its numbers, as they are given."""
        return {vector.role: vector.names for vector in self._filler.vectors}

    @property
    def codecs(self) -> CodecsFile:
        """How numbers of each part and role are written: what a checkpoint keeps for serving."""
        numbers = self.wanted.numbers
        found = {
            (codec.source, codec.part, codec.role): codec for codec in self._filler.codecs.values()
        }
        return CodecsFile(
            horizon=numbers.horizon,
            stride=numbers.stride,
            history=numbers.history,
            codecs=tuple(found[key] for key in sorted(found)),
        )

    def __iter__(self) -> Iterator[Batch]:
        while self.stop is None or self._n < self.stop:
            start, end = self._n, self._end(self._n)
            batch = self._read_ahead(start) if self.workers else self._read(self._own(start, end))
            # The number moves before the batch is out of hand: a state that is taken while the
            # caller works on a batch counts that batch as given.
            self._n = end
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Where the stream is: JSON of less than 300 bytes; the same for every rank."""
        return msgspec.to_builtins(
            StreamState(
                n=self._n,
                sequence=self.sequence.digest,
                content=self.content,
                chain=self._record.chain(self._n),
                commit=self.sequence.shards.commit[:_COMMIT_DIGITS],
            )
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; ranks, workers and batch may be others.

        So may the commit of shards of a repository, which is said.

        Raises:
            ConformError: It is no such state.
            UsageError: It is of another sequence, or of other words or numbers and the stream was
                not opened with `other_content`.
        """
        try:
            found = msgspec.convert(dict(state), StreamState)
        except (msgspec.ValidationError, TypeError, ValueError) as error:
            raise ConformError(
                place="state of a stream",
                found=str(error),
                wanted="what state_dict() returned",
            ) from error
        if found.sequence != self.sequence.digest:
            raise UsageError(
                place="sequence of the state",
                found=found.sequence,
                wanted=f"{self.sequence.digest}: the same shards, mix, seed and group",
            )
        if found.content != self.content and not self._other_content:
            raise UsageError(
                place="content of the state",
                found=found.content,
                wanted=f"{self.content}: the same text revision, words, numbers and roles",
                next_command="other_content=True goes on with the new ones",
            )
        here = self.sequence.shards.commit[:_COMMIT_DIGITS]
        if found.commit and here and found.commit != here:
            _LOG.warning(
                "the state is of commit %s, and goes on at %s, which has the same samples%s",
                found.commit,
                here,
                ", words and numbers" if found.content == self.content else "",
            )
        self._n = found.n
        self._record = Record(self.sequence, first=found.n, chain=found.chain)

    def receipt(self) -> StreamReceipt:
        """What was asked for and what was given since the stream was opened or its state loaded.

        Bad samples are those of this rank.
        """
        forms = self.wanted.words
        return self._record.receipt(
            self._n,
            content=self.content,
            roles=self._roles,
            text=self._text,
            texts={
                view: self._text if needs_text(forms, view) else "" for view in self.sequence.views
            },
            words=self._words,
            numbers=self._numbers,
        )

    def words(self, samples: Samples) -> tuple[list[str], list[dict[str, Any] | None]]:
        """Texts and traces of samples of the sequence."""
        return self._filler.words(samples)

    def numbers(self, samples: Samples) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Vector role to windows and mask of samples of the sequence."""
        return self._filler.numbers(samples)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers; they start again when the next batch is asked for."""
        if self._ring is not None:
            self._ring.close()
            self._ring = None
        if self._ahead is not None:
            self._ahead.close()

    def _end(self, start: int) -> int:
        end = start + self.batch
        return end if self.stop is None else min(end, self.stop)

    def _own(self, start: int, stop: int) -> Samples:
        """This rank's samples of the global batch start..stop-1."""
        if self._ahead is not None:
            self._ahead.move(self._n, self.stop)
        count = stop - start
        first = start + count * self.rank // self.world
        last = start + count * (self.rank + 1) // self.world
        if self.world > 1:
            return self.sequence.samples(first, last)
        block = self._block
        if block is None or not block.n[0] <= first <= last <= block.n[-1] + 1:
            block = self._block = self.sequence.samples(first, first + max(self._block_size, count))
        at = first - int(block.n[0])
        return block.slice(at, at + last - first)

    def _read(self, samples: Samples) -> Batch:
        """A batch, read in this process."""
        memory = np.empty(self._layout.total_bytes, np.uint8)
        arrays = self._layout.arrays(memory, len(samples))
        bad = self._filler.fill(samples, arrays)
        text, trace = self._filler.words(samples)
        self._filler.encode(text, arrays)
        return self._batch(samples, arrays, bad=bad, text=text, trace=trace)

    def _read_ahead(self, start: int) -> Batch:
        """The batch that begins at a number, read by workers, who go on with those behind it."""
        if self._ring is None:
            self._ring = Ring(
                self.wanted,
                slot_bytes=self._layout.total_bytes,
                batch=self.batch // self.world,
                workers=self.workers,
            )
        if not len(self._ring) or start != self._first_ahead:
            self._ring.drop()
            self._next_ahead = start
        while self.stop is None or self._next_ahead < self.stop:
            end = self._end(self._next_ahead)
            if not self._ring.submit(self._own(self._next_ahead, end)):
                break
            self._next_ahead = end
        self._first_ahead = self._end(start)
        if not len(self._ring):
            # The user holds all slots: better slow than a batch that changes in his hands.
            return self._read(self._own(start, self._end(start)))
        samples, memory, done = self._ring.take()
        arrays = self._layout.arrays(memory, len(samples))
        return self._batch(samples, arrays, bad=done.bad, text=done.text, trace=done.trace)

    def _batch(
        self,
        samples: Samples,
        arrays: dict[str, np.ndarray],
        *,
        bad: list[Bad],
        text: list[str],
        trace: list[dict[str, Any] | None],
    ) -> Batch:
        """A batch with every bad sample replaced."""
        samples = self._replace(samples, arrays, bad)
        for one in bad:
            (text[one.at],), (trace[one.at],) = self._filler.words(
                samples.slice(one.at, one.at + 1)
            )
            mine = {name: array[one.at : one.at + 1] for name, array in arrays.items()}
            self._filler.encode([text[one.at]], mine)
        return Batch(samples, self.sequence, arrays=arrays, text=text, trace=trace)

    def _replace(self, samples: Samples, arrays: dict[str, np.ndarray], bad: list[Bad]) -> Samples:
        """The samples with the next of the same source in the place of each bad one."""
        columns = samples.columns()
        for one in bad:
            mine = {name: array[one.at : one.at + 1] for name, array in arrays.items()}
            wrong, reasons = samples.slice(one.at, one.at + 1), [one]
            found = wrong
            while reasons:
                if self._on_bad == "raise" or len(self._record.bad) >= self._bad_quota:
                    raise self._unreadable(found, reasons[0])
                ordinal = int(found.ordinal[0]) + 1
                found = self.sequence.sample_of(
                    int(wrong.n[0]), int(wrong.view[0]), int(wrong.source[0]), ordinal
                )
                if ordinal - int(wrong.ordinal[0]) > self._bad_quota:
                    raise self._unreadable(wrong, one)
                reasons = self._filler.fill(found, mine)
            self._note(wrong, one, found)
            columns[:, one.at] = found.columns()[:, 0]
        return Samples.of(columns) if bad else samples

    def _note(self, wrong: Samples, bad: Bad, found: Samples) -> None:
        ((n, view, episode_id, frame_index),) = self.sequence.names(wrong)
        ((_, _, other_id, other_frame),) = self.sequence.names(found)
        self._record.bad[n] = BadSample(
            n=n,
            view=view,
            episode_id=episode_id,
            frame_index=frame_index,
            tar=bad.tar,
            reason=bad.reason,
            replaced_by_episode_id=other_id,
            replaced_by_frame_index=other_frame,
        )

    def _unreadable(self, sample: Samples, bad: Bad) -> ConformError:
        ((n, view, episode_id, frame_index),) = self.sequence.names(sample)
        full = "" if self._on_bad == "raise" else f" (more than bad_quota={self._bad_quota})"
        return ConformError(
            place=f"{self.sequence.shards.root / bad.tar}, sample {n} of the stream: view {view}, "
            f"episode {episode_id}, frame {frame_index}",
            found=bad.reason + full,
            wanted="the sample as it was written",
            next_command=f"finedata verify {self.sequence.shards.root}",
        )
