"""The pose proof on fixtures of known conventions: right ones are confirmed, wrong ones seen.

A broken converter must be contradicted where there is evidence; where there is none, or where the
evidence is a circle, nothing may be confirmed.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from conftest import Corpus
from sources import droid

from finedata.convert.pose.evidence import ArmPose
from finedata.convert.pose.prove import PoseReport, pose_report
from finedata.convert.pose.search import _alike, _spread
from finedata.convert.run import convert
from finedata.errors import SourceError, UsageError
from finedata.motion import PartEvidence
from finedata.papers import paper_room
from finedata.readers.episode import Shard
from finedata.schema.converter_file import find_converter
from finedata.store.dataset import open_dataset

EULER_TO_VECTOR = ('"euler_xyz_extrinsic"', '"rotation_vector"')
VECTOR_TO_EULER = ('"rotation_vector"', '"euler_xyz_extrinsic"')
XYZW_TO_WXYZ = ('"quaternion_xyzw"', '"quaternion_wxyz"')
EULER = 'encoding = "euler_xyz_extrinsic", unit = "rad"'
LEFT_TO_RIGHT = ('composition = "base_left"', 'composition = "tool_right"')
METRES_TO_MM = ("columns = [0, 3] }", 'columns = [0, 3], unit = "mm" }')


def fixture(module: str, folder: Path, function: str = "write", **knobs: object) -> Path:
    getattr(importlib.import_module(f"sources.{module}"), function)(folder, **knobs)
    return folder


def edited(name: str, folder: Path, *edits: tuple[str, str]) -> str:
    """The path of a converter file after edits, each of which must change something."""
    text = (paper_room("converters") / f"{name}.toml").read_text()
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    path = folder / "edited.toml"
    path.write_text(text)
    return str(path)


def only(report: PoseReport) -> ArmPose:
    (arm,) = report.arms
    return arm


def parts(arm: ArmPose) -> dict[str, PartEvidence]:
    return {part.part: part for part in arm.parts}


@pytest.fixture(scope="module")
def droid_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fixture("droid", tmp_path_factory.mktemp("droid"))


# Against the joints


def test_droid_is_confirmed_by_its_joints(droid_folder: Path) -> None:
    report = pose_report(source="droid", input=droid_folder)
    arm = only(report)
    assert report.verdict == arm.verdict == "confirmed"
    assert (arm.source, arm.variant, arm.arm, arm.model) == (
        "droid",
        "droid_rlds",
        "right",
        "franka_panda",
    )
    assert arm.episodes == report.looked_at == 3
    assert {part.part: part.verdict for part in arm.parts} == {
        "state_rotation": "confirmed",
        "state_position": "confirmed",
        "action": "confirmed",
    }
    readings = {reading.name: reading for reading in parts(arm)["state_rotation"].readings}
    assert len(readings) == 10
    assert readings["euler_xyz_extrinsic"].declared
    assert readings["euler_xyz_extrinsic"].residual_deg < 1e-4
    assert min(r.residual_deg for r in readings.values() if not r.declared) > 5.0


def test_droid_read_as_rotation_vectors_is_contradicted(droid_folder: Path, tmp_path: Path) -> None:
    report = pose_report(source=edited("droid", tmp_path, EULER_TO_VECTOR), input=droid_folder)
    arm = only(report)
    assert report.verdict == arm.verdict == "contradicted"
    part = parts(arm)["state_rotation"]
    assert part.readings[0].name == "euler_xyz_extrinsic"
    assert "declared rotation_vector leaves" in part.reason
    assert "euler_xyz_extrinsic" in part.reason
    assert arm.reason.startswith("state_rotation: ")
    # State and action agree however they are misread together; that confirms nothing.
    assert parts(arm)["action"].verdict == "undecided"


def test_a_wrong_unit_is_contradicted(droid_folder: Path, tmp_path: Path) -> None:
    report = pose_report(source=edited("droid", tmp_path, METRES_TO_MM), input=droid_folder)
    part = parts(only(report))["state_position"]
    assert part.verdict == "contradicted"
    assert part.readings[0].name == "m_divided_by_1000"


def test_an_action_written_otherwise_than_declared_is_contradicted(
    droid_folder: Path, tmp_path: Path
) -> None:
    text = 'action_dict/cartesian_position", columns = [3, 6], encoding = "euler_xyz_extrinsic"'
    edit = (text, text.replace(*EULER_TO_VECTOR))
    report = pose_report(source=edited("droid", tmp_path, edit), input=droid_folder)
    found = parts(only(report))
    assert found["state_rotation"].verdict == "confirmed"
    assert found["action"].verdict == "contradicted"
    assert report.verdict == "contradicted"


def test_too_many_joints_are_said_and_not_compared(droid_folder: Path, tmp_path: Path) -> None:
    edit = ('model = "franka_panda"', 'model = "ur5e"')
    report = pose_report(source=edited("droid", tmp_path, edit), input=droid_folder)
    found = parts(only(report))
    assert found["state_rotation"].reason == "ur5e has 6 joints, 7 are recorded"
    assert found["state_position"].reason == "ur5e has 6 joints, 7 are recorded"
    assert report.verdict == "undecided"


# Joint space beside a pose: RoboMIND V1


@pytest.fixture(scope="module")
def franka_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Franka poses are those of the joints, the first one stuck; one AgileX master copies."""
    folder = fixture("robomind_v1", tmp_path_factory.mktemp("robomind_v1"))
    files = sorted(folder.glob("**/h5_franka_[13]rgb/**/trajectory.hdf5"))
    assert len(files) == 4
    for number, path in enumerate(files):
        with h5py.File(path, "r+") as file:
            joints = file["puppet/joint_position"][:]
            joints[:, :7] = droid._HOME + 0.3 * np.sin(joints[:, :7])
            file["puppet/joint_position"][:] = joints
            position, rotation = droid.flange_pose(joints[:, :7])
            pose = np.hstack([position, rotation.as_euler("xyz")])
            file["puppet/end_effector"][:] = pose if number else pose[:1]
    for path in folder.glob("**/h5_agilex_3rgb/**/trajectory.hdf5"):
        with h5py.File(path, "r+") as file:
            for side in ("left", "right"):
                name = f"end_effector_{side}"
                if np.allclose(np.linalg.norm(file[f"puppet/{name}"][:, 3:7], axis=1), 1.0):
                    file[f"master/{name}"][:] = file[f"puppet/{name}"][:]
    return folder


