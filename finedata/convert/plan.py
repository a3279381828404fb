"""The plan: which episode becomes which, decided before a byte is written.

`plan_shard` runs in a worker: framing, checksums, structure and lengths of every record of one
shard. `Assigner` runs in the coordinator, over shards in order: it gives episodes their indices,
tasks theirs, and draws the boundaries of data files by size. Both are pure functions of the
source and the options, so that a resumed, parallel or repeated run decides the same.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from finedata.convert.context import (
    RunContext,
    chosen_cameras,
    decoded_converter,
    opened_source,
)
from finedata.convert.examine import examine, failure_reason
from finedata.errors import SourceError, UsageError
from finedata.readers.tfrecord import Record, scan_records
from finedata.schema.identity import broken_episode_id, episode_id
from finedata.store.lerobot.layout import DATA_FILE_MB

if TYPE_CHECKING:
    from collections.abc import Mapping

    from finedata.convert.context import ConvertOptions
    from finedata.readers.rlds import RldsShard, RldsSource
    from finedata.schema.converter import CameraSpec, Converter, ConverterFile
    from finedata.store.lerobot.layout import Feature

__all__ = [
    "Assigner",
    "EpisodeJob",
    "FileJob",
    "PreparedRun",
    "RecordPlan",
    "Selection",
    "ShardJob",
    "ShardPlan",
    "parse_selection",
    "plan_shard",
]

# What a frame costs beside its pictures: two vectors, indices, a share of the footer.
_FRAME_BYTES = 128


class RecordPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What the plan found out about one record."""

    record: int
    offset: int
    length: int
    episode_id: str
    locator: str = ""
    reason: str | None = None
    message: str = ""
    frames_read: int = 0
    frames: int = 0
    instructions: tuple[str, ...] = ()
    instruction_varies: bool = False
    picture_bytes: int = 0
    last_step_marks: int = -1


class ShardJob(msgspec.Struct, frozen=True, kw_only=True):
    """The task of planning one shard."""

    context: RunContext
    shard: int
    most_good: int | None


class ShardPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What is in one shard, record by record."""

    shard: int
    records: list[RecordPlan]


class EpisodeJob(msgspec.Struct, frozen=True, kw_only=True):
    """One episode, and its place in the output."""

    shard: int
    plan: RecordPlan
    episode_index: int
    first_index: int
    task_index: int


class FileJob(msgspec.Struct, frozen=True, kw_only=True):
    """The task of writing one data file."""

    context: RunContext
    file_number: int
    episodes: list[EpisodeJob]


def plan_shard(job: ShardJob) -> ShardPlan:
    """Check every record of a shard; stops early once `most_good` episodes are found."""
    context = job.context
    source = opened_source(context.address)
    converter = decoded_converter(context.converter_text, context.converter_origin).converter
    cameras = chosen_cameras(converter, source, context.options)
    shard = source.shards[job.shard]
    records: list[RecordPlan] = []
    good = 0
    try:
        with closing(source.folder.open(shard.file)) as reader:
            for record in scan_records(reader):
                records.append(_plan_record(record, source, converter, cameras, shard.file))
                good += records[-1].reason is None
                if job.most_good is not None and good >= job.most_good:
                    return ShardPlan(shard=job.shard, records=records)
    except (FileNotFoundError, PermissionError) as error:
        return ShardPlan(shard=job.shard, records=_unreadable(converter.name, shard, error))
    except OSError as error:
        # A disk or a network that fails for now says nothing about the episodes.
        raise SourceError(
            place=f"{source.folder.address}/{shard.file}, after {len(records)} records",
            found=f"{error.strerror or error}",
            wanted="a file that can be read to its end",
            next_command="run the same command again: it continues where it stopped",
        ) from error
    for number in range(len(records), shard.declared_records or 0):
        message = f"not in the file, although dataset_info.json says {shard.declared_records}"
        lost = Record(number, shard.size, 0, None, "truncated", message)
        records.append(_failed(converter.name, shard.file, lost))
    return ShardPlan(shard=job.shard, records=records)


def _plan_record(
    record: Record,
    source: RldsSource,
    converter: Converter,
    cameras: tuple[CameraSpec, ...],
    file: str,
) -> RecordPlan:
    if record.payload is None:
        return _failed(converter.name, file, record)
    try:
        facts = examine(source.episode(record.payload), converter, cameras)
    except SourceError as error:
        return RecordPlan(
            record=record.number,
            offset=record.offset,
            length=record.length,
            episode_id=broken_episode_id(converter.name, relative_file=file, record=record.number),
            reason=failure_reason(error),
            message=str(error),
        )
    return RecordPlan(
        record=record.number,
        offset=record.offset,
        length=record.length,
        episode_id=episode_id(converter.name, facts.locator),
        locator=facts.locator,
        frames_read=facts.frames_read,
        frames=facts.frames,
        instructions=facts.instructions,
        instruction_varies=facts.instruction_varies,
        picture_bytes=facts.picture_bytes,
        last_step_marks=facts.last_step_marks,
    )


def _failed(source: str, file: str, record: Record) -> RecordPlan:
    return RecordPlan(
        record=record.number,
        offset=record.offset,
        length=record.length,
        episode_id=broken_episode_id(source, relative_file=file, record=record.number),
        reason=record.reason,
        message=f"{file}, record {record.number}, byte {record.offset}: {record.message}",
    )


def _unreadable(source: str, shard: RldsShard, error: OSError) -> list[RecordPlan]:
    """A receipt for every record that the shard is said to hold; one where nothing is said."""
    return [
        RecordPlan(
            record=number,
            offset=0,
            length=0,
            episode_id=broken_episode_id(source, relative_file=shard.file, record=number),
            reason="unreadable_file",
            message=f"{shard.file}: {error.strerror or error}",
        )
        for number in range(shard.declared_records or 1)
    ]


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
                place="--episodes",
                found=f"{text!r}",
                wanted="a position, a range of positions such as 10-19, or an episode id",
                next_command="--episodes 0,5,10-19",
            )
    return Selection(tuple(ranges), frozenset(ids), options.max_episodes)


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """What is known before anything is read but the source's description.

    Attributes:
        context: What travels to the workers.
        source: The opened source.
        converter: The converter, with its text.
        cameras: The cameras that the output has.
        features: Every stored column.
        selection: Which episodes are wanted.
    """

    context: RunContext
    source: RldsSource
    converter: ConverterFile
    cameras: tuple[CameraSpec, ...]
    features: Mapping[str, Feature]
    selection: Selection


@dataclass(slots=True)
class Assigner:
    """Gives episodes their place, shard after shard.

    Attributes:
        tasks: Task strings in the order of their indices.
        splits: Split name to [first episode, one past the last].
        written: Episodes placed so far.
        frames: Frames placed so far.
        finished: Whether the selection wants nothing more.
    """

    context: RunContext
    selection: Selection
    tasks: dict[str, int] = field(default_factory=dict[str, int])
    splits: list[tuple[str, int, int]] = field(default_factory=list[tuple[str, int, int]])
    written: int = 0
    frames: int = 0
    finished: bool = False
    _position: int = 0
    _file_number: int = 0
    _file_bytes: int = 0
    _open_file: list[EpisodeJob] = field(default_factory=list[EpisodeJob])
    _matched: set[str] = field(default_factory=set[str])
    _seen: dict[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])

    def add(
        self, plan: ShardPlan, *, file: str, split: str, source: str
    ) -> tuple[list[RecordPlan | EpisodeJob], list[FileJob]]:
        """Place the records of the next shard.

        Returns:
            What became of each selected record in order (a job, or the plan of a failed one),
            and the data files that are complete now.
        """
        placed: list[RecordPlan | EpisodeJob] = []
        files: list[FileJob] = []
        for record in plan.records:
            self.finished = self.finished or self.selection.beyond(self._position)
            if self.finished:
                break
            position, self._position = self._position, self._position + 1
            if not self.selection.wants(position, record.episode_id):
                continue
            if self.selection.ids:
                self._matched.add(record.episode_id)
            if record.reason is None:
                record = self._without_duplicate(record, file=file, source=source)
            if record.reason is not None:
                placed.append(record)
                continue
            job, complete = self._place(record, shard=plan.shard, split=split)
            placed.append(job)
            files += complete
        self.finished = self.finished or self.selection.beyond(self._position)
        return placed, files

    def unmatched(self) -> list[str]:
        """What was asked for and is not in the source, as it was asked for."""
        if self.selection.all or self.selection.most is not None:
            return []
        ranges = [(a, b) for a, b in self.selection.ranges if b >= self._position]
        texts = [str(a) if a == b else f"{a}-{b}" for a, b in ranges]
        return texts + sorted(self.selection.ids - self._matched)

    def rest(self) -> list[FileJob]:
        """The last data file, which no later episode can fill."""
        return self._close_file() if self._open_file else []

    def _place(
        self, record: RecordPlan, *, shard: int, split: str
    ) -> tuple[EpisodeJob, list[FileJob]]:
        size = record.picture_bytes + record.frames * _FRAME_BYTES
        limit = DATA_FILE_MB * 1024 * 1024
        full = bool(self._open_file) and self._file_bytes + size > limit
        complete = self._close_file() if full else []
        task = record.instructions[0] if record.instructions else ""
        job = EpisodeJob(
            shard=shard,
            plan=record,
            episode_index=self.written,
            first_index=self.frames,
            task_index=self.tasks.setdefault(task, len(self.tasks)),
        )
        self._open_file.append(job)
        self._file_bytes += size
        self.written += 1
        self.frames += record.frames
        self._extend_split(split)
        self.finished = self.selection.most is not None and self.written >= self.selection.most
        return job, complete

    def _close_file(self) -> list[FileJob]:
        job = FileJob(context=self.context, file_number=self._file_number, episodes=self._open_file)
        self._file_number += 1
        self._file_bytes = 0
        self._open_file = []
        return [job]

    def _extend_split(self, split: str) -> None:
        if self.splits and self.splits[-1][0] == split:
            self.splits[-1] = (split, self.splits[-1][1], self.written)
        else:
            self.splits.append((split, self.written - 1, self.written))

    def _without_duplicate(self, record: RecordPlan, *, file: str, source: str) -> RecordPlan:
        """The record, or a failed one in its stead where its id was seen before."""
        first = self._seen.setdefault(record.episode_id, (file, record.record))
        if first == (file, record.record):
            return record
        return RecordPlan(
            record=record.record,
            offset=record.offset,
            length=record.length,
            episode_id=broken_episode_id(source, relative_file=file, record=record.record),
            locator=record.locator,
            reason="duplicate_id",
            frames_read=record.frames_read,
            message=f"{file}, record {record.record}: the id {record.episode_id} "
            f"({record.locator}) is also that of {first[0]}, record {first[1]}, which is kept",
        )
