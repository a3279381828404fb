"""A drafted converter file decodes, converts what it was drafted from, and says why it guessed.

Fixtures of the ten sources are drafted as if nobody knew them; what the numbers can tell must
come out as the fixture's writer meant it.
"""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import polars as pl
import pytest
from sources import generic_lerobot
from sources.lerobot_writer import WrittenEpisode, write_lerobot
from sources.motion import smooth_joints

from finedata.convert.draft.numbers import action_kind, gripper_scale, has_unit_norm
from finedata.convert.draft.propose import draft_converter
from finedata.convert.draft.roles import words_of
from finedata.convert.run import convert
from finedata.errors import SourceError, UsageError
from finedata.schema.converter import Variant
from finedata.schema.converter_file import decode_converter

REAL = os.environ.get("FINEDATA_REAL_DATA")
# fixture, its writer, space, reference, arms, and whether every episode has the drafted form
CASES = [
    ("generic_lerobot", "write", "joint", "absolute", 1, True),
    ("galaxea", "write", "joint", "absolute", 2, True),
    ("galaxea_rlds", "write", "joint", "next_state", 2, True),
    ("robocoin", "write", "joint", "absolute", 2, True),
    ("robocoin", "write_early", "joint", "absolute", 2, True),
    ("rdt", "write", "joint", "absolute", 2, True),
    ("droid", "write", "joint", "absolute", 1, True),
    ("bridge", "write", "ee", "delta", 1, True),
    ("bridge", "write_oxe", "ee", "delta", 1, True),
    ("bc_z", "write", "ee", "next_state", 1, True),
    ("rt1", "write", "ee", "delta", 1, True),
    ("robomind_v2", "write", "joint", "absolute", 2, True),
    # Eight robots in one folder: the draft describes the most frequent, the others get a receipt.
    ("robomind_v1", "write", "joint", "absolute", 1, False),
]


def variant_of(text: str) -> Variant:
    (variant,) = decode_converter(text, origin="the draft").converter.variants
    return variant


def written(module: str, function: str, folder: Path, **knobs: Any) -> list[Any]:
    folder.mkdir()
    return getattr(importlib.import_module(f"sources.{module}"), function)(folder, **knobs)


def converted(text: str, source: Path, tmp_path: Path) -> Any:
    mine = tmp_path / "mine.toml"
    mine.write_text(text)
    return convert(str(mine), input=source, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("module", "function", "space", "reference", "arms", "all_alike"),
    CASES,
    ids=[f"{case[0]}-{case[1]}" for case in CASES],
)
def test_a_draft_converts_its_fixture(
    module: str,
    function: str,
    space: str,
    reference: str,
    arms: int,
    all_alike: bool,
    tmp_path: Path,
) -> None:
    truths = written(module, function, tmp_path / "source")
    text = draft_converter(str(tmp_path / "source"))
    variant = variant_of(text)
    assert (variant.space, len(variant.arms)) == (space, arms)
    assert {arm.action.reference for arm in variant.arms} == {reference}
    assert variant.cameras
    summary = converted(text, tmp_path / "source", tmp_path)
    assert summary.episodes + summary.failed == len(truths)
    assert (summary.failed == 0) == all_alike
    assert summary.episodes >= 1


def test_joints_and_units_are_those_of_the_writer(tmp_path: Path) -> None:
    truths = written("generic_lerobot", "write", tmp_path / "source")
    text = draft_converter(str(tmp_path / "source"), name="SO-100 pick")
    assert decode_converter(text, origin="x").converter.name == "so_100_pick"
    (arm,) = variant_of(text).arms
    # `wrist_roll.pos` is a joint, whatever `roll` may mean elsewhere.
    assert arm.state.joints is not None
    assert (arm.state.joints.columns, arm.state.joints.unit) == ((0, 5), "deg")
    assert arm.state.gripper is not None
    assert (arm.state.gripper.column, arm.state.gripper.open) == (5, 100.0)
    converted(text, tmp_path / "source", tmp_path)
    frames = pl.read_parquet(tmp_path / "out/data/**/*.parquet").sort("index")
    wanted = np.concatenate([truth.arms["right"].target_joint_position for truth in truths])
    found = np.stack(frames["action"].to_numpy())
    np.testing.assert_allclose(found[:, :5], wanted, atol=1e-5)


