"""Scenes of RH20T of which something is absent, damaged, or of another type."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from readers.rh20t_scenes import episode_of, one_scene, only, resave
from sources.rh20t import DAMAGES, HIDDEN, reference_serial, write

from finedata.errors import (
    CorruptRecordError,
    FeatureError,
    MissingFeatureError,
    SourceError,
)
from finedata.readers.npy import RefusedPickleError
from finedata.readers.rh20t.episode import Rh20tEpisode
from finedata.readers.rh20t.source import open_rh20t
from finedata.schema.enums import RECEIPT_REASONS

# Damage


EXPECTED: dict[str, str] = {
    "no_transformed": "missing_feature",
    "no_tcp_base": "missing_feature",
    "no_cameras": "missing_feature",
    "no_frames": "zero_steps",
    "refused_pickle": "refused_pickle",
    "truncated": "unparsable",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_concerns_its_own_scene(tmp_path: Path, damage: str) -> None:
    truths = write(tmp_path, episodes=2, cfgs=(3,), damage={0: damage})
    source = open_rh20t(tmp_path)
    found, episode = only(source, 0)
    assert found.reason == EXPECTED.get(damage)
    assert (episode is None) is (damage in HIDDEN)
    if found.reason:
        assert found.reason in RECEIPT_REASONS
        assert str(tmp_path) not in found.message
        assert "task_0001_user_0007_scene_0001" in found.message
    other = only(source, 1)[1]
    assert other is not None
    arm = truths[-1].arms["right"]
    np.testing.assert_array_equal(other.numbers("tcp_base")[:, :3], arm.position_m)
    assert not list(tmp_path.rglob("executed"))


@pytest.mark.parametrize(
    ("damage", "gone"),
    [
        ("no_metadata", ["metadata/rating", "metadata/finish_time", "after_finish"]),
        ("no_joint", ["joint"]),
        ("no_gripper", ["gripper_command", "gripper_info"]),
        ("no_force", ["force_torque", "force_torque_base"]),
    ],
)
def test_what_has_no_file_is_not_there(tmp_path: Path, damage: str, gone: list[str]) -> None:
    episode, _ = one_scene(tmp_path, damage={0: damage})
    for name in gone:
        assert not episode.has(name)
        assert name not in episode.feature_names()
        with pytest.raises(MissingFeatureError):
            episode.numbers(name)
    assert episode.numbers("robot_ft").shape == (16, 6)


def test_refused_gripper_is_there_and_says_why(tmp_path: Path) -> None:
    episode, _ = one_scene(tmp_path, damage={0: "refused_gripper"})
    assert episode.has("gripper_info")
    with pytest.raises(RefusedPickleError, match="nothing was executed"):
        episode.numbers("gripper_info")
    assert not list(tmp_path.rglob("executed"))


def test_damaged_videos(tmp_path: Path) -> None:
    camera = f"cam_{reference_serial(3)}"
    short, _ = one_scene(tmp_path / "a", damage={0: "short_video"})
    assert short.video(camera).frames == 9
    assert len(short.time_ms) == 16
    cut, _ = one_scene(tmp_path / "b", damage={0: "truncated_video"})
    with pytest.raises(CorruptRecordError, match=r"color\.mp4"):
        cut.video(camera)
    assert cut.has(camera)
    assert cut.picture_shape(camera) is None
    assert len(cut.digest({})) == 64
    gap, _ = one_scene(tmp_path / "c", damage={0: "camera_gap"})
    with pytest.raises(FeatureError, match="rows have no frame of this camera within 100 ms"):
        gap.video("cam_013322070878")
    assert gap.video("cam_f3034501").rows is not None


@pytest.mark.parametrize("damage", ["unordered", "duplicates"])
def test_odd_time_stamps_are_kept(tmp_path: Path, damage: str) -> None:
    episode, truth = one_scene(tmp_path, damage={0: damage})
    arm = truth.arms["right"]
    assert arm.position_m is not None
    steps = np.diff(episode.numbers("time_ms"))
    assert (steps <= 0).any()
    rows = np.arange(16)
    rows[[4, 6] if damage == "unordered" else 4] = [6, 4] if damage == "unordered" else 5
    np.testing.assert_array_equal(episode.numbers("tcp_base")[:, :3], arm.position_m[rows])


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "unparsable"), ("{", "unparsable"), ("[]", "wrong_type"), ("[" * 10_000, "unparsable")],
)
def test_damaged_metadata(scene: Path, text: str, reason: str) -> None:
    (scene / "metadata.json").write_text(text)
    found, episode = only(open_rh20t(scene.parents[1]))
    assert (found.reason, episode) == (reason, None)


def test_metadata_of_another_type(scene: Path) -> None:
    metadata = {"rating": "good", "calib_quality": None, "finish_time": True}
    (scene / "metadata.json").write_text(json.dumps(metadata))
    episode = episode_of(scene)
    assert not episode.has("metadata/calib_quality")
    for name in ("metadata/rating", "metadata/finish_time", "after_finish"):
        with pytest.raises(FeatureError):
            episode.numbers(name)


@pytest.mark.parametrize("name", ["configs.json", "task_description.json"])
@pytest.mark.parametrize("text", ["{", "3", '{"a": 1}', '[{"conf_num": 1, "in_hand": 5}]'])
def test_damaged_description(scene: Path, name: str, text: str) -> None:
    (scene.parents[1] / name).write_text(text)
    with pytest.raises(SourceError, match=name):
        open_rh20t(scene.parents[1])


def test_digest_sees_every_byte_that_is_read(scene: Path) -> None:
    before = episode_of(scene).digest({})
    assert episode_of(scene).digest({}) == before
    # Where a byte changes: the digit of a rating, a number's, a box's of the index.
    marks = {
        "metadata.json": (b'calib_quality": ', 16),
        "transformed/gripper.npy": (b"gripper_info", -30),
        f"cam_{reference_serial(3)}/color.mp4": (b"moov", 40),
    }
    for name, (mark, further) in marks.items():
        file = scene / name
        whole = file.read_bytes()
        at = whole.index(mark) + further
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert episode_of(scene).digest({}) != before, name
        file.write_bytes(whole)
    moved = scene.parents[1] / "elsewhere" / scene.name
    shutil.move(scene, moved)
    assert episode_of(moved).digest({}) == before


def test_an_episode_that_shrank_since_the_plan(scene: Path) -> None:
    source = open_rh20t(scene.parents[1])
    found, _ = only(source)
    file = scene / f"cam_{reference_serial(3)}" / "timestamps.npy"
    resave(file, lambda tree: {"color": tree["color"][:-1]})
    with pytest.raises(SourceError, match="as when it was planned"):
        source.open_shard(0).episode(found)


def read_everything(episode: Rh20tEpisode) -> None:
    episode.digest({})
    for name in episode.feature_names():
        for read in (episode.numbers, episode.texts, episode.video):
            try:
                values = read(name)
            except SourceError:
                continue
            if isinstance(values, np.ndarray) and values.ndim == 2:
                assert len(values) == len(episode.time_ms)


def test_mutations_end_in_a_typed_error_or_a_result(scene: Path) -> None:
    """300 damaged scenes: a byte changed, some bytes lost, or the end cut off, in any file."""
    rng = np.random.default_rng(11)
    files = sorted(file for file in scene.rglob("*") if file.is_file())
    source = open_rh20t(scene.parents[1])
    refused = 0
    for _ in range(300):
        file = files[rng.integers(len(files))]
        whole = file.read_bytes()
        at = int(rng.integers(len(whole)))
        bad = bytearray(whole)
        kind = rng.integers(3)
        if kind == 0:
            bad[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            del bad[at : at + int(rng.integers(1, 30))]
        else:
            del bad[at:]
        file.write_bytes(bytes(bad))
        for found, episode in source.scan(0):
            if episode is None:
                assert found.reason in RECEIPT_REASONS
                refused += 1
            else:
                read_everything(episode)
        file.write_bytes(whole)
    assert refused > 20
