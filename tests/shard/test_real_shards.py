"""Shards of real bytes: 250 steps of BridgeData, read by the stock loader, pictures untouched."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image
from shard.curation import curate
from shard.stock import webdataset_samples

import finedata
from finedata.convert.run import convert
from finedata.errors import UsageError
from finedata.shard.making.run import shard_datasets
from finedata.shard.making.settings import ShardSettings
from finedata.shard.shards import Shards
from finedata.shard.verify import verify_shards
from finedata.store.dataset import open_dataset
from finedata.store.videos.frames import iter_frames


@pytest.fixture(scope="module")
def bridge(real_bridge: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("real") / "bridge"
    convert("bridge_v2", input=real_bridge, out=out)
    curate(out)
    return out


@pytest.fixture(scope="module")
def shards(bridge: Path) -> Path:
    shard_datasets([bridge], out=bridge.parent / "shards")
    return bridge.parent / "shards"


def test_stock_webdataset_reads_250_samples(shards: Path, bridge: Path) -> None:
    tars = sorted(shards.glob("tars/*/*.tar"))
    dataset = finedata.open(bridge)
    episodes = {one.episode_id: one for one in dataset.iter_episodes()}
    stored = {name: one.pictures for name, one in episodes.items()}
    seen = set()
    for sample in webdataset_samples(tars):
        episode_id, _, frame = sample["__key__"].rpartition("-")
        seen.add(sample["__key__"])
        for camera, pictures in stored[episode_id].items():
            wanted = hashlib.sha256(pictures[int(frame)]).hexdigest()
            assert hashlib.sha256(sample[f"{camera}.jpg"]).hexdigest() == wanted
    assert len(seen) == 250
    sample = webdataset_samples(tars, decode="rgb8")[-1]
    meta = sample["meta.json"]
    episode = episodes[meta["episode_id"]]
    frame = meta["frame_index"]
    assert sample["image_0.jpg"].shape == (64, 64, 3)
    np.testing.assert_array_equal(sample["state.npy"], episode.state[frame])
    chunk = np.minimum(np.arange(frame, frame + 16), len(episode) - 1)
    np.testing.assert_array_equal(sample["action.npy"], episode.action[chunk])
    assert meta["valid_steps"] == min(16, len(episode) - frame)
    assert meta["instruction"] == episode.task


def test_they_open_as_one_noun(shards: Path) -> None:
    opened = Shards.open(shards)
    assert {one.tier for one in opened.sets.values()} == {"rep", "rest"}
    assert sum(one.samples for one in opened.sets.values()) == 250
    for one in opened.sets.values():
        assert len(opened.episodes(one.name)) == one.episodes
        assert len(opened.frames(one.name)) == one.frames
        assert opened.member(one.name, 0, 0, "image_0.jpg")[:3] == b"\xff\xd8\xff"
        assert [camera.encoded for camera in one.cameras] == [0, 0, 0, 0]


@pytest.fixture(scope="module")
def groot(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("real") / "groot"
    convert("lerobot", input=real_data / "gr00t_lerobot_v20", out=out)
    curate(out)
    return out


def test_2096_steps_of_a_video_source(groot: Path) -> None:
    out = groot.parent / "steps"
    shard_datasets([groot], out=out, settings=ShardSettings(resize=(112, 112)))
    opened = Shards.open(out)
    assert sum(one.samples for one in opened.sets.values()) == 2096
    for one in opened.sets.values():
        (camera,) = one.cameras
        assert (camera.untouched, camera.encoded) == (0, one.samples)
        assert camera.psnr_db is not None
        assert camera.psnr_db > 30
    # Each step shows its own frame, and no neighbour's: of some, the nearest is looked for.
    dataset = finedata.open(groot)
    for one in opened.sets.values():
        for place in (0, one.samples // 2, one.samples - 1):
            meta = msgspec.json.decode(opened.member(one.name, 0, place, "meta.json"))
            picture = opened.member(one.name, 0, place, one.cameras[0].member)
            frames = dataset.episode(meta["episode_id"]).frames(one.cameras[0].name)
            small = np.stack(
                [np.asarray(Image.fromarray(f).resize((112, 112), Image.LANCZOS)) for f in frames]
            )
            shown = np.asarray(Image.open(io.BytesIO(picture))).astype(int)
            distance = np.square(small.astype(int) - shown).mean((1, 2, 3))
            assert distance[meta["frame_index"]] == distance.min()
    _proved(out, groot)


def _proved(out: Path, dataset: Path) -> None:
    """All but what encoded pictures show is the dataset's."""
    report = verify_shards(out, [open_dataset(dataset)])
    assert report.problems == []
    assert (report.compared, report.pictures) == (5, 0)
    assert all("encoded pictures of" in note for note in report.not_checked)


