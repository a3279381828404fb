"""One self-contained HTML file for a dataset, the same bytes for the same dataset.

Facts are gathered, laid out and written atomically: no clock, host, path or number of workers is
in them. What has not run yet is said, not guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

import finedata
from finedata.errors import UsageError
from finedata.report.coverage import read_coverage
from finedata.report.drawing.svg import counted, escape
from finedata.report.facts import read_facts
from finedata.report.funnel import FunnelRow, episode_states, read_funnel
from finedata.report.html import NEXT_CLUSTER, note, page
from finedata.report.sections.coverage import coverage_section
from finedata.report.sections.funnel import funnel_section
from finedata.report.sections.tasks import tasks_section
from finedata.report.sections.whole import (
    dataset_section,
    distributions_section,
    reasons_section,
)
from finedata.report.tasks import TaskLimits, read_task
from finedata.store.atomic import write_atomic
from finedata.store.dataset import open_dataset
from finedata.store.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from finedata.report.coverage import Units
    from finedata.report.facts import DatasetFacts
    from finedata.report.tasks import DistanceReader

__all__ = ["KnownDistances", "ReportSummary", "render_report", "write_report"]


@dataclass(frozen=True, slots=True)
class KnownDistances:
    """Where distances come from.

    Attributes:
        read: (part, task_id) to episode ids and condensed distances, or `None`.
        units: Gives all units with all their distances, each time anew.
    """

    read: DistanceReader
    units: Units


class ReportSummary(Summary, msgspec.Struct, frozen=True, kw_only=True):
    """What a report shows.

    Attributes:
        out: The file, as it was given.
        bytes: Its size.
        funnel: Episodes after each step, all sources together.
        tasks: How many tasks there are.
        tasks_in_detail: How many of them are shown with map, tree and strips.
        film_strips: How many.
        not_yet: Steps that have not run: gate, cluster.
    """

    out: str
    bytes: int
    funnel: FunnelRow
    tasks: int
    tasks_in_detail: int
    film_strips: int
    not_yet: list[str]


def write_report(
    root: str | Path,
    *,
    out: str | Path | None = None,
    tasks: int = 12,
    seed: int = 0,
    limits: TaskLimits | None = None,
) -> ReportSummary:
    """Write the report of a dataset.

    Args:
        root: The dataset.
        out: The file; `report.html` in the dataset where none is given.
        tasks: How many tasks are shown in detail at most, largest first.
        seed: Of the random selections that the curve is held against, and of the points that a
            crowded map shows.
        limits: How much of each task is shown.

    Returns:
        What it shows.

    Raises:
        UsageError: There is no dataset, or `tasks` is negative, or `out` is a folder.
        ConformError: A table is of another schema.
        OutputError: It cannot be written.

    Example:
        >>> write_report("bridge").film_strips  # doctest: +SKIP
        9
    """
    path = Path(root) / "report.html" if out is None else Path(out)
    if path.is_dir():
        raise UsageError(
            parameter="out",
            place=f"out {out}",
            found="a folder",
            wanted="a file",
            next_command=f"finedata report {root} --out {path / 'report.html'}",
        )
    html, summary = render_report(root, tasks=tasks, seed=seed, limits=limits)
    write_atomic(path, html)
    return msgspec.structs.replace(summary, out=str(path))


def render_report(
    root: str | Path,
    *,
    tasks: int = 12,
    seed: int = 0,
    limits: TaskLimits | None = None,
    distances: KnownDistances | None = None,
) -> tuple[str, ReportSummary]:
    """The page itself, and its summary with `out` empty; see `write_report`.

    Args:
        root: The dataset.
        tasks: See `write_report`.
        seed: See `write_report`.
        limits: See `write_report`.
        distances: Where distances come from; the ledger where none is given.
    """
    if tasks < 0:
        raise UsageError(parameter="tasks", found=f"{tasks}", wanted="zero or more")
    limits = limits or TaskLimits()
    dataset = open_dataset(root)
    source = distances or _ledger_of(dataset.root)
    states = episode_states(dataset)
    funnel = read_funnel(dataset, states)
    facts = read_facts(dataset, states)
    clustered = [count for count in facts.tasks if count.clustered]
    shown = [
        read_task(dataset, count, distances=source.read, limits=limits, seed=seed)
        for count in clustered[:tasks]
    ]
    coverage = read_coverage(dataset, units=source.units, seed=seed)
    if funnel.cluster_ran:
        task_part = tasks_section(facts.tasks, shown, clusters_shown=limits.clusters)
    else:
        task_part = note(NEXT_CLUSTER)
        task_part += tasks_section(facts.tasks, [], clusters_shown=limits.clusters)
    sections = [
        ("funnel", "Where the episodes went", funnel_section(funnel)),
        ("distributions", "Lengths, scores and lags", distributions_section(facts)),
        ("reasons", "Why episodes were set aside", reasons_section(facts)),
        ("coverage", "What a budget covers", coverage_section(coverage)),
        ("tasks", "Tasks and their representatives", task_part),
        ("dataset", "The dataset and its settings", dataset_section(facts)),
    ]
    html = page(
        _title(facts),
        sections,
        lead=f'<p class="lead">{_lead(facts, funnel.total)}</p>',
        foot=f"Made by <code>finedata report</code> {escape(finedata.__version__)}. This file "
        "needs no network and runs no script.",
    )
    summary = ReportSummary(
        out="",
        bytes=len(html.encode()),
        funnel=funnel.total,
        tasks=len(facts.tasks),
        tasks_in_detail=len(shown),
        film_strips=sum(len(task.representatives) for task in shown),
        not_yet=[
            name
            for name, ran in (("gate", funnel.gate_ran), ("cluster", funnel.cluster_ran))
            if not ran
        ],
    )
    return html, summary


def _ledger_of(root: Path) -> KnownDistances:
    from finedata.cluster.distance.last_run import iter_distances, read_distances

    def units() -> Iterator[tuple[list[str], NDArray[np.floating]]]:
        for unit in iter_distances(root):
            if unit.condensed is not None:
                yield unit.episode_ids, unit.condensed

    return KnownDistances(
        read=lambda part, task_id: read_distances(root, part=part, task_id=task_id), units=units
    )


def _title(facts: DatasetFacts) -> str:
    titles = [source.title or source.name for source in facts.sources]
    if not titles:
        return "A dataset"
    return ", ".join(titles[:3]) + (f" and {len(titles) - 3} more" if len(titles) > 3 else "")


def _lead(facts: DatasetFacts, total: FunnelRow) -> str:
    frames = sum(part.frames for part in facts.parts)
    licences = sorted({source.licence for source in facts.sources})
    words = (
        f"{counted(total.written, 'episode')}, {counted(frames, 'frame')}, "
        f"{counted(len(facts.tasks), 'task')}"
    )
    if total.representatives:
        words += f", {counted(total.representatives, 'representative')}"
    return f"{words}. {escape(', '.join(licences))}."
