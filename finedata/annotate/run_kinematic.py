"""Facts measured from the recorded motion: no model and no cost, in batches on an engine."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from finedata.annotate.outcome import AnnotateSummary
from finedata.annotate.selection import (
    Choice,
    kinematic_episodes,
    nothing_chosen,
    select_ids,
)
from finedata.engine.local import LocalEngine
from finedata.engine.progress import Progress
from finedata.engine.run_plan import run_jobs
from finedata.kinematic import KinematicRows, measure
from finedata.kinematic.read import motion_rows, motions_of
from finedata.schema.identity import hash16
from finedata.store.dataset import open_dataset
from finedata.store.nothing import undeclared_note
from finedata.store.tables.table import append_rows, undo_unfinished

if TYPE_CHECKING:
    import pyarrow as pa

    from finedata.engine.progress import OnProgress
    from finedata.store.dataset import Dataset

KINEMATIC_RUN = hash16("kinematic/4")
"""Name of the run: raised with every change of what is measured or how it is put."""

_EPISODES_AT_ONCE = 500


def annotate_kinematic(
    root: str | Path,
    *,
    choice: Choice | None = None,
    workers: int = 1,
    on_progress: OnProgress = None,
) -> AnnotateSummary:
    """Write steps and facts measured from the motion.

    Args:
        root: Root of the dataset.
        choice: Which episodes; the representatives by default.
        workers: Processes; they change no byte.
        on_progress: Called after each batch of episodes.

    Returns:
        What was done; an episode whose numbers nobody declares counts as not applicable.

    Raises:
        UsageError: Nothing to annotate.
        OutputError: A file cannot be written.

    Example:
        >>> annotate_kinematic("bridge", choice=Choice(everything=True))  # doctest: +SKIP
    """
    path = Path(root)
    undo_unfinished(path)
    dataset = open_dataset(path)
    chosen = select_ids(dataset, choice or Choice())
    known = kinematic_episodes(dataset, run_id=KINEMATIC_RUN)
    todo = [episode_id for episode_id in chosen if episode_id not in known]
    jobs, undeclared = _jobs(dataset, todo)
    done = silent = 0
    verdicts: Counter[str] = Counter()
    # One process more for one batch would cost more than the batch.
    engine = LocalEngine(workers=min(workers, len(jobs)))
    with append_rows(path, ("steps", "facts")) as writer, engine:
        for job, found in run_jobs(_measure_some, jobs, engine=engine):
            counted: Any = found.facts["kinematic_verdict"].value_counts()
            verdicts.update({one["values"].as_py(): one["counts"].as_py() for one in counted})
            writer.add_table("steps", found.steps)
            writer.add_table("facts", found.facts)
            done, silent = done + job.episodes, silent + found.silent
            if on_progress is not None:
                on_progress(Progress("measuring", done, len(todo)))
    return AnnotateSummary(
        product="kinematic",
        teacher="kinematic",
        model="",
        run_id=KINEMATIC_RUN,
        episodes=len(chosen),
        before=len(chosen) - len(todo),
        done=done,
        not_applicable=undeclared.total(),
        rows=dict(writer.counts),
        verdicts=dict(sorted(verdicts.items())),
        notes=[
            *nothing_chosen(dataset, chosen),
            *([_silent_note(dataset, silent)] if silent else []),
            *(
                undeclared_note(
                    part,
                    found="numbers that nobody declares",
                    wanted="poses, joints or grippers that a converter file declares",
                )
                for part in sorted(undeclared)
            ),
        ],
        files=sorted(writer.files.values()),
    )


class _Job(msgspec.Struct, frozen=True):
    """Some episodes to measure; what is read of them first travels with the job.

    Attributes:
        root: The dataset.
        rows: (part, rows of `motion_rows`), in the dataset's order.
    """

    root: str
    rows: list[tuple[str, pl.DataFrame]]

    @property
    def episodes(self) -> int:
        """How many."""
        return sum(len(rows) for _, rows in self.rows)


class _Found(msgspec.Struct, frozen=True):
    """Rows of some episodes; `silent` of them have no fact."""

    steps: pa.Table
    facts: pa.Table
    silent: int


def _jobs(dataset: Dataset, ids: list[str]) -> tuple[list[_Job], Counter[str]]:
    """Jobs of so many episodes each, over all parts, and the episodes that nobody declares."""
    undeclared: Counter[str] = Counter()
    jobs: list[_Job] = []
    held: list[tuple[str, pl.DataFrame]] = []
    free = _EPISODES_AT_ONCE
    for part in dataset.parts:
        every = motion_rows(dataset, part.name, ids)
        rows = every.filter(pl.col("space") != "undeclared")
        undeclared[part.name] += len(every) - len(rows)
        while len(rows):
            held.append((part.name, rows.head(free)))
            free, rows = free - len(held[-1][1]), rows.slice(free)
            if not free:
                jobs.append(_Job(str(dataset.root), held))
                held, free = [], _EPISODES_AT_ONCE
    if held:
        jobs.append(_Job(str(dataset.root), held))
    return jobs, +undeclared


def _measure_some(job: _Job) -> _Found:
    """Read and measure a job's episodes, one at a time."""
    dataset = open_dataset(job.root)
    rows, silent = KinematicRows(run_id=KINEMATIC_RUN), 0
    for part, episodes in job.rows:
        for episode_id, motion in motions_of(dataset, part=part, rows=episodes):
            before = len(rows)
            rows.add(measure(motion), episode_id=episode_id)
            silent += len(rows) == before
    return _Found(rows.steps(), rows.facts(), silent)


def _silent_note(dataset: Dataset, count: int) -> str:
    """Why episodes have no fact: nothing was recorded that tells one."""
    return (
        f"of {count} episodes the motion tells no fact: without poses nothing is said of paths, "
        "without a gripper nothing of grasps. A converter file may name the arm's `model`, by "
        f"which joints give poses. Next: finedata info {dataset.root}  # what was recorded"
    )
