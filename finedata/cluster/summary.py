"""What a clustering run reports: counts that add up, and what had to be said."""

from __future__ import annotations

import msgspec

from finedata.store.summary import Summary

__all__ = ["ClusterSummary", "LandmarkEntry"]


class LandmarkEntry(msgspec.Struct, frozen=True, kw_only=True):
    """How far a task compared with landmarks is from the exact answer, on a sample of it.

    Attributes:
        part: The part.
        task_id: The task.
        episodes: Its episodes.
        landmarks: Its landmarks.
        sampled: Episodes of which all pairs were compared too, drawn by the seed.
        adjusted_rand: Agreement of the task's clusters with the exact ones of the sample: 1 if
            equal, about 0 if by chance.
        coverage: Mean distance of the sample to the middles of the task's clusters in it,
            relative to that with the exact clusters, minus 1; null where that is 0.
    """

    part: str
    task_id: str
    episodes: int
    landmarks: int
    sampled: int
    adjusted_rand: float
    coverage: float | None


class ClusterSummary(Summary, msgspec.Struct, frozen=True, kw_only=True):
    """What was done; `episodes` is `clustered` and all of `left_out`.

    Attributes:
        episodes: Episodes of the dataset.
        clustered: Episodes in a unit.
        left_out: Reason to count.
        reasons: Reason to what it means, for those that occur.
        units: Tasks; one with two sets of arms, or in two parts, counts twice.
        tiles: Pieces of work.
        tiles_computed: Those that were not in the ledger.
        pairs: Distances.
        cells: Frame pairs.
        clusters: Clusters of all units.
        k_histogram: Number of clusters to how many units have it.
        methods: exact, landmark or trivial to how many units.
        representatives: Episodes chosen.
        landmarks: The units compared with landmarks.
        notes: What the user should know.
        settings_sha256: As in the tables.
    """

    episodes: int
    clustered: int
    left_out: dict[str, int]
    reasons: dict[str, str]
    units: int
    tiles: int
    tiles_computed: int
    pairs: int
    cells: int
    clusters: int
    k_histogram: dict[int, int]
    methods: dict[str, int]
    representatives: int
    landmarks: list[LandmarkEntry]
    notes: list[str]
    settings_sha256: str
