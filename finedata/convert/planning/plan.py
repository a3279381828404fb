"""The plan: which record is which episode, decided before a byte is written.

`plan_shard` runs in a worker: framing, checksums, structure and lengths of every record of one
shard. It is a pure function of the source and the options, so that a resumed, parallel or
repeated run decides the same. Where episodes go is decided by `finedata.convert.planning.assign`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from finedata.convert.context import (
    RunContext,
    decoded_converter,
    opened_source,
)
from finedata.convert.planning.examine import ExaminedEpisode, examine, failure_reason
from finedata.convert.planning.layout import PartLayout  # noqa: TC001  (msgspec resolves it)
from finedata.convert.source_episode import read_episode
from finedata.convert.videos.clips import ClipPlan  # noqa: TC001  (msgspec resolves it)
from finedata.errors import SourceError
from finedata.readers.episode import Found
from finedata.schema.identity import broken_episode_id, episode_id
from finedata.schema.language_spec import EpisodeLanguage

if TYPE_CHECKING:
    from finedata.readers.episode import Shard

_SILENT = EpisodeLanguage(instructions=(), steps=(), varies=False, flags=())


class RecordPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What the plan found out about one record."""

    record: int
    offset: int
    length: int
    episode_id: str
    locator: str = ""
    reason: str | None = None
    message: str = ""
    layout: int = -1
    variant: int = -1
    frames_read: int = 0
    frames: int = 0
    language: EpisodeLanguage = _SILENT
    clips: tuple[ClipPlan, ...] = ()
    success: bool | None = None
    split: str = ""
    time_base: str = "declared"
    fps_measured: float | None = None
    dt_max_s: float | None = None
    start_unix_s: float | None = None
    cameras_missing: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    picture_bytes: int = 0
    last_step_marks: int = -1

    @property
    def found(self) -> Found:
        """Where the record is in its shard."""
        return Found(self.record, self.offset, self.length)

    @property
    def task(self) -> str:
        """The goal; empty where there is none."""
        return self.language.instructions[0].text if self.language.instructions else ""


class ShardJob(msgspec.Struct, frozen=True, kw_only=True):
    """The task of planning one shard of one source."""

    context: RunContext
    source: int
    shard: int
    most_good: int | None


class ShardPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What is in one shard, record by record; records refer to `layouts` by number."""

    source: int
    shard: int
    layouts: list[PartLayout]
    records: list[RecordPlan]


def plan_shard(job: ShardJob) -> ShardPlan:
    """Check every record of a shard; stops early once `most_good` episodes are found.

    Raises:
        SourceError: A disk or a network fails for now.
    """
    described = job.context.sources[job.source]
    source = opened_source(described.address, described.reader)
    converter = decoded_converter(described).converter
    shard = source.shards[job.shard]
    planner = _Planner(job, name=converter.name, file=shard.file)
    options, good = job.context.options, 0
    try:
        for found, raw in source.scan(job.shard):
            if raw is None or found.reason is not None:
                planner.fail(found, found.reason or "unparsable", found.message)
                continue
            try:
                episode = read_episode(
                    raw,
                    converter,
                    options,
                    source=source,
                    shard=job.shard,
                    reader=described.reader,
                    found=found,
                )
                facts = examine(episode, options, folder=source.folder, source_number=job.source)
            except SourceError as error:
                planner.fail(found, failure_reason(error), str(error), whole=True)
                continue
            finally:
                raw.close()
            planner.add(found, facts)
            good += 1
            if job.most_good is not None and good >= job.most_good:
                break
    except (FileNotFoundError, PermissionError) as error:
        return _unreadable(job, converter.name, shard, error)
    except OSError as error:
        # A disk or a network that fails for now says nothing about the episodes.
        raise SourceError(
            place=f"{source.folder.address}/{shard.file}, after {len(planner.records)} records",
            found=f"{error.strerror or error}",
            wanted="a file that can be read to its end",
            next_command="run the same command again: it continues where it stopped",
        ) from error
    return planner.plan()


class _Planner:
    """Gathers the records of a shard."""

    def __init__(self, job: ShardJob, *, name: str, file: str) -> None:
        self._job = job
        self._name = name
        self._file = file
        self._layouts: dict[bytes, int] = {}
        self._known: list[PartLayout] = []
        self.records: list[RecordPlan] = []

    def fail(self, found: Found, reason: str, message: str, *, whole: bool = False) -> None:
        """Take in a record that is no episode; `whole` messages name their place already."""
        where = f"{self._file}, record {found.number}, byte {found.offset}: "
        self.records.append(
            RecordPlan(
                record=found.number,
                offset=found.offset,
                length=found.length,
                episode_id=broken_episode_id(
                    self._name, relative_file=self._file, record=found.number
                ),
                reason=reason,
                message=message if whole else where + message,
            )
        )

    def add(self, found: Found, facts: ExaminedEpisode) -> None:
        """Take in an episode."""
        key = facts.layout.key
        if key not in self._layouts:
            self._layouts[key] = len(self._known)
            self._known.append(facts.layout)
        else:
            known = self._known[self._layouts[key]]
            if facts.layout.left_out.keys() - known.left_out.keys():
                more = facts.layout.left_out | known.left_out
                self._known[self._layouts[key]] = replace(known, left_out=more)
        self.records.append(
            RecordPlan(
                record=found.number,
                offset=found.offset,
                length=found.length,
                episode_id=episode_id(self._name, facts.locator),
                locator=facts.locator,
                layout=self._layouts[key],
                variant=facts.layout.variant,
                frames_read=facts.frames_read,
                frames=facts.frames,
                language=facts.language,
                clips=facts.clips,
                success=facts.success,
                split=facts.split,
                time_base=facts.clock.base,
                fps_measured=facts.clock.fps_measured,
                dt_max_s=facts.clock.dt_max_s,
                start_unix_s=facts.clock.start_unix_s,
                cameras_missing=facts.cameras_missing,
                flags=tuple(sorted(facts.flags | set(found.flags))),
                picture_bytes=facts.picture_bytes,
                last_step_marks=facts.last_step_marks,
            )
        )

    def plan(self) -> ShardPlan:
        """What was gathered."""
        return ShardPlan(
            source=self._job.source,
            shard=self._job.shard,
            layouts=self._known,
            records=self.records,
        )


def _unreadable(job: ShardJob, name: str, shard: Shard, error: OSError) -> ShardPlan:
    """A receipt for every record that the shard is said to hold; one where nothing is said."""
    planner = _Planner(job, name=name, file=shard.file)
    for number in range(shard.declared_records or 1):
        message = f"{shard.file}: {error.strerror or error}"
        planner.fail(Found(number, 0, 0), "unreadable_file", message, whole=True)
    return planner.plan()
