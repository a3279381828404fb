"""Where each episode goes: its part, its indices, its video files and the end of every data file.

A pure function of the shard plans in the source's order, never of timing: LeRobot's indices must
be contiguous although workers finish in any order, so a resumed, parallel or sharded run has to
assign exactly the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from finedata.convert.context import RunContext  # noqa: TC001  (msgspec resolves it)
from finedata.convert.planning.layout import PartLayout  # noqa: TC001  (msgspec resolves it)
from finedata.convert.planning.plan import RecordPlan
from finedata.convert.videos.clips import ClipPlan  # noqa: TC001  (msgspec resolves it)
from finedata.schema.identity import broken_episode_id
from finedata.store.lerobot.layout import DATA_FILE_MB, extend_splits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.convert.planning.plan import ShardPlan
    from finedata.convert.planning.selection import Selection
    from finedata.readers.episode import Shard, Source

# What a frame costs beside its pictures: two vectors, indices, a share of the footer.
_FRAME_BYTES = 128


class ClipJob(msgspec.Struct, frozen=True, kw_only=True):
    """One video of an episode and its place in the output.

    Attributes:
        plan: Where it is in the source, and what becomes of it.
        file_number: Number of the camera's video file in the part.
        write: Whether this episode is the one that writes the file: several share a linked one.
        from_s: When the episode's first frame is shown in the file.
        to_s: One frame after its last.
    """

    plan: ClipPlan
    file_number: int
    write: bool
    from_s: float
    to_s: float


class EpisodeJob(msgspec.Struct, frozen=True, kw_only=True):
    """One episode, and its place in the output."""

    source: int
    shard: int
    part: int
    plan: RecordPlan
    episode_index: int
    first_index: int
    task_index: int
    clips: tuple[ClipJob, ...] = ()


class FileJob(msgspec.Struct, frozen=True, kw_only=True):
    """The task of writing one data file of a part, and the videos of its episodes."""

    context: RunContext
    part: int
    part_path: str
    layout: PartLayout
    file_number: int
    sequence: int
    episodes: list[EpisodeJob]


@dataclass(slots=True)
class Part:
    """One LeRobot dataset of the output, as far as it is assigned.

    Attributes:
        name: Its name.
        path: Its folder, relative to the root; `.` for the root itself.
        layout: What its episodes have in common.
        source: Name of the source.
        tasks: Task strings in the order of their indices.
        splits: (split, first episode, one past the last).
        episodes: Episodes placed so far.
        frames: Frames placed so far.
        left_out: Features of the source of which nothing was made, and why.
    """

    name: str
    path: str
    layout: PartLayout
    source: str
    tasks: dict[str, int] = field(default_factory=dict[str, int])
    splits: list[tuple[str, int, int]] = field(default_factory=list[tuple[str, int, int]])
    episodes: int = 0
    frames: int = 0
    left_out: dict[str, str] = field(default_factory=dict[str, str])
    file_number: int = 0
    file_bytes: int = 0
    open_file: list[EpisodeJob] = field(default_factory=list[EpisodeJob])
    _videos: dict[str, int] = field(default_factory=dict[str, int])
    _linked: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])

    def clip_job(self, plan: ClipPlan, frames: int) -> ClipJob:
        """The place of a video: a linked file keeps its one number, others get the next."""
        number = self._linked.get((plan.camera, plan.file)) if plan.mode == "link" else None
        write = number is None
        if number is None:
            number = self._videos.get(plan.camera, 0)
            self._videos[plan.camera] = number + 1
            if plan.mode == "link":
                self._linked[plan.camera, plan.file] = number
        return ClipJob(
            plan=plan,
            file_number=number,
            write=write,
            from_s=plan.from_s,
            to_s=plan.from_s + frames / self.layout.fps,
        )


@dataclass(slots=True)
class Assigner:
    """Gives episodes their place, shard after shard.

    Attributes:
        context: The run.
        sources: Its sources, opened.
        names: Their names.
        selection: Which episodes are wanted.
        parts: The parts so far, in order of appearance.
        written: Episodes placed so far.
        frames: Frames placed so far.
        finished: Whether the selection wants nothing more.
    """

    context: RunContext
    sources: Sequence[Source]
    names: Sequence[str]
    selection: Selection
    parts: list[Part] = field(default_factory=list[Part])
    written: int = 0
    frames: int = 0
    finished: bool = False
    _part_of: dict[bytes, int] = field(default_factory=dict[bytes, int])
    _position: int = 0
    _sequence: int = 0
    _matched: set[str] = field(default_factory=set[str])
    _seen: dict[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])

    @property
    def at_root(self) -> bool:
        """Whether the root of the output is itself a LeRobot dataset, where one can be told."""
        return len(self.sources) == 1 and self.sources[0].one_part

    def add(self, plan: ShardPlan) -> tuple[list[RecordPlan | EpisodeJob], list[FileJob]]:
        """Place the records of the next shard.

        Returns:
            What became of each selected record in order (a job, or the plan of a failed one),
            and the data files that are complete now.
        """
        placed: list[RecordPlan | EpisodeJob] = []
        files: list[FileJob] = []
        shard = self.sources[plan.source].shards[plan.shard]
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
                record = self._without_duplicate(record, shard, self.names[plan.source])
            if record.reason is not None:
                placed.append(record)
                continue
            number = self._part(plan, plan.layouts[record.layout])
            job, complete = self._place(record, plan, number)
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
        """The last data file of each part, which no later episode can fill."""
        return [job for number in range(len(self.parts)) for job in self._close_file(number)]

    def _part(self, plan: ShardPlan, layout: PartLayout) -> int:
        """The part that an episode belongs to, a new one where it is the first of its kind.

        The root itself is for episodes that are as the source declares them: an odd one gets a
        folder, be it the first or the last.
        """
        number = self._part_of.get(layout.key)
        if number is None:
            source = self.names[plan.source]
            name = layout.embodiment if len(self.sources) == 1 else f"{source}-{layout.embodiment}"
            names = {part.name for part in self.parts}
            count = 1
            unique = name
            while unique in names:
                count += 1
                unique = f"{name}_{count}"
            taken = any(part.path == "." for part in self.parts)
            path = "." if self.at_root and layout.as_declared and not taken else unique
            number = self._part_of[layout.key] = len(self.parts)
            self.parts.append(Part(unique, path, layout, source))
        self.parts[number].left_out |= layout.left_out
        return number

    def _place(
        self, record: RecordPlan, plan: ShardPlan, number: int
    ) -> tuple[EpisodeJob, list[FileJob]]:
        part = self.parts[number]
        size = record.picture_bytes + record.frames * _FRAME_BYTES
        limit = DATA_FILE_MB * 1024 * 1024
        full = bool(part.open_file) and part.file_bytes + size > limit
        complete = self._close_file(number) if full else []
        job = EpisodeJob(
            source=plan.source,
            shard=plan.shard,
            part=number,
            plan=record,
            episode_index=part.episodes,
            first_index=part.frames,
            task_index=part.tasks.setdefault(record.task, len(part.tasks)),
            clips=tuple(part.clip_job(clip, record.frames) for clip in record.clips),
        )
        part.open_file.append(job)
        part.file_bytes += size
        part.episodes += 1
        part.frames += record.frames
        extend_splits(part.splits, record.split or "train", episodes=part.episodes)
        self.written += 1
        self.frames += record.frames
        self.finished = self.selection.most is not None and self.written >= self.selection.most
        return job, complete

    def _close_file(self, number: int) -> list[FileJob]:
        part = self.parts[number]
        if not part.open_file:
            return []
        job = FileJob(
            context=self.context,
            part=number,
            part_path=part.path,
            layout=part.layout,
            file_number=part.file_number,
            sequence=self._sequence,
            episodes=part.open_file,
        )
        self._sequence += 1
        part.file_number += 1
        part.file_bytes = 0
        part.open_file = []
        return [job]

    def _without_duplicate(self, record: RecordPlan, shard: Shard, source: str) -> RecordPlan:
        """The record, or a failed one in its place where its id was seen before."""
        first = self._seen.setdefault(record.episode_id, (shard.file, record.record))
        if first == (shard.file, record.record):
            return record
        message = (
            f"{shard.file}, record {record.record}: the id {record.episode_id} "
            f"({record.locator}) is also that of {first[0]}, record {first[1]}, which is kept"
        )
        return _failed(record, shard, source, reason="duplicate_id", message=message)


def _failed(
    record: RecordPlan, shard: Shard, source: str, *, reason: str, message: str
) -> RecordPlan:
    return RecordPlan(
        record=record.record,
        offset=record.offset,
        length=record.length,
        episode_id=broken_episode_id(source, relative_file=shard.file, record=record.record),
        locator=record.locator,
        reason=reason,
        frames_read=record.frames_read,
        message=message,
    )
