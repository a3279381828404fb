"""`finedata cluster` as a function, on the demo corpus, on bad input and on real bytes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from cluster.units import MemoryStore, make_units
from convert.trees import tree_digest

from finedata.cluster.choose.rank import rank_units
from finedata.cluster.choose.select import task_order
from finedata.cluster.distance.condensed import square_of
from finedata.cluster.distance.last_run import iter_distances, read_distances, read_task
from finedata.cluster.distance.pipeline import Kernel, UnitDistances
from finedata.cluster.distance.tiles import TileLimits
from finedata.cluster.group.medoid import medoids
from finedata.cluster.group.one import choose
from finedata.cluster.group.special import QUALITY_WEIGHT, small_unit
from finedata.cluster.group.units import cluster_units, plan_units
from finedata.cluster.run import cluster, estimate
from finedata.cluster.settings import ClusterSettings, Weights
from finedata.convert.run import convert
from finedata.errors import OutputError, UsageError
from finedata.schema.conform import conform
from finedata.store.dataset import open_dataset
from finedata.store.run.ledger import Ledger
from finedata.store.tables.table import write_table


@pytest.fixture
def root(converted: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "bridge"
    shutil.copytree(converted, folder)
    return folder


def tables(root: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    dataset = open_dataset(root)
    chosen = dataset.representatives.collect().sort("rank")
    return dataset.clusters.collect(), chosen


def gate_rows(root: Path, verdicts: dict[str, str]) -> None:
    rows = [
        {
            "episode_id": episode_id,
            "verdict": verdict,
            "reason": None,
            "reasons": [],
            "method": "dtw",
            "score": 0.1,
            "threshold": 1.0,
            "threshold_origin": "option",
            "space": "ee",
            "lag_frames": 0,
            "duplicate_of": None,
            "checks": [],
            "settings_sha256": "0" * 64,
        }
        for episode_id, verdict in verdicts.items()
    ]
    checks = pl.List(
        pl.Struct({"name": pl.String, "value": pl.Float64, "limit": pl.Float64,
                   "passed": pl.Boolean})
    )  # fmt: skip
    overrides = {"reason": pl.String, "duplicate_of": pl.String, "reasons": pl.List(pl.String)}
    frame = pl.DataFrame(rows, schema_overrides=overrides | {"checks": checks})
    write_table(root, "gate", frame.with_columns(pl.col("lag_frames").cast(pl.Int32)))


def test_every_episode_is_clustered_or_left_out_with_a_reason(root: Path) -> None:
    summary = cluster(root, settings=ClusterSettings(), workers=1)
    episodes = open_dataset(root).episodes.collect()
    assert summary.episodes == len(episodes)
    assert summary.episodes == summary.clustered + sum(summary.left_out.values())
    assert set(summary.left_out) == set(summary.reasons)
    assert any("no gate has run" in note for note in summary.notes)
    rows, chosen = tables(root)
    for name, frame in (("clusters", rows), ("representatives", chosen)):
        conform(pq.read_table(root / "curation" / f"{name}.parquet"), name)
        assert len(frame)
    assert len(rows) == summary.clustered
    assert sum(summary.k_histogram.values()) == summary.units
    assert rows["cluster_id"].n_unique() == summary.clusters
    assert chosen["rank"].to_list() == list(range(summary.representatives))
    # One of each cluster, and every episode is stood for once.
    assert chosen["cluster_id"].n_unique() == summary.clusters
    assert chosen["represents"].sum() == summary.clustered
    sizes = rows.group_by("cluster_id").len()
    joined = rows.join(sizes, on="cluster_id")
    assert joined["cluster_size"].cast(pl.UInt32).to_list() == joined["len"].to_list()
    assert (
        rows.group_by("cluster_id").agg(pl.col("is_medoid").sum())["is_medoid"].to_list()
        == [1] * summary.clusters
    )
    assert (
        set(rows["settings_sha256"]) == set(chosen["settings_sha256"]) == {summary.settings_sha256}
    )


def test_failed_and_unknown_episodes_are_left_out(root: Path) -> None:
    episodes = open_dataset(root).episodes.filter(pl.col("task_id").is_not_null()).collect()
    ids = episodes["episode_id"].to_list()
    verdicts = dict.fromkeys(ids[2:], "pass") | {ids[0]: "fail", ids[2]: "not_applicable"}
    gate_rows(root, verdicts)
    summary = cluster(root, settings=ClusterSettings(), workers=1)
    assert summary.left_out["failed_gate"] == 1
    assert summary.left_out["not_gated"] == 1 + summary.episodes - len(ids)
    assert summary.episodes == summary.clustered + sum(summary.left_out.values())
    assert not any("no gate has run" in note for note in summary.notes)
    found = set(tables(root)[0]["episode_id"])
    assert found == set(ids[2:])


def test_threads_and_tiles_change_no_byte(root: Path) -> None:
    settings = ClusterSettings(budget=5)
    cluster(root, settings=settings, workers=1)
    wanted = tree_digest(root)
    shutil.rmtree(root / ".finedata")
    cluster(root, settings=settings, workers=2, limits=TileLimits(cells=900, block=2))
    assert tree_digest(root) == wanted


def test_another_k_uses_the_same_distances_and_another_weight_does_not(root: Path) -> None:
    first = cluster(root, settings=ClusterSettings(), workers=1)
    assert first.tiles_computed == first.tiles > 0
    fixed = cluster(root, settings=ClusterSettings(k=2, linkage="complete"), workers=1)
    assert fixed.tiles_computed == 0
    assert fixed.settings_sha256 != first.settings_sha256
    rows, _ = tables(root)
    assert set(rows["k_origin"]) == {"fixed"}
    assert rows["k"].max() == 2
    assert set(rows["linkage"]) == {"complete"}
    heavier = cluster(root, settings=ClusterSettings(gripper_weight=9.0), workers=1)
    assert heavier.tiles_computed == heavier.tiles
    assert any("not used and may be removed" in note for note in heavier.notes)
    assert cluster(root, settings=ClusterSettings(k=2), workers=1).tiles_computed == 0


def test_a_budget_is_the_beginning_of_a_larger_one(root: Path) -> None:
    chosen: list[list[str]] = []
    for budget in (2, 5, 1000):
        cluster(root, settings=ClusterSettings(budget=budget), workers=1)
        rows, picked = tables(root)
        chosen.append(picked["episode_id"].to_list())
        assert picked["rank"].to_list() == list(range(len(picked)))
        assert picked["score"].is_sorted(descending=True)
    assert [len(one) for one in chosen] == [2, 5, len(rows)]
    assert chosen[0] == chosen[1][:2]
    assert chosen[1] == chosen[2][:5]


@pytest.mark.parametrize("landmarks", [False, True])
def test_distances_are_read_back(root: Path, landmarks: bool) -> None:
    assert read_distances(root, part="bridge", task_id="0" * 16) is None
    above, count = (3, 3) if landmarks else (5000, None)
    settings = ClusterSettings(landmarks_above=above, num_landmarks=count)
    cluster(root, settings=settings, workers=1, limits=TileLimits(cells=2000, block=2))
    rows, _ = tables(root)
    found = list(iter_distances(root))
    assert sorted(e for one in found for e in one.episode_ids) == sorted(rows["episode_id"])
    for one in found:
        assert one.episode_ids == sorted(one.episode_ids)
        own = rows.filter(pl.col("task_id") == one.task_id).sort("episode_id")
        assert own["episode_id"].to_list() == one.episode_ids
        ids, condensed = read_distances(root, part=one.part, task_id=one.task_id)
        assert len(condensed) == len(ids) * (len(ids) - 1) // 2
        if one.condensed is None:
            assert len(ids) == 3
            assert ids == [one.episode_ids[k] for k in one.landmarks]
            assert one.to_landmarks.shape == (3, len(one.episode_ids))
            continue
        # The table's distances are these.
        square = square_of(one.condensed)
        by_cluster = own.with_row_index("place")
        for _, members in by_cluster.group_by("cluster_id"):
            medoid = members.filter("is_medoid")["place"][0]
            wanted = members["distance_to_medoid"].to_numpy()
            assert np.allclose(square[medoid, members["place"].to_numpy()], wanted, atol=1e-6)
    assert any(one.condensed is None for one in found) == landmarks
    first = found[0]
    (same,) = read_task(root, part=first.part, task_id=first.task_id)
    assert same.episode_ids == first.episode_ids


def test_distances_of_an_unfinished_run_are_not_given_out(root: Path) -> None:
    cluster(root, settings=ClusterSettings(), workers=1)
    task = tables(root)[0]["task_id"][0]
    part = open_dataset(root).parts[0].name
    assert read_distances(root, part=part, task_id=task) is not None

    def stop(progress: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cluster(root, settings=ClusterSettings(on="state"), workers=1, on_progress=stop)
    with pytest.raises(KeyboardInterrupt):
        cluster(root, settings=ClusterSettings(float64=True), workers=1, on_progress=stop)
    assert read_distances(root, part=part, task_id=task) is None


def test_one_run_at_a_time(root: Path) -> None:
    (root / ".finedata").mkdir(exist_ok=True)
    with (
        Ledger(root, run_key="1", settings={}, name="cluster"),
        pytest.raises(OutputError, match="another run"),
    ):
        cluster(root, settings=ClusterSettings(), workers=1)


def test_a_copied_dataset_without_its_ledger_is_ours_too(root: Path) -> None:
    shutil.rmtree(root / ".finedata")
    assert cluster(root, settings=ClusterSettings(), workers=1).clustered


def test_finevla_draws_members_and_drops_small_tasks(root: Path) -> None:
    summary = cluster(root, settings=ClusterSettings(preset="finevla"), workers=1)
    rows, chosen = tables(root)
    assert set(chosen["role"]) == {"random"}
    assert chosen["represents"].is_sorted(descending=True)
    episodes = open_dataset(root).episodes.collect()
    sizes = dict(episodes.drop_nulls("task_id").group_by("task_id").len().rows())
    small = sum(size for size in sizes.values() if size < 3)
    assert summary.left_out.get("small_task", 0) == small
    assert all(sizes[task] >= 3 for task in rows["task_id"])
    # Bridge's converter says 1, 1 and 100.
    named = ClusterSettings(preset="finevla", gripper_weight=100.0)
    cluster(root, settings=named, workers=1)
    found = tables(root)[0].drop("settings_sha256")
    assert found.equals(rows.drop("settings_sha256"))
    members = dict(rows.group_by("cluster_id", maintain_order=True).agg("episode_id").rows())
    first = sorted(members)[0]
    drawn = np.random.RandomState(42).choice(members[first])
    assert chosen.filter(pl.col("cluster_id") == first)["episode_id"][0] == drawn


def test_dry_run_counts_and_writes_nothing(root: Path) -> None:
    before = sorted(path for path in root.rglob("*"))
    guess = estimate(root, settings=ClusterSettings())
    assert sorted(path for path in root.rglob("*")) == before
    done = cluster(root, settings=ClusterSettings(), workers=1)
    assert (guess.cells, guess.pairs, guess.units) == (done.cells, done.pairs, done.units)


def test_not_a_dataset(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        cluster(tmp_path, settings=ClusterSettings())


@pytest.mark.parametrize(
    "wrong",
    [
        {"k": 2, "k_ratio": 0.5},
        {"k": 0},
        {"k_ratio": 1.5},
        {"band": 0.0},
        {"per_cluster": 0},
        {"budget": 0},
        {"landmarks_above": 10, "num_landmarks": 11},
        {"gripper_weight": -1.0},
        {"rotation_weight": float("nan")},
    ],
)
def test_wrong_settings(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        ClusterSettings(**wrong)


def in_memory(sizes: list[int], settings: ClusterSettings, **shape: int) -> tuple:
    tracks = make_units(sizes, seed=2, **shape)
    kernel = Kernel(cost=settings.frame_cost("ee", Weights()), threads=1)
    work = plan_units(tracks, settings=settings, kernel=kernel, row_bytes=32)
    store = MemoryStore()
    clusters = cluster_units(work, settings=settings, store=store)
    return clusters, rank_units(clusters, settings=settings, works=[work], store=store)


def test_units_in_memory_find_the_ways() -> None:
    clusters, chosen = in_memory([12, 1, 2, 9], ClusterSettings(), ways=3)
    assert [one.unit for one in clusters] == [0, 1, 2, 3]
    assert [one.method for one in clusters] == ["exact", "trivial", "trivial", "exact"]
    for one, size in ((clusters[0], 12), (clusters[3], 9)):
        assert one.labels.tolist() == [1 + k % 3 for k in range(size)]
    assert np.bincount(chosen.unit).tolist() == [3, 1, 2, 3]
    assert [chosen.role[k] for k in np.flatnonzero(chosen.unit == 2)] == ["kept_small_task"] * 2
    assert chosen.represents.sum() == 24


def test_landmarks_find_the_ways_too_and_say_their_error() -> None:
    settings = ClusterSettings(landmarks_above=20, num_landmarks=12)
    clusters, chosen = in_memory([30, 3], settings, ways=3)
    large = clusters[0]
    assert large.method == "landmark"
    assert large.labels.tolist() == [large.labels[k % 3] for k in range(30)]
    assert set(large.labels) == {1, 2, 3}
    assert large.error.adjusted_rand == 1.0
    assert large.error.sampled == 30
    assert chosen.represents[chosen.unit == 0].sum() == 30
    budget = in_memory([30, 3], ClusterSettings(landmarks_above=20, num_landmarks=12, budget=4),
                       ways=3)[1]  # fmt: skip
    assert len(budget.unit) == 4


def test_recursive_and_proportional() -> None:
    clusters, _ = in_memory([12], ClusterSettings(recursive=True), ways=2)
    assert clusters[0].keys is not None
    clusters, _ = in_memory([12], ClusterSettings(k_ratio=0.3), ways=2)
    assert len(clusters[0].sizes) == 4
    assert clusters[0].k_origin == "proportional"


def test_several_of_each_cluster() -> None:
    _, chosen = in_memory([12], ClusterSettings(k=3, per_cluster=2), ways=3)
    assert len(chosen.unit) == 6
    assert chosen.represents.sum() == 12


def test_real_bridge(real_bridge: Path, tmp_path: Path) -> None:
    convert("bridge_v2", input=real_bridge, out=tmp_path / "bridge")
    summary = cluster(tmp_path / "bridge", settings=ClusterSettings(), workers=1)
    assert (summary.clustered, summary.units, summary.left_out) == (25, 4, {})
    assert summary.methods == {"exact": 4}


def test_real_gr00t(real_data: Path, tmp_path: Path) -> None:
    convert("lerobot", input=real_data / "gr00t_lerobot_v20", out=tmp_path / "gr00t")
    summary = cluster(tmp_path / "gr00t", settings=ClusterSettings(), workers=1)
    assert (summary.clustered, summary.units, summary.representatives) == (5, 5, 5)
    assert summary.methods == {"trivial": 5}


def test_equal_episodes_stand_for_themselves() -> None:
    settings = ClusterSettings(k=1, per_cluster=3)
    tracks = make_units([5, 2], length=(6, 6))
    tracks.values[:] = np.tile(tracks.values[:6], (7, 1))
    kernel = Kernel(cost=settings.frame_cost("ee", Weights()), threads=1)
    work = plan_units(tracks, settings=settings, kernel=kernel, row_bytes=32)
    store = MemoryStore()
    clusters = cluster_units(work, settings=settings, store=store)
    chosen = rank_units(clusters, settings=settings, works=[work], store=store)
    assert len(chosen.unit) == 5
    assert chosen.represents.min() == 1
    assert chosen.represents.sum() == 7
    assert not chosen.radius.any()


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("apart", [0.0, 0.5])
def test_the_short_way_for_small_units_gives_what_the_long_one_does(
    size: int, apart: float
) -> None:
    unit = UnitDistances(unit=0, size=size, condensed=np.full(size - 1, apart, np.float32))
    for quality in (np.ones(size), np.array([0.2, 0.9])[:size]):
        short = small_unit(unit, quality, k_origin="auto", choose=True)
        square, labels = square_of(unit.condensed), np.ones(size, np.int64)
        middle = medoids(square, labels)
        long = task_order(square, labels, quality=quality, quality_weight=QUALITY_WEIGHT)
        assert short.order.member.tolist() == long.member.tolist()
        assert np.allclose(short.order.total, long.total)
        assert np.allclose(short.order.weight, long.weight)
        assert (short.order.role, short.order.diameter) == (long.role, long.diameter)
        assert np.array_equal(short.medoid, middle.medoid)
        assert np.allclose(short.mean_distance, middle.mean_distance)
        assert np.allclose(short.distance_to_medoid, middle.distance_to_medoid)
        found = choose(square, long.member)
        assert short.chosen.represents.tolist() == found.represents.tolist()
        assert np.allclose(short.chosen.radius, found.radius)
