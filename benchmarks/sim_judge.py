"""The facts measured from motion, and the judge of everyone else's facts, against the physics.

Simulated demonstrations know what happened. Two questions, slot by slot:

- what the kinematic annotator says: how much of it is true (precision), and of how many episodes it
  says the true thing (recall);
- what the judge says of the true facts, and of the same facts turned into their opposites.

    python benchmarks/sim_judge.py --out DIR [--episodes 400]
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl

import finedata
from finedata.annotate.checks.motion import judged_facts, motions_in_order
from finedata.kinematic import measure

_ANGLE_RAD, _TIME_S = 0.26, 0.25
_FLIPPED = {
    "actor": {"left": "right", "right": "left"},
    "approach_direction": {"from above": "from below", "from the side": "from below"},
    "rotation_direction": {
        "clockwise about the vertical axis": "counter-clockwise about the vertical axis",
        "counter-clockwise about the vertical axis": "clockwise about the vertical axis",
    },
}
_OTHER = {"left": "right", "right": "left"}


def measured_against_truth(dataset: Any) -> list[dict[str, Any]]:
    """Slot -> how many facts the annotator says, how many are true; in how many episodes one is."""
    facts: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for row in dataset.facts.collect().to_dicts():
        facts.setdefault(row["episode_id"], {}).setdefault(row["origin"], []).append(row)
    cuts: dict[str, list[float]] = {}
    for row in (
        dataset.steps.filter(pl.col("origin") == "source")
        .sort("episode_id", "step_index")
        .collect()
        .to_dicts()
    ):
        cuts.setdefault(row["episode_id"], []).append(row["start_s"])
    said: Counter[str] = Counter()
    right: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for episode_id, mine in facts.items():
        truth = {row["slot"]: row for row in mine["source"]}
        for slot in ("actor", "approach_direction", "rotation_direction", "rotation_angle"):
            votes = [_is_true(slot, row, truth) for row in mine["kinematic"] if row["slot"] == slot]
            votes = [vote for vote in votes if vote is not None]
            said[slot], right[slot] = said[slot] + len(votes), right[slot] + sum(votes)
            found[slot] += any(votes)
        arm = truth["actor"]["value"]
        for kind, when in (("closes", cuts[episode_id][1]), ("opens", cuts[episode_id][2])):
            name = f"gripper {kind}"
            votes = [
                row["actor"] == arm and row["start_s"] - _TIME_S <= when <= row["end_s"] + _TIME_S
                for row in mine["kinematic"]
                if row["slot"] == "gripper_state" and row["value"] == kind
            ]
            said[name], right[name] = said[name] + len(votes), right[name] + sum(votes)
            found[name] += any(votes)
            tight = [
                abs(row["start_s"] - when) <= 2 * _TIME_S
                and abs(row["end_s"] - when) <= 2 * _TIME_S
                for row in mine["kinematic"]
                if row["slot"] == "gripper_state" and row["value"] == kind
            ]
            said[f"{name}, when"] += len(tight)
            right[f"{name}, when"] += sum(tight)
            found[f"{name}, when"] += any(tight)
    return [
        {
            "slot": slot,
            "said": said[slot],
            "true": right[slot],
            "episodes": len(facts),
            "found": found[slot],
        }
        for slot in said
    ]


def _is_true(slot: str, row: dict[str, Any], truth: dict[str, dict[str, Any]]) -> bool | None:
    """Whether a measured fact says what happened; None where it speaks of something else."""
    value, real = str(row["value"]), str(truth[slot]["value"])
    if slot == "actor":
        return value == real
    if row["actor"] != truth["actor"]["value"]:
        return False
    if slot == "approach_direction":
        return (value == "from above") == (real == "from above")
    if slot == "rotation_angle":
        turned = float(truth[slot]["value_number"])
        # The small turn towards the block before it is grasped is true, and not the one meant.
        if row["value_number"] < turned / 2:
            return None
        return abs(float(row["value_number"]) - turned) < _ANGLE_RAD
    if "clockwise" not in value or row["end_frame"] <= truth[slot]["start_frame"]:
        return None
    return ("counter" in value) == ("counter" in real)


def verdicts(dataset: Any) -> list[dict[str, Any]]:
    """(slot, true or turned round) -> verdicts of the judge."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in dataset.facts.filter(pl.col("origin") == "source").collect().to_dicts():
        rows.setdefault(row["episode_id"], []).append(row)
    counts: dict[tuple[str, str], Counter[str]] = {}
    for episode_id, motion in motions_in_order(dataset, list(rows)):
        measured = None if motion is None else measure(motion)
        for name, facts in (
            ("true", rows[episode_id]),
            ("turned round", [one for one in map(turned_round, rows[episode_id]) if one]),
        ):
            judged, _ = judged_facts(facts, measured)
            for row in judged:
                tally = counts.setdefault((row["slot"], name), Counter())
                tally[row["kinematic_verdict"]] += 1
    return [
        {
            "slot": slot,
            "facts": name,
            **{kind: tally[kind] for kind in ("confirmed", "contradicted", "untestable")},
        }
        for (slot, name), tally in sorted(counts.items())
    ]


def turned_round(row: dict[str, Any]) -> dict[str, Any] | None:
    """The opposite of a true fact; None where it has none."""
    slot = row["slot"]
    if slot == "rotation_angle":
        number = row["value_number"] / 4
        return {**row, "value": f"{number * 57.29578:.0f} degrees", "value_number": number}
    other = _FLIPPED.get(slot, {}).get(row["value"])
    if other is None:
        return None
    actor = _OTHER[row["actor"]] if slot == "actor" else row["actor"]
    return {**row, "value": other, "actor": actor}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--episodes", type=int, default=400)
    given = parser.parse_args()
    root = given.out / "dataset"
    began = time.process_time()
    finedata.sim_record(root, episodes=given.episodes, pictures=0)
    dataset = finedata.open(root)
    dataset.annotate_kinematic(everything=True)
    print("| slot | said | true | precision | episodes | found | recall |")
    print("|---|---|---|---|---|---|---|")
    for row in measured_against_truth(dataset):
        precision = row["true"] / max(1, row["said"])
        recall = row["found"] / row["episodes"]
        counts = f"| {row['slot']} | {row['said']} | {row['true']} | {precision:.3f} "
        print(counts + f"| {row['episodes']} | {row['found']} | {recall:.3f} |")
    print("\n| slot | facts | confirmed | contradicted | untestable |\n|---|---|---|---|---|")
    for row in verdicts(dataset):
        print("| " + " | ".join(str(one) for one in row.values()) + " |")
    print(f"\n{time.process_time() - began:.0f} CPU s")


if __name__ == "__main__":
    main()