def test_the_pose_beside_joints_is_checked_and_a_stuck_one_skipped(
    franka_folder: Path, tmp_path: Path
) -> None:
    def franka(source: str) -> ArmPose:
        arms = pose_report(source=source, input=franka_folder).arms
        (arm,) = [one for one in arms if one.variant == "franka"]
        return arm

    arm = franka("robomind_v1")
    assert (arm.episodes, arm.skipped) == (3, {"ee_pose_stuck": 1})
    assert parts(arm)["state_rotation"].verdict == "confirmed"
    assert parts(arm)["action"].reason == "the action has joints only, no pose"
    assert franka(edited("robomind_v1", tmp_path, EULER_TO_VECTOR)).verdict == "contradicted"


def test_agilex_tells_its_encoding_by_the_norm(franka_folder: Path) -> None:
    report = pose_report(source="robomind_v1", input=franka_folder)
    arms = [arm for arm in report.arms if arm.variant == "agilex"]
    assert {(arm.arm, arm.encoding, arm.episodes) for arm in arms} == {
        ("right", "euler_xyz_extrinsic", 1),
        ("right", "quaternion_xyzw", 1),
        ("left", "euler_xyz_extrinsic", 1),
        ("left", "quaternion_xyzw", 1),
    }
    assert all(arm.decided_by_norm for arm in arms)
    # Agreeing with what is written alike confirms nothing, with a copy still less.
    for arm in arms:
        assert parts(arm)["action"].verdict == "undecided"
        copied = "repeats the state" in parts(arm)["action"].reason
        assert copied == (arm.encoding == "quaternion_xyzw")
    hands = [arm for arm in report.arms if arm.variant == "tienkung_xsens"]
    assert {(arm.verdict, arm.parts) for arm in hands} == {("undecided", ())}
    assert "joints only" in hands[0].reason
    simulated = next(arm for arm in report.arms if arm.variant == "simulation")
    assert parts(simulated)["action"].reason == "no action recorded: it is the next state"


