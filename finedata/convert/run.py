"""Converting: a source and a converter come in, a finished dataset lies in `out`.

Plan, work, commit. Shards are planned a bounded distance ahead, so that the work finds their
bytes still in memory; data files are written by workers as soon as the plan has closed them;
the ledger records both. Killed at any moment, the same call finishes the work, and the result
is byte for byte that of an unbroken run.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgspec

import finedata
from finedata.convert.commit import commit
from finedata.convert.context import (
    ConvertOptions,
    RunContext,
    check_features,
    chosen_cameras,
    opened_source,
    part_features,
    run_key,
)
from finedata.convert.plan import (
    Assigner,
    FileJob,
    PreparedRun,
    RecordPlan,
    ShardJob,
    ShardPlan,
    parse_selection,
    plan_shard,
)
from finedata.convert.work import FileResult, write_file
from finedata.engine.local import LocalEngine
from finedata.errors import SourceError
from finedata.schema.converter import decode_converter, find_converter
from finedata.store.dataset_file import DATASET_FILE, read_dataset_file
from finedata.store.ledger import Ledger
from finedata.store.lerobot.layout import data_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from finedata.schema.converter import ConverterFile
    from finedata.store.dataset_file import DatasetFile

__all__ = ["ConvertSummary", "Progress", "convert", "prepare", "prepare_from_dataset"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a conversion is: counts so far, and bytes of the source behind and in all."""

    episodes: int
    failed: int
    done_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class ConvertSummary:
    """What a conversion did.

    Attributes:
        episodes: Written.
        frames: Written.
        found: Episodes found: written and failed.
        failed: Episodes that could not be, each with a receipt.
        dropped_frames: Frames of written episodes that were not written.
        parts: Names of the LeRobot datasets inside `out`.
        missing_shards: Shards that the source declares and lacks.
        out: The dataset's folder.
    """

    episodes: int
    frames: int
    found: int
    failed: int
    dropped_frames: int
    parts: list[str]
    missing_shards: list[str]
    out: str


def convert(
    source: str,
    *,
    input: str | Path,
    out: str | Path,
    options: ConvertOptions | None = None,
    num_workers: int = 1,
    on_progress: Callable[[Progress], None] | None = None,
) -> ConvertSummary:
    """Convert a source dataset into a canonical one.

    Args:
        source: Name of a converter, or path of a converter file.
        input: Folder or address of the source.
        out: Folder of the output; new, empty, or begun by the same call.
        options: Choices that change the output.
        num_workers: Worker processes; does not change the output.
        on_progress: Called whenever a data file is finished.

    Raises:
        UsageError: Unknown source, no such input, an output that is not ours, a wrong option.
        SourceError: The source cannot be read at all.
        OutputError: The output cannot be written; the same call continues later.
    """
    run = prepare(source, address=str(input), out=str(out), options=options or ConvertOptions())
    key, settings = run_key(run.context, run.source, finedata_version=finedata.__version__)
    for name in run.source.missing_shards:
        _LOG.warning("%s: declared by dataset_info.json, not in the folder", name)
    with Ledger(Path(out), run_key=key, settings=settings) as ledger:
        if ledger.get("commit", 0) is None or not (Path(out) / DATASET_FILE).is_file():
            with LocalEngine(num_workers=num_workers) as engine:
                _Conversion(run, ledger, engine, on_progress).work()
            commit(run, ledger)
            ledger.put("commit", 0, b"")
    return _summary(run, Path(out))


def prepare(source: str, *, address: str, out: str, options: ConvertOptions) -> PreparedRun:
    """Read what a conversion needs before it begins; writes nothing.

    Raises:
        UsageError: Unknown source, no such input, a wrong option.
        SourceError: The source cannot be read at all.
    """
    return _prepare(find_converter(source), address=address, out=out, options=options)


def prepare_from_dataset(info: DatasetFile, *, address: str, out: str) -> PreparedRun:
    """What a finished dataset's own conversion knew: its converter and options, from its marker.

    Raises:
        UsageError: No such input.
        SourceError: The source cannot be read at all.
    """
    converter = decode_converter(info.sources[0].converter, origin=f"{out}/{DATASET_FILE}")
    options = msgspec.convert(info.options, ConvertOptions)
    return _prepare(converter, address=address, out=out, options=options)


