"""Runs of shards: who works does not matter, what was asked for stands in the tars."""

from __future__ import annotations

import io
import shutil
import tarfile
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import polars as pl
import pytest
from shard.curation import tree
from shard.stock import webdataset_samples
from typer.testing import CliRunner

import finedata.shard.making.plan
import finedata.shard.making.tasks
from finedata.cli.app import app
from finedata.errors import UsageError
from finedata.shard.making.plan import episode_units, plan_cameras
from finedata.shard.making.run import estimate_shards, finish_shard_shares, shard_datasets
from finedata.shard.making.sets import sort_episodes
from finedata.shard.making.settings import ShardSettings, read_ids
from finedata.shard.making.text import changing, take_up_text
from finedata.shard.shards import Shards
from finedata.store.dataset import open_dataset
from finedata.store.tables.table import append_rows

SMALL = 60_000


def made(roots: Path | list[Path], out: Path, **settings: object) -> Shards:
    listed = roots if isinstance(roots, list) else [roots]
    named = {"shard_bytes": SMALL, "seed": 3} | settings
    shard_datasets(listed, out=out, settings=ShardSettings(**named))  # type: ignore[arg-type]
    return Shards.open(out)


@pytest.fixture(scope="module")
def small_units() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finedata.shard.making.plan, "UNIT_BYTES", 1 << 16)
        yield


