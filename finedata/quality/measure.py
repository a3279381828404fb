"""All that is measured of a part, batch by batch of its motion, on an engine.

Only these arrays stay in memory, some hundred bytes an episode: a million trajectories need no
more than a batch of motion and they.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from finedata.engine.local import LocalEngine
from finedata.engine.run_plan import run_jobs
from finedata.errors import ConformError
from finedata.quality.checks import CheckColumn, EpisodeFacts, batch_checks, joined_checks
from finedata.quality.duplicates import has_motion, motion_digests
from finedata.quality.groups import part_groups, present_groups, whole_values
from finedata.quality.lag import estimate_lags
from finedata.quality.released import released_columns, released_scores
from finedata.quality.score import action_state_scores
from finedata.quality.segments import first_rows
from finedata.store.motion.arm_columns import is_hand_column
from finedata.store.motion.tracks import scan_tracks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from finedata.engine.engine import Engine
    from finedata.quality.groups import Group
    from finedata.quality.settings import GateSettings
    from finedata.store.dataset import Dataset
    from finedata.store.motion.tracks import PartTracks

_STATE_MAX, _STATE_MIN = "stats/observation.state/max", "stats/observation.state/min"
_ACTION_MAX, _ACTION_MIN = "stats/action/max", "stats/action/min"
# A column of an undeclared part that moves less than this does not move.
_LEAST_RANGE = 1e-3
# Nor does one that moves by less than such a share of what its like move (those whose names differ
# in a side or a number only), or of what anything in its vector moves: an idle arm's noise is no
# scale for its errors.
_IDLE_SHARE, _IDLE_SHARE_OF_ALL = 0.05, 0.01
_SIDE_OR_NUMBER = re.compile(r"(?<![a-z])(left|right|l|r)(?![a-z])|\d+", re.IGNORECASE)
_SHORTEST_WINDOW, _LONGEST_WINDOW = 5, 30
_LEAST_FRAMES = 2


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What was measured of N episodes of one part.

    Attributes:
        facts: Their rows of the table of episodes, in the part's order.
        checks: Check to its column, those that look at one episode alone.
        score: (N,) NaN where there is none; inf is a score.
        judged: (N,) whether an action-state score says anything of the episode.
        lag_frames: (N,) NaN where it cannot be told.
        digests: (N, 2) of the motion.
        known: (N,) whether any number of the motion was recorded.
    """

    facts: pl.DataFrame
    checks: dict[str, CheckColumn]
    score: NDArray[np.float64]
    judged: NDArray[np.bool_]
    lag_frames: NDArray[np.float64]
    digests: NDArray[np.uint64]
    known: NDArray[np.bool_]


def part_facts(dataset: Dataset, part: str) -> pl.DataFrame:
    """What tables say about a part's episodes, in its order.

    Returns:
        episode_id, source, length, task, arms, space, action_origin, norm_deviation.
    """
    norm = pl.element().struct
    deviation = pl.max_horizontal(
        (norm.field(f"quaternion_norm_{which}") - 1.0).abs() for which in ("min", "max")
    )
    norms = dataset.receipts.filter(status="written").select(
        "episode_id", norm_deviation=pl.col("arms").list.eval(deviation).list.max()
    )
    return (
        dataset.episodes.filter(part=part)
        .sort("episode_index")
        .select("episode_id", "source", "length", "task", "arms", "space", "action_origin")
        .join(norms, on="episode_id", how="left", maintain_order="left")
        .collect()
    )


