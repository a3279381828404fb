"""Making shards: plan, work, finish; the same command continues a run that was stopped.

With `--order step` the work is two passes (see `spill`), with `--order episode` one. Every task
that is finished stands in the ledger with what it wrote, and counts as done while that is there, so
a run may be killed at any moment and continued with any number of workers. A *share* does its part
of the first pass in a ledger of its own; the run without a share takes what the shares did, does
what is missing, and finishes.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from finedata.engine.local import LocalEngine
from finedata.engine.progress import Progress
from finedata.engine.run_plan import Flow
from finedata.errors import UsageError
from finedata.schema.shards_file import SHARDS_FILE, ShardsFile, decode_shards
from finedata.shard.depth import check_depth_model
from finedata.shard.files import episodes_path, is_shards, share_ledgers
from finedata.shard.making.finish import finish_shards
from finedata.shard.making.prepare import Prepared, prepare, run_key
from finedata.shard.making.settings import ShardSettings
from finedata.shard.making.summary import SetSummary, ShardEstimate, ShardSummary
from finedata.shard.making.tasks import (
    ShardTask,
    TaskResult,
    is_done,
    write_episode_tar,
    write_step_tar,
    write_unit,
)
from finedata.shard.making.text import changing
from finedata.shard.mapped import MappedTable
from finedata.store.atomic import output_errors
from finedata.store.run.ledger import LEDGER_FOLDER, Ledger
from finedata.store.run.ledger_state import ledger_item

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from finedata.engine.engine import Engine
    from finedata.engine.progress import OnProgress
    from finedata.shard.making.plan import SetPlan

__all__ = [
    "estimate_shards",
    "finish_shard_shares",
    "shard_datasets",
]

_CALL = "call"


def estimate_shards(
    roots: Sequence[str | Path],
    *,
    settings: ShardSettings,
    allow_mixed_licences: bool = False,
    check_leaks: Sequence[str] = (),
) -> ShardEstimate:
    """What `shard_datasets` would write; writes nothing but a temporary plan.

    Raises:
        UsageError: As `shard_datasets`.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = prepare(
            roots,
            settings,
            out=Path(folder),
            work=Path(folder),
            plans=Path(folder) / "plan",
            allow_mixed_licences=allow_mixed_licences,
            check_leaks=check_leaks,
        )
    sets = [
        SetSummary(
            name=plan.name,
            tier=plan.tier,
            side=plan.side,
            episodes=plan.episodes,
            samples=plan.samples,
            tars=plan.tars,
            bytes=plan.samples * plan.sample_bytes,
            encoded=0,
            psnr_db=None,
        )
        for plan in run.plans
    ]
    total = sum(one.bytes for one in sets)
    twice = settings.tar_order == "step"
    return ShardEstimate(
        sets=sets,
        left_out=run.sorted.left_out,
        bytes=total,
        scratch_bytes=total if twice else 0,
    )


