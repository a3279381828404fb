"""What the pages know of all episodes at once, in memory, made anew when files change.

Fifty thousand episodes are a few megabytes without their statistics, so filters run over one Polars
frame and no page waits for a scan. Facts are counted by episode once, dimensions as bits of one
number. Files are compared by name, size and time of change before each page, so a gate that ran
meanwhile is seen, and nobody has to restart the server; a dataset that lies elsewhere is pinned to
a commit and does not change.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from finedata.errors import UsageError
from finedata.schema.dimension import DIMENSIONS
from finedata.store.remote.path import remote_store
from finedata.store.tables.episode_rows import episodes_saying, newest_facts, text_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from finedata.store.dataset import Dataset

REVIEW_STATES = ("none", "unreviewed", "contradicted", "reviewed")
"""no fact; some fact not reviewed; some fact contradicted by motion; all facts reviewed."""

FILTERS = ("source", "part", "task", "verdict", "cluster", "dimension", "review", "q")
"""Names of the filters of the page, which are its address."""

_EPISODE = (
    "episode_id", "part", "source", "task", "task_id", "length", "fps", "duration_s", "success",
)  # fmt: skip


class Catalog:
    """Episodes of a dataset with verdict, cluster, rank and counts of facts.

    Args:
        dataset: The dataset.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._guard = threading.Lock()
        self._stamp: tuple[Any, ...] | None = None
        self._rows = pl.DataFrame()
        self._fixed = remote_store(dataset.root) is not None

    @property
    def rows(self) -> pl.DataFrame:
        """One row an episode, in the dataset's order.

        Raises:
            ConformError: A table is damaged.
        """
        with self._guard:
            stamp = self._stamp_now()
            if stamp != self._stamp:
                self._rows = _rows(self._dataset)
                self._stamp = stamp
            return self._rows

    def _stamp_now(self) -> tuple[Any, ...]:
        if self._fixed:
            return ()
        root = self._dataset.root
        found: list[tuple[str, int, int]] = []
        for pattern in ("curation/*.parquet", "annotations/*/*.parquet"):
            for path in sorted(root.glob(pattern)):
                known = path.stat()
                found.append((path.name, known.st_size, getattr(known, "st_mtime_ns", 0)))
        return tuple(found)

    def choices(self) -> dict[str, list[str]]:
        """What each filter of few values can be, for the page's lists."""
        rows = self.rows
        found = {
            name: sorted(rows[name].drop_nulls().unique().to_list())
            for name in ("source", "part", "verdict")
        }
        held = int(np.bitwise_or.reduce(rows["dimensions"].to_numpy()))
        found["dimension"] = sorted(name for name in DIMENSIONS if held & _bit(name))
        found["review"] = list(REVIEW_STATES)
        return found

    def chosen(
        self,
        filters: Mapping[str, str],
        *,
        ids: list[str] | None = None,
        saying: list[str] | None = None,
    ) -> pl.DataFrame:
        """The episodes that pass every filter.

        Args:
            filters: Names of `FILTERS` to their text; empty text filters nothing.
            ids: Only these episodes, where some were chosen by SQL.
            saying: Episodes whose facts hold the words of `q`, which count beside the task.

        Raises:
            UsageError: `review` is no state.
        """
        rows = self.rows
        given = {name: filters[name] for name in FILTERS if filters.get(name)}
        for name in ("source", "part", "verdict"):
            if name in given:
                rows = rows.filter(pl.col(name) == given[name])
        if "task" in given:
            rows = rows.filter(pl.col("task_id") == given["task"])
        if "cluster" in given:
            rows = rows.filter(pl.col("cluster_id") == given["cluster"])
        if "dimension" in given:
            rows = rows.filter(pl.col("dimensions") & _bit(given["dimension"]) > 0)
        if "review" in given:
            rows = rows.filter(_review_state(given["review"]))
        if "q" in given:
            words = given["q"].lower()
            said = pl.col("task").str.to_lowercase().str.contains(words, literal=True)
            named = pl.col("episode_id").str.contains(words, literal=True)
            rows = rows.filter(said | named | pl.col("episode_id").is_in(saying or []))
        if ids is not None:
            rows = rows.filter(pl.col("episode_id").is_in(ids))
        return rows

    def saying(self, words: str) -> list[str]:
        """Episodes of which a fact holds these words, in small or capital letters."""
        return episodes_saying(self._dataset, words)

    def beside(self, episode_id: str) -> tuple[str | None, str | None]:
        """The episodes before and after one, in the dataset's order."""
        ids = self.rows["episode_id"]
        at = ids.index_of(episode_id)
        if at is None:
            return None, None
        before = ids[at - 1] if at else None
        return before, ids[at + 1] if at + 1 < len(ids) else None

    def same_cluster(self, episode_id: str, *, most: int = 12) -> list[dict[str, Any]]:
        """Other episodes of the cluster, the nearest to its medoid first."""
        rows = self.rows
        own = rows.filter(pl.col("episode_id") == episode_id)["cluster_id"]
        if not len(own) or own[0] is None:
            return []
        others = rows.filter(
            (pl.col("cluster_id") == own[0]) & (pl.col("episode_id") != episode_id)
        )
        columns = ("episode_id", "task", "is_medoid", "distance_to_medoid", "rank")
        return others.sort("distance_to_medoid").head(most).select(columns).to_dicts()


def _review_state(state: str) -> pl.Expr:
    if state == "none":
        return pl.col("facts") == 0
    if state == "unreviewed":
        return pl.col("unreviewed") > 0
    if state == "contradicted":
        return pl.col("contradicted") > 0
    if state == "reviewed":
        return (pl.col("facts") > 0) & (pl.col("unreviewed") == 0)
    raise UsageError(
        place="filter review", found=f"{state!r}", wanted=f"one of {', '.join(REVIEW_STATES)}"
    )


def _rows(dataset: Dataset) -> pl.DataFrame:
    episodes = dataset.episodes.select(_EPISODE)
    gate = dataset.verdicts.select("episode_id", "verdict", "reason", "score")
    clusters = dataset.clusters.select(
        "episode_id", "cluster_id", "is_medoid", "distance_to_medoid"
    )
    chosen = dataset.representatives.select("episode_id", "rank")
    rows = newest_facts(dataset, "episode_id", "kinematic_verdict", "review_status", "dimension")
    dimensions = np.zeros(len(rows["dimension"]), np.uint16)
    for name in DIMENSIONS:
        dimensions[rows["dimension"] == text_key(name)] = _bit(name)
    facts = pl.DataFrame(
        {
            "episode": rows["episode_id"],
            "contradicted": rows["kinematic_verdict"] == text_key("contradicted"),
            "unreviewed": rows["review_status"] == text_key("unreviewed"),
            "dimensions": dimensions,
        }
    )
    counted = facts.group_by("episode").agg(
        pl.len().alias("facts"),
        pl.col("contradicted", "unreviewed").sum(),
        pl.col("dimensions").bitwise_or(),
    )
    joined = episodes
    for other in (gate, clusters, chosen):
        joined = joined.join(other, on="episode_id", how="left", maintain_order="left")
    whole = joined.with_columns(pl.col("episode_id").hash(0).alias("episode")).join(
        counted.lazy(), on="episode", how="left", maintain_order="left"
    )
    numbers = pl.col("facts", "contradicted", "unreviewed", "dimensions").fill_null(0)
    return whole.with_columns(numbers).drop("episode").collect()


def _bit(dimension: str) -> int:
    return 1 << DIMENSIONS.index(dimension) if dimension in DIMENSIONS else 0
