"""The gate: a verdict with reasons for every written episode.

FineVLA promises a gate by action-state consistency; this is it as the paper says (dynamic time
warping, all arms, the gripper too), with checks for what else makes a log useless. Nothing is
deleted: `curation/gate.parquet` is there to be filtered by.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np
import polars as pl

from finedata.engine.progress import Progress
from finedata.errors import need
from finedata.quality.checks import CheckColumn, joined_checks
from finedata.quality.duplicates import kept_equals
from finedata.quality.groups import Scales
from finedata.quality.measure import measure_part, part_facts
from finedata.quality.released import RELEASED_DEFAULT_THRESHOLD
from finedata.quality.rows import failed_names, gate_rows
from finedata.quality.settings import GateSettings, gate_presets
from finedata.quality.threshold import (
    HIGHEST_DECLARED,
    percentile_threshold,
    robust_threshold,
)
from finedata.store.dataset import open_dataset
from finedata.store.motion.tracks import without_vector
from finedata.store.nothing import no_episodes, undeclared_note
from finedata.store.summary import Summary
from finedata.store.tables.table import write_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from finedata.engine.progress import OnProgress
    from finedata.quality.measure import Measured
    from finedata.store.dataset import Dataset

__all__ = ["GateSummary", "ThresholdEntry", "gate"]

# What fails one of these says nothing about how far action and state of a good log are apart.
_BROKEN = ("non_finite", "frozen_state", "frozen_action", "quaternion_norm", "jump")
_PER_BATCH = 500_000


class ThresholdEntry(msgspec.Struct, frozen=True, kw_only=True):
    """The threshold of one source's episodes in one part, and their scores."""

    part: str
    source: str
    origin: str
    threshold: float | None
    episodes: int
    scored: int
    median: float | None


class GateSummary(Summary, msgspec.Struct, frozen=True, kw_only=True):
    """What the gate found.

    Attributes:
        root: The dataset.
        method: `dtw` or `released`.
        episodes: Written episodes.
        frames: Their frames.
        verdicts: Verdict to number of episodes.
        reasons: Failed check to number of episodes; one episode may fail several.
        thresholds: For each part and source.
        notes: What was not judged, why, and what to do.
        settings_sha256: As in every row.
        written: Whether curation/gate.parquet was written; not by a dry run.
    """

    root: str
    method: str
    episodes: int
    frames: int
    verdicts: dict[str, int]
    reasons: dict[str, int]
    thresholds: list[ThresholdEntry]
    notes: list[str]
    settings_sha256: str
    written: bool


def gate(
    root: str | Path,
    *,
    method: Literal["dtw", "released"] = "dtw",
    threshold: float | None = None,
    percentile: float | None = None,
    min_frames: int | None = None,
    scales: Scales | None = None,
    dry_run: bool = False,
    frames_per_batch: int = _PER_BATCH,
    workers: int | None = None,
    on_progress: OnProgress = None,
) -> GateSummary:
    """Judge every written episode of a dataset and write curation/gate.parquet.

    Args:
        root: The dataset.
        method: `dtw`, or FineVLA's `released` score.
        threshold: Highest score that passes, for all; by default that of the converter file
            (`released` only), or one from the scores of each source.
        percentile: Take this percentile of each source's scores for threshold.
        min_frames: Fewest frames; the converter file's by default, or 2.
        scales: Errors that count as 1 in the `dtw` score.
        dry_run: Judge, but write nothing.
        frames_per_batch: Frames of motion in memory at once.
        workers: Threads of the DTW engine; all cores by default. They change nothing in the rows.
        on_progress: Told after every batch.

    Returns:
        Counts and thresholds.

    Raises:
        UsageError: There is no dataset, or an option makes no sense.
        MissingExtraError: The `dtw` method without Numba.
        ConformError: The dataset's files do not hold what its tables say.
        OutputError: The table cannot be written.
    """
    wanted = GateSettings(
        method=method,
        threshold=threshold,
        percentile=percentile,
        min_frames=min_frames,
        scales=scales or Scales(),
    )
    if method == "dtw":
        need("numba", extra="curate", place="finedata gate --method dtw")
    dataset = open_dataset(root)
    settings = msgspec.structs.replace(wanted, presets=gate_presets(dataset.info.sources))
    total, done = sum(part.frames for part in dataset.parts), 0
    parts: list[_Part] = []
    for part in dataset.parts:

        def advance(frames: int) -> None:
            nonlocal done
            done += frames
            if on_progress is not None:
                on_progress(Progress("judging", done, total))

        measured = measure_part(
            dataset,
            part.name,
            settings=settings,
            fps=part.fps,
            frames_per_batch=frames_per_batch,
            threads=workers,
            on_frames=advance,
        )
        parts.append(_with_threshold(part.name, measured, settings))
    return _finish(dataset, parts, settings, dry_run=dry_run)


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """A part's measurements with the thresholds of its sources."""

    measured: Measured
    threshold: NDArray[np.float64]
    origin: list[str]
    entries: list[ThresholdEntry]