def test_the_order_of_a_quaternion_is_a_doubt_unless_named(tmp_path: Path) -> None:
    written("galaxea", "write", tmp_path / "nameless")
    nameless = draft_converter(str(tmp_path / "nameless"))
    doubts = decode_converter(nameless, origin="x").converter.doubts
    assert any("xyzw from wxyz" in doubt for doubt in doubts)
    assert "# doubt: observation.state.right_ee_pose: norms cannot tell" in nameless
    written("robocoin", "write_early", tmp_path / "named")
    named = draft_converter(str(tmp_path / "named"))
    assert "wxyz" not in " ".join(decode_converter(named, origin="x").converter.doubts)
    assert "ordered xyzw by name" in named


def test_depth_is_no_camera_and_the_rate_is_a_doubt(tmp_path: Path) -> None:
    written("rdt", "write", tmp_path / "source")
    text = draft_converter(str(tmp_path / "source"))
    variant = variant_of(text)
    assert [camera.name for camera in variant.cameras] == [
        "cam_high", "cam_left_wrist", "cam_right_wrist"
    ]  # fmt: skip
    assert set(variant.not_converted) == {"depth", "force", "velocity"}
    assert variant.language.instructions == ("instruction",)
    doubts = decode_converter(text, origin="x").converter.doubts
    assert any(doubt.startswith("the rate") for doubt in doubts)


def test_a_version_is_no_name(tmp_path: Path) -> None:
    written("bridge", "write", tmp_path / "source")
    for folder in ("source", "source/bridge_dataset", "source/bridge_dataset/1.0.0"):
        text = draft_converter(str(tmp_path / folder))
        assert decode_converter(text, origin="x").converter.name == "bridge_dataset"


def test_every_guess_has_a_reason_above_it(tmp_path: Path) -> None:
    for module, function in (("droid", "write"), ("galaxea", "write"), ("bridge", "write_oxe")):
        written(module, function, tmp_path / f"{module}_{function}")
        lines = draft_converter(str(tmp_path / f"{module}_{function}")).splitlines()
        guessed = ("position = ", "rotation = ", "joints = ", "gripper = ", "reference = ", "space")
        places = [i for i, line in enumerate(lines) if line.startswith(guessed)]
        assert len(places) > 4
        assert all(lines[i - 1].startswith("# ") for i in places)


def test_what_nothing_tells_stays_undeclared(tmp_path: Path) -> None:
    names = {key: [f"motor_{i}" for i in range(6)] for key in ("observation.state", "action")}
    written("generic_lerobot", "write", tmp_path / "source", names=names)
    text = draft_converter(str(tmp_path / "source"))
    variant = variant_of(text)
    assert (variant.space, variant.keep, variant.arms) == ("undeclared", ("*",), ())
    assert "# Conventions stay undeclared: " in text
    summary = converted(text, tmp_path / "source", tmp_path)
    assert (summary.episodes, summary.failed) == (3, 0)


def lerobot_of(folder: Path, state: dict[str, np.ndarray], action: dict[str, np.ndarray]) -> Path:
    """A dataset of named columns."""
    columns = {
        "observation.state": np.stack(list(state.values()), axis=1).astype(np.float32),
        "action": np.stack(list(action.values()), axis=1).astype(np.float32),
        "task_index": np.zeros(len(next(iter(state.values()))), np.int64),
    }
    names = {"observation.state": list(state), "action": list(action)}
    episodes = [WrittenEpisode(columns, ("t",))]
    write_lerobot(folder, episodes, version="v2.1", tasks=["t"], cameras=(), names=names)
    return folder


