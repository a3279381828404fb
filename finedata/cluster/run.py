"""`finedata cluster` as a function, in an order that a killed run can go on with.

Tables say which episodes are compared, each part's motion is read once into a scratch file in
the order of tasks, distances are computed tile by tile into a ledger, units are grouped, and the
two tables are written last, each at once. Killed at any moment, the same call goes on.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import finedata
from finedata.cluster.choose.quality import episode_quality
from finedata.cluster.choose.rank import offsets_of, rank_units
from finedata.cluster.distance.manifest import (
    FINISHED,
    INDEX,
    Finished,
    finished_bytes,
    store_manifest,
)
from finedata.cluster.distance.pipeline import Kernel
from finedata.cluster.distance.scratch import open_motion, undone_motion
from finedata.cluster.group.unit_groups import UnitGroup, units_of
from finedata.cluster.group.units import UnitWork, cluster_units, plan_units
from finedata.cluster.notes import other_ledgers, tasks_apart
from finedata.cluster.plan import LEFT_OUT, DatasetPlan, plan_dataset
from finedata.cluster.preset import preset_of
from finedata.cluster.summary import ClusterSummary, LandmarkEntry
from finedata.cluster.tables import clusters_table, representatives_table
from finedata.engine.progress import Progress
from finedata.errors import need
from finedata.store.atomic import output_errors
from finedata.store.dataset import open_dataset
from finedata.store.motion.tracks import without_vector
from finedata.store.nothing import no_episodes, undeclared_note
from finedata.store.run.ledger import LEDGER_FOLDER, Ledger
from finedata.store.tables.table import write_table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from finedata.cluster.clusters import UnitClusters
    from finedata.cluster.distance.scratch import PartMotion
    from finedata.cluster.distance.tiles import Tile, TileLimits
    from finedata.cluster.settings import ClusterSettings
    from finedata.engine.progress import OnProgress
    from finedata.store.dataset import Dataset

__all__ = ["cluster", "estimate"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Plan:
    """Everything that is known before the first distance."""

    dataset: DatasetPlan
    groups: list[UnitGroup]
    works: list[UnitWork]
    qualities: list[NDArray[np.float64]]
    left_out: dict[str, int]
    notes: list[str]


def cluster(
    root: str | Path,
    *,
    settings: ClusterSettings,
    workers: int | None = None,
    limits: TileLimits | None = None,
    on_progress: OnProgress = None,
) -> ClusterSummary:
    """Cluster a dataset's episodes task by task and choose representatives.

    Args:
        root: Root of the dataset.
        settings: The rules.
        workers: Threads of the distances; all cores by default. They change no byte.
        limits: What a tile may cost; changes no byte either.
        on_progress: Called with how far it is.

    Returns:
        Counts, and what the user should know.

    Raises:
        MissingExtraError: The libraries of `finedata[curate]` are not installed.
        UsageError: There is no dataset.
        OutputError: Another run is going on, or the disk is full.
    """
    need("numba", "scipy", extra="curate", place="finedata cluster")
    dataset = open_dataset(root)
    _own_folder(dataset.root)
    with Ledger(dataset.root, run_key="1", settings={}, name=INDEX) as index:
        plan = _plan(dataset, settings, workers, limits, on_progress)
        key = settings.distance_key()
        name = f"cluster-{key[:16]}"
        plan.notes.extend(other_ledgers(dataset.root, name))
        words = {"distances": key, "finedata": finedata.__version__}
        with Ledger(dataset.root, run_key=key, settings=words, name=name) as store:
            # From here on the ledger may hold less than the last finished run left.
            index.put(FINISHED, 0, b"")
            store_manifest(store, plan.groups, [work.tiles for work in plan.works])
            counter = _Counter(plan.works, on_progress)
            clusters = [
                one
                for work, quality in zip(plan.works, plan.qualities, strict=True)
                for one in cluster_units(
                    work, settings=settings, quality=quality, store=store, on_tile=counter
                )
            ]
            chosen = rank_units(clusters, settings=settings, works=plan.works, store=store)
        sha256 = settings.sha256()
        table = clusters_table(
            plan.groups,
            clusters,
            plan.qualities,
            linkage=settings.linkage,
            settings_sha256=sha256,
        )
        offsets = offsets_of([len(one.labels) for one in clusters])
        picked = representatives_table(chosen, table, offsets, settings_sha256=sha256)
        write_table(dataset.root, "clusters", table)
        write_table(dataset.root, "representatives", picked)
        dtype = "float64" if settings.float64 else "float32"
        mark = Finished(ledger=name, settings_sha256=sha256, dtype=dtype)
        index.put(FINISHED, 0, finished_bytes(mark))
    return _summary(plan, settings, clusters, counter.computed, len(picked))


def estimate(
    root: str | Path, *, settings: ClusterSettings, limits: TileLimits | None = None
) -> ClusterSummary:
    """Count what `cluster` would compare; tables are read, no motion, and nothing is written.

    Episodes whose motion is not finite are still counted as compared.
    """
    dataset = open_dataset(root)
    plan = _plan(dataset, settings, None, limits, None, dry=True)
    return _summary(plan, settings, [], 0, 0)


def _plan(
    dataset: Dataset,
    settings: ClusterSettings,
    workers: int | None,
    limits: TileLimits | None,
    on_progress: OnProgress,
    *,
    dry: bool = False,
) -> _Plan:
    """Choose, read and cut; `dry` reads no motion."""
    chosen = plan_dataset(dataset, smallest_task=settings.smallest_task)
    left_out, notes = dict(chosen.left_out), list[str]()
    nothing = no_episodes(dataset)
    if nothing is not None:
        notes.append(nothing)
    elif not chosen.gated:
        notes.append(
            f"no gate has run: every episode is compared, good or bad. First: finedata gate "
            f"{dataset.root}"
        )
    groups: list[UnitGroup] = []
    works: list[UnitWork] = []
    qualities: list[NDArray[np.float64]] = []
    number = frames = 0
    total = sum(int(part.lengths.sum()) for part in chosen.parts)
    column = "action" if settings.on == "action" else "observation.state"
    for part in chosen.parts:
        lacking = without_vector(dataset.features(part.part), column)
        if lacking is not None:
            left_out["no_vector"] = left_out.get("no_vector", 0) + len(part.episode_ids)
            notes.append(
                undeclared_note(part.part, found=lacking, wanted=f"one vector {column} a row")
            )
            continue
        if dry:
            motion = undone_motion(dataset, part, on=settings.on)
        else:
            report = _reading(on_progress, frames, total)
            motion = open_motion(dataset, part, on=settings.on, on_frames=report)
        frames += int(part.lengths.sum())
        own, unusable = units_of(part, motion)
        if unusable:
            left_out["not_finite"] = left_out.get("not_finite", 0) + unusable
        preset, preset_k, note = preset_of(dataset, part=part.part, sources=part.sources)
        if note and settings.preset:
            notes.append(note)
        for group in own:
            kernel = Kernel(
                cost=settings.frame_cost(group.space, settings.weights(preset)),
                band=settings.band,
                dtype=settings.dtype,
                threads=workers,
                device=settings.device,
            )
            works.append(
                plan_units(
                    group.tracks,
                    settings=settings,
                    kernel=kernel,
                    names=[
                        f"{part.part}/{task_id}/{'+'.join(group.arms)}"
                        for task_id in group.task_ids
                    ],
                    row_bytes=4 * motion.width,
                    limits=limits,
                    first_number=number,
                    fixed_k=preset_k if settings.preset else None,
                )
            )
            number += len(works[-1].tiles)
            groups.append(group)
            qualities.append(_quality(group, motion))
    if not groups and nothing is None:
        notes.append(
            "no episode can be compared; every one has its reason above. Next: finedata query "
            f'{dataset.root} "select reason, count(*) as n from gate group by reason"'
        )
    notes += tasks_apart(groups)
    return _Plan(
        dataset=chosen,
        groups=groups,
        works=works,
        qualities=qualities,
        left_out=left_out,
        notes=notes,
    )


def _quality(group: UnitGroup, motion: PartMotion) -> NDArray[np.float64]:
    known, measures = group.part.known[group.members], motion.measures[group.members]
    return episode_quality(
        count=len(group.members),
        score=known[:, 0],
        threshold=known[:, 1],
        flags=known[:, 2],
        frozen_share=measures[:, 0],
        roughness=measures[:, 1],
    )


def _reading(on_progress: OnProgress, before: int, total: int) -> Callable[[int], None] | None:
    if on_progress is None:
        return None
    return lambda done: on_progress(Progress("reading", min(before + done, total), total))


class _Counter:
    """How many cells are done, and how many tiles were computed now."""

    def __init__(self, works: list[UnitWork], on_progress: OnProgress) -> None:
        self._total = sum(tile.cells for work in works for tile in work.tiles)
        self._done = 0
        self._on_progress = on_progress
        self.computed = 0

    def __call__(self, tile: Tile, computed: bool) -> None:  # noqa: FBT001  (a callback)
        self._done += tile.cells
        self.computed += computed
        if self._on_progress is not None:
            self._on_progress(Progress("comparing", self._done, self._total))


def _own_folder(root: Path) -> None:
    """A dataset that was copied may lack the folder by which a ledger knows it is ours."""
    with output_errors(root / LEDGER_FOLDER):
        (root / LEDGER_FOLDER).mkdir(exist_ok=True)


def _summary(
    plan: _Plan,
    settings: ClusterSettings,
    clusters: list[UnitClusters],
    computed: int,
    representatives: int,
) -> ClusterSummary:
    tiles = [tile for work in plan.works for tile in work.tiles]
    sizes = Counter(len(one.sizes) for one in clusters)
    names = [(group.part.part, task) for group in plan.groups for task in group.task_ids]
    errors = [
        LandmarkEntry(
            part=part,
            task_id=task_id,
            episodes=len(one.labels),
            landmarks=settings.landmarks,
            sampled=one.error.sampled,
            adjusted_rand=one.error.adjusted_rand,
            coverage=one.error.coverage,
        )
        for (part, task_id), one in zip(names, clusters, strict=False)
        if one.error is not None
    ]
    return ClusterSummary(
        episodes=plan.dataset.episodes,
        clustered=sum(len(group.members) for group in plan.groups),
        left_out=dict(sorted(plan.left_out.items())),
        reasons={reason: LEFT_OUT[reason] for reason in sorted(plan.left_out)},
        units=len(names),
        tiles=len(tiles),
        tiles_computed=computed,
        pairs=sum(tile.pairs for tile in tiles),
        cells=sum(tile.cells for tile in tiles),
        clusters=sum(len(one.sizes) for one in clusters),
        k_histogram=dict(sorted(sizes.items())),
        methods=dict(sorted(Counter(one.method for one in clusters).items())),
        representatives=representatives,
        landmarks=errors,
        notes=plan.notes,
        settings_sha256=settings.sha256(),
    )