# Against the actions


@pytest.mark.parametrize(("name", "module"), [("bridge_v2", "bridge"), ("rt_1", "rt1")])
def test_deltas_tell_composition_and_the_states_encoding(
    name: str, module: str, tmp_path: Path
) -> None:
    folder = fixture(module, tmp_path / "source")
    arm = only(pose_report(source=name, input=folder))
    assert arm.verdict == "confirmed"
    assert parts(arm)["state_rotation"].verdict == "confirmed"
    assert parts(arm)["state_rotation"].reason.startswith("by the action, declared ")
    broken = only(pose_report(source=edited(name, tmp_path, LEFT_TO_RIGHT), input=folder))
    assert broken.verdict == "contradicted"
    assert parts(broken)["action"].verdict == "contradicted"
    assert parts(broken)["action"].readings[0].name.startswith("base_left, ")


@pytest.mark.parametrize(
    ("name", "module", "edit", "right"),
    [
        (
            "bridge_v2",
            "bridge",
            (f"{EULER}, fixed", f"{EULER.replace(*EULER_TO_VECTOR)}, fixed"),
            "euler_xyz_extrinsic",
        ),
        ("rt_1", "rt1", XYZW_TO_WXYZ, "quaternion_xyzw"),
    ],
)  # fmt: skip
def test_deltas_contradict_a_wrong_state(
    name: str, module: str, edit: tuple[str, str], right: str, tmp_path: Path
) -> None:
    folder = fixture(module, tmp_path / "source")
    arm = only(pose_report(source=edited(name, tmp_path, edit), input=folder))
    part = parts(arm)["state_rotation"]
    assert (arm.verdict, part.verdict) == ("contradicted", "contradicted")
    assert part.readings[0].name == right


def test_residuals_of_components_tell_their_composition(tmp_path: Path) -> None:
    folder = fixture("bc_z", tmp_path / "source")
    best = parts(only(pose_report(source="bc_z", input=folder)))["action"].readings[0]
    assert (best.declared, best.name) == (True, "component_sum, rotation_vector, measured")
    edit = ('"component_sum"', '"tool_right"')
    broken = only(pose_report(source=edited("bc_z", tmp_path, edit), input=folder))
    assert broken.verdict == "contradicted"


def test_a_sum_of_components_confirms_no_encoding(tmp_path: Path) -> None:
    """Numbers added to numbers agree whatever both are; so nothing is confirmed by that."""
    folder = fixture("bc_z", tmp_path / "source")
    arm = only(pose_report(source=edited("bc_z", tmp_path, VECTOR_TO_EULER), input=folder))
    assert arm.verdict == "undecided"


def test_absolute_actions_without_joints_are_a_circle(droid_folder: Path, tmp_path: Path) -> None:
    """Without a robot's model the same source confirms nothing, right or wrong."""
    no_model = ('model = "franka_panda"\n', "")
    for edits in ((no_model,), (no_model, EULER_TO_VECTOR)):
        report = pose_report(source=edited("droid", tmp_path, *edits), input=droid_folder)
        found = parts(only(report))
        assert report.verdict == "undecided"
        assert found["state_rotation"].reason == "no published robot model"
        assert "written as the state is: both may be misread alike" in found["action"].reason


