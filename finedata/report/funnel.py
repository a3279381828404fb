"""Where the episodes went: counts that add up, per source and in all.

Found, written, let through by the gate, with an instruction, clustered, representatives: each step
keeps some of the step before and sets the others aside under a reason, so kept + set aside is
always the step before. A step that never ran sets nothing aside and says so. Rows of a later table
whose episode an earlier step has set aside (the gate ran again after clustering) are counted
apart, never mixed in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

if TYPE_CHECKING:
    from finedata.store.dataset import Dataset


class FunnelRow(msgspec.Struct, frozen=True, kw_only=True):
    """The steps of one source.

    Attributes:
        source: Its name; empty for all together.
        found: Episodes found: `failed` + `written`.
        failed: Reason of failure to episodes.
        written: In the dataset: `gate_failed` + `unjudged` + `through`.
        gate_failed: First failed check to episodes.
        unjudged: Written, but without a row in a gate table that exists.
        through: Not refused by the gate; all that are written where it never ran.
        not_applicable: How many of them the gate could not judge.
        without_instruction: Of those let through.
        with_instruction: Of those let through: `unclustered` + `clustered`.
        unclustered: No row in clusters.
        clustered: In a cluster: `represented` + `representatives`.
        represented: Stood for by another episode.
        representatives: Chosen.
    """

    source: str
    found: int
    failed: dict[str, int]
    written: int
    gate_failed: dict[str, int]
    unjudged: int
    through: int
    not_applicable: int
    without_instruction: int
    with_instruction: int
    unclustered: int
    clustered: int
    represented: int
    representatives: int


class Funnel(msgspec.Struct, frozen=True, kw_only=True):
    """The steps of every source, and which of them have run.

    Attributes:
        total: All sources together.
        sources: One row each, by name.
        gate_ran: Whether there is a gate table.
        cluster_ran: Whether there is a clusters table with rows.
        select_ran: Whether there is a representatives table with rows.
        stray_clusters: Rows of clusters whose episode the gate has since refused, or is not there.
        stray_representatives: Likewise, or whose episode is not in clusters.
    """

    total: FunnelRow
    sources: list[FunnelRow]
    gate_ran: bool
    cluster_ran: bool
    select_ran: bool
    stray_clusters: int
    stray_representatives: int


def episode_states(dataset: Dataset) -> pl.DataFrame:
    """Every written episode with what each step made of it.

    Returns:
        episode_id, part, source, task, task_id, length, duration_s, fps and verdict, reason (of
        the gate, null where not judged), in_clusters, in_representatives, through, language,
        clustered, chosen (bool, each including the step before), by episode_id.
    """
    gate = dataset.verdicts.select("episode_id", "verdict", "reason")
    clusters = dataset.clusters.select("episode_id", in_clusters=pl.lit(value=True))
    chosen = dataset.representatives.select("episode_id", in_representatives=pl.lit(value=True))
    columns = ("episode_id", "part", "source", "task", "task_id", "length", "duration_s", "fps")
    joined = (
        dataset.episodes.select(columns)
        .join(gate, on="episode_id", how="left")
        .join(clusters, on="episode_id", how="left")
        .join(chosen, on="episode_id", how="left")
        .with_columns(pl.col("in_clusters", "in_representatives").fill_null(value=False))
        .collect()
    )
    # A gate that never ran has refused nothing; one that ran let through only what it saw.
    let = pl.col("verdict").is_in(["pass", "not_applicable"])
    through = let if gate_has_run(dataset) else pl.lit(value=True)
    return (
        joined.with_columns(through=through.fill_null(value=False))
        .with_columns(language=pl.col("through") & pl.col("task_id").is_not_null())
        .with_columns(clustered=pl.col("language") & pl.col("in_clusters"))
        .with_columns(chosen=pl.col("clustered") & pl.col("in_representatives"))
        .sort("episode_id")
    )


def gate_has_run(dataset: Dataset) -> bool:
    """Whether there is a gate table: the rule by which clustering decides too."""
    return (dataset.root / "curation" / "gate.parquet").is_file()


def read_funnel(dataset: Dataset, states: pl.DataFrame | None = None) -> Funnel:
    """Count the steps of a dataset.

    Args:
        dataset: Any; tables that are not there yet are steps that have not run.
        states: What `episode_states` gave, where it is at hand.
    """
    states = episode_states(dataset) if states is None else states
    failed = (
        dataset.receipts.filter(pl.col("status") == "failed")
        .group_by("source", pl.col("reason").fill_null("unknown"))
        .len()
        .sort("source", "reason")
        .collect()
    )
    gate_ran = gate_has_run(dataset)
    names = sorted({*states["source"].to_list(), *failed["source"].to_list()})
    rows = [
        _row(
            name,
            states.filter(pl.col("source") == name),
            failed.filter(pl.col("source") == name),
            gate_ran=gate_ran,
        )
        for name in names
    ]
    clusters = dataset.clusters.select(pl.len()).collect().item()
    chosen = dataset.representatives.select(pl.len()).collect().item()
    total = _row("", states, failed, gate_ran=gate_ran)
    return Funnel(
        total=total,
        sources=rows,
        gate_ran=gate_ran,
        cluster_ran=clusters > 0,
        select_ran=chosen > 0,
        stray_clusters=clusters - total.clustered,
        stray_representatives=chosen - total.representatives,
    )


def _row(source: str, states: pl.DataFrame, failed: pl.DataFrame, *, gate_ran: bool) -> FunnelRow:
    def count(condition: pl.Expr) -> int:
        return states.filter(condition).height

    reasons = failed.group_by("reason").agg(pl.col("len").sum()).sort("reason")
    by_reason: dict[str, int] = {str(name): int(n) for name, n in reasons.iter_rows()}
    refused = (
        states.filter(pl.col("verdict") == "fail")
        .group_by(pl.col("reason").fill_null("unknown"))
        .len()
        .sort("len", "reason", descending=[True, False])
    )
    language, clustered = pl.col("language"), pl.col("clustered")
    numbers: dict[str, Any] = {
        "unjudged": count(pl.col("verdict").is_null()) if gate_ran else 0,
        "through": count(pl.col("through")),
        "not_applicable": count(pl.col("verdict") == "not_applicable"),
        "without_instruction": count(pl.col("through") & ~language),
        "with_instruction": count(language),
        "unclustered": count(language & ~clustered),
        "clustered": count(clustered),
        "represented": count(clustered & ~pl.col("chosen")),
        "representatives": count(pl.col("chosen")),
    }
    return FunnelRow(
        source=source,
        found=states.height + sum(by_reason.values()),
        failed=by_reason,
        written=states.height,
        gate_failed={str(name): int(n) for name, n in refused.iter_rows()},
        **numbers,
    )
