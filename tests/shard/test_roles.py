"""Roles proposed from names, and numbers put in their places."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from finedata.errors import SpecError
from finedata.schema.documents import FileDigest
from finedata.schema.roles_file import RolesFile, roles_digest
from finedata.schema.shards_file import ShardCamera, ShardFeature, ShardSet
from finedata.shard.roles import write_roles
from finedata.shard.stream.parts import _own_roles, resolve

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


def filled(roles: RolesFile, role: str, one: ShardSet) -> list[str | None]:
    """What fills each place of a role in a set, as a stream resolves it; None where masked."""
    found: list[str | None] = [None] * len(roles.vectors[role].names)
    for pick in resolve(one, roles).vectors[role]:
        for name, place in zip(pick.names, pick.places, strict=True):
            found[place] = f"{pick.feature}:{name}"
    return found


def test_two_arms_are_the_fourteen_numbers_of_finevla(tmp_path: Path):
    roles = write_roles(tmp_path, [BRIDGE, RDT])
    assert list(roles.vectors["state_joint"].names) == FINEVLA
    assert filled(roles, "state_joint", RDT) == [f"observation.state:{name}" for name in FINEVLA]
    assert filled(roles, "action_joint", RDT) == [f"action:{name}" for name in FINEVLA]


def test_one_arm_meets_two_and_is_masked(tmp_path: Path):
    roles = write_roles(tmp_path, [BRIDGE, RDT])
    assert list(roles.vectors["action_pose"].names) == named(["right"], [*POSE, "gripper"])
    joints = [f"observation.joint_position:right_{name}" for name in JOINTS]
    wanted = [None] * 7 + [*joints, "observation.state:right_gripper"]
    assert filled(roles, "state_joint", BRIDGE) == wanted
    # Bridge says where its arm shall be in poses only: no joint of the target is made up.
    assert filled(roles, "action_joint", BRIDGE) == [None] * 13 + ["action:right_gripper"]
    assert filled(roles, "state_pose", RDT) == [None] * 7 + ["observation.state:right_gripper"]


def test_parts_that_are_alike_keep_their_own_names(tmp_path: Path):
    other = msgspec.structs.replace(BRIDGE, part="q", name="q")
    roles = write_roles(tmp_path, [BRIDGE, other])
    assert roles.cameras == ("image_0", "image_1")
    assert set(roles.vectors) == {"state", "action"}
    for one in (BRIDGE, other):
        names = named(["right"], [*POSE, "gripper"])
        assert filled(roles, "state", one) == [f"observation.state:{name}" for name in names]
        assert set(resolve(one, roles).cameras) == {"image_0", "image_1"}
    # The same without the file: it changes nothing until somebody edits it.
    own = _own_roles([BRIDGE, other])
    assert roles_digest(own) == roles_digest(roles)


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
    parts = write_roles(tmp_path, [one, BRIDGE]).parts
    assert next(part for part in parts if part.source == "s").cameras == wanted


def test_a_part_without_declared_names_has_roles_of_its_own(tmp_path: Path):
    own = a_set("lerobot", "undeclared", {"observation.state": ["m1", 'it"s']}, ["top"])
    roles = write_roles(tmp_path, [own, RDT])
    assert list(roles.vectors["state_lerobot_p"].names) == ["m1", 'it"s']
    assert filled(roles, "state_lerobot_p", own) == [
        "observation.state:m1",
        'observation.state:it"s',
    ]
    assert not any(filled(roles, "state_joint", own))
    assert not any(filled(roles, "state_lerobot_p", RDT))


def test_what_was_edited_stays(tmp_path: Path):
    two_arms = msgspec.structs.replace(RDT, source="robocoin", cameras=RDT.cameras[:1])
    write_roles(tmp_path, [BRIDGE, two_arms])
    path = tmp_path / "roles.toml"
    edited = path.read_text().replace('"main" = "image_0"', '"main" = "image_1"  # mine')
    path.write_text(edited)
    before = write_roles(tmp_path, [BRIDGE])
    assert path.read_text() == edited
    grown = write_roles(tmp_path, [BRIDGE, two_arms, RDT])
    assert path.read_text().startswith(edited.rstrip())
    assert [(part.source, part.cameras.get("main")) for part in grown.parts] == [
        ("bridge_v2", "image_1"),
        ("robocoin", "cam_high"),
        ("rdt", "cam_high"),
    ]
    assert grown.vectors == before.vectors
    assert filled(grown, "state_joint", RDT) == filled(grown, "state_joint", two_arms)


def test_an_unedited_proposal_is_made_anew_for_more_parts(tmp_path: Path):
    assert write_roles(tmp_path, [BRIDGE]).cameras == ("image_0", "image_1")
    grown = write_roles(tmp_path, [BRIDGE, RDT])
    assert grown.cameras == ("main", "left_wrist", "right_wrist")
    write_roles(tmp_path / "new", [RDT, BRIDGE])
    assert (tmp_path / "roles.toml").read_text() == (tmp_path / "new" / "roles.toml").read_text()


def test_a_bad_file_is_named_and_left(tmp_path: Path):
    path = tmp_path / "roles.toml"
    path.write_text("nonsense = [")
    with pytest.raises(SpecError, match=r"roles\.toml"):
        write_roles(tmp_path, [BRIDGE, RDT])
    assert path.read_text() == "nonsense = ["
