"""The gate on datasets: planted corruptions in a demo corpus, real bytes, bad input."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from corpora.corpus import write_bridge_corpus
from engine.shuffled import Shuffled
from quality.planted import CORRUPTIONS, clean
from quality.planted_dataset import rewrite_episodes, rewrite_motion

from finedata.convert.run import convert
from finedata.engine.progress import Progress
from finedata.errors import MissingExtraError, UsageError, install_command
from finedata.quality import measure
from finedata.quality.gate import gate
from finedata.quality.groups import Scales
from finedata.schema.conform import conform
from finedata.schema.enums import GATE_CHECKS
from finedata.store.dataset import open_dataset


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    """Sixty whole episodes and the flagged ones, as converted."""
    folder = tmp_path_factory.mktemp("gate")
    write_bridge_corpus(folder, episodes=60, image_size=16, mean_length=30)
    out = folder / "bridge"
    source = folder / "bridge_dataset" / "1.0.0"
    convert("bridge_v2", input=source, out=out, workers=1)
    return out


@pytest.fixture
def copy(large, tmp_path) -> Path:
    """A copy to corrupt."""
    return Path(shutil.copytree(large, tmp_path / "bridge"))


def rows(root) -> dict[str, dict]:
    table = open_dataset(root).verdicts.collect()
    return {row["episode_id"]: row for row in table.to_dicts()}


def whole_ids(root) -> list[str]:
    """Episodes that nothing is wrong with."""
    return [episode_id for episode_id, row in rows(root).items() if row["verdict"] == "pass"]


def test_one_row_for_every_written_episode_that_conforms(copy) -> None:
    summary = gate(copy)
    dataset = open_dataset(copy)
    table = dataset.verdicts.collect()
    written = dataset.episodes.select("episode_id").collect()["episode_id"]
    assert sorted(table["episode_id"]) == sorted(written)
    assert table["episode_id"].is_sorted()
    conform(table.to_arrow(), "gate", cast=True)
    assert summary.episodes == len(written) == sum(summary.verdicts.values())
    assert summary.verdicts["pass"] == (table["verdict"] == "pass").sum()
    assert summary.written
    for row in table.to_dicts():
        failed = [check["name"] for check in row["checks"] if not check["passed"]]
        assert row["reasons"] == failed
        assert row["reason"] == (failed[0] if failed else None)
        assert (row["verdict"] == "fail") == bool(failed)
        names = [check["name"] for check in row["checks"]]
        assert names == sorted(names, key=GATE_CHECKS.index)
        assert row["settings_sha256"] == summary.settings_sha256


def test_the_demo_s_own_faults_are_found_and_nothing_else(copy) -> None:
    summary = gate(copy)
    assert summary.reasons == {
        "empty_instruction": 1,
        "non_finite": 1,
        "frozen_state": 1,
        "action_state": 1,
    }
    (entry,) = summary.thresholds
    assert entry.origin == "percentile"
    lags = {row["lag_frames"] for row in rows(copy).values() if row["verdict"] == "pass"}
    assert lags == {2}  # the demo's arm follows its targets two frames later


def test_every_planted_corruption_is_gated_and_no_clean_episode(copy) -> None:
    gate(copy)
    good = whole_ids(copy)
    rng = np.random.default_rng(0)
    kinds = dict(zip(good[::4], list(CORRUPTIONS.items()) * 9, strict=False))
    # The planted motion replaces the demo's: its own would be of the same length for few kinds.
    planted = set(good[::4])

    def corrupt(episode_id, action, state):
        if episode_id not in good:
            return None
        frames = len(action)
        if episode_id not in planted:
            return clean(rng, frames=frames, lag=2)
        name, change = kinds[episode_id]
        longer = frames * 3 // 2 + 1 if "shifted" in name else frames
        found = change(rng, *clean(rng, frames=longer, lag=2))
        return [side[:frames] for side in found]

    rewrite_motion(copy, corrupt)
    gate(copy)
    found = rows(copy)
    assert len(planted) >= len(CORRUPTIONS)
    wrong = {
        episode_id: (kinds[episode_id][0] if episode_id in planted else "clean", row["score"])
        for episode_id, row in found.items()
        if episode_id in good and (row["verdict"] == "fail") != (episode_id in planted)
    }
    assert wrong == {}


def test_a_second_run_other_batches_and_any_engine_give_the_same_bytes(copy, monkeypatch) -> None:
    told: list[Progress] = []
    gate(copy, frames_per_batch=100, workers=1, on_progress=told.append)
    path = copy / "curation" / "gate.parquet"
    first = path.read_bytes()
    path.unlink()
    gate(copy, workers=2)
    assert path.read_bytes() == first
    path.unlink()
    monkeypatch.setattr(measure, "LocalEngine", lambda workers: Shuffled(5, workers=3))
    gate(copy, frames_per_batch=100)
    assert path.read_bytes() == first
    assert len(told) > 3
    assert told[-1].done == told[-1].total


def test_the_hash_covers_every_option(large) -> None:
    options = [
        {},
        {"method": "released"},
        {"threshold": 2.0},
        {"percentile": 90},
        {"min_frames": 5},
        {"scales": Scales(gripper=0.5)},
    ]
    hashes = {gate(large, dry_run=True, **option).settings_sha256 for option in options}
    assert len(hashes) == len(options)


def test_thresholds_by_option_preset_and_percentile(copy) -> None:
    def origin(**options):
        summary = gate(copy, dry_run=True, **options)
        return summary.thresholds[0].origin, summary.thresholds[0].threshold

    assert origin(threshold=0.3) == ("option", 0.3)
    assert origin(method="released") == ("preset", 0.5)
    assert origin(method="released", threshold=0.1) == ("option", 0.1)
    whence, value = origin(percentile=50)
    assert whence == "percentile"
    summary = gate(copy, percentile=50)
    assert summary.thresholds[0].median == pytest.approx(value)
    strict = gate(copy, dry_run=True, threshold=0.0)
    assert strict.reasons["action_state"] == strict.thresholds[0].scored


def test_a_source_without_a_published_threshold_has_the_default(copy) -> None:
    path = copy / "finedata.json"
    text = path.read_text()
    assert "released_threshold = 0.5\\n" in text
    path.write_text(text.replace("released_threshold = 0.5\\n", ""))
    summary = gate(copy, method="released", dry_run=True)
    assert (summary.thresholds[0].origin, summary.thresholds[0].threshold) == ("default", 0.2)


def test_the_released_arms_are_those_of_the_preset(copy) -> None:
    """Bridge's only arm is the right one: without it nothing is compared, and 0 is the score."""
    path = copy / "finedata.json"
    text = path.read_text()
    threshold = "released_threshold = 0.5\\n"
    changed = text.replace(threshold, threshold + 'released_arms = [\\"left\\"]\\n')
    assert changed != text
    path.write_text(changed)
    gate(copy, method="released")
    scores = {row["score"] for row in rows(copy).values()}
    assert scores == {0.0, None}