def measure_part(
    dataset: Dataset,
    part: str,
    *,
    settings: GateSettings,
    fps: float,
    frames_per_batch: int,
    threads: int | None = None,
    on_frames: Callable[[int], None] | None = None,
    engine: Engine | None = None,
) -> Measured:
    """Measure every episode of a part.

    Args:
        dataset: The dataset.
        part: Name of the part.
        settings: With the presets of the sources.
        fps: Frames a second of the part.
        frames_per_batch: Frames read at once.
        threads: Threads of the DTW engine.
        on_frames: Told the frames of each batch when it is done.
        engine: Where batches are measured; in this process by default, where the DTW engine's
            threads take all cores.

    Raises:
        ConformError: The motion read is not that of the table of episodes.
    """
    facts = part_facts(dataset, part)
    usual = None
    state = dataset.features(part).get("observation.state")
    names = () if state is None else state.names or ()
    if "undeclared" in facts["space"] or any(map(is_hand_column, names)):
        usual = _usual_ranges(dataset, part, leave_idle=settings.method == "dtw")
    jobs = (
        _Batch(tracks, rows, usual, settings, fps, threads)
        for tracks, rows in _batches(dataset, part, facts, frames_per_batch)
    )
    batches: list[Measured] = []
    for job, measured in run_jobs(
        _measure_batch, jobs, engine=engine or LocalEngine(workers=1), in_flight=1
    ):
        batches.append(measured)
        if on_frames is not None:
            on_frames(len(job.tracks.state))
    return _joined(batches, facts)


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """Whole episodes of a part, and what measuring them needs to know.

    Attributes:
        tracks: Their motion.
        rows: Their rows of `part_facts`.
        usual: Of undeclared columns the usual range.
        settings: Those of the run.
        fps: Frames a second of the part.
        threads: Of the DTW engine.
    """

    tracks: PartTracks
    rows: pl.DataFrame
    usual: NDArray[np.float64] | None
    settings: GateSettings
    fps: float
    threads: int | None


def _batches(
    dataset: Dataset, part: str, facts: pl.DataFrame, frames: int
) -> Iterator[tuple[PartTracks, pl.DataFrame]]:
    """Batches of motion with the rows of their episodes."""
    done = 0
    for tracks in scan_tracks(dataset, part=part, frames=frames):
        rows = facts.slice(done, len(tracks))
        if rows["episode_id"].to_list() != tracks.episode_ids:
            raise ConformError(
                place=f"part {part}",
                found="motion in another order than the episodes",
                wanted="the order of episode_index",
            )
        done += len(tracks)
        yield tracks, rows


def _measure_batch(batch: _Batch) -> Measured:
    tracks, rows, settings, fps = batch.tracks, batch.rows, batch.settings, batch.fps
    groups = part_groups(tracks, scales=settings.scales, column_range=batch.usual)
    present = present_groups(tracks, groups, rows["arms"].to_list())
    facts = EpisodeFacts(
        has_instruction=rows["task"].fill_null("").ne("").to_numpy(),
        minimum_frames=_minimum_frames(rows["source"].to_list(), settings),
        norm_deviation=rows["norm_deviation"].cast(pl.Float64).fill_null(np.nan).to_numpy(),
        fps=fps,
    )
    checks = batch_checks(tracks, groups, present, facts, limits=settings.limits)
    judged = rows["action_origin"].ne("next_state").to_numpy() & present.any(axis=1)
    usable = judged & checks["non_finite"].passed & (np.diff(tracks.offsets) > 0)
    if settings.method == "released":
        score = _released(tracks, groups, present, rows["source"].to_list(), settings)
        score[~usable] = np.nan
    else:
        score = action_state_scores(tracks, groups, present, usable, threads=batch.threads)
    lag = _lags(tracks, groups, present, usable, fps)
    digests, known = motion_digests(tracks), has_motion(tracks)
    return Measured(rows, checks, score, judged, lag, digests, known)


def _minimum_frames(sources: Sequence[str], settings: GateSettings) -> NDArray[np.int64]:
    # FineVLA calls a single frame too few, whatever the preset: nothing moves in it.
    least = _LEAST_FRAMES if settings.method == "released" else 1
    if settings.min_frames is not None:
        return np.full(len(sources), max(settings.min_frames, least))
    by_source = {
        name: _LEAST_FRAMES if preset is None else max(preset.minimum_frames, least)
        for name, preset in settings.presets.items()
    }
    return np.array([by_source.get(name, _LEAST_FRAMES) for name in sources], np.int64)


def _released(
    tracks: PartTracks,
    groups: Sequence[Group],
    present: NDArray[np.bool_],
    sources: Sequence[str],
    settings: GateSettings,
) -> NDArray[np.float64]:
    state = whole_values(tracks.state, tracks.offsets, groups, present)
    action = whole_values(tracks.action, tracks.offsets, groups, present)
    scores = np.full(len(tracks), np.nan)
    names = np.array(sources)
    for source in sorted(set(sources)):
        preset = settings.presets.get(source)
        arms = ("right", "left") if preset is None else preset.released_arms
        columns = released_columns(groups, arms)
        found = released_scores(state[:, columns], action[:, columns], tracks.offsets)
        scores[names == source] = found[names == source]
    return scores