def test_actions_that_follow_nothing_are_kept_as_they_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    path = smooth_joints(rng, 40, 3)
    state = {f"joint_{i}": path[:, i] for i in range(3)}
    noise = {f"joint_{i}": rng.normal(size=40) for i in range(3)}
    folder = lerobot_of(tmp_path / "source", state, noise)
    text = draft_converter(str(folder))
    assert variant_of(text).space == "undeclared"
    # What was seen is told to the person who edits.
    assert "#   candidate: observation.state, columns [0, 1, 2]: joints" in text
    assert variant_of(draft_converter(str(lerobot_of(tmp_path / "good", state, state)))).arms


def test_a_guess_that_does_not_convert_is_dropped(tmp_path: Path) -> None:
    path = smooth_joints(np.random.default_rng(5), 40, 3)
    joints = {f"joint_{i}": path[:, i] for i in range(3)}
    state = joints | {f"hand_{i}": path[:, i] for i in range(3)}
    action = joints | {f"hand_{i}": path[:, i] for i in range(2)}
    folder = lerobot_of(tmp_path / "source", state, action)
    text = draft_converter(str(folder))
    assert variant_of(text).space == "undeclared"
    assert "# Conventions stay undeclared: a guess of arms did not convert (" in text
    assert converted(text, folder, tmp_path).failed == 0


def test_a_gripper_commanded_the_other_way_round_is_turned(tmp_path: Path) -> None:
    path = smooth_joints(np.random.default_rng(5), 40, 3)
    joints = {f"joint_{i}": path[:, i] for i in range(3)}
    measured = np.linspace(0.05, 0.95, 40)
    state = joints | {"gripper": measured}
    for number, (commanded, ends) in enumerate([(measured, (1, 0)), (1 - measured, (0, 1))]):
        action = joints | {"gripper": commanded}
        folder = lerobot_of(tmp_path / f"source_{number}", state, action)
        (arm,) = variant_of(draft_converter(str(folder))).arms
        assert arm.state.gripper is not None
        assert arm.action.gripper is not None
        assert (arm.state.gripper.open, arm.state.gripper.closed) == (1, 0)
        assert (arm.action.gripper.open, arm.action.gripper.closed) == ends


def test_columns_that_lie_apart_are_named(tmp_path: Path) -> None:
    path = smooth_joints(np.random.default_rng(5), 40, 4)
    names = ("left_joint[0]", "right_joint[0]", "left_joint[1]", "right_joint[1]")
    columns = {name: path[:, i] for i, name in enumerate(names)}
    folder = lerobot_of(tmp_path / "source", columns, columns)
    text = draft_converter(str(folder))
    assert [arm.name for arm in variant_of(text).arms] == ["right", "left"]
    assert converted(text, folder, tmp_path).failed == 0
    (row,) = pl.read_parquet(tmp_path / "out/data/**/*.parquet").sort("index")[:1].to_dicts()
    np.testing.assert_allclose(row["observation.state"], path[0, [1, 3, 0, 2]], atol=1e-6)


def test_names_cannot_write_into_the_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    wicked = 'left_joint"\nspace = "ee'
    columns = {
        "observation.state": smooth_joints(rng, 20, 6).astype(np.float32),
        "action": smooth_joints(rng, 20, 6).astype(np.float32),
        wicked: rng.normal(size=(20, 2)).astype(np.float32),
        "task_index": np.zeros(20, np.int64),
    }
    folder = tmp_path / "source"
    write_lerobot(
        folder, [WrittenEpisode(columns, ("t",))], version="v2.1", tasks=["t"], cameras=()
    )
    info = folder / "meta/info.json"
    described = json.loads(info.read_text())
    described["robot_type"] = 'arm"\n[gate]\nminimum_frames = 1'
    info.write_text(json.dumps(described))
    converter = decode_converter(draft_converter(str(folder)), origin="x").converter
    assert converter.gate is None
    assert converter.variants[0].embodiment == "arm_gate_minimum_frames_1"