def test_episodes_with_clips_copied_from_the_video(groot: Path, tmp_path: Path) -> None:
    out = groot.parent / "clips"
    shard_datasets([groot], out=out, settings=ShardSettings(sample="episode"))
    opened, dataset = Shards.open(out), finedata.open(groot)
    seen = 0
    for one in opened.sets.values():
        assert one.cameras[0].encoded == 0
        for sample in webdataset_samples(sorted((out / "tars" / one.name).glob("*.tar"))):
            meta = msgspec.json.decode(sample["meta.json"])
            assert sample["__key__"] == meta["episode_id"]
            episode = dataset.episode(meta["episode_id"])
            state = np.load(io.BytesIO(sample["state.npy"]), allow_pickle=False)
            np.testing.assert_array_equal(state, episode.state.astype(np.float32))
            clip = tmp_path / "clip.mp4"
            clip.write_bytes(sample[one.cameras[0].member])
            wanted = episode.frames(one.cameras[0].name)
            for found, frame in zip(iter_frames(clip), wanted, strict=True):
                np.testing.assert_array_equal(found, frame)
            seen += 1
    assert seen == 5
    _proved(out, groot)


def test_an_arm_and_a_humanoid_in_one_stream_by_roles(
    bridge: Path, groot: Path, tmp_path: Path
) -> None:
    out = tmp_path / "shards"
    shard_datasets(
        [bridge, groot],
        out=out,
        settings=ShardSettings(resize=(64, 64), every=4),
        allow_mixed_licences=True,
    )
    datasets = {"bridge_v2": finedata.open(bridge), "lerobot": finedata.open(groot)}
    # What fills what: the file is the one that the writer of shards generated.
    filled = {
        "bridge_v2": {"state": "state_pose", "action": "action_pose"},
        "lerobot": {
            "state": "state_lerobot_gr1armsonly",
            "action": "action_lerobot_gr1armsonly",
        },
    }
    camera = {"bridge_v2": "image_0", "lerobot": "ego_view"}
    equal = {"raw": {"bridge_v2": 1, "lerobot": 1}}
    beyond = pictures = 0
    with finedata.stream(
        out, mix="raw=1", sources=equal, batch=32, horizon=4, stop=96, seed=1
    ) as opened:
        for batch in opened:
            assert batch.source.count("bridge_v2") == 16
            assert batch.picture_mask["main"].all()
            for role in ("left_wrist", "right_wrist"):
                assert not batch.picture_mask[role].any()
                assert not batch.pictures[role].any()
            for k, (source, name) in enumerate(zip(batch.source, batch.episode_id, strict=True)):
                frame = int(batch.frame_index[k])
                episode = datasets[source].episode(name)
                rows = episode.rows(["observation.state", "action", "action_valid"])
                at = np.arange(frame, frame + 4)
                inside = at < len(episode)
                at = np.minimum(at, len(episode) - 1)
                beyond += not inside.all()
                wanted = {
                    "state": (rows["observation.state"][[frame]], np.ones((1, 1), bool)),
                    "action": (rows["action"][at], (inside & rows["action_valid"][at])[:, None]),
                }
                for kind, role in filled[source].items():
                    stored, real = wanted[kind]
                    numbers = stored.astype(np.float32)
                    mask = real & ~np.isnan(numbers)
                    assert np.array_equal(batch.vector_mask[role][k], mask)
                    assert np.array_equal(batch.vectors[role][k][mask], numbers[mask])
                for role in set(batch.vectors) - set(filled[source].values()):
                    assert not batch.vector_mask[role][k].any()
                    assert not batch.vectors[role][k].any()
                if k < 8:
                    picture = np.asarray(
                        Image.open(io.BytesIO(episode.pictures["image_0"][frame]))
                        if source == "bridge_v2"
                        else Image.fromarray(episode.frames(camera[source])[frame]).resize(
                            (64, 64), Image.Resampling.LANCZOS
                        )
                    )
                    # Decoders may round differently, and a video's frame was encoded once more.
                    apart = np.abs(batch.pictures["main"][k].astype(int) - picture)
                    assert apart.mean() < (1 if source == "bridge_v2" else 6)
                    pictures += 1
        drawn = {one.source: one.samples for one in opened.receipt().drawn}
    assert (drawn, pictures) == ({"bridge_v2": 48, "lerobot": 48}, 24)
    assert beyond  # a chunk that ends behind its episode was met
    (out / "roles.toml").unlink()
    with pytest.raises(UsageError, match="other cameras or numbers"):
        finedata.stream(out, mix="raw=1")