def _with_threshold(part: str, measured: Measured, settings: GateSettings) -> _Part:
    sources = measured.facts["source"].to_numpy()
    broken = np.zeros(len(sources), np.bool_)
    for name in _BROKEN:
        if name in measured.checks:
            broken |= measured.checks[name].failed
    limit = np.full(len(sources), np.nan)
    origin = np.full(len(sources), "none", object)
    entries: list[ThresholdEntry] = []
    for source in sorted(set(sources.tolist())):
        own = sources == source
        scores = measured.score[own & measured.judged & ~broken]
        declared = not (measured.facts["space"] == "undeclared").any()
        value, found_by = _threshold(source, scores, settings, declared=declared)
        limit[own & measured.judged] = np.nan if value is None else value
        origin[own & measured.judged] = found_by
        scored = scores[~np.isnan(scores)]
        entries.append(
            ThresholdEntry(
                part=part,
                source=source,
                origin=found_by if (own & measured.judged).any() else "none",
                threshold=value,
                episodes=int(own.sum()),
                scored=int((~np.isnan(measured.score[own])).sum()),
                median=float(np.median(scored)) if len(scored) else None,
            )
        )
    return _Part(measured, limit, origin.tolist(), entries)


def _threshold(
    source: str, scores: NDArray[np.float64], settings: GateSettings, *, declared: bool
) -> tuple[float | None, str]:
    """The threshold and how it was found: option, percentile, preset, default or none."""
    if settings.threshold is not None:
        return settings.threshold, "option"
    if settings.percentile is not None:
        found = percentile_threshold(scores, settings.percentile)
        return found, "none" if found is None else "percentile"
    if settings.method == "released":
        preset = settings.presets.get(source)
        if preset is not None and preset.released_threshold is not None:
            return preset.released_threshold, "preset"
        return RELEASED_DEFAULT_THRESHOLD, "default"
    found = robust_threshold(scores, highest=HIGHEST_DECLARED if declared else None)
    return found, "none" if found is None else "percentile"


def _finish(
    dataset: Dataset, parts: list[_Part], settings: GateSettings, *, dry_run: bool
) -> GateSummary:
    """What needs all parts: equal episodes; then the table and the counts."""
    facts = pl.concat(
        [part_facts(dataset, ""), *(part.measured.facts for part in parts)], how="vertical_relaxed"
    )
    checks = joined_checks([part.measured.checks for part in parts if part.measured.checks])
    none = np.zeros(0)
    score = np.concatenate([none, *(part.measured.score for part in parts)])
    limit = np.concatenate([none, *(part.threshold for part in parts)])
    judged = np.concatenate([none.astype(bool), *(part.measured.judged for part in parts)])
    apart = CheckColumn(~np.isnan(score) & ~np.isnan(limit), score, limit, score <= limit)
    failed = apart.failed
    for column in checks.values():
        failed = failed | column.failed
    digests = [np.zeros((0, 2), np.uint64), *(part.measured.digests for part in parts)]
    known = np.concatenate([none.astype(bool), *(part.measured.known for part in parts)])
    kept = kept_equals(np.concatenate(digests), failed, known)
    other = kept != np.arange(len(kept))
    checks["duplicate"] = CheckColumn(known, other.astype(np.float64), np.zeros(len(kept)), ~other)
    checks["action_state"] = apart
    table = gate_rows(
        episode_ids=facts["episode_id"].to_list(),
        spaces=facts["space"].to_list(),
        checks=checks,
        judged=judged,
        score=score,
        threshold=limit,
        threshold_origin=[name for part in parts for name in part.origin],
        lag_frames=np.concatenate([none, *(part.measured.lag_frames for part in parts)]),
        kept=kept,
        method=settings.method,
        settings_sha256=settings.sha256,
    )
    if not dry_run:
        write_table(dataset.root, "gate", table)
    return GateSummary(
        root=str(dataset.root),
        method=settings.method,
        episodes=len(kept),
        frames=int(facts["length"].sum()),
        verdicts=_counted(table.column("verdict").to_pylist()),
        reasons=failed_names(table),
        thresholds=[entry for part in parts for entry in part.entries],
        notes=_notes(dataset, parts),
        settings_sha256=settings.sha256,
        written=not dry_run,
    )


def _notes(dataset: Dataset, parts: list[_Part]) -> list[str]:
    """Say which parts have no score because nothing says what to compare with what."""
    nothing = no_episodes(dataset)
    notes = [] if nothing is None else [nothing]
    for entry, part in zip(dataset.parts, parts, strict=True):
        # a target that is the next state is not compared on purpose
        own = part.measured.facts["action_origin"].ne("next_state").to_numpy()
        if not own.any() or part.measured.judged[own].any():
            continue
        features = dataset.features(entry.name)
        lacking = [without_vector(features, name) for name in ("observation.state", "action")]
        found = " and ".join(text for text in lacking if text is not None)
        if not found:
            same = features["observation.state"].names == features["action"].names
            found = "observation.state and action "
            found += "that do not both move" if same else "whose numbers have other names"
        notes.append(
            undeclared_note(
                entry.name,
                found=found,
                wanted="both as one vector of numbers a row under the same names, to be compared",
            )
        )
    return notes


def _counted(values: Sequence[object]) -> dict[str, int]:
    return {name: values.count(name) for name in ("pass", "fail", "not_applicable")}