def test_hdf5_without_arms_keeps_its_cameras(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    jpeg = generic_lerobot.encoded_picture(1)
    with h5py.File(folder / "one.hdf5", "w") as file:
        file["numbers"] = np.zeros((5, 3))
        pictures = file.create_dataset("camera", (5,), h5py.vlen_dtype(np.uint8))
        for i in range(5):
            pictures[i] = np.frombuffer(jpeg, np.uint8)
    text = draft_converter(str(folder))
    assert variant_of(text).space == "undeclared"
    summary = converted(text, folder, tmp_path)
    assert (summary.episodes, summary.frames) == (1, 5)
    (variant,) = decode_converter(text, origin="the draft").converter.variants
    assert variant.keep == ("*",)


def test_nothing_to_convert_is_said(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "one.hdf5", "w") as file:
        file["numbers"] = np.zeros((5, 3), np.longdouble)  # no type of LeRobot's
    with pytest.raises(SourceError, match="nothing that can be converted"):
        draft_converter(str(tmp_path))


def test_rh20t_needs_no_draft(tmp_path: Path) -> None:
    written("rh20t", "write", tmp_path / "source")
    with pytest.raises(UsageError, match="sources copy rh20t"):
        draft_converter(str(tmp_path / "source"))


@pytest.mark.skipif(REAL is None, reason="FINEDATA_REAL_DATA is not set")
def test_a_real_dataset_of_nameless_motors(tmp_path: Path) -> None:
    source = Path(str(REAL)) / "gr00t_lerobot_v20"
    text = draft_converter(str(source))
    variant = variant_of(text)
    # 44 columns named motor_0 ... motor_43: nothing is claimed of them.
    assert (variant.space, variant.embodiment) == ("undeclared", "gr1armsonly")
    summary = converted(text, source, tmp_path)
    assert (summary.episodes, summary.frames, summary.failed) == (5, 2096, 0)


def path_of(seed: int = 0) -> np.ndarray:
    return smooth_joints(np.random.default_rng(seed), 60, 3)


def test_targets_steps_and_noise_are_told_apart() -> None:
    path = path_of()
    following = np.concatenate([path[1:], path[-1:]])
    assert action_kind(following, path).reference == "absolute"
    steps = np.diff(path, axis=0, append=path[-1:])
    exact = action_kind(steps, path)
    assert (exact.reference, exact.refers_to) == ("delta", "previous_target")
    # A robot that goes half the way of each step: the sums overshoot, so about the measured pose.
    half = action_kind(2 * steps, path)
    assert (half.reference, half.refers_to) == ("delta", "measured")
    noise = np.random.default_rng(1).normal(size=path.shape)
    assert action_kind(noise, path).reference == "unknown"
    assert action_kind(path, np.ones_like(path)).reference == "unknown"


@pytest.mark.parametrize(
    ("values", "words", "ends", "kind"),
    [
        ([0.02, 0.9], ["gripper"], (1.0, 0.0), "absolute"),
        ([0.02, 0.9], ["gripper", "closed"], (0.0, 1.0), "absolute"),
        ([1.0, 99.0], ["gripper"], (100.0, 0.0), "absolute"),
        ([3.0, 921.0], ["gripper"], (1000.0, 0.0), "absolute"),
        ([0.0, 0.08], ["gripper"], (0.08, 0.0), "absolute"),
        ([-1.0, 1.0, 1.0], ["gripper"], (-1.0, 1.0), "absolute"),
        ([-1.0, 0.0, 0.0, 0.0, 1.0], ["gripper"], (-1.0, 1.0), "relative_hold"),
        ([1.5, 4.7], ["gripper"], (4.7, 1.5), "absolute"),
        ([2.0, 2.0], ["gripper"], (3.0, 2.0), "absolute"),
    ],
)
def test_ends_of_a_gripper(
    values: list[float], words: list[str], ends: tuple[float, float], kind: str
) -> None:
    scale = gripper_scale(np.array(values), words)
    assert (scale.open, scale.closed) == ends
    assert scale.kind == kind
    assert scale.why
    assert scale.doubt


def test_norms() -> None:
    rows = np.random.default_rng(0).normal(size=(20, 4))
    assert not has_unit_norm(rows)
    assert has_unit_norm(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    assert not has_unit_norm(np.full((3, 4), np.nan))


def test_words() -> None:
    assert words_of("observation.leftArm_joint-1") == ["observation", "left", "arm", "joint", "1"]