def test_minimum_frames_by_preset_and_option(copy) -> None:
    lengths = open_dataset(copy).episodes.select("length").collect()["length"]
    limit = int(lengths.median())
    summary = gate(copy, min_frames=limit)
    assert summary.reasons["too_short"] == (lengths < limit).sum() > 0
    gate(copy)
    assert {row["checks"][0]["limit"] for row in rows(copy).values()} == {10.0}  # Bridge's preset


def test_too_few_episodes_have_no_threshold(converted, tmp_path) -> None:
    root = Path(shutil.copytree(converted, tmp_path / "few"))
    keep = sorted(open_dataset(root).episodes.select("episode_id").collect()["episode_id"])[:9]

    def break_others(episode_id, action, state):
        return None if episode_id in keep else (action * np.nan, state)

    rewrite_motion(root, break_others)
    summary = gate(root)
    assert summary.thresholds[0].origin == "none"
    assert summary.thresholds[0].threshold is None
    for row in rows(root).values():
        assert row["threshold"] is None
        assert "action_state" not in [check["name"] for check in row["checks"]]


def test_a_next_state_action_is_not_judged_but_checked(copy) -> None:
    gate(copy)
    good = whole_ids(copy)

    def next_state(table):
        origins = pa.array(["next_state"] * len(table))
        return table.set_column(
            table.schema.get_field_index("action_origin"), "action_origin", origins
        )

    rewrite_episodes(copy, next_state)
    summary = gate(copy)
    found = rows(copy)
    assert summary.verdicts["not_applicable"] == len(good)
    assert summary.reasons == {"empty_instruction": 1, "non_finite": 1, "frozen_state": 1}
    assert {row["score"] for row in found.values()} == {None}
    assert {row["threshold_origin"] for row in found.values()} == {"none"}


