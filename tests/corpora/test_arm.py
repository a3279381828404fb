"""Motions look like the real ones: lags and slopes are those measured on real episodes."""

from __future__ import annotations

import numpy as np
import pytest
from corpora.arm import MINIMUM_LENGTH, Variation, simulate
from corpora.pose import integrate_targets
from corpora.ways import TASKS

ALL = [(task, way) for task in TASKS for way in task.ways]
FAR = Variation(waypoint_m=0.015, angle_rad=0.12, layout_m=0.012, start_m=0.04, pace=0.25)


def _motion(task, way, *, seed=0, mean_length=38, variation=FAR):
    rng = np.random.default_rng(seed)
    return simulate(task, way, variation=variation, mean_length=mean_length, rng=rng)


@pytest.mark.parametrize(("task", "way"), ALL, ids=[way.name for _, way in ALL])
def test_a_motion_is_one_of_a_widowx(task, way):
    motion = _motion(task, way)
    state, action = motion.state, motion.action
    assert state.dtype == action.dtype == np.float32
    assert state.shape == action.shape == (len(motion.object_m), 7)
    np.testing.assert_array_equal(action[0], [0, 0, 0, 0, 0, 0, 1])
    assert np.linalg.norm(state[1, :3] - state[0, :3]) < 0.004
    reach_m = np.linalg.norm(state[:, :3], axis=1)
    assert 0.1 < reach_m.min() < reach_m.max() < 0.55
    assert state[:, 2].min() > 0.01
    assert np.abs(action[:, :3]).max() < 0.09
    assert np.abs(state[:, 4]).max() < 1.3, "away from the singularity of rpy"


@pytest.mark.parametrize(("task", "way"), ALL, ids=[way.name for _, way in ALL])
def test_the_state_follows_the_target_one_step_late(task, way):
    motion = _motion(task, way)
    moved = np.diff(motion.state[:, :3].astype(float), axis=0)
    told = motion.action[:, :3].astype(float)
    count = len(moved) - 2

    def correlation(lag):
        return np.corrcoef(told[:count].ravel(), moved[lag : lag + count].ravel())[0, 1]

    # Measured on real episodes: 0.82 to 0.89 at lag 0, 0.88 to 0.92 at lag 1, falling at lag 2.
    assert 0.75 < correlation(0) < correlation(1)
    assert correlation(1) > max(0.85, correlation(2))
    slope = (told[:count] * moved[1 : count + 1]).sum() / (told[:count] ** 2).sum()
    assert 0.7 < slope < 1.0
    target, _ = integrate_targets(motion.state, motion.action)
    behind = np.linalg.norm(target[:-2] - motion.state[2:, :3], axis=1)
    assert behind.mean() < 0.01


@pytest.mark.parametrize("task", [TASKS[0], TASKS[2]], ids=["carrot", "cup"])
def test_the_gripper_closes_and_the_thing_arrives(task):
    motion = _motion(task, task.ways[0])
    command, measured = motion.action[:, 6], motion.state[:, 6]
    between = (command > 0) & (command < 1)
    assert set(command[~between].tolist()) == {0.0, 1.0}
    assert between.sum() <= 2
    assert 0.99 < measured[0] < 1.02
    assert 0.04 < measured.min() < 0.5
    partial = (measured < 0.97) & (measured > measured.min() + 0.03)
    assert 2 <= partial.sum() <= 4, "closing and opening take two to three steps each"
    assert np.linalg.norm((motion.object_m[-1] - motion.goal_m)[:2]) < 0.02
    assert motion.object_m[:, 2].max() > motion.object_m[0, 2] + 0.03
    assert np.linalg.norm(motion.object_m[0] - motion.goal_m) > 0.1


@pytest.mark.parametrize("way", TASKS[1].ways, ids=lambda way: way.name)
def test_the_drawer_is_closed(way):
    motion = _motion(TASKS[1], way, variation=Variation())
    assert motion.object_m[0, 0] == pytest.approx(TASKS[1].object_m[0])
    assert (np.diff(motion.object_m[:, 0]) >= 0).all()
    assert motion.object_m[-1, 0] == pytest.approx(motion.goal_m[0], abs=0.012)


def test_a_near_duplicate_is_nearer_than_another_way():
    task = TASKS[0]

    def path(way, seed, variation):
        motion = _motion(task, way, seed=seed, variation=variation)
        phase, steps = np.linspace(0, 1, 60), np.linspace(0, 1, len(motion.state))
        return np.stack([np.interp(phase, steps, motion.state[:, k]) for k in range(3)], axis=1)

    near = Variation(waypoint_m=0.002, angle_rad=0.01, layout_m=0.002, start_m=0.003, pace=0.04)
    first = path(task.ways[0], 1, Variation())
    again = np.linalg.norm(path(task.ways[0], 2, near) - first, axis=1).mean()
    other = np.linalg.norm(path(task.ways[1], 3, Variation()) - first, axis=1).mean()
    assert again < 0.01 < 0.03 < other


def test_the_shortest_motion():
    motion = _motion(TASKS[0], TASKS[0].ways[1], mean_length=MINIMUM_LENGTH)
    assert len(motion.state) == MINIMUM_LENGTH
    assert np.isfinite(motion.state).all()


def test_the_same_generator_gives_the_same_motion():
    first, second, other = (_motion(TASKS[0], TASKS[0].ways[0], seed=s) for s in (1, 1, 2))
    assert first.state.tobytes() == second.state.tobytes()
    assert first.state.tobytes() != other.state.tobytes()
