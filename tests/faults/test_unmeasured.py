"""What was not measured is not zero: no fact, step, statistic or threshold comes from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from faults.plain import Plain, write_plain
from faults.verbs import say

from finedata.convert.draft.propose import draft_converter
from finedata.convert.run import convert
from finedata.kinematic import judge_episode, measure
from finedata.kinematic.motion import ArmMotion, BodyTrack, EpisodeMotion
from finedata.kinematic.read import episode_motions
from finedata.kinematic.rows import KinematicRows
from finedata.store.dataset import open_dataset

_FRAMES = 40
_MOVING = 0.5 * np.sin(np.linspace(0, 3, _FRAMES)[:, None] + np.arange(6))
_IDLE = np.full((_FRAMES, 6), 0.3)
_CLOSING = np.repeat([1.0, 0.0], _FRAMES // 2)


def _facts(*arms: ArmMotion, **body: BodyTrack) -> tuple[list[dict], list[dict]]:
    rows = KinematicRows(run_id="0" * 16)
    measured = measure(EpisodeMotion(arms, fps=10.0, frames=_FRAMES, **body))
    rows.add(measured, episode_id="made-1")
    return rows.steps().to_pylist(), rows.facts().to_pylist()


def test_joints_without_a_model_say_nothing_of_rest_or_of_a_path() -> None:
    right, left = ArmMotion("right", joints_rad=_MOVING), ArmMotion("left", joints_rad=_IDLE)

    steps, facts = _facts(right, left)

    assert steps == []
    (actor,) = facts
    assert actor["value"] == "right"
    assert actor["measurement"]["unit"] == "rad"
    assert actor["measurement"]["value"] == pytest.approx(np.ptp(_MOVING, axis=0).max())


@pytest.mark.parametrize("left", [
    ArmMotion("left"),
    ArmMotion("left", joints_rad=np.full((_FRAMES, 6), np.nan)),
    ArmMotion("left", gripper_open=np.ones(_FRAMES)),
    ArmMotion("left", position_m=np.full((_FRAMES, 3), np.nan),
              quaternion_xyzw=np.full((_FRAMES, 4), np.nan)),
])  # fmt: skip
def test_nothing_is_said_of_an_arm_that_nobody_watched(left: ArmMotion) -> None:
    steps, facts = _facts(ArmMotion("right", joints_rad=_MOVING), left)

    assert [step for step in steps if step["arm"] == "left"] == []
    assert [fact for fact in facts if fact["slot"] == "actor"] == []


def test_an_actor_is_judged_by_joints_in_radians_or_not_at_all() -> None:
    right = ArmMotion("right", joints_rad=_MOVING)
    claims = [{"slot": "actor", "value": side, "start_frame": 0, "end_frame": _FRAMES}
              for side in ("right", "left", "both")]  # fmt: skip

    def verdicts(left: ArmMotion) -> list[str]:
        measured = measure(EpisodeMotion((right, left), fps=10.0, frames=_FRAMES))
        judged = judge_episode(claims, measured).judged
        assert all(one.measurement is None or one.measurement.unit == "rad" for one in judged)
        return [one.verdict for one in judged]

    watched = verdicts(ArmMotion("left", joints_rad=_IDLE))
    assert watched == ["confirmed", "contradicted", "contradicted"]
    assert verdicts(ArmMotion("left", gripper_open=_CLOSING)) == ["untestable"] * 3


def test_what_was_carried_between_two_grasps_is_not_guessed() -> None:
    again = np.tile(np.repeat([1.0, 0.0], 5), 4)
    _, alone = _facts(ArmMotion("right", gripper_open=again))
    _, watched = _facts(ArmMotion("right", gripper_open=again, joints_rad=_IDLE))

    assert not [fact for fact in alone if fact["slot"] == "retry"]
    assert [fact for fact in watched if fact["slot"] == "retry"]


def test_a_joint_that_was_never_recorded_does_not_hide_the_others() -> None:
    gaps = _MOVING.copy()
    gaps[:, 0] = np.nan
    measured = measure(
        EpisodeMotion((ArmMotion("right", joints_rad=gaps),), fps=10.0, frames=_FRAMES)
    )

    assert measured.arms[0].joint_range_rad == pytest.approx(np.ptp(_MOVING[:, 1:], axis=0).max())


def _two_arms(width: int = 12) -> dict[str, tuple[str, ...]]:
    return {
        "sides": tuple(f"{side}_{k}" for side in ("left", "right") for k in range(6)),
        "named": tuple(f"{s}.{j}.pos" for s in "lr" for j in ("pan", "lift", "bow", "a", "b", "c")),
        "numbered": tuple(f"joint_{k}" for k in range(width)),
    }


@pytest.mark.parametrize("names", _two_arms().values(), ids=list(_two_arms()))
@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("unit", [1.0, 57.3])
def test_an_idle_arm_that_sags_passes(
    names: tuple[str, ...], noisy: bool, unit: float, tmp_path: Path
) -> None:
    summary, root = _gated(names, noisy, unit, tmp_path, wrong=False)
    assert summary == {"pass": 16}

    (tmp_path / "wrong").mkdir()
    summary, root = _gated(names, noisy, unit, tmp_path / "wrong", wrong=True)
    assert summary == {"pass": 15, "fail": 1}
    assert "action_state" in open_dataset(root).verdicts.filter(verdict="fail").collect()["reason"]


def _gated(
    names: tuple[str, ...], noisy: bool, unit: float, folder: Path, *, wrong: bool
) -> tuple[dict[str, int], Path]:
    def motion(episode: int, frames: int, width: int) -> np.ndarray:
        rng = np.random.default_rng(episode)
        time = np.linspace(0, 1, frames)[:, None]
        swing = 0.5 * np.sin((2.5 + 0.1 * rng.random()) * time + np.arange(6))
        noise = 0.002 * rng.standard_normal((frames, 12))
        return (np.hstack([np.full((frames, 6), 0.3), swing]) + noise) * unit

    def command(episode: int, frames: int, width: int) -> np.ndarray:
        rng = np.random.default_rng(99 + episode)
        state = motion(episode, frames, width) / unit
        action = np.vstack([state[1:], state[-1:]])
        action[:, :6] = 0.3 + (0.07 if episode >= 12 else 0.01)
        action[:, :6] += noisy * 0.002 * rng.standard_normal((frames, 6))
        if wrong and episode == 3:
            action[:, 6:] += 0.4
        return action * unit

    plain = Plain(episodes=16, frames=40, width=12, names=names, motion=motion, command=command)
    convert("lerobot", input=write_plain(folder / "source", plain), out=folder / "out")
    say("gate", folder / "out")
    found = open_dataset(folder / "out").verdicts.collect()["verdict"].value_counts()
    return dict(found.iter_rows()), folder / "out"


def test_a_hand_is_no_joint_of_the_arm(tmp_path: Path) -> None:
    names = [f"right.joint_{k}.pos" for k in range(7)] + [f"right_hand.joint_{k}" for k in range(6)]

    def motion(episode: int, frames: int, width: int) -> np.ndarray:
        time = np.linspace(0, 1, frames)[:, None]
        arm = 40 * np.sin(2 * time + episode + np.arange(7))
        return np.hstack([arm, 120 * (time > 0.5) * np.ones((1, 6)) + 10 * time])

    plain = Plain(width=13, names=tuple(names), motion=motion, frames=20)
    source = write_plain(tmp_path / "source", plain)
    text = draft_converter(str(source), name="mine")
    (tmp_path / "mine.toml").write_text(text)
    convert(str(tmp_path / "mine.toml"), input=source, out=tmp_path / "out")
    say("gate", tmp_path / "out")

    assert 'hand = { feature = "observation.state", columns = [7, 13]' in text
    assert "the unit of all joints" in text
    assert "the unit of all hand" in text
    dataset = open_dataset(tmp_path / "out")
    assert set(dataset.verdicts.collect()["verdict"]) == {"pass"}
    motions = dict(episode_motions(dataset, part=dataset.parts[0].name))
    assert {one.arms[0].joints_rad.shape[1] for one in motions.values()} == {7}


def test_an_episode_that_tells_nothing_is_said_to(tmp_path: Path) -> None:
    names = tuple(f"right_joint_{k}" for k in range(6))
    source = write_plain(tmp_path / "source", Plain(names=names))
    (tmp_path / "mine.toml").write_text(draft_converter(str(source), name="mine"))
    convert(str(tmp_path / "mine.toml"), input=source, out=tmp_path / "out")

    said = say("annotate", "kinematic", tmp_path / "out", "--all")

    assert said.code == 0
    assert "of 3 episodes the motion tells no fact" in said.text


def test_a_side_that_is_zero_everywhere_is_named(tmp_path: Path) -> None:
    plain = Plain(
        names=tuple("abcdef"), motion=lambda _, frames, width: np.zeros((frames, width)),
        command=lambda episode, frames, _: episode + _MOVING[:frames],
    )  # fmt: skip
    convert("lerobot", input=write_plain(tmp_path / "source", plain), out=tmp_path / "out")

    said = say("gate", tmp_path / "out")

    assert "frozen_state" in said.text
    assert "that do not both move" in said.text


def test_a_head_of_which_one_joint_is_unknown_is_not_at_rest(tmp_path: Path) -> None:
    head = np.stack([np.linspace(0, 1, _FRAMES), np.full(_FRAMES, np.nan)], axis=1)
    from finedata.kinematic.read import _joints

    track = _joints("observation.head_joint_position", {"observation.head_joint_position": head})
    assert track is not None
    _, facts = _facts(head=track)
    assert [fact["value"] for fact in facts] == ["moves"]
    unknown = {"observation.head_joint_position": np.full((_FRAMES, 2), np.nan)}
    assert _joints("observation.head_joint_position", unknown) is None