def shard_datasets(
    roots: Sequence[str | Path],
    *,
    out: str | Path,
    settings: ShardSettings | None = None,
    allow_mixed_licences: bool = False,
    check_leaks: Sequence[str] = (),
    append: bool = False,
    workers: int = 1,
    shard_index: int | None = None,
    num_shards: int | None = None,
    on_progress: OnProgress = None,
) -> ShardSummary:
    """Write shards of finished datasets.

    Args:
        roots: The datasets' folders.
        out: The shards' folder: new, empty, or begun by the same call.
        settings: Choices that change bytes.
        allow_mixed_licences: Whether to put together what `licence_conflicts` would refuse.
        check_leaks: Held-out ids; a training file that would have one is refused.
        append: Add the episodes that finished shards lack, as new tars; none is no error.
        workers: Processes; changes no byte.
        shard_index: Which share of `num_shards` to do; without them all that is missing is done.
        num_shards: How many shares there are.
        on_progress: Called when a task is finished.

    Raises:
        UsageError: No gate or representatives, an episode twice, licences that do not go together,
            a leak, a camera that is not there, or a folder of other work.
        ConformError: A picture does not decode, or a file of a dataset is damaged.
        OutputError: The disk is full; the same call continues later.
    """
    settings = settings or ShardSettings()
    settings.check()
    if shard_index is not None and not 0 <= shard_index < (num_shards or 0):
        raise UsageError(
            parameter="shard_index", found=f"{shard_index}", wanted=f"0 to {(num_shards or 1) - 1}"
        )
    root = Path(out)
    known = _known(root, settings) if append else None
    if settings.depth and (append or not is_shards(root)):
        check_depth_model(settings.depth)
    key, words = run_key(roots, settings, before=known.identity if known else "")
    base = f"append-{len(known.lineage)}" if known else "shards"
    share = None if shard_index is None else (shard_index, num_shards or 1)
    name = base if share is None else f"{base}-{share[0]:05d}-of-{share[1]:05d}"
    with ExitStack() as outer:
        if known is not None and share is None:
            outer.enter_context(changing(root))
            # What became of the shards while nobody was kept out.
            if (now := _known(root, settings)).identity != known.identity:
                raise UsageError(
                    place=str(root),
                    found="shards that another run has just changed",
                    wanted="them as they were when this one began",
                    next_command="the same command again",
                )
            known = now
        ledger = outer.enter_context(Ledger(root, run_key=key, settings=words, name=name))
        if ledger.get("commit", 0) is not None and is_shards(root):
            return _summary(root, read_shards(root))
        if share is not None:
            call = _Call(
                roots=[str(Path(one).resolve()) for one in roots],
                settings=settings,
                allow_mixed_licences=allow_mixed_licences,
                check_leaks=tuple(check_leaks),
                append=append,
            )
            ledger.put(_CALL, 0, msgspec.msgpack.encode(call))
        work = root / LEDGER_FOLDER / f"{base}-work"
        engine = outer.enter_context(LocalEngine(workers=workers))
        engine.begin("finedata.shard.making.tasks")
        run = prepare(
            roots,
            settings,
            out=root,
            work=work,
            plans=work / f"plan-{name}",
            allow_mixed_licences=allow_mixed_licences,
            check_leaks=check_leaks,
            known=known,
            known_sides=_sides(root, known) if known else None,
        )
        if not run.plans:
            # The same append once more, perhaps after it was killed at its end.
            for leftover in [work, *(root / LEDGER_FOLDER).glob("append-*-work")]:
                shutil.rmtree(leftover, ignore_errors=True)
            outer.callback(_forget, root / LEDGER_FOLDER / f"{name}.sqlite")
            return _summary(root, read_shards(root))
        with ExitStack() as stack:
            ledgers = [ledger]
            if share is None:
                shares = share_ledgers(root, base)
                ledgers += [
                    stack.enter_context(Ledger(root, run_key=key, settings=words, name=path.stem))
                    for path in shares
                ]
            work_on = _Work(run, ledgers, engine, share, on_progress)
            results = work_on.both_passes()
        engine.close()
        if share is not None:
            return ShardSummary(
                out=str(out),
                identity="",
                sets=[],
                views=[],
                left_out=run.sorted.left_out,
                share=f"{share[0]}/{share[1]}",
            )
        document = finish_shards(run, results, known=known)
        ledger.put("commit", 0, b"")
        with output_errors(work):
            shutil.rmtree(work, ignore_errors=True)
    return _summary(root, document, added=sum(plan.episodes for plan in run.plans))


def _forget(ledger: Path) -> None:
    """Remove a ledger that holds nothing: the next append may be of other datasets."""
    for path in ledger.parent.glob(f"{ledger.name}*"):
        path.unlink(missing_ok=True)


class _Call(msgspec.Struct, frozen=True, kw_only=True):
    """What a share was told, so that nobody has to say it again to finish."""

    roots: list[str]
    settings: ShardSettings
    allow_mixed_licences: bool
    check_leaks: tuple[str, ...]
    append: bool


def finish_shard_shares(
    out: str | Path, *, workers: int = 1, on_progress: OnProgress = None
) -> ShardSummary:
    """Finish shards whose shares are done, with what the shares were told.

    Args:
        out: The shards' folder.
        workers: Processes; changes no byte.
        on_progress: Called when a task is finished.

    Raises:
        UsageError: There are no shares, or see `shard_datasets`.
        ConformError: A file of a dataset is damaged.
        OutputError: A ledger is damaged, or the disk is full.
    """
    root = Path(out)
    calls = [(path, ledger_item(path, _CALL)) for path in share_ledgers(root)]
    # Of several runs, the one that is not finished is the last.
    told = [payload for _, payload in sorted(calls, key=_run_number) if payload is not None]
    if not told:
        raise UsageError(
            place=str(root),
            found="no shares of a run that makes shards",
            wanted="what finedata shard --shard-index wrote",
            next_command="finedata shard DIR --out SHARDS --shard-index 0 --num-shards N",
        )
    call = msgspec.msgpack.decode(told[-1], type=_Call)
    return shard_datasets(
        call.roots,
        out=out,
        settings=call.settings,
        allow_mixed_licences=call.allow_mixed_licences,
        check_leaks=call.check_leaks,
        append=call.append,
        workers=workers,
        on_progress=on_progress,
    )


def _run_number(call: tuple[Path, bytes | None]) -> int:
    """0 of the first run, n of append-n."""
    return int(call[0].name.split("-")[1]) if call[0].name.startswith("append-") else 0


