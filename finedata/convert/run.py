"""Converting: plan, work, commit, so that a killed run goes on where it was.

Shards are planned a bounded distance ahead, so that the work finds their bytes still in memory;
data files are written by workers as soon as the plan has closed them; the ledger records both.
Killed at any moment, the same call finishes the work, and the result is byte for byte that of an
unbroken run.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

import finedata
from finedata.convert.cameras import check_camera_names
from finedata.convert.commit.run import commit
from finedata.convert.context import (
    ConvertOptions,
    RunContext,
    SourceContext,
    decoded_converter,
    opened_source,
    recognised_reader,
    run_key,
)
from finedata.convert.planning.plan import RecordPlan, ShardJob, ShardPlan, plan_shard
from finedata.convert.planning.selection import parse_selection
from finedata.convert.prepared import PreparedRun
from finedata.convert.videos.clips import forget_indexes
from finedata.convert.work import FileResult, file_is_there, file_kind, write_file
from finedata.engine.local import LocalEngine
from finedata.engine.progress import Progress
from finedata.engine.run_plan import run_plan
from finedata.errors import ConformError, SourceError, UsageError
from finedata.readers.sidecars import forget_sidecars
from finedata.schema.converter_file import decode_converter, find_converter
from finedata.store.dataset import open_dataset
from finedata.store.dataset_file import DATASET_FILE, read_dataset_file
from finedata.store.describe import flag_counts
from finedata.store.run.ledger import Ledger
from finedata.store.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from finedata.convert.planning.assign import FileJob
    from finedata.engine.progress import OnProgress
    from finedata.schema.converter_file import ConverterFile
    from finedata.store.dataset_file import DatasetFile

__all__ = [
    "Conversion",
    "ConvertSummary",
    "convert",
    "convert_many",
    "prepare",
    "prepare_from_context",
    "prepare_from_dataset",
    "summary_of",
]

_LOG = logging.getLogger(__name__)
# Files that one line names.
_MOST_NAMES = 3


@dataclass(frozen=True, slots=True)
class ConvertSummary(Summary):
    """What a conversion did.

    Attributes:
        episodes: Written.
        frames: Written.
        found: Episodes found: written and failed.
        failed: Episodes that could not be, each with a receipt.
        dropped_frames: Frames of written episodes that were not written.
        parts: Names of the LeRobot datasets inside `out`.
        missing_shards: Shards that the source declares and lacks.
        flags: Written episodes by each flag of their receipts.
        left_out: Features of the source of which nothing was made, and why.
        out: The dataset's folder.
    """

    episodes: int
    frames: int
    found: int
    failed: int
    dropped_frames: int
    parts: list[str]
    missing_shards: list[str]
    flags: dict[str, int]
    left_out: dict[str, str]
    out: str


def convert(
    source: str | Path,
    *,
    input: str | Path,
    out: str | Path,
    options: ConvertOptions | None = None,
    workers: int = 1,
    on_progress: OnProgress = None,
) -> ConvertSummary:
    """Convert a source dataset into a canonical one.

    Args:
        source: Name of a converter, or path of a converter file.
        input: Folder or address of the source.
        out: Folder of the output; new, empty, or begun by the same call.
        options: Choices that change the output.
        workers: Worker processes; does not change the output.
        on_progress: Called whenever a data file is finished.

    Raises:
        UsageError: Unknown source, no such input, an output that is not ours, a wrong option.
        SourceError: The source cannot be read at all.
        OutputError: The output cannot be written; the same call continues later.
    """
    return convert_many(
        [(str(source), str(input))],
        out=out,
        options=options,
        workers=workers,
        on_progress=on_progress,
    )


def convert_many(
    sources: Sequence[tuple[str, str]],
    *,
    out: str | Path,
    options: ConvertOptions | None = None,
    workers: int = 1,
    on_progress: OnProgress = None,
) -> ConvertSummary:
    """Convert several sources into one dataset; see `convert`.

    Args:
        sources: (converter, address) of each, in the order of the output.
        out: Folder of the output.
        options: Choices that change the output, for all of them.
        workers: Worker processes; does not change the output.
        on_progress: Called whenever a data file is finished.
    """
    run = prepare(sources, out=str(out), options=options or ConvertOptions())
    key, settings = run_key(run.context, finedata_version=finedata.__version__)
    if run.missing_shards:
        _LOG.warning(
            "%d files that the source declares are not in the folder: %s",
            len(run.missing_shards),
            ", ".join(run.missing_shards[:_MOST_NAMES])
            + (", ..." if len(run.missing_shards) > _MOST_NAMES else ""),
        )
    with Ledger(Path(out), run_key=key, settings=settings) as ledger:
        if ledger.get("commit", 0) is None or not (Path(out) / DATASET_FILE).is_file():
            conversion = Conversion(run, ledger, on_progress)
            with LocalEngine(workers=workers) as engine:
                run_plan(conversion, engine=engine)
            conversion.check_selection()
            commit(run, ledger)
            ledger.put("commit", 0, b"")
    return summary_of(Path(out))


def prepare(
    sources: Sequence[tuple[str, str]], *, out: str, options: ConvertOptions
) -> PreparedRun:
    """Read what a conversion needs before it begins; writes nothing.

    Raises:
        UsageError: Unknown source, no such input, a wrong option.
        SourceError: The source cannot be read at all.
    """
    choices = dict(options.choices)
    known: set[str] = set()
    names = [name for name, _ in sources]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(
            place="SOURCE",
            found=f"{twice[0]} twice",
            wanted="each source once: ids of episodes are those of their source",
            next_command="convert each folder for itself, then finedata merge DIR DIR --out DIR",
        )
    files: list[tuple[ConverterFile, str]] = []
    for name, address in sources:
        listed = find_converter(name).converter.options
        known |= set(listed)
        mine = {key: choice for key, choice in choices.items() if key in listed}
        files.append((find_converter(name, choices=mine), address))
    unknown = sorted(set(choices) - known)
    if unknown:
        raise UsageError(
            parameter="option",
            found=f"{unknown[0]!r}",
            wanted=f"one of {', '.join(sorted(known)) or '(these sources have no options)'}",
            next_command="finedata sources --json",
        )
    return _prepare(files, out=out, options=options)


def prepare_from_dataset(info: DatasetFile, *, addresses: Sequence[str], out: str) -> PreparedRun:
    """What a finished dataset's own conversion knew: its converters and options, from its marker.

    Raises:
        UsageError: No such input, or not one for each source.
        ConformError: The marker's options are none.
        SourceError: A source cannot be read at all.
    """
    if len(addresses) != len(info.sources):
        raise UsageError(
            parameter="input",
            found=f"{len(addresses)} addresses",
            wanted=f"one for each of {', '.join(source.name for source in info.sources)}",
        )
    try:
        options = msgspec.convert(info.options, ConvertOptions)
    except msgspec.ValidationError as error:
        raise ConformError(
            place=f"{out}/{DATASET_FILE}: options", found=f"{error}", wanted="those of a conversion"
        ) from error
    files: list[tuple[ConverterFile, str]] = []
    for entry, address in zip(info.sources, addresses, strict=True):
        origin = f"{out}/{DATASET_FILE}"
        listed = decode_converter(entry.converter, origin=origin).converter.options
        mine = {key: choice for key, choice in options.choices if key in listed}
        files.append((decode_converter(entry.converter, origin=origin, choices=mine), address))
    return _prepare(files, out=out, options=options)


def prepare_from_context(context: RunContext, *, out: str) -> PreparedRun:
    """What another process of the same run knew, from what it wrote down.

    Raises:
        UsageError: No such input.
        SourceError: A source cannot be read at all.
    """
    files = [(decoded_converter(one), one.address) for one in context.sources]
    return _prepare(files, out=out, options=context.options)


def _prepare(
    files: Sequence[tuple[ConverterFile, str]], *, out: str, options: ConvertOptions
) -> PreparedRun:
    selection = parse_selection(options)
    # The caches are for the tasks of one run; between runs the files may have changed.
    opened_source.cache_clear()
    decoded_converter.cache_clear()
    forget_indexes()
    forget_sidecars()
    described: list[SourceContext] = []
    for file, address in files:
        variants = file.converter.variants
        if len(files) == 1:
            check_camera_names(variants, options)
        described.append(
            SourceContext(
                address=address,
                reader=recognised_reader(address, [variant.reader for variant in variants]),
                converter_text=file.text,
                converter_origin=file.origin,
                choices=tuple(
                    (name, choice)
                    for name, choice in options.choices
                    if name in file.converter.options
                ),
            )
        )
    context = RunContext(sources=tuple(described), out=out, options=options)
    run = PreparedRun(
        context=context,
        sources=tuple(opened_source(one.address, one.reader) for one in described),
        converters=tuple(decoded_converter(one) for one in described),
        selection=selection,
    )
    for source, file in zip(run.sources, run.converters, strict=True):
        known = [part.strip() for part in file.converter.revision.split(",")]
        if source.version and source.version not in known:
            _LOG.warning(
                "%s is version %s; converter %s was checked against %s",
                source.folder.address,
                source.version,
                file.converter.name,
                file.converter.revision,
            )
    return run


class Conversion:
    """A conversion as `run_plan` sees it: shards are its units, data files its jobs."""

    def __init__(self, run: PreparedRun, ledger: Ledger, on_progress: OnProgress = None) -> None:
        self.run = run
        self.ledger = ledger
        self._on_progress = on_progress
        self._assigner = run.assigner()
        self._failed = self._episodes = self._done_bytes = 0
        self._total_bytes = sum(shard.size for source in run.sources for shard in source.shards)

    @property
    def units(self) -> int:
        """Shards of all sources."""
        return len(self.run.units)

    @property
    def enough(self) -> bool:
        """Whether the wanted episodes are all there."""
        return self._assigner.finished

    def planning(self, unit: int) -> tuple[Callable[[ShardJob], ShardPlan], ShardJob]:
        """How a shard is planned."""
        selection = self.run.selection
        source, shard = self.run.units[unit]
        return plan_shard, ShardJob(
            context=self.run.context,
            source=source,
            shard=shard,
            most_good=selection.most if selection.all else None,
        )

    def known_plan(self, unit: int) -> ShardPlan | None:
        """From the ledger."""
        known = self.ledger.get("shard", unit)
        return None if known is None else msgspec.msgpack.decode(known, type=ShardPlan)

    def keep_plan(self, unit: int, plan: ShardPlan) -> None:
        """Into the ledger."""
        self.ledger.put("shard", unit, msgspec.msgpack.encode(plan))

    def jobs_of(self, plan: ShardPlan) -> Sequence[FileJob]:
        """Data files that the shard makes whole."""
        placed, files = self._assigner.add(plan)
        self._failed += sum(isinstance(record, RecordPlan) for record in placed)
        return files

    def last_jobs(self) -> Sequence[FileJob]:
        """Data files that are not full, at the end."""
        return self._assigner.rest()

    def working(self, job: FileJob) -> tuple[Callable[[FileJob], FileResult], FileJob] | None:
        """How a data file is written; None where the ledger and the disk have it."""
        known = self.ledger.get(file_kind(job.part), job.file_number)
        if known is not None:
            result = msgspec.msgpack.decode(known, type=FileResult)
            if file_is_there(job, result):
                self._count(result)
                return None
        return write_file, job

    def keep_result(self, job: FileJob, result: FileResult) -> None:
        """Into the ledger."""
        payload = msgspec.msgpack.encode(result)
        self.ledger.put(file_kind(job.part), job.file_number, payload)
        self._count(result)

    def _count(self, result: FileResult) -> None:
        self._episodes += len(result.episodes)
        self._done_bytes += sum(episode.source_bytes for episode in result.episodes)
        if self._on_progress is not None:
            done = Progress("converting", self._done_bytes, self._total_bytes, self._failed)
            self._on_progress(done)

    def check_selection(self) -> None:
        """Refuse a selection of which nothing was there; warn where a part of it was not.

        Raises:
            SourceError: No episode that was asked for is in the source.
        """
        missing = self._assigner.unmatched()
        if missing and self._assigner.written + self._failed == 0:
            raise SourceError(
                parameter="episodes",
                found=f"no episode {', '.join(missing)} in the source",
                wanted="positions or ids of episodes that are there",
                next_command="finedata convert SOURCE --input DIR --out DIR --dry-run",
            )
        if missing:
            _LOG.warning("--episodes: the source has no episode %s", ", ".join(missing))


def summary_of(out: Path) -> ConvertSummary:
    """What a finished conversion did, from its marker."""
    marker = read_dataset_file(out)
    return ConvertSummary(
        episodes=marker.counts["written"],
        frames=marker.counts["frames_written"],
        found=marker.counts["found"],
        failed=marker.counts["failed"],
        dropped_frames=marker.counts["frames_dropped"],
        parts=[part.name for part in marker.parts],
        missing_shards=[name for source in marker.sources for name in source.missing_shards],
        flags=flag_counts(open_dataset(out)),
        left_out={name: why for part in marker.parts for name, why in part.left_out.items()},
        out=str(out),
    )