def _prepare(
    converter: ConverterFile, *, address: str, out: str, options: ConvertOptions
) -> PreparedRun:
    selection = parse_selection(options)
    # The cache is for the tasks of one run; between runs the files may have changed.
    opened_source.cache_clear()
    opened = opened_source(address)
    check_features(converter.converter, opened)
    cameras = chosen_cameras(converter.converter, opened, options)
    features = part_features(converter.converter, opened, cameras)
    if opened.version and opened.version != converter.converter.revision:
        _LOG.warning(
            "%s is version %s; converter %s was checked against %s",
            address,
            opened.version,
            converter.converter.name,
            converter.converter.revision,
        )
    context = RunContext(
        address=address,
        out=out,
        converter_text=converter.text,
        converter_origin=converter.origin,
        options=options,
    )
    return PreparedRun(context, opened, converter, cameras, features, selection)


class _Conversion:
    """The coordinator: keeps the workers busy and the ledger true."""

    def __init__(
        self,
        run: PreparedRun,
        ledger: Ledger,
        engine: LocalEngine,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self._run = run
        self._ledger = ledger
        self._engine = engine
        self._on_progress = on_progress
        self._assigner = Assigner(run.context, run.selection)
        self._plans: dict[int, ShardPlan] = {}
        self._next_to_plan = 0
        self._failed = self._episodes = self._done_bytes = 0
        self._total_bytes = sum(shard.size for shard in run.source.shards)

    def work(self) -> None:
        """Plan every shard and write every data file."""
        for shard in range(len(self._run.source.shards)):
            if self._assigner.finished:
                break
            plan = self._plan(shard)
            source = self._run.source.shards[shard]
            placed, files = self._assigner.add(
                plan,
                file=source.file,
                split=source.split,
                source=self._run.converter.converter.name,
            )
            self._failed += sum(isinstance(record, RecordPlan) for record in placed)
            for job in files:
                self._write(job)
        for job in self._assigner.rest():
            self._write(job)
        while self._engine.pending:
            self._take_finished()
        self._check_selection()

    def _plan(self, shard: int) -> ShardPlan:
        """The plan of a shard; asks for the following ones while it waits."""
        ahead = shard + self._engine.num_workers + 1
        while self._next_to_plan < min(ahead, len(self._run.source.shards)):
            number = self._next_to_plan
            self._next_to_plan += 1
            known = self._ledger.get("shard", number)
            if known is not None:
                self._plans[number] = msgspec.msgpack.decode(known, type=ShardPlan)
                continue
            selection = self._run.selection
            job = ShardJob(
                context=self._run.context,
                shard=number,
                most_good=selection.most if selection.all else None,
            )
            self._engine.submit(("shard", number), plan_shard, job)
        while shard not in self._plans:
            self._take_finished()
        return self._plans.pop(shard)

    def _write(self, job: FileJob) -> None:
        known = self._ledger.get("file", job.file_number)
        if known is not None:
            result = msgspec.msgpack.decode(known, type=FileResult)
            path = Path(self._run.context.out) / data_path(job.file_number)[0]
            if path.is_file() and path.stat().st_size == result.size:
                self._count(result)
                return
        # A bounded number of files in flight keeps memory and the look-ahead bounded.
        while self._engine.pending > 3 * self._engine.num_workers:
            self._take_finished()
        self._engine.submit(("file", job.file_number), write_file, job)

    def _take_finished(self) -> None:
        ticket, result = self._engine.next_finished()
        kind, number = cast("tuple[str, int]", ticket)
        self._ledger.put(kind, number, msgspec.msgpack.encode(result))
        if isinstance(result, ShardPlan):
            self._plans[number] = result
        else:
            self._count(result)

    def _count(self, result: FileResult) -> None:
        self._episodes += len(result.episodes)
        self._done_bytes += sum(episode.source_bytes for episode in result.episodes)
        if self._on_progress is not None:
            self._on_progress(
                Progress(self._episodes, self._failed, self._done_bytes, self._total_bytes)
            )

    def _check_selection(self) -> None:
        missing = self._assigner.unmatched()
        if missing and self._assigner.written + self._failed == 0:
            raise SourceError(
                place="--episodes",
                found=f"no episode {', '.join(missing)} in the source",
                wanted="positions or ids of episodes that are there",
                next_command="finedata convert SOURCE --input DIR --out DIR --dry-run",
            )
        if missing:
            _LOG.warning("--episodes: the source has no episode %s", ", ".join(missing))


def _summary(run: PreparedRun, out: Path) -> ConvertSummary:
    marker = read_dataset_file(out)
    return ConvertSummary(
        episodes=marker.counts["written"],
        frames=marker.counts["frames_written"],
        found=marker.counts["found"],
        failed=marker.counts["failed"],
        dropped_frames=marker.counts["frames_dropped"],
        parts=[part.name for part in marker.parts],
        missing_shards=list(run.source.missing_shards),
        out=str(out),
    )