def _lags(
    tracks: PartTracks,
    groups: Sequence[Group],
    present: NDArray[np.bool_],
    usable: NDArray[np.bool_],
    fps: float,
) -> NDArray[np.float64]:
    """Over positions where there are any, else over joints or undeclared columns."""
    moving = [g for g, group in enumerate(groups) if group.kind in ("position", "joints", "column")]
    chosen = [groups[g] for g in moving]
    columns = [k for group in chosen for k in range(group.columns.start, group.columns.stop)]
    scale = np.concatenate(
        [np.full(group.width, group.scale, np.float32) for group in chosen] or [np.ones(0)]
    )
    state, action = (
        whole_values(values, tracks.offsets, chosen, present[:, moving])[:, columns] / scale
        for values in (tracks.state, tracks.action)
    )
    if tracks.space == "undeclared":
        # Nobody says that both sides have one zero; they begin at rest.
        state, action = (side - first_rows(side, tracks.offsets) for side in (state, action))
    window = int(np.clip(round(fps), _SHORTEST_WINDOW, _LONGEST_WINDOW))
    lags = estimate_lags(state, action, tracks.offsets, max_lag=window)
    return np.where(usable, lags, np.nan)


def _usual_ranges(dataset: Dataset, part: str, *, leave_idle: bool) -> NDArray[np.float64] | None:
    """Range of each undeclared column in a usual episode: the median over those where it moves.

    From LeRobot's statistics of each episode. None where they are missing or differ in width.

    Args:
        dataset: The dataset.
        part: Name of the part.
        leave_idle: A column moves in an episode only where both sides move, and by more than
            noise beside its like; FineVLA's released score knows no such thing.
    """
    names = (_STATE_MAX, _STATE_MIN, _ACTION_MAX, _ACTION_MIN)
    schema = dataset.episodes.collect_schema().names()
    if any(name not in schema for name in names):
        return None
    rows = dataset.episodes.filter(part=part).select(names).collect()
    widths = {width for name in names for width in rows[name].list.len().fill_null(0)}
    if len(widths) != 1:
        return None
    high, low, high_action, low_action = (
        np.array(rows[name].to_list(), np.float64) for name in names
    )
    # As FineVLA does, over both sides: where they are of different things, the error stays bounded.
    ranges = np.fmax(high, high_action) - np.fmin(low, low_action)
    least: float | NDArray[np.float64] = _LEAST_RANGE
    moves = np.fmax(high - low, high_action - low_action)
    if leave_idle:
        moves = np.fmin(high - low, high_action - low_action)
        least = _least_ranges(moves, dataset.features(part)["observation.state"].names or ())
    ranges[~(moves > least)] = np.nan
    return _medians(ranges)


def _least_ranges(moves: NDArray[np.float64], names: Sequence[str]) -> NDArray[np.float64]:
    """(n,) what a column must move by to be taken for moving, from how far its like move.

    Args:
        moves: (N, n) how far each column moves in each episode.
        names: n names; () where there are none.
    """
    usual = _medians(np.where(moves > _LEAST_RANGE, moves, np.nan))
    stems = [_SIDE_OR_NUMBER.sub("", name) for name in names] or [""] * len(usual)
    widest = {stem: max(usual[k] for k, own in enumerate(stems) if own == stem) for stem in stems}
    of_kind = np.array([widest[stem] for stem in stems])
    least = max(_LEAST_RANGE, _IDLE_SHARE_OF_ALL * float(usual.max(initial=0.0)))
    return np.maximum(least, _IDLE_SHARE * of_kind)


def _medians(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median of each column's known numbers; 0 where it has none."""
    known = np.isfinite(values).any(axis=0)
    found = np.zeros(values.shape[1])
    found[known] = np.nanmedian(values[:, known], axis=0)
    return found


def _joined(batches: Sequence[Measured], facts: pl.DataFrame) -> Measured:
    none = np.zeros(0)
    return Measured(
        facts,
        joined_checks([batch.checks for batch in batches]),
        np.concatenate([none, *(batch.score for batch in batches)]),
        np.concatenate([none.astype(bool), *(batch.judged for batch in batches)]),
        np.concatenate([none, *(batch.lag_frames for batch in batches)]),
        np.concatenate([np.zeros((0, 2), np.uint64), *(batch.digests for batch in batches)]),
        np.concatenate([none.astype(bool), *(batch.known for batch in batches)]),
    )
