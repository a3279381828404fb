"""How many episodes a core measures in a second: `python benchmarks/kinematic.py [--frames 150]`.

Made episodes (`tests/kinematic/made_motion.py`) of one arm, cut or held to the same
length, go through `measure`, into rows, and out as conforming tables. CPU time of one process,
the best of some rounds, so that what else runs on the machine counts little.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "kinematic"))

from made_motion import made_episode

from finedata.kinematic import EpisodeMotion, KinematicRows, judge, measure

WANTED_EPISODES_PER_S = 2000


def episodes(count: int, frames: int) -> list[EpisodeMotion]:
    """Different episodes of `frames` frames, in the data's float32."""
    found = []
    for seed in range(count):
        motion, _ = made_episode(seed, arms=1, fps=10.0)
        pick = np.minimum(np.arange(frames), motion.frames - 1)
        arm = motion.arms[0]
        arm = replace(
            arm,
            position_m=arm.position_m[pick],
            quaternion_xyzw=arm.quaternion_xyzw[pick],
            gripper_open=arm.gripper_open[pick],
        )
        found.append(EpisodeMotion((arm,), fps=10.0, frames=frames))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--episodes", type=int, default=400, help="different ones")
    parser.add_argument("--rounds", type=int, default=10, help="the best counts")
    options = parser.parse_args()
    motions = episodes(options.episodes, options.frames)
    warm = KinematicRows(run_id="0" * 16)
    warm.add(measure(motions[0]), episode_id="made-0")  # compiles, and loads what Arrow loads once
    warm.facts()
    warm.steps()
    best = (float("inf"), 0.0, 0.0, 0.0)
    facts = warm.facts()
    for _ in range(options.rounds):
        rows = KinematicRows(run_id="0" * 16)
        begin = time.process_time()
        for motion in motions:
            measure(motion)
        measuring = time.process_time() - begin
        begin = time.process_time()
        for number, motion in enumerate(motions):
            # one after the other, and nothing kept: as `annotate_kinematic` does
            rows.add(measure(motion), episode_id=f"made-{number}")
        filled = time.process_time()
        facts = rows.facts()
        rows.steps()
        end = time.process_time()
        best = min(best, (end - begin, measuring, filled - begin - measuring, end - filled))
    places = {f"made-{number}": measure(motion) for number, motion in enumerate(motions)}
    own = facts.to_pylist()
    begin = time.process_time()
    for fact in own:
        judge(fact, places[fact["episode_id"]])
    judged = time.process_time() - begin
    count = len(motions)
    whole, measuring, filling, tables = (1e6 * seconds / count for seconds in best)
    print(f"{count} episodes of {options.frames} frames, {len(own) / count:.1f} facts each")
    print(f"measure {measuring:.0f} us, rows {filling:.0f} us, tables {tables:.0f} us an episode")
    print(f"judge {1e6 * judged / len(own):.0f} us a fact")
    rate = 1e6 / whole
    print(f"{rate:.0f} episodes/s/core (wanted: {WANTED_EPISODES_PER_S})")
    if rate < WANTED_EPISODES_PER_S:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