@pytest.fixture(scope="module")
def shards(curated: Path, small_units: object, tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return made(curated, tmp_path_factory.mktemp("made") / "shards", held_out="1/5")


def keys_of(shards: Shards) -> dict[str, list[str]]:
    """Set to the keys of its samples, in the order of its tars."""
    found: dict[str, list[str]] = {}
    for one in shards.sets.values():
        keys: list[str] = []
        for shard in one.tars:
            with tarfile.open(shards.root / "tars" / one.name / shard.name) as tar:
                names = tar.getnames()
            stems = [name.split(".", 1)[0] for name in names[:: len(one.members)]]
            suffixes = [name.split(".", 1)[1] for name in names]
            assert suffixes == one.members * len(stems)
            keys += stems
        found[one.name] = keys
    return found


def test_every_step_is_there_once(shards: Shards, curated: Path) -> None:
    dataset = open_dataset(curated)
    keys = [key for of_set in keys_of(shards).values() for key in of_set]
    rows = pl.DataFrame({"key": keys}).with_columns(
        episode_id=pl.col("key").str.slice(0).str.replace(r"-\d{6}$", "")
    )
    lengths = dict(dataset.episodes.select("episode_id", "length").collect().iter_rows())
    ids = set(rows["episode_id"])
    assert len(keys) == len(set(keys))
    assert sorted(keys) == sorted(f"{one}-{t:06d}" for one in ids for t in range(lengths[one]))
    left_out = sum(shards.document.left_out.values())
    assert len(ids) + left_out == len(lengths)


def test_steps_are_shuffled_over_the_set(shards: Shards) -> None:
    name, keys = max(keys_of(shards).items(), key=lambda item: len(item[1]))
    assert len(shards.sets[name].tars) > 2
    assert keys != sorted(keys)
    episodes = [key.rsplit("-", 1)[0] for key in keys]
    together = sum(a == b for a, b in pairwise(episodes))
    assert together < 0.3 * len(keys)


def test_nothing_of_one_side_is_on_the_other(shards: Shards) -> None:
    seen: dict[str, set[str]] = {"train": set(), "heldout": set()}
    for one in shards.sets.values():
        rows = shards.episodes(one.name).rows(0, one.episodes, columns=["episode_id"])
        seen[one.side] |= set(rows.column("episode_id").to_pylist())
        assert {tar.name[:4] for tar in one.tars} == {"trai" if one.side == "train" else "test"}
    assert seen["train"]
    assert seen["heldout"]
    assert not seen["train"] & seen["heldout"]


def test_the_index_says_where_everything_is(shards: Shards) -> None:
    for one in shards.sets.values():
        episodes = shards.episodes(one.name)
        for number, shard in enumerate(one.tars):
            index = shards.index(one.name, number)
            content = (shards.root / "tars" / one.name / shard.name).read_bytes()
            for place in range(shard.samples):
                row = index.rows(place, place + 1).to_pylist()[0]
                piece = content[row["offset"] : row["offset"] + row["size"]]
                with tarfile.open(fileobj=io.BytesIO(piece + bytes(1024))) as tar:
                    names = tar.getnames()
                    meta = msgspec.json.decode(tar.extractfile(names[-1]).read())  # type: ignore[union-attr]
                assert (meta["episode_id"], meta["frame_index"]) == (
                    row["episode_id"],
                    row["frame_index"],
                )
                assert episodes.value("episode_id", row["episode"]) == row["episode_id"]
                assert row["tar"] == number


@pytest.mark.parametrize("order", ["step", "episode"])
def test_workers_and_shares_give_the_same_bytes(
    order: str, curated: Path, small_units: object, tmp_path: Path
) -> None:
    settings = ShardSettings(shard_bytes=SMALL, order=order, seed=3)  # type: ignore[arg-type]
    shard_datasets([curated], out=tmp_path / "one", settings=settings)
    wanted = tree(tmp_path / "one")
    moved = tmp_path / "elsewhere" / "moved"
    shutil.copytree(curated, moved)
    for share in (2, 0):
        done = shard_datasets(
            [moved], out=tmp_path / "shares", settings=settings, shard_index=share, num_shards=3
        )
        assert done.share == f"{share}/3"
        assert not (tmp_path / "shares" / "shards.json").exists()
    with pytest.MonkeyPatch.context() as patch:
        # What the shares did is not done again.
        calls: list[int] = []
        name = "write_unit" if order == "step" else "write_episode_tar"
        real = getattr(finedata.shard.making.run, name)
        patch.setattr(
            finedata.shard.making.run, name, lambda task: (calls.append(task.number), real(task))[1]
        )
        shard_datasets([moved], out=tmp_path / "shares", settings=settings)
        everything = sum(
            len(plan.tars) if order == "episode" else 0
            for plan in Shards.open(tmp_path / "shares").document.sets
        )
        assert calls
        if order == "episode":
            assert len(calls) < everything
    assert tree(tmp_path / "shares") == wanted


def test_shares_are_finished_by_merge(curated: Path, tmp_path: Path) -> None:
    out, settings = tmp_path / "out", ShardSettings(shard_bytes=SMALL, every=3, held_out="1/4")
    with pytest.raises(UsageError, match="no shares"):
        finish_shard_shares(out)
    for share in (0, 1):
        shard_datasets([curated], out=out, settings=settings, shard_index=share, num_shards=2)
    result = CliRunner().invoke(app, ["merge", str(out), "--json"])
    assert result.exit_code == 0, result.output
    shard_datasets([curated], out=tmp_path / "whole", settings=settings)
    assert tree(out) == tree(tmp_path / "whole")
    assert finish_shard_shares(out).identity == Shards.open(out).identity


def test_an_appends_shares_are_finished_by_merge(
    two_parts: tuple[Path, Path], tmp_path: Path
) -> None:
    first, second = two_parts
    settings = ShardSettings(shard_bytes=SMALL)
    for out in (tmp_path / "out", tmp_path / "whole"):
        for share in (0, 1):
            shard_datasets([first], out=out, settings=settings, shard_index=share, num_shards=2)
        finish_shard_shares(out)
    shard_datasets([second], out=tmp_path / "whole", settings=settings, append=True)
    out = tmp_path / "out"
    for share in (0, 1):
        shard_datasets(
            [second], out=out, settings=settings, append=True, shard_index=share, num_shards=2
        )
    finish_shard_shares(out)
    assert tree(out) == tree(tmp_path / "whole")


def test_an_append_waits_for_who_changes_the_shards(
    two_parts: tuple[Path, Path], tmp_path: Path
) -> None:
    first, second = two_parts
    out, settings = tmp_path / "out", ShardSettings(shard_bytes=SMALL)
    shard_datasets([first], out=out, settings=settings)
    before = tree(out)
    with changing(out), pytest.raises(UsageError, match="another run"):
        shard_datasets([second], out=out, settings=settings, append=True)
    assert tree(out) == before
    shard_datasets([second], out=out, settings=settings, append=True)
    assert len(Shards.open(out).document.lineage) == 2


def test_words_taken_up_just_before_an_append_stay(
    two_parts: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two_parts
    out, settings = tmp_path / "out", ShardSettings(shard_bytes=SMALL)
    shard_datasets([first], out=out, settings=settings)
    copy = tmp_path / "first"
    shutil.copytree(first, copy)
    real = finedata.shard.making.run.changing

    def late(root: Path) -> object:
        shutil.rmtree(copy / "annotations")
        take_up_text(root, [open_dataset(copy)])
        return real(root)

    monkeypatch.setattr(finedata.shard.making.run, "changing", late)
    shard_datasets([second], out=out, settings=settings, append=True)
    assert len(Shards.open(out).document.texts) == 3


def test_two_processes_give_the_same_bytes(curated: Path, tmp_path: Path) -> None:
    settings = ShardSettings(shard_bytes=SMALL)
    shard_datasets([curated], out=tmp_path / "one", settings=settings)
    shard_datasets([curated], out=tmp_path / "two", settings=settings, workers=2)
    assert tree(tmp_path / "two") == tree(tmp_path / "one")


def test_finished_shards_are_not_made_again(curated: Path, tmp_path: Path) -> None:
    settings = ShardSettings(shard_bytes=SMALL)
    first = shard_datasets([curated], out=tmp_path / "out", settings=settings)
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.tar")}
    again = shard_datasets([curated], out=tmp_path / "out", settings=settings)
    assert again == msgspec.structs.replace(first, added=0) != first
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert not list((tmp_path / "out" / ".finedata").glob("*work*"))
    with pytest.raises(UsageError, match="other settings: options"):
        shard_datasets([curated], out=tmp_path / "out", settings=ShardSettings(horizon=3))


def test_episodes_in_sequence_end_with_a_tar(curated: Path, tmp_path: Path) -> None:
    found = keys_of(made(curated, tmp_path / "out", order="episode"))
    shards = Shards.open(tmp_path / "out")
    for name, keys in found.items():
        assert keys == sorted(keys)
        ends = np.cumsum([tar.samples for tar in shards.sets[name].tars])[:-1]
        for end in ends:
            assert keys[end - 1].rsplit("-", 1)[0] != keys[end].rsplit("-", 1)[0]
    assert any(len(one.tars) > 1 for one in shards.sets.values())


@pytest.mark.parametrize("order", ["step", "episode"])
def test_every_horizon_and_thin(order: str, curated: Path, tmp_path: Path) -> None:
    dataset = open_dataset(curated)
    made(curated, tmp_path / "some", order=order, every=4, horizon=500)
    samples = webdataset_samples(sorted((tmp_path / "some").glob("tars/*/*.tar")), decode="rgb8")
    for sample in samples:
        meta = sample["meta.json"]
        episode = dataset.episode(meta["episode_id"])
        frame = meta["frame_index"]
        assert frame % 4 == 0
        assert sample["action.npy"].shape == (500, episode.action.shape[1])
        chunk = np.minimum(np.arange(frame, frame + 500), len(episode) - 1)
        np.testing.assert_array_equal(sample["action.npy"], episode.action[chunk])
        valid = episode.columns["action_valid"][frame:]
        assert meta["valid_steps"] == (len(valid) if valid.all() else int(valid.argmin()))
    made(curated, tmp_path / "thin", order=order, every=4, thin=True)
    thin = webdataset_samples(sorted((tmp_path / "thin").glob("tars/*/*.tar")))
    assert sorted(one["__key__"] for one in thin) == sorted(one["__key__"] for one in samples)
    assert {name for one in thin for name in one if not name.startswith("__")} == {
        f"image_{n}.jpg" for n in range(4)
    }


@pytest.mark.parametrize("order", ["step", "episode"])
@pytest.mark.parametrize("policy", ["not_contradicted", "reviewed"])
def test_baked_words(order: str, policy: str, curated: Path, tmp_path: Path) -> None:
    root = tmp_path / "bridge"
    shutil.copytree(curated, root)
    dataset = open_dataset(root)
    one, two = sort_episodes([dataset], ShardSettings()).rows["episode_id"].to_list()[:2]
    with append_rows(root, ("traces", "instructions")) as writer:
        for episode, status in ((one, "accepted"), (two, "unreviewed")):
            common = {
                "episode_id": episode, "origin": "teacher", "annotator": "t", "run_id": "0" * 16,
                "prompt_sha256": None, "call_id": None, "revision": 0, "review_status": status,
            }  # fmt: skip
            writer.add(
                "traces",
                [
                    common
                    | {
                        "trace_id": f"{episode}-{frame}", "frame_index": frame, "time_s": 0.0,
                        "observation": f"seen at {frame}", "situation_analysis": "a",
                        "spatial_reasoning": "b", "task_planning": "c", "logical_steps": [],
                        "sub_action": "", "raw_text": "", "cameras": [],
                    }
                    for frame in (2, 5)
                ],
            )  # fmt: skip
            writer.add(
                "instructions",
                [
                    common
                    | {
                        "instruction_id": f"{episode}-fine", "kind": "fine_grained",
                        "is_primary": False, "order": 0, "text": f"fine {episode}",
                        "text_original": None, "language": "en", "steps": None, "fact_ids": None,
                    }
                ],
            )  # fmt: skip
    bake = ("instruction", "fine", "trace")
    shards = made(root, tmp_path / "out", order=order, bake=bake, text_policy=policy)
    assert all(
        one.members[-3:] == ["instruction.txt", "fine.txt", "trace.txt"]
        for one in shards.sets.values()
    )
    shown = {one, two} if policy == "not_contradicted" else {one}
    seen = set()
    for sample in webdataset_samples(sorted((tmp_path / "out").glob("tars/*/*.tar")), decode="l"):
        meta = sample["meta.json"]
        episode, frame = meta["episode_id"], meta["frame_index"]
        seen.add(episode)
        assert sample["instruction.txt"] == meta["instruction"]
        assert sample["fine.txt"] == (f"fine {episode}" if episode in shown else "")
        trace = "" if episode not in shown or frame < 2 else f"seen at {2 if frame < 5 else 5}"
        assert sample["trace.txt"].partition("\n")[0] == (trace and f"Observation: {trace}")
    assert shown <= seen
    (text,) = shards.document.texts
    (view,) = (v for v in text.views if (v.view, v.policy, v.side) == ("fg", policy, "train"))
    assert view.episodes == len([e for e in shown if e in _of_tier(shards, "rep")])
    with pytest.raises(UsageError, match="other settings"):
        made(root, tmp_path / "out", order=order, bake=bake[:1], text_policy=policy)


def _of_tier(shards: Shards, tier: str) -> set[str]:
    return {
        name
        for one in shards.sets.values()
        if one.tier == tier
        for name in shards.episodes(one.name).rows(0, one.episodes).column("episode_id").to_pylist()
    }


def test_meta_is_flat_and_the_same_everywhere(shards: Shards) -> None:
    metas = [
        msgspec.json.decode(shards.member(one.name, number, place, "meta.json"))
        for one in shards.sets.values()
        for number, tar in enumerate(one.tars)
        for place in range(tar.samples)
    ]
    kinds = {tuple((name, type(value)) for name, value in meta.items()) for meta in metas}
    assert len(kinds) == 1
    assert {kind for _, kind in kinds.pop()} == {str, int, float}


def test_appending_moves_nothing(two_parts: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = two_parts
    settings = ShardSettings(shard_bytes=SMALL, held_out="1/3")
    shard_datasets([first], out=tmp_path / "out", settings=settings)
    before = tree(tmp_path / "out")
    old = Shards.open(tmp_path / "out")
    shard_datasets([second], out=tmp_path / "out", settings=settings, append=True)
    after = tree(tmp_path / "out")
    assert all(after[name] == digest for name, digest in before.items() if name.endswith(".tar"))
    new = Shards.open(tmp_path / "out")
    everyone: list[str] = []
    for name, one in new.sets.items():
        known = old.sets.get(name)
        rows = new.episodes(name).rows(0, one.episodes).to_pylist()
        everyone += [row["episode_id"] for row in rows]
        if known is not None:
            assert one.tars[: len(known.tars)] == known.tars
        starts = np.cumsum([0, *(row["length"] for row in rows)])
        assert [row["first_row"] for row in rows] == starts[:-1].tolist()
        frames = new.frames(name)
        assert len(frames) == starts[-1] == one.frames
        np.testing.assert_array_equal(
            frames.numbers("episode", 0, one.frames),
            np.repeat(np.arange(one.episodes), np.diff(starts)),
        )
        assert one.samples == sum(tar.samples for tar in one.tars)
    # The sides do not depend on who was there first.
    both = made([first, second], tmp_path / "both", held_out="1/3", seed=0)
    sides = {
        side: sorted(
            episode
            for one in both.sets.values()
            if one.side == side
            for episode in both.episodes(one.name)
            .rows(0, one.episodes)
            .column("episode_id")
            .to_pylist()
        )
        for side in ("train", "heldout")
    }
    assert sorted(everyone) == sorted(sides["train"] + sides["heldout"])
    # Appending the same again adds nothing and changes nothing, and leaves nothing behind.
    ledgers = sorted(path.name for path in (tmp_path / "out/.finedata").iterdir())
    again = shard_datasets([second], out=tmp_path / "out", settings=settings, append=True)
    assert again.added == 0
    assert tree(tmp_path / "out") == after
    left = {path.name for path in (tmp_path / "out/.finedata").iterdir()} - set(ledgers)
    assert not [name for name in left if not name.endswith(".lock")]
    with pytest.raises(UsageError, match="other choices than those it was made with: horizon"):
        shard_datasets(
            [second],
            out=tmp_path / "out",
            append=True,
            settings=ShardSettings(shard_bytes=SMALL, held_out="1/3", horizon=2),
        )
    with pytest.raises(UsageError, match="no finished shards"):
        shard_datasets([second], out=tmp_path / "none", append=True)


def test_the_estimate_is_close_and_writes_nothing(curated: Path, shards: Shards) -> None:
    before = tree(curated)
    settings = ShardSettings(shard_bytes=SMALL, seed=3, held_out="1/5")
    found = estimate_shards([curated], settings=settings)
    assert tree(curated) == before
    for one in found.sets:
        real = shards.sets[one.name]
        assert (one.episodes, one.samples) == (real.episodes, real.samples)
        assert one.bytes == pytest.approx(sum(tar.bytes for tar in real.tars), rel=0.1)


def test_cameras_that_some_parts_lack() -> None:
    def part(*cameras: str) -> object:
        features = {
            f"observation.images.{camera}": SimpleNamespace(dtype="image", shape=(8, 8, 3))
            for camera in cameras
        }
        return SimpleNamespace(features=lambda _: features, root="d")

    settings = ShardSettings(cameras=("front", "wrist"))
    named = {
        cameras: [camera.name for camera in plan_cameras(part(*cameras), "p", settings, bits={})]  # type: ignore[arg-type]
        for cameras in (("front", "wrist", "top"), ("wrist",), ("top", "front"))
    }
    assert list(named.values()) == [["front", "wrist"], ["wrist"], ["front"]]
    with pytest.raises(UsageError, match="none of front, wrist"):
        plan_cameras(part("top"), "p", settings, bits={})  # type: ignore[arg-type]
    # Samples of numbers and words are samples; clips of no camera are nothing.
    assert plan_cameras(part(), "p", ShardSettings(), bits={}) == ()  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no camera"):
        plan_cameras(part(), "p", ShardSettings(sample="episode"), bits={})  # type: ignore[arg-type]


def test_units_of_episodes() -> None:
    assert episode_units(np.array([3, 3, 3]), most=6) == (0, 2, 3)
    assert episode_units(np.array([9, 1, 1]), most=2) == (0, 1, 3)
    assert episode_units(np.array([1]), most=1) == (0, 1)


def test_lists_of_ids() -> None:
    assert read_ids(" b \n\na\nb\n") == ("a", "b")
