"""What a report knows of a whole dataset, as small structs of numbers and names.

Who made it and with what settings; the distributions of length, gate score and lag, binned at
round numbers, so that a million episodes are as many numbers as a hundred; the tasks and what each
step left of them. Nothing here knows of HTML.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from finedata.report.drawing.binning import Distribution, bin_values
from finedata.report.reasons import (
    CheckFacts,
    ReasonFacts,
    read_checks,
    read_flags,
    read_reasons,
)

if TYPE_CHECKING:
    from finedata.store.dataset import Dataset
    from finedata.store.dataset_file import PartEntry, SourceEntry

_LEAST_LENGTH = "too_short"
_MOST_SCORE_PLOTS = 4


class SettingsFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of one table that were made with the same settings; `words` are those it records."""

    table: str
    words: dict[str, str]
    settings_sha256: str
    episodes: int


class TaskCount(msgspec.Struct, frozen=True, kw_only=True):
    """A task of a part: the instruction and how many episodes each step left."""

    part: str
    task_id: str
    task: str
    written: int
    through: int
    clustered: int
    clusters: int
    representatives: int


class DatasetFacts(msgspec.Struct, frozen=True, kw_only=True):
    """All of it; see the fields' own types."""

    sources: list[SourceEntry]
    parts: list[PartEntry]
    finedata_version: str
    libraries: dict[str, str]
    options: dict[str, Any]
    derived: str
    settings: list[SettingsFacts]
    length: Distribution
    duration: Distribution
    scores: list[Distribution]
    lag: Distribution
    reasons: list[ReasonFacts]
    checks: list[CheckFacts]
    flags: list[tuple[str, int, str]]
    tasks: list[TaskCount]


def read_facts(dataset: Dataset, states: pl.DataFrame) -> DatasetFacts:
    """Gather everything that concerns the dataset as a whole.

    Args:
        dataset: The dataset.
        states: What `finedata.report.funnel.episode_states` gave.
    """
    info = dataset.info
    checks = read_checks(dataset)
    short = [limit for check in checks if check.name == _LEAST_LENGTH for limit in check.limits]
    outcome = _outcome(states)
    length = bin_values(
        states["length"].to_list(),
        outcome,
        title="frames",
        marks=[(limit, "shortest allowed") for limit in short[:3]],
        whole=True,
    )
    return DatasetFacts(
        sources=info.sources,
        parts=info.parts,
        finedata_version=info.finedata_version,
        libraries=info.libraries,
        options=info.options,
        derived=_derived(dataset),
        settings=_settings(dataset),
        length=length,
        duration=bin_values(states["duration_s"].to_list(), outcome, title="seconds"),
        scores=_scores(dataset),
        lag=_lag(dataset),
        reasons=read_reasons(dataset),
        checks=checks,
        flags=read_flags(dataset),
        tasks=_tasks(dataset, states),
    )


def _outcome(states: pl.DataFrame) -> list[str]:
    if not states["verdict"].is_not_null().any():
        return ["written"] * states.height
    named = {"pass": "passed", "fail": "failed the gate", "not_applicable": "not applicable"}
    return [named.get(str(verdict), "not judged") for verdict in states["verdict"]]


def _derived(dataset: Dataset) -> str:
    derived = dataset.info.derived_from
    if derived is None:
        return ""
    where = f" where {derived.where}" if derived.where else ""
    return f"{derived.how} of {len(derived.origins)} dataset(s){where}"


def _settings(dataset: Dataset) -> list[SettingsFacts]:
    found: list[SettingsFacts] = []
    for name, columns in (
        ("gate", ("method", "threshold_origin", "threshold", "space")),
        ("clusters", ("method", "linkage", "k_origin")),
        ("representatives", ("role",)),
    ):
        rows = (
            dataset.table(name)
            .group_by("settings_sha256", *columns)
            .len()
            .sort(
                "len", "settings_sha256", *columns, descending=[True] + [False] * (len(columns) + 1)
            )
            .head(20)
            .collect()
        )
        for row in rows.iter_rows(named=True):
            words = {c: _word(row[c]) for c in columns if row[c] is not None}
            sha, count = row["settings_sha256"], row["len"]
            found.append(
                SettingsFacts(table=name, words=words, settings_sha256=sha, episodes=count)
            )
    return found


def _word(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _scores(dataset: Dataset) -> list[Distribution]:
    """One for each method and space: their scores do not compare."""
    rows = dataset.verdicts.select(
        "episode_id", "verdict", "method", "space", "score", "threshold", "threshold_origin"
    )
    frame = rows.sort("episode_id").collect()
    found: list[Distribution] = []
    for (method, space), group in sorted(
        frame.group_by("method", "space"), key=lambda pair: (-pair[1].height, str(pair[0]))
    )[:_MOST_SCORE_PLOTS]:
        limits = group.select("threshold", "threshold_origin").unique().drop_nulls()
        limits = limits.sort("threshold", "threshold_origin")
        marks = [(t, f"threshold {t:.3g} ({o})") for t, o in limits.head(4).iter_rows()]
        named = {"pass": "passed", "fail": "failed the gate", "not_applicable": "not applicable"}
        outcome = [named[verdict] for verdict in group["verdict"]]
        title = f"gate score, {method}, {space}"
        found.append(bin_values(group["score"].to_list(), outcome, title=title, marks=marks))
    return found


def _lag(dataset: Dataset) -> Distribution:
    frame = dataset.verdicts.select("lag_frames").collect()
    lags = frame["lag_frames"].to_list()
    return bin_values(lags, ["judged"] * len(lags), title="frames", whole=True)


def _tasks(dataset: Dataset, states: pl.DataFrame) -> list[TaskCount]:
    clusters = dataset.clusters.select("episode_id", "cluster_id").collect()
    rows = (
        states.filter(pl.col("task_id").is_not_null())
        .join(clusters, on="episode_id", how="left")
        .sort("episode_id")
        .group_by("part", "task_id")
        .agg(
            pl.col("task").first(),
            pl.len().alias("written"),
            pl.col("language").sum().alias("through"),
            pl.col("clustered").sum(),
            pl.col("cluster_id").filter(pl.col("clustered")).n_unique().alias("clusters"),
            pl.col("chosen").sum().alias("representatives"),
        )
        .sort("clustered", "written", "part", "task_id", descending=[True, True, False, False])
    )
    return [TaskCount(**row) for row in rows.iter_rows(named=True)]