def test_duplicates_name_the_one_that_is_kept(copy) -> None:
    gate(copy)
    lengths = dict(open_dataset(copy).episodes.select("episode_id", "length").collect().rows())
    order = open_dataset(copy).episodes.select("episode_id").collect()["episode_id"].to_list()
    good = [episode_id for episode_id in order if episode_id in whole_ids(copy)]
    by_length: dict[int, list[str]] = {}
    for episode_id in good:
        by_length.setdefault(lengths[episode_id], []).append(episode_id)
    first, second = next(ids for ids in by_length.values() if len(ids) > 1)[:2]
    seen = {}

    def copy_first(episode_id, action, state):
        if episode_id == first:
            seen["motion"] = action.copy(), state.copy()
        return seen["motion"] if episode_id == second else None

    rewrite_motion(copy, copy_first)
    gate(copy)
    found = rows(copy)
    assert found[second]["duplicate_of"] == first
    assert found[second]["reasons"] == ["duplicate"]
    assert found[first]["duplicate_of"] is None
    assert found[first]["verdict"] == "pass"

    def without_language(table):
        column = table.schema.get_field_index("task")
        empty = pc.equal(table["episode_id"], first)
        return table.set_column(column, "task", pc.if_else(empty, "", table["task"]))

    # The first has no instruction now: keeping it would lose the motion.
    rewrite_episodes(copy, without_language)
    gate(copy)
    found = rows(copy)
    assert found[second]["verdict"] == "pass"
    assert found[first]["reasons"] == ["empty_instruction", "duplicate"]
    assert found[first]["duplicate_of"] == second


@pytest.mark.parametrize("method", ["dtw", "released"])
def test_motion_that_is_all_bad_is_judged_without_a_crash(copy, method) -> None:
    kinds = [
        lambda action, state: (action * 0, state * 0),
        lambda action, state: (action * np.nan, state * np.nan),
        lambda action, state: (action, np.full_like(state, np.inf)),
        lambda action, state: (action * np.array([1e30] + [1] * 7), state),
        lambda action, state: (np.tile(action[:1], (len(action), 1)), state),
    ]
    state_of = {}

    def spoil(episode_id, action, state):
        kind = len(state_of) % len(kinds)
        state_of[episode_id] = kind
        return kinds[kind](action, state)

    rewrite_motion(copy, spoil)
    summary = gate(copy, method=method)
    assert summary.verdicts["pass"] == 0
    found = rows(copy)
    for episode_id, kind in state_of.items():
        reasons = found[episode_id]["reasons"]
        if kind in (0, 3, 4) and "non_finite" in reasons:  # the demo's own
            continue
        wanted = ["frozen_state", "non_finite", "non_finite", "action_state", "frozen_action"]
        assert wanted[kind] in reasons


def test_nothing_is_written_by_a_dry_run_nor_by_a_wrong_option(copy) -> None:
    assert not gate(copy, dry_run=True).written
    for options in (
        {"threshold": 1.0, "percentile": 5},
        {"threshold": float("nan")},
        {"percentile": 0},
        {"percentile": 101},
        {"min_frames": 0},
        {"scales": Scales(gripper=0.0)},
    ):
        with pytest.raises(UsageError):
            gate(copy, **options)
    assert not (copy / "curation" / "gate.parquet").exists()


def test_no_dataset(tmp_path) -> None:
    with pytest.raises(UsageError, match="finedata convert"):
        gate(tmp_path)


def test_numba_is_asked_for_by_name(large, monkeypatch) -> None:
    monkeypatch.setattr("finedata.errors.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=re.escape(install_command("curate"))):
        gate(large, dry_run=True)
    assert gate(large, method="released", dry_run=True).episodes


def test_the_released_method_needs_no_numba(large) -> None:
    code = (
        "import sys; from finedata.quality.gate import gate; "
        f"gate({str(large)!r}, method='released', dry_run=True); "
        "sys.exit('numba' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_real_bridge(real_bridge, tmp_path) -> None:
    """25 real episodes of ten steps: the state follows by one or two frames of 5 Hz."""
    out = tmp_path / "bridge"
    convert("bridge_v2", input=real_bridge, out=out, workers=1)
    summary = gate(out)
    assert summary.verdicts == {"pass": 25, "fail": 0, "not_applicable": 0}
    assert {row["lag_frames"] for row in rows(out).values()} == {1, 2}
    assert gate(out, method="released").thresholds[0].threshold == 0.5


def test_real_gr00t(real_data, tmp_path) -> None:
    """Five undeclared episodes of 44 motors: scored, too few for a threshold."""
    out = tmp_path / "gr00t"
    convert("lerobot", input=real_data / "gr00t_lerobot_v20", out=out, workers=1)
    summary = gate(out)
    assert summary.verdicts == {"pass": 5, "fail": 0, "not_applicable": 0}
    (entry,) = summary.thresholds
    assert (entry.origin, entry.scored) == ("none", 5)
    assert all(row["lag_frames"] > 0 for row in rows(out).values())
    assert {row["space"] for row in rows(out).values()} == {"undeclared"}


def test_the_summary_is_json(large) -> None:
    summary = gate(large, dry_run=True)
    assert msgspec.json.decode(msgspec.json.encode(summary))["episodes"] == summary.episodes
    assert isinstance(open_dataset(large).verdicts, pl.LazyFrame)
