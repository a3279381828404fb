"""What was done in a folder, with which settings, what runs or stopped, and what to type next.

Answers come from what lies there: the marker, the tables, and the ledgers of runs. A conversion
or shards that are not finished have a ledger and no marker; they are told from it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
import polars as pl

from finedata.errors import UsageError
from finedata.store.dataset import open_dataset
from finedata.store.dataset_file import DATASET_FILE
from finedata.store.run.ledger_state import ledger_states
from finedata.store.summary import Summary

if TYPE_CHECKING:
    from finedata.store.dataset import Dataset
    from finedata.store.run.ledger_state import LedgerState

__all__ = ["Status", "Step", "status"]

State = Literal["done", "running", "stopped", "not yet"]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A verb and what became of it.

    Attributes:
        verb: As on the command line.
        state: `stopped`: begun, not finished, and no process works on it now.
        far: How far, in counts.
        settings: What the run was told; where only the hash is kept, its first digits.
        last_at: When its newest piece was finished, UTC; "" where no ledger tells.
    """

    verb: str
    state: State
    far: str
    settings: str = ""
    last_at: str = ""


class Status(Summary, msgspec.Struct, frozen=True, kw_only=True):
    """What a folder holds.

    Attributes:
        root: The folder.
        steps: In the order in which they are done.
        next: What to type next.
    """

    root: str
    steps: list[Step]
    next: str


def status(root: str | Path) -> Status:
    """Look at a dataset, or at one that is being made; nothing is changed.

    Raises:
        UsageError: Nothing that finedata made or is making lies there.
        OutputError: A ledger is damaged.
    """
    path = Path(root)
    ledgers = ledger_states(path)
    if not (path / DATASET_FILE).is_file():
        return _unfinished(path, ledgers)
    dataset = open_dataset(path)
    steps = [
        _conversion(dataset, ledgers),
        _gate(dataset),
        _cluster(dataset, ledgers),
        *_annotations(dataset),
    ]
    return Status(root=str(root), steps=steps, next=_next(path, steps))


def _unfinished(root: Path, ledgers: list[LedgerState]) -> Status:
    from finedata.convert.sharded import is_sharded
    from finedata.shard.files import is_shards

    if is_shards(root):
        return Status(
            root=str(root),
            steps=[Step(verb="shard", state="done", far="finished shards")],
            next=f"finedata info {root}",
        )
    if not ledgers:
        raise UsageError(
            place=str(root),
            found="nothing that finedata made",
            wanted="a dataset, shards, or one of them in the making",
            next_command=f"finedata convert SOURCE --input DIR --out {root}",
        )
    shards = any("source" not in ledger.settings for ledger in ledgers)
    steps = [
        Step(
            verb="shard" if shards else "convert",
            state="running" if ledger.running else "stopped",
            far=_counts(ledger),
            settings=_words(ledger.settings),
            last_at=ledger.last_at,
        )
        for ledger in ledgers
    ]
    if any(step.state == "running" for step in steps):
        after = "wait: a process is at it"
    elif is_sharded(root):
        after = f"the shares that are missing; when all are done: finedata merge {root}"
    else:
        after = f"the same command as before: it continues; finedata {steps[0].verb} ..."
    return Status(root=str(root), steps=steps, next=after)


def _conversion(dataset: Dataset, ledgers: list[LedgerState]) -> Step:
    counts = dataset.info.counts
    own = next((one for one in ledgers if one.name == "ledger"), None)
    options = {name: value for name, value in dataset.info.options.items() if value}
    derived = dataset.info.derived_from
    return Step(
        verb="convert" if derived is None else derived.how,
        state="done",
        far=f"{counts['written']} of {counts['found']} episodes, {counts['frames_written']} frames",
        settings=", ".join(
            [*(f"{one.name} {one.revision}" for one in dataset.info.sources), _words(options)]
        ),
        last_at="" if own is None else own.last_at,
    )


def _gate(dataset: Dataset) -> Step:
    rows = dataset.verdicts.group_by("verdict").len().sort("verdict").collect()
    if not rows.height:
        return Step(verb="gate", state="not yet", far="")
    told = ", ".join(f"{count} {verdict}" for verdict, count in rows.iter_rows())
    return Step(verb="gate", state="done", far=told, settings=_digest(dataset, "gate"))


def _cluster(dataset: Dataset, ledgers: list[LedgerState]) -> Step:
    runs = [one for one in ledgers if one.name.startswith("cluster")]
    last = max((one.last_at for one in runs), default="")
    if any(one.running for one in runs):
        done = sum(one.finished.get("tile", 0) for one in runs)
        return Step(verb="cluster", state="running", far=f"{done} tiles of distances", last_at=last)
    written = (dataset.root / "curation" / "representatives.parquet").is_file()
    if written:
        clusters = dataset.clusters.select(pl.col("cluster_id").n_unique()).collect().item()
        chosen = dataset.representatives.select(pl.len()).collect().item()
        return Step(
            verb="cluster",
            state="done",
            far=f"{clusters} clusters, {chosen} representatives",
            settings=_digest(dataset, "clusters"),
            last_at=last,
        )
    if runs:
        done = sum(one.finished.get("tile", 0) for one in runs)
        return Step(verb="cluster", state="stopped", far=f"{done} tiles of distances", last_at=last)
    return Step(verb="cluster", state="not yet", far="")


def _annotations(dataset: Dataset) -> list[Step]:
    from finedata.annotate.status import annotate_status

    found = annotate_status(dataset.root)
    runs: dict[tuple[str, str, str], list[str]] = {}
    for run in found.runs:
        verb = "annotate traces" if run.table == "traces" else "annotate facts"
        verb = "annotate kinematic" if run.origin == "kinematic" else verb
        told = f"{run.rows} {run.table} of {run.episodes} episodes"
        runs.setdefault((verb, run.run_id, run.annotator), []).append(told)
    steps = [
        Step(verb=verb, state="done", far=", ".join(told), settings=f"{annotator or verb} {run_id}")
        for (verb, run_id, annotator), told in runs.items()
    ]
    unsettled = {name: found.states.get(name, 0) for name in ("sent", "in_doubt", "stopped")}
    if any(unsettled.values()):
        told = ", ".join(f"{count} calls {name}" for name, count in unsettled.items() if count)
        steps.append(Step(verb="annotate", state="stopped", far=told))
    return steps or [Step(verb="annotate", state="not yet", far="")]


def _next(root: Path, steps: list[Step]) -> str:
    for step in steps:
        if step.state == "running":
            return "wait: a process is at it"
        if step.state == "stopped":
            return f"finedata {step.verb} {root} with the options of before: it continues"
        if step.state == "not yet":
            words = "annotate kinematic" if step.verb == "annotate" else step.verb
            return f"finedata {words} {root}"
    return f"finedata report {root}"


def _digest(dataset: Dataset, table: str) -> str:
    found = dataset.table(table).select(pl.col("settings_sha256").unique().sort()).collect()
    return ", ".join(f"settings {digest[:12]}" for digest in found["settings_sha256"].to_list())


def _counts(ledger: LedgerState) -> str:
    # What a share was told is no work.
    done = (f"{count} {kind}" for kind, count in ledger.finished.items() if kind != "call")
    return ", ".join(done) or "nothing yet"


def _words(settings: object) -> str:
    if not isinstance(settings, dict):
        return str(settings)
    named = msgspec.convert(settings, dict[str, object])
    return ", ".join(f"{name}={value}" for name, value in named.items())
