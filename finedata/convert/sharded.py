"""One conversion by many processes that share nothing but a folder.

Each process `i` of `n` is started by whatever scheduler there is, in any order or one after the
other. It plans its share of the source's shards, then what nobody has planned yet (plans are small
files in the output's `.finedata/plans/`), so that all processes know the whole plan and agree on
every boundary. Then it writes each n-th data file. `merge_shards` commits when all are done. The
result is byte for byte that of one process.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from heapq import merge
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

import finedata
from finedata.convert.commit.run import commit
from finedata.convert.context import ConvertOptions, RunContext, run_key
from finedata.convert.planning.plan import ShardPlan
from finedata.convert.run import (
    Conversion,
    ConvertSummary,
    prepare,
    prepare_from_context,
    summary_of,
)
from finedata.convert.work import FileResult, file_is_there, file_kind
from finedata.engine.local import LocalEngine
from finedata.engine.run_plan import run_plan
from finedata.errors import UsageError
from finedata.store.atomic import write_atomic
from finedata.store.dataset_file import DATASET_FILE
from finedata.store.run.ledger import LEDGER_FOLDER, Ledger
from finedata.store.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from finedata.convert.planning.assign import FileJob
    from finedata.convert.prepared import PreparedRun

__all__ = ["ShardSummary", "convert_share", "is_sharded", "merge_shards"]

_PLANS = f"{LEDGER_FOLDER}/plans"
_CONTEXT = f"{LEDGER_FOLDER}/sharded-run.msgpack"


class _SharedRun(msgspec.Struct, frozen=True, kw_only=True):
    """What the processes of a sharded run must agree on."""

    run_key: str
    num_shards: int
    context: RunContext


@dataclass(frozen=True, slots=True)
class ShardSummary(Summary):
    """What one process of a sharded conversion did.

    Attributes:
        shard_index: Which one.
        num_shards: Of how many.
        files: Data files that it wrote, or had written.
        all_files: Data files of the whole conversion.
        out: The output folder.
    """

    shard_index: int
    num_shards: int
    files: int
    all_files: int
    out: str


def is_sharded(out: Path) -> bool:
    """Whether a folder holds a sharded conversion that is not merged yet."""
    return (out / _CONTEXT).is_file() and not (out / DATASET_FILE).is_file()


def convert_share(
    sources: Sequence[tuple[str, str]],
    *,
    out: str | Path,
    options: ConvertOptions | None = None,
    shard_index: int,
    num_shards: int,
    workers: int = 1,
) -> ShardSummary:
    """Do one process' share of a conversion.

    Args:
        sources: (converter, address) of each source.
        out: The output folder, the same for all processes.
        options: Choices that change the output, the same for all processes.
        shard_index: Which share, from 0.
        num_shards: How many shares.
        workers: Worker processes of this one.

    Raises:
        UsageError: No such share, or a folder where another conversion was begun.
        SourceError: A source cannot be read.
        OutputError: The output cannot be written; the same call continues later.
    """
    if not 0 <= shard_index < num_shards:
        raise UsageError(
            parameter="shard_index",
            found=f"{shard_index} of {num_shards}",
            wanted=f"a number from 0 to {num_shards - 1}",
        )
    root = Path(out)
    run = prepare(sources, out=str(out), options=options or ConvertOptions())
    key, settings = run_key(run.context, finedata_version=finedata.__version__)
    name = _ledger_name(shard_index, num_shards)
    with Ledger(root, run_key=key, settings=settings, name=name) as ledger:
        _agree(root, _SharedRun(run_key=key, num_shards=num_shards, context=run.context))
        share = _Share(run, ledger, shard_index, num_shards)
        with LocalEngine(workers=workers) as engine:
            run_plan(share, engine=engine, first=share.own_units_first())
    return ShardSummary(shard_index, num_shards, share.mine, share.all, str(out))


def merge_shards(out: str | Path) -> ConvertSummary:
    """Commit a sharded conversion when every share is written.

    Raises:
        UsageError: No sharded conversion there, or a share that is not finished.
    """
    root = Path(out)
    if not (root / _CONTEXT).is_file():
        raise UsageError(
            place=str(root),
            found="no sharded conversion",
            wanted="a folder that finedata convert --num-shards was writing",
            next_command="to join datasets: finedata merge DIR DIR --out DIR",
        )
    shared = msgspec.msgpack.decode((root / _CONTEXT).read_bytes(), type=_SharedRun)
    run = prepare_from_context(shared.context, out=str(out))
    if not is_sharded(root):
        return summary_of(root)  # merged before
    key, settings = run_key(run.context, finedata_version=finedata.__version__)
    with ExitStack() as stack:
        ledgers = [
            stack.enter_context(
                Ledger(
                    root, run_key=key, settings=settings, name=_ledger_name(i, shared.num_shards)
                )
            )
            for i in range(shared.num_shards)
        ]
        finished = _AllLedgers(run, root, ledgers)
        finished.check_complete()
        commit(run, finished)
    return summary_of(root)


def _ledger_name(shard_index: int, num_shards: int) -> str:
    return f"shard-{shard_index:05d}-of-{num_shards:05d}"


def _agree(root: Path, mine: _SharedRun) -> None:
    """Be the first to say what the run is, or agree with who was."""
    path = root / _CONTEXT
    if not path.is_file():
        write_atomic(path, msgspec.msgpack.encode(mine))
    theirs = msgspec.msgpack.decode(path.read_bytes(), type=_SharedRun)
    if (theirs.run_key, theirs.num_shards) != (mine.run_key, mine.num_shards):
        raise UsageError(
            place=str(root),
            found=f"a conversion in {theirs.num_shards} shares, or one of other settings",
            wanted=f"the same settings and --num-shards {mine.num_shards}",
            next_command=f"--num-shards {theirs.num_shards}, or another --out",
        )


def _plan_path(root: Path, unit: int) -> Path:
    return root / _PLANS / f"{unit:08d}.msgpack"


class _Share(Conversion):
    """One process' share: plans are files that all processes see, and every n-th job is ours."""

    def __init__(self, run: PreparedRun, ledger: Ledger, shard_index: int, num_shards: int) -> None:
        super().__init__(run, ledger)
        self._root = Path(run.context.out)
        self._index = shard_index
        self._count_of_shares = num_shards
        self.mine = self.all = 0

    def own_units_first(self) -> list[int]:
        """This process' share of the planning, then whatever the others have not planned."""
        units = range(self.units)
        own = [unit for unit in units if unit % self._count_of_shares == self._index]
        others = [unit for unit in units if unit % self._count_of_shares != self._index]
        # Everybody helps from another place, so that two rarely plan the same.
        turned = others[len(others) * self._index // self._count_of_shares :]
        return list(dict.fromkeys(own + turned + others))

    def known_plan(self, unit: int) -> ShardPlan | None:
        """From its file, whichever process wrote it."""
        path = _plan_path(self._root, unit)
        return msgspec.msgpack.decode(path.read_bytes(), type=ShardPlan) if path.is_file() else None

    def keep_plan(self, unit: int, plan: ShardPlan) -> None:
        """Into its file, for all processes."""
        write_atomic(_plan_path(self._root, unit), msgspec.msgpack.encode(plan))

    def working(self, job: FileJob) -> tuple[Callable[[FileJob], FileResult], FileJob] | None:
        """As of a whole conversion; None for the jobs of other processes."""
        self.all += 1
        if job.sequence % self._count_of_shares != self._index:
            return None
        self.mine += 1
        return super().working(job)


def _plans(run: PreparedRun, root: Path) -> Iterator[ShardPlan]:
    decoder = msgspec.msgpack.Decoder(ShardPlan)
    for number in range(len(run.units)):
        yield decoder.decode(_plan_path(root, number).read_bytes())


def _all_jobs(run: PreparedRun, root: Path) -> Iterator[FileJob]:
    """Every data file of the whole conversion."""
    assigner = run.assigner()
    for plan in _plans(run, root):
        if assigner.finished:
            break
        yield from assigner.add(plan)[1]
    yield from assigner.rest()


class _AllLedgers:
    """The ledgers of all processes, as if they were one; see `Finished`."""

    def __init__(self, run: PreparedRun, root: Path, ledgers: list[Ledger]) -> None:
        self._run = run
        self._root = root
        self._ledgers = ledgers

    def payloads(self, kind: str) -> Iterator[bytes]:
        """The payloads of a kind in the order of their numbers."""
        if kind == "shard":
            for number in range(len(self._run.units)):
                yield _plan_path(self._root, number).read_bytes()
            return
        for _, payload in merge(*(ledger.items(kind) for ledger in self._ledgers)):
            yield payload

    def check_complete(self) -> None:
        """Refuse a conversion of which a share is missing.

        Raises:
            UsageError: A data file was not written; says by which shares.
        """
        missing: set[int] = set()
        count = len(self._ledgers)
        if not all(_plan_path(self._root, n).is_file() for n in range(len(self._run.units))):
            missing = set(range(count))
        jobs = iter(()) if missing else _all_jobs(self._run, self._root)
        for job in jobs:
            index = job.sequence % count
            payload = self._ledgers[index].get(file_kind(job.part), job.file_number)
            if payload is None or not file_is_there(
                job, msgspec.msgpack.decode(payload, type=FileResult)
            ):
                missing.add(index)
        if missing:
            shares = ", ".join(str(index) for index in sorted(missing))
            raise UsageError(
                place=str(self._root),
                found=f"shares that are not finished: {shares} of {count}",
                wanted="all of them",
                next_command=f"finedata convert ... --shard-index {min(missing)} "
                f"--num-shards {count}",
            )
