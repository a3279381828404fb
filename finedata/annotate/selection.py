"""Which episodes are annotated, and what is known of each before anybody is asked.

By default these are the representatives, in the dataset's order; what this run has annotated
before is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from finedata.annotate.asking.answers import Step, words
from finedata.annotate.results import EpisodeContext
from finedata.errors import UsageError
from finedata.store.export.episodes import select_episodes
from finedata.store.nothing import no_episodes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from finedata.store.dataset import Dataset

__all__ = [
    "Choice",
    "contexts",
    "done_episodes",
    "done_frames",
    "kinematic_episodes",
    "nothing_chosen",
    "select_ids",
    "source_steps",
    "usable_steps",
]

_AT_ONCE = 1_000


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Which episodes; the representatives by default.

    Attributes:
        everything: All episodes.
        episodes: These and no others.
        where: Those for which this SQL condition over the table `episodes` holds.
        limit: The best-ranked representatives, or the first episodes, so many.
    """

    everything: bool = False
    episodes: tuple[str, ...] = ()
    where: str = ""
    limit: int | None = None


def select_ids(dataset: Dataset, choice: Choice) -> list[str]:
    """Ids of the episodes to annotate, in the dataset's order.

    Raises:
        UsageError: No representatives were chosen yet, an id is unknown, or no episode meets the
            condition. Where there is no episode, or clustering could choose none, the answer is
            empty; see `nothing_chosen`.
    """
    if choice.episodes:
        return _known(dataset, choice.episodes)[: choice.limit]
    if choice.where.strip() or choice.everything:
        return select_episodes(dataset, where=choice.where)[: choice.limit]
    ranked: list[str] = (
        dataset.representatives.sort("rank").select("episode_id").collect()["episode_id"].to_list()
    )
    clustered = (dataset.root / "curation" / "representatives.parquet").is_file()
    if not ranked and not clustered and no_episodes(dataset) is None:
        raise UsageError(
            place=str(dataset.root),
            found="no representatives",
            wanted="the table curation/representatives, which says which episodes to annotate",
            next_command=f"finedata cluster {dataset.root}  # or add --all to annotate everything",
        )
    return _known(dataset, ranked[: choice.limit])


def nothing_chosen(dataset: Dataset, ids: Sequence[str]) -> list[str]:
    """Say why no episode was chosen; [] where one was.

    Args:
        dataset: The dataset.
        ids: From `select_ids`.
    """
    if ids:
        return []
    nothing = no_episodes(dataset)
    if nothing is not None:
        return [nothing]
    return [
        "clustering chose no representative: no episode that passed the gate has an instruction. "
        f'Next: finedata query {dataset.root} "select reason, count(*) as n from gate group by '
        'reason", or add --all to annotate everything'
    ]


def _known(dataset: Dataset, ids: Sequence[str]) -> list[str]:
    everything = select_episodes(dataset)
    unknown = set(ids) - set(everything)
    if unknown:
        raise UsageError(
            place="episodes to annotate",
            found=repr(min(unknown)),
            wanted="an episode of this dataset",
            next_command=f'finedata query {dataset.root} "select episode_id from episodes"',
        )
    wanted = set(ids)
    return [episode_id for episode_id in everything if episode_id in wanted]


def contexts(dataset: Dataset, ids: Sequence[str]) -> Iterator[EpisodeContext]:
    """What is known of each episode, a thousand in memory at a time."""
    names = [
        name for name in dataset.episodes.collect_schema().names() if not name.startswith("stats/")
    ]
    for begin in range(0, len(ids), _AT_ONCE):
        chosen = list(ids[begin : begin + _AT_ONCE])
        condition = pl.col("episode_id").is_in(chosen)
        rows = dataset.episodes.select(names).filter(condition).collect()
        of_source = source_steps(dataset, chosen)
        by_id = {row["episode_id"]: row for row in rows.iter_rows(named=True)}
        for episode_id in chosen:
            row = by_id[episode_id]
            usable = usable_steps(of_source.get(episode_id, []), frames=row["length"])
            yield EpisodeContext(row=row, source_steps=usable)


def source_steps(dataset: Dataset, ids: Collection[str]) -> dict[str, list[dict[str, Any]]]:
    """Rows of `steps` that came with the source, in order, by episode."""
    rows = (
        dataset.steps.filter(
            (pl.col("origin") == "source")
            & pl.col("kind").is_in(["subtask", "primitive"])
            & pl.col("episode_id").is_in(list(ids))
        )
        .select("episode_id", "kind", "start_frame", "end_frame", "text", "arm", "step_index")
        .sort("episode_id", "step_index")
        .collect()
    )
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows.iter_rows(named=True):
        found.setdefault(row["episode_id"], []).append(row)
    return found


def usable_steps(rows: Sequence[dict[str, Any]], *, frames: int) -> list[Step]:
    """Subtasks, else primitives, with their text and frames inside the episode; else none.

    A source whose notes are partly unusable is annotated from its pictures alone: an episode with
    half its steps would read as a whole one.
    """
    for kind in ("subtask", "primitive"):
        chosen = sorted(
            (row for row in rows if row["kind"] == kind), key=lambda row: row["start_frame"]
        )
        good = [
            row
            for row in chosen
            if 0 <= row["start_frame"] < row["end_frame"] <= frames and words(row["text"])
        ]
        if good and len(good) == len(chosen):
            return [
                Step(
                    text=words(row["text"]),
                    start_frame=row["start_frame"],
                    end_frame=row["end_frame"],
                    arm=row["arm"],
                )
                for row in good
            ]
    return []


def kinematic_episodes(dataset: Dataset, *, run_id: str) -> set[str]:
    """Episodes that have steps or facts of this run of the kinematic annotator."""
    found: set[str] = set()
    for table in (dataset.steps, dataset.facts):
        rows = table.filter(pl.col("run_id") == run_id).select("episode_id").unique().collect()
        found.update(rows["episode_id"].to_list())
    return found


def done_episodes(dataset: Dataset, *, run_id: str) -> set[str]:
    """Episodes that this run has annotated: they have its fine-grained instruction."""
    rows = dataset.instructions.filter(
        (pl.col("run_id") == run_id) & (pl.col("kind") == "fine_grained")
    )
    return set(rows.select("episode_id").collect()["episode_id"].to_list())


def done_frames(dataset: Dataset, *, run_id: str) -> dict[str, set[int]]:
    """Frames that have a trace of this run, by episode."""
    rows = dataset.traces.filter(pl.col("run_id") == run_id).select("episode_id", "frame_index")
    found: dict[str, set[int]] = {}
    for episode_id, frame in rows.unique().collect().iter_rows():
        found.setdefault(episode_id, set()).add(frame)
    return found