class _Work:
    """Keeps the workers busy and the ledger true."""

    def __init__(
        self,
        run: Prepared,
        ledgers: list[Ledger],
        engine: Engine,
        share: tuple[int, int] | None,
        on_progress: OnProgress,
    ) -> None:
        self._run = run
        self._ledgers = ledgers
        self._engine = engine
        self._share = share
        self._on_progress = on_progress

    def both_passes(self) -> dict[str, list[TaskResult]]:
        """Do what is not done; set -> what its tasks wrote, pass by pass, in order."""
        run = self._run
        if run.context.settings.tar_order == "episode":
            return self._pass(1, run.plans, "tar", write_episode_tar)
        # A set whose tars are whole needs no spills: they may be gone already.
        whole = {plan.name for plan in run.plans if self._has_tars(plan)}
        waiting = [plan for plan in run.plans if plan.name not in whole]
        units = self._pass(1, waiting, "unit", write_unit)
        for plan in run.plans:
            if plan.name in whole:
                units[plan.name] = [
                    found
                    for n in range(len(plan.units) - 1)
                    if (found := self._noted(plan, "unit", n))
                ]
        if self._share is not None:
            return units
        tars = self._pass(2, run.plans, "tar", write_step_tar)
        return {name: [*units[name], *tars[name]] for name in units}

    def _has_tars(self, plan: SetPlan) -> bool:
        tasks = [ShardTask(self._run.context, plan, number) for number in range(plan.tars)]
        found = [self._noted(plan, "tar", task.number) for task in tasks]
        return all(
            one is not None and is_done(task, one) for task, one in zip(tasks, found, strict=True)
        )

    def _noted(self, plan: SetPlan, kind: str, number: int) -> TaskResult | None:
        for ledger in self._ledgers:
            payload = ledger.get(f"{kind}:{plan.name}", number)
            if payload is not None:
                return msgspec.msgpack.decode(payload, type=TaskResult)
        return None

    def _tasks(self, plans: Sequence[SetPlan], kind: str) -> Iterator[ShardTask]:
        sequence = 0
        for plan in plans:
            for number in range(len(plan.units) - 1 if kind == "unit" else plan.tars):
                if self._share is None or sequence % self._share[1] == self._share[0]:
                    yield ShardTask(self._run.context, plan, number)
                sequence += 1

    def _pass(
        self,
        phase: int,
        plans: Sequence[SetPlan],
        kind: str,
        function: Callable[[ShardTask], TaskResult],
    ) -> dict[str, list[TaskResult]]:
        tasks = list(self._tasks(plans, kind))
        found: dict[str, dict[int, TaskResult]] = {plan.name: {} for plan in plans}
        done = 0

        def took(plan: SetPlan, number: int, result: TaskResult) -> None:
            nonlocal done
            found[plan.name][number] = result
            done += 1
            if self._on_progress is not None:
                self._on_progress(Progress(f"packing, pass {phase}", done, len(tasks)))

        def keep(task: ShardTask, result: TaskResult) -> None:
            payload = msgspec.msgpack.encode(result)
            self._ledgers[0].put(f"{kind}:{task.plan.name}", task.number, payload)
            took(task.plan, task.number, result)

        flow = Flow(self._engine)
        for task in tasks:
            known = self._noted(task.plan, kind, task.number)
            if known is not None and is_done(task, known):
                took(task.plan, task.number, known)
            else:
                flow.submit(function, task, keep=partial(keep, task))
        flow.drain()
        return {name: [by[n] for n in sorted(by)] for name, by in found.items()}


def read_shards(root: Path) -> ShardsFile:
    """`shards.json` of a folder.

    Raises:
        ConformError: It is damaged, or of another version.
    """
    return decode_shards((root / SHARDS_FILE).read_bytes(), place=str(root / SHARDS_FILE))


def _known(root: Path, settings: ShardSettings) -> ShardsFile:
    """The shards that are appended to, having been made with the same choices."""
    if not is_shards(root):
        raise UsageError(
            place=str(root),
            found="no finished shards",
            wanted="shards to append to",
            next_command="finedata shard DIR --out SHARDS  # without --append",
        )
    known = read_shards(root)
    asked = settings.as_options()
    different = [
        name
        for name in asked.__struct_fields__
        if getattr(known.options, name) != getattr(asked, name)
    ]
    if (known.order, known.sample) != (settings.tar_order, settings.sample):
        different.append("order, type")
    if different:
        raise UsageError(
            place=str(root),
            found=f"other choices than those it was made with: {', '.join(different)}",
            wanted="the same",
            next_command=f"the options in {root / SHARDS_FILE}",
        )
    return known


def _sides(root: Path, known: ShardsFile) -> dict[str, str]:
    sides: dict[str, str] = {}
    for one in known.sets:
        rows = MappedTable(episodes_path(root, one.name), name="shard_episodes").rows(
            0, one.episodes, columns=["episode_id"]
        )
        ids: list[str] = rows.column("episode_id").to_pylist()  # pyright: ignore[reportAssignmentType]
        sides |= dict.fromkeys(ids, one.side)
    return sides


def _summary(root: Path, document: ShardsFile, *, added: int = 0) -> ShardSummary:
    sets: list[SetSummary] = []
    for one in document.sets:
        lossy = [camera.psnr_db for camera in one.cameras if camera.psnr_db is not None]
        sets.append(
            SetSummary(
                name=one.name,
                tier=one.tier,
                side=one.side,
                episodes=one.episodes,
                samples=one.samples,
                tars=len(one.tars),
                bytes=sum(tar.bytes for tar in one.tars),
                encoded=sum(camera.encoded for camera in one.cameras),
                psnr_db=min(lossy, default=None),
            )
        )
    return ShardSummary(
        out=str(root),
        identity=document.identity,
        sets=sets,
        views=document.texts[-1].views if document.texts else [],
        left_out=document.left_out,
        added=added,
    )
