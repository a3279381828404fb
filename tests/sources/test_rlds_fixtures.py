"""Every RLDS fixture is read back: names, shapes, numbers, texts and pictures, byte for byte."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sources import bc_z, bridge, droid, galaxea_rlds, rlds_writer, rt1
from sources.truth import SourceTruth

from finedata.readers.rlds.source import open_rlds

SIDES = ("left", "right")


@dataclass(frozen=True)
class Case:
    """A writer and where its folder is; `numbers` has per-step features and their inner shape."""

    write: Any
    folder: str
    instruction: str
    numbers: dict[str, tuple[int, ...]]
    knobs: dict[str, Any] = field(default_factory=dict)


BC_Z = {
    "steps/action/future/xyz_residual": (30,),
    "steps/action/future/axis_angle_residual": (30,),
    "steps/action/future/target_close": (10,),
    "steps/observation/present/xyz": (3,),
    "steps/observation/present/axis_angle": (3,),
    "steps/observation/present/sensed_close": (1,),
    "steps/observation/present/autonomous": (),
    "steps/observation/present/intervention": (),
    "steps/observation/episode_success": (),
    "steps/observation/sequence_length": (),
    "steps/is_first": (),
}
RT1 = {
    "steps/action/world_vector": (3,),
    "steps/action/rotation_delta": (3,),
    "steps/action/gripper_closedness_action": (1,),
    "steps/action/terminate_episode": (3,),
    "steps/action/base_displacement_vector": (2,),
    "steps/action/base_displacement_vertical_rotation": (1,),
    "steps/observation/base_pose_tool_reached": (7,),
    "steps/observation/gripper_closed": (1,),
    "steps/observation/workspace_bounds": (3, 3),
    "steps/observation/orientation_box": (2, 3),
    "steps/reward": (),
}
DROID = {
    "steps/action": (7,),
    "steps/action_dict/cartesian_position": (6,),
    "steps/action_dict/cartesian_velocity": (6,),
    "steps/action_dict/gripper_position": (1,),
    "steps/action_dict/gripper_velocity": (1,),
    "steps/action_dict/joint_position": (7,),
    "steps/action_dict/joint_velocity": (7,),
    "steps/observation/cartesian_position": (6,),
    "steps/observation/gripper_position": (1,),
    "steps/observation/joint_position": (7,),
    "steps/discount": (),
}
BRIDGE = {
    "steps/action": (7,),
    "steps/observation/state": (7,),
    "steps/language_embedding": (512,),
    "steps/is_last": (),
}
OXE = {
    "steps/action/world_vector": (3,),
    "steps/action/rotation_delta": (3,),
    "steps/action/open_gripper": (),
    "steps/action/terminate_episode": (),
    "steps/observation/state": (7,),
}
GALAXEA = {
    "steps/action": (26,),
    "steps/observation/last_action": (26,),
    "steps/observation/base_velocity": (3,),
    "steps/observation/joint_position_torso": (4,),
    "steps/segment_idx": (),
    "steps/variant_idx": (),
    **{f"steps/observation/joint_position_arm_{side}": (6,) for side in SIDES},
    **{f"steps/observation/joint_velocity_arm_{side}": (6,) for side in SIDES},
    **{f"steps/observation/gripper_state_{side}": (1,) for side in SIDES},
}
NATURAL = "steps/observation/natural_language_instruction"
PLAIN = "steps/language_instruction"
CASES = {
    "bc_z": Case(bc_z.write, "bc_z/0.1.0", NATURAL, BC_Z),
    "bc_z-near_pi": Case(bc_z.write, "bc_z/0.1.0", NATURAL, BC_Z, {"near_pi": True}),
    "rt1": Case(rt1.write, "fractal20220817_data/0.1.0", NATURAL, RT1),
    "rt1-odd": Case(
        rt1.write,
        "fractal20220817_data/0.1.0",
        NATURAL,
        RT1,
        {"two_steps": True, "outlier": True, "rotation": "rotvec", "picture_form": "PNG"},
    ),
    "droid-1.0.0": Case(droid.write, "droid/1.0.0", PLAIN, DROID),
    "droid-1.0.1": Case(
        droid.write, "droid/1.0.1", PLAIN, DROID, {"version": "1.0.1", "extra_metadata": True}
    ),
    "bridge": Case(bridge.write, "bridge_dataset/1.0.0", PLAIN, BRIDGE),
    "bridge-oxe": Case(bridge.write_oxe, "bridge/0.1.0", NATURAL, OXE),
    "galaxea": Case(galaxea_rlds.write, "part1_r1_lite/1.0.0", PLAIN, GALAXEA),
    "galaxea-odd": Case(
        galaxea_rlds.write,
        "part1_r1_lite/1.0.0",
        PLAIN,
        GALAXEA,
        {"depth": "tensor", "arm_action": "velocity"},
    ),
}


@dataclass(frozen=True)
class Written:
    """A fixture on disk, what it is said to hold, and the records that the reader found."""

    case: Case
    source: Any
    truths: list[SourceTruth]
    episodes: list[Any]
    payloads: list[bytes]
    keys: list[str]


@pytest.fixture(scope="module", params=CASES)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    case = CASES[request.param]
    folder = tmp_path_factory.mktemp("source")
    truths = case.write(folder, **case.knobs)
    source = open_rlds(folder / case.folder)
    episodes, payloads, keys = [], [], []
    numbers: dict[str, int] = {}
    for number, shard in enumerate(source.shards):
        within = numbers.get(shard.split, 0)
        numbers[shard.split] = within + 1
        reader = source.folder.open(shard.file)
        for found, episode in source.scan(number):
            assert found.reason is None, found
            episodes.append(episode)
            payloads.append(reader.read(found.offset, found.length))
            keys.append(rlds_writer.Place(shard.split, within, found.number).key)
        reader.close()
    return Written(case, source, truths, episodes, payloads, keys)


def test_every_record_is_found(written: Written) -> None:
    assert written.source.version == written.case.folder.split("/")[1]
    assert written.source.missing_shards == ()
    assert len(written.episodes) == len(written.truths) >= 3
    assert sum(shard.declared_records for shard in written.source.shards) == len(written.truths)
    assert len({truth.key for truth in written.truths}) == len(written.truths)


def test_numbers_have_their_declared_shape_and_type(written: Written) -> None:
    for truth, episode in zip(written.truths, written.episodes, strict=True):
        for name, inner in written.case.numbers.items():
            values = episode.numbers(name)
            assert values.shape == (truth.length, *inner), name
            assert values.dtype == np.dtype(written.source.features[name].dtype), name
            assert np.isfinite(values).all(), name
        assert set(episode.feature_names()) == set(written.source.features)


def test_texts_and_flags(written: Written) -> None:
    for truth, episode in zip(written.truths, written.episodes, strict=True):
        # Galaxea's instruction goes on behind the goal, by step.
        said = [text.split("@")[0] for text in episode.texts(written.case.instruction)]
        assert len(said) == truth.length
        if written.case.write is not droid.write:
            assert set(said) == {truth.instruction}
        first, last = episode.numbers("steps/is_first"), episode.numbers("steps/is_last")
        assert np.flatnonzero(first).tolist() == [0]
        assert np.flatnonzero(last).tolist() == [truth.length - 1]


def test_droid_says_what_is_not_empty_in_order(tmp_path: Path) -> None:
    truths = droid.write(tmp_path, episodes=4)
    source = open_rlds(tmp_path)
    found = [episode for shard in range(2) for _, episode in source.scan(shard)]
    empty = 0
    for truth, episode in zip(truths, found, strict=True):
        three = [episode.texts(PLAIN + suffix)[0] for suffix in ("", "_2", "_3")]
        said = [text for text in three if text]
        empty += not three[0]
        assert [truth.instruction, *truth.alternatives] == (said or [""])
    assert empty == 2
    assert [truth.success for truth in truths] == [True, False, True, True]


def test_galaxea_segments_are_the_steps(tmp_path: Path) -> None:
    truths = galaxea_rlds.write(tmp_path)
    source = open_rlds(tmp_path)
    found = [episode for shard in range(2) for _, episode in source.scan(shard)]
    for truth, episode in zip(truths, found, strict=True):
        texts = [text.split("@")[2] for text in episode.texts(PLAIN)]
        from_truth = [
            step.text for step in truth.steps for _ in range(step.start_frame, step.end_frame)
        ]
        assert texts == from_truth
        assert (np.diff(episode.numbers("steps/segment_idx")) == 1).sum() == len(truth.steps) - 1


def test_pictures_are_byte_for_byte(written: Written) -> None:
    for truth, episode in zip(written.truths, written.episodes, strict=True):
        assert truth.cameras
        for name, digests in truth.cameras.items():
            pictures = episode.pictures(f"steps/observation/{name}")
            found = tuple(
                hashlib.sha256(pictures[number]).hexdigest() for number in range(len(pictures))
            )
            assert found == digests
            assert len(found) == truth.length


def test_tfds_reads_the_same(written: Written) -> None:
    tfds = pytest.importorskip("tensorflow_datasets")
    if any(info.kind == "image" and info.dtype == "uint16" for info in _infos(written)):
        pytest.skip("tensorflow-datasets wants OpenCV for 16-bit PNG; the tensor form is compared")
    connector = tfds.features.FeaturesDict.from_config(written.source.folder.address)
    for episode, payload in zip(written.episodes, written.payloads, strict=True):
        steps = list(connector.deserialize_example_np(payload)["steps"])
        for name in written.case.numbers:
            theirs = np.stack([_inside(step, name.removeprefix("steps/")) for step in steps])
            np.testing.assert_array_equal(episode.numbers(name), theirs, err_msg=name)


def _infos(written: Written) -> list[Any]:
    return list(written.source.features.values())


def _inside(step: dict[str, Any], name: str) -> Any:
    """A leaf by its key on disk, whose own name may hold slashes."""
    if name in step:
        return step[name]
    head, rest = name.split("/", 1)
    return _inside(step[head], rest)


def test_keys_are_where_the_records_lie(written: Written) -> None:
    no_name = written.case.write in (bc_z.write, rt1.write)
    for truth, episode, key in zip(written.truths, written.episodes, written.keys, strict=True):
        if no_name:
            assert truth.key == key
        elif episode.has("episode_metadata/file_path"):
            (path,) = episode.texts("episode_metadata/file_path")
            assert path.endswith(truth.key.split("#")[0])
            assert len(path) > len(truth.key.split("#")[0])
        else:
            assert episode.texts("episode_id") == [truth.key]


def test_the_same_arguments_give_the_same_bytes(written: Written, tmp_path: Path) -> None:
    written.case.write(tmp_path, **written.case.knobs)
    for file in sorted((tmp_path / written.case.folder).iterdir()):
        there = Path(written.source.folder.address) / file.name
        assert file.read_bytes() == there.read_bytes()


def test_oxe_bridge_without_an_episode_id(tmp_path: Path) -> None:
    truths = bridge.write_oxe(tmp_path, episode_id=False)
    source = open_rlds(tmp_path)
    assert "episode_id" not in source.features
    assert [truth.key for truth in truths] == ["train/0#0", "train/0#1", "test/0#0"]


def test_depth_is_sixteen_bits_either_way(tmp_path: Path) -> None:
    galaxea_rlds.write(tmp_path / "png", size=(8, 12))
    galaxea_rlds.write(tmp_path / "tensor", size=(8, 12), depth="tensor")
    name = f"steps/observation/{galaxea_rlds.DEPTH_CAMERAS[0]}"
    _, episode = next(open_rlds(tmp_path / "tensor").scan(0))
    values = episode.numbers(name)
    assert values.shape == (24, 8, 12, 1)
    assert values.dtype == np.uint16
    assert values.max() > 255
    _, episode = next(open_rlds(tmp_path / "png").scan(0))
    pictures = episode.pictures(name)
    # IHDR: bit depth 16, colour type grey.
    assert pictures[0][24:26] == bytes([16, 0])
