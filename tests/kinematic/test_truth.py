"""What is measured of made motion is what was planned; true facts stand, lies fall."""

from __future__ import annotations

from collections import Counter
from math import radians

import numpy as np
import pytest
from kinematic.made_facts import made_facts
from kinematic.made_motion import made_episode

from finedata.kinematic import judge, judge_episode, measure

EPISODES = 520


@pytest.fixture(scope="module")
def made():
    found = []
    for seed in range(EPISODES):
        motion, truth = made_episode(seed)
        found.append((seed, truth, measure(motion)))
    return found


def right_of(planned, measured):
    """(kind, right) for each thing that can be measured of a planned action."""
    arm = next(arm for arm in measured.arms if arm.name == planned.arm)
    middle = (planned.start + planned.end) // 2
    found = next(one for one in arm.segments if one.start_frame <= middle < one.end_frame)
    yield "action", found.action == planned.action
    if planned.direction:
        yield "direction", set(found.direction) == set(planned.direction)
        most = max(0.015, 0.1 * planned.extent_m)
        yield "extent", abs(found.extent_m - planned.extent_m) <= most
    if planned.shape != "none":
        yield "shape", found.path_shape == planned.shape
    yield "turn", (found.rotation_axis, found.rotation_sense) == (planned.axis, planned.sense)
    if planned.angle_rad:
        most = max(radians(6), 0.1 * planned.angle_rad)
        yield "angle", abs(found.rotation_rad - planned.angle_rad) <= most
    if planned.action in ("grasp", "release", "open"):
        event = arm.events[found.event] if found.event >= 0 else None
        yield "event", event is not None and planned.start - 1 <= event.frame <= planned.end + 1


def test_at_least_99_percent_of_measurable_facts_are_right(made):
    right, wrong = Counter(), Counter()

    def count(kind, ok):
        (right if ok else wrong)[kind] += 1

    for _, truth, measured in made:
        count("active", {arm.name for arm in measured.arms if arm.active} == truth.active)
        for arm in measured.arms:
            count("tries", [one.count for one in arm.tries] == truth.tries[arm.name])
        for planned in truth.planned:
            for kind, ok in right_of(planned, measured):
                count(kind, ok)
    for kind in right | wrong:
        assert right[kind] >= 0.99 * (right[kind] + wrong[kind]), (kind, right[kind], wrong[kind])
    assert sum(right.values()) > 20_000


def test_segments_cover_the_episode_without_gaps(made):
    for _, _, measured in made:
        for arm in measured.arms:
            edges = [0, *(one.end_frame for one in arm.segments)]
            assert [one.start_frame for one in arm.segments] == edges[:-1]
            assert edges[-1] == measured.frames


def test_every_lie_is_contradicted_and_hardly_any_truth(made):
    verdicts, seen = Counter(), set()
    for seed, truth, measured in made:
        rng = np.random.default_rng(seed)
        for is_true, kind, claimed in made_facts(measured.motion, truth, rng):
            judged = judge(claimed, measured)
            verdicts[is_true, judged.verdict] += 1
            seen.add((is_true, kind))
            assert judged.verdict == "untestable" or judged.measurement is not None
            if not is_true:
                assert judged.verdict == "contradicted", (seed, kind, claimed, judged)
    total = sum(count for (is_true, _), count in verdicts.items() if is_true)
    assert verdicts[True, "contradicted"] < 0.01 * total, verdicts
    assert verdicts[True, "confirmed"] > 0.95 * total, verdicts
    assert len(seen) >= 22


def test_true_facts_with_frames_that_are_off_are_hardly_ever_contradicted(made):
    verdicts = Counter()
    for seed, truth, measured in made:
        rng = np.random.default_rng(seed + 1)
        for is_true, _, claimed in made_facts(measured.motion, truth, rng):
            if not is_true:
                continue
            slack = 0.3 * (claimed["end_frame"] - claimed["start_frame"])
            shift = round(float(rng.uniform(-min(slack, 0.3 * measured.fps), slack)))
            first = max(0, claimed["start_frame"] + shift)
            end = max(first + 1, claimed["end_frame"] + shift)
            moved = {**claimed, "start_frame": first, "end_frame": end}
            verdicts[judge(moved, measured).verdict] += 1
    assert verdicts["contradicted"] < 0.01 * sum(verdicts.values()), verdicts


def test_a_retry_that_nobody_mentions_is_an_omission(made):
    retried = 0
    for _, truth, measured in made:
        wanted = sum(count > 1 for tries in truth.tries.values() for count in tries)
        retried += wanted
        once = {"slot": "attempt_count", "value": "1", "text": "one attempt to grasp"}
        silent = judge_episode([once], measured)
        assert len(silent.omissions) == wanted
        if wanted:
            assert silent.judged[0].verdict != "confirmed" or len(measured.arms) > 1
        told = [
            {"slot": "retry", "value": "grasps again", "text": "It grasps again.", "actor": arm}
            for arm, tries in truth.tries.items()
            if any(count > 1 for count in tries)
        ]
        assert not judge_episode(told, measured).omissions
    assert retried > 50
