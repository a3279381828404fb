"""Roles proposed from names, and numbers put in their places."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from finedata.errors import ConformError, SpecError
from finedata.schema.documents import FileDigest
from finedata.schema.roles_file import roles_digest
from finedata.schema.shards_file import ShardCamera, ShardFeature, ShardSet
from finedata.shard.roles import read_roles, role_picker, write_roles

POSE = ["x", "y", "z", "qx", "qy", "qz", "qw"]
JOINTS = [f"joint_{i}" for i in range(6)]
FINEVLA = [f"{arm}_{name}" for arm in ("left", "right") for name in (*JOINTS, "gripper")]


def named(arms: list[str], inside: list[str]) -> list[str]:
    return [f"{arm}_{name}" for arm in arms for name in inside]


def a_set(source: str, space: str, features: dict[str, list[str]], cameras: list[str], **more):
    empty = FileDigest(path="x", bytes=0, sha256="0" * 64)
    found = ShardSet(
        name=f"{source}-rep-train", source=source, part="p", tier="rep", side="train",
        embodiment=more.pop("embodiment", source), space=space, fps=5.0, licences=[], members=["m"],
        cameras=[
            ShardCamera(
                name=name, member="m", codec="jpeg", height=1, width=1, untouched=0, encoded=0,
                psnr_db=None,
            )
            for name in cameras
        ],
        features=[
            ShardFeature(name=name, width=len(names), names=names)
            for name, names in features.items()
        ],
        episodes=0, frames=0, samples=0, tars=[], episodes_file=empty, frames_file=empty,
    )  # fmt: skip
    return msgspec.structs.replace(found, **more)


BRIDGE = a_set(
    "bridge_v2",
    "ee",
    {
        "observation.state": named(["right"], [*POSE, "gripper"]),
        "action": named(["right"], [*POSE, "gripper"]),
        "observation.joint_position": named(["right"], JOINTS),
    },
    ["image_0", "image_1"],
)
RDT = a_set(
    "rdt",
    "joint",
    {
        name: named(["right", "left"], [*JOINTS, "gripper"])
        for name in ("observation.state", "action")
    },
    ["cam_high", "cam_left_wrist", "cam_right_wrist"],
)


def test_two_arms_are_the_fourteen_numbers_of_finevla(tmp_path: Path):
    roles = write_roles(tmp_path, [RDT])
    assert list(roles.vectors["state_joint"].names) == FINEVLA
    assert set(roles.vectors) == {"state_joint", "action_joint"}
    state = np.arange(28, dtype=np.float32).reshape(2, 14)
    picker = role_picker(roles, "state_joint", RDT)
    found = picker.pick({"observation.state": state}, 2)
    np.testing.assert_array_equal(found, state[:, [*range(7, 14), *range(7)]])
    assert picker.mask.all()


def test_one_arm_meets_two_and_is_masked(tmp_path: Path):
    roles = write_roles(tmp_path, [BRIDGE, RDT])
    assert list(roles.vectors["state_joint"].names) == FINEVLA
    assert list(roles.vectors["action_pose"].names) == named(["right"], [*POSE, "gripper"])
    picker = role_picker(roles, "state_joint", BRIDGE)
    assert picker.mask.tolist() == [False] * 7 + [True] * 7
    state, joints = np.full((1, 8), 5, np.float32), np.arange(6, dtype=np.float32)[None]
    found = picker.pick({"observation.state": state, "observation.joint_position": joints}, 1)
    assert found.tolist() == [[0.0] * 7 + [0, 1, 2, 3, 4, 5, 5]]
    # Bridge says where its arm shall be in poses only: no joint of the target is made up.
    assert not role_picker(roles, "action_joint", BRIDGE).mask[7:13].any()
    assert not role_picker(roles, "state_pose", RDT).mask[:7].any()


@pytest.mark.parametrize(
    ("embodiment", "cameras", "wanted"),
    [
        ("widowx", ["image_0", "image_1"], {"main": "image_0"}),
        (
            "franka",
            ["exterior_2", "exterior_1", "wrist"],
            {"main": "exterior_1", "right_wrist": "wrist"},
        ),
        (
            "agilex_cobot_magic",
            ["cam_high", "cam_left_wrist", "cam_right_wrist"],
            {"main": "cam_high", "left_wrist": "cam_left_wrist", "right_wrist": "cam_right_wrist"},
        ),
        (
            "agilex",
            ["camera_front", "camera_left", "camera_right"],
            {"main": "camera_front", "left_wrist": "camera_left", "right_wrist": "camera_right"},
        ),
        ("ur5e", ["camera_left", "camera_top", "camera_right"], {"main": "camera_top"}),
        (
            "franka",
            ["camera_handeye", "camera_left_external"],
            {"main": "camera_left_external", "right_wrist": "camera_handeye"},
        ),
        (
            "h1",
            ["head_left_rgb", "left_wrist_rgb"],
            {"main": "head_left_rgb", "left_wrist": "left_wrist_rgb"},
        ),
    ],
)  # fmt: skip
def test_cameras_by_their_names(tmp_path: Path, embodiment: str, cameras: list, wanted: dict):
    one = a_set("s", "joint", {}, cameras, embodiment=embodiment)
    assert write_roles(tmp_path, [one]).parts[0].cameras == wanted


def test_a_part_without_declared_names_has_roles_of_its_own(tmp_path: Path):
    own = a_set("lerobot", "undeclared", {"observation.state": ["m1", 'it"s']}, ["top"])
    roles = write_roles(tmp_path, [own, RDT])
    assert list(roles.vectors["state_lerobot_p"].names) == ["m1", 'it"s']
    assert role_picker(roles, "state_lerobot_p", own).mask.all()
    assert not role_picker(roles, "state_joint", own).mask.any()
    assert not role_picker(roles, "state_lerobot_p", RDT).mask.any()


def test_what_was_edited_stays(tmp_path: Path):
    write_roles(tmp_path, [BRIDGE])
    path = tmp_path / "roles.toml"
    edited = path.read_text().replace('main = "image_0"', 'main = "image_1"  # mine')
    path.write_text(edited)
    before = roles_digest(read_roles(tmp_path))
    assert roles_digest(write_roles(tmp_path, [BRIDGE])) == before
    assert path.read_text() == edited
    grown = write_roles(tmp_path, [BRIDGE, RDT])
    assert path.read_text().startswith(edited.rstrip())
    assert [(part.source, part.cameras.get("main")) for part in grown.parts] == [
        ("bridge_v2", "image_1"),
        ("rdt", "cam_high"),
    ]
    # A new part fills the roles that are there; it makes none.
    assert grown.parts[1].vectors["state_joint"] == {
        name: f"observation.state:{name}" for name in named(["right"], [*JOINTS, "gripper"])
    }


def test_bad_roles_are_named(tmp_path: Path):
    with pytest.raises(ConformError, match=r"roles\.toml"):
        read_roles(tmp_path)
    roles = write_roles(tmp_path, [BRIDGE])
    with pytest.raises(ConformError, match="nope"):
        role_picker(roles, "nope", BRIDGE)
    path = tmp_path / "roles.toml"
    whole = path.read_text()
    path.write_text(whole.replace("observation.state:right_x", "observation.state:right_u"))
    with pytest.raises(ConformError, match=r"observation\.state:right_u"):
        role_picker(read_roles(tmp_path), "state_pose", BRIDGE)
    path.write_text(whole + "\nnonsense = [")
    with pytest.raises(SpecError, match=r"roles\.toml"):
        write_roles(tmp_path, [BRIDGE, RDT])
    assert path.read_text().endswith("nonsense = [")
