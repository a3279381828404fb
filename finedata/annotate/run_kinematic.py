"""Facts measured from the recorded motion: no model, no cost, from episodes to the new files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finedata.annotate.judging import motions_in_order
from finedata.annotate.outcome import AnnotateSummary
from finedata.annotate.selection import (
    Choice,
    kinematic_episodes,
    nothing_chosen,
    select_ids,
)
from finedata.engine.progress import Progress
from finedata.kinematic import KinematicRows, measure
from finedata.schema.identity import hash16
from finedata.store.dataset import open_dataset
from finedata.store.nothing import undeclared_note
from finedata.store.table import TableWriter, append_rows, undo_unfinished

if TYPE_CHECKING:
    from finedata.engine.progress import OnProgress
    from finedata.store.dataset import Dataset

__all__ = ["KINEMATIC_RUN", "annotate_kinematic"]

KINEMATIC_RUN = hash16("kinematic/3")
"""Name of the run: raised with every change of what is measured or how it is put."""

_EPISODES_AT_ONCE = 500


def annotate_kinematic(
    root: str | Path,
    *,
    choice: Choice | None = None,
    on_progress: OnProgress = None,
) -> AnnotateSummary:
    """Write steps and facts measured from the motion.

    Args:
        root: Root of the dataset.
        choice: Which episodes; the representatives by default.
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
    undeclared: Counter[str] = Counter()
    done = pending = silent = 0
    rows = KinematicRows(run_id=KINEMATIC_RUN)
    verdicts: Counter[str] = Counter()

    def flush(writer: TableWriter) -> None:
        facts = rows.facts()
        counted: Any = facts["kinematic_verdict"].value_counts()
        verdicts.update({one["values"].as_py(): one["counts"].as_py() for one in counted})
        writer.add_table("steps", rows.steps())
        writer.add_table("facts", facts)

    parts = dict(dataset.episodes.select("episode_id", "part").collect().iter_rows())
    with append_rows(path, ("steps", "facts")) as writer:
        for episode_id, motion in motions_in_order(dataset, todo):
            if motion is None:
                undeclared[parts[episode_id]] += 1
                continue
            before = len(rows)
            rows.add(measure(motion), episode_id=episode_id)
            silent += len(rows) == before
            done, pending = done + 1, pending + 1
            if pending == _EPISODES_AT_ONCE:
                flush(writer)
                rows, pending = KinematicRows(run_id=KINEMATIC_RUN), 0
                if on_progress is not None:
                    on_progress(Progress("measuring", done, len(todo)))
        flush(writer)
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


def _silent_note(dataset: Dataset, count: int) -> str:
    """Why episodes have no fact: nothing was recorded that tells one."""
    return (
        f"of {count} episodes the motion tells no fact: without poses nothing is said of paths, "
        "without a gripper nothing of grasps. A converter file may name the arm's `model`, by "
        f"which joints give poses. Next: finedata info {dataset.root}  # what was recorded"
    )