def test_forms_without_any_evidence_say_so(tmp_path: Path) -> None:
    arm = pose_report(source="rdt", input=fixture("rdt", tmp_path / "rdt")).arms[0]
    assert (arm.verdict, arm.parts, arm.encoding) == ("undecided", (), "none")
    assert "joints only" in arm.reason
    folder = fixture("generic_lerobot", tmp_path / "lerobot")
    arm = only(pose_report(source="lerobot", input=folder))
    assert (arm.arm, arm.verdict) == ("", "undecided")
    assert arm.reason == "the converter declares no conventions"


# Which episodes


def test_a_dataset_brings_its_own_converter(droid_folder: Path, tmp_path: Path) -> None:
    convert("droid", input=droid_folder, out=tmp_path / "right")
    assert pose_report(tmp_path / "right", input=droid_folder).verdict == "confirmed"
    wrong = edited("droid", tmp_path, EULER_TO_VECTOR)
    convert(wrong, input=droid_folder, out=tmp_path / "wrong")
    report = pose_report(tmp_path / "wrong", input=[droid_folder])
    assert report.verdict == "contradicted"
    assert report.looked_at == 3


def test_broken_and_frozen_episodes_are_passed_over(corpus: Corpus, converted: Path) -> None:
    report = pose_report(source="bridge_v2", input=corpus.folder, most_episodes=100)
    arm = only(report)
    assert report.failed == len(corpus.of_kind("failed")) == len(report.messages)
    assert arm.skipped == {"state_frozen": 1}
    assert arm.episodes == 17
    assert report.looked_at == 22
    # Of a dataset only what was written is looked at.
    again = pose_report(converted, input=corpus.folder, most_episodes=100)
    assert again.failed == 0
    assert again.looked_at == open_dataset(converted).info.counts["written"] < report.looked_at
    assert only(again).parts[2].readings[0].name == arm.parts[2].readings[0].name


def test_as_many_episodes_as_asked_for_all_over_the_source(corpus: Corpus) -> None:
    report = pose_report(source="bridge_v2", input=corpus.folder, most_episodes=2)
    assert only(report).episodes == 2
    assert report.looked_at < 10
    assert sorted(_spread(range(10, 23))) == list(range(10, 23))
    assert _spread(range(8)) == [0, 4, 2, 6, 1, 5, 3, 7]
    assert _spread([7]) == [7]


def test_shards_are_grouped_by_what_their_names_allow() -> None:
    shards = [
        Shard(f"h5_{robot}/task/success_episodes/train/{n}/data/trajectory.hdf5", 1)
        for n in range(2)
        for robot in ("franka_1rgb", "ur_1rgb", "franka_3rgb")
    ]
    source = SimpleNamespace(shards=shards)
    variants = find_converter("robomind_v1").converter.variants
    groups = list(_alike(source, variants, None))
    paths = [[shards[i].file[:8] for i in group] for group in groups]
    assert paths == [["h5_frank"] * 4, ["h5_ur_1r"] * 2]
    assert list(_alike(source, variants, {shards[1].file})) == [[1]]


def test_wrong_usage_is_said(droid_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no dataset and no converter"):
        pose_report(input=droid_folder)
    with pytest.raises(UsageError, match="both"):
        pose_report(tmp_path, source="droid", input=droid_folder)
    with pytest.raises(UsageError, match=r"^option"):
        pose_report(source="droid", input=droid_folder, choices=[("nothing", "x")])
    with pytest.raises(SourceError, match="wanted at least one episode that the converter reads"):
        pose_report(source="bc_z", input=droid_folder)


# Real rows


def test_real_bridge_is_not_contradicted(real_bridge: Path) -> None:
    arm = only(pose_report(source="bridge_v2", input=real_bridge))
    assert arm.episodes >= 15
    assert arm.verdict != "contradicted"
    best = parts(arm)["action"].readings[0]
    assert best.name.startswith("base_left")
    assert parts(arm)["state_rotation"].readings[0].name == "euler_xyz_extrinsic"
