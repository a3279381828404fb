"""Every teacher fact held against the recorded motion, episode by episode in the dataset's order.

Facts get a verdict and what was measured. An episode whose motion cannot be read has facts that
are untestable, with nothing measured, never ones that are taken for confirmed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from finedata.annotate.rows import judged_rows
from finedata.kinematic import judge_episode
from finedata.kinematic.read import episode_motions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from finedata.kinematic import EpisodeMotion, Measured, Omission
    from finedata.store.dataset import Dataset


def motions_in_order(
    dataset: Dataset, ids: Sequence[str]
) -> Iterator[tuple[str, EpisodeMotion | None]]:
    """The motion of each episode, in the dataset's order; None where it has none to read."""
    chosen = set(ids)
    rows = dataset.episodes.select("episode_id", "part").collect()
    for part in dataset.parts:
        of_part = rows.filter(pl.col("part") == part.name)["episode_id"].to_list()
        wanted = [episode_id for episode_id in of_part if episode_id in chosen]
        if not wanted:
            continue
        motions = iter(episode_motions(dataset, part=part.name, episodes=wanted))
        pending = next(motions, None)
        for episode_id in wanted:
            if pending is not None and pending[0] == episode_id:
                yield episode_id, pending[1]
                pending = next(motions, None)
            else:
                yield episode_id, None


def judged_facts(
    rows: Sequence[dict[str, Any]], measured: Measured | None
) -> tuple[list[dict[str, Any]], tuple[Omission, ...]]:
    """Rows of `facts` with their verdicts, and what the facts leave out.

    Args:
        rows: The rows of one episode.
        measured: Its motion; None where there is none.
    """
    if measured is None:
        return list(rows), ()
    judgement = judge_episode(rows, measured)
    return judged_rows(rows, judgement.judged), judgement.omissions
