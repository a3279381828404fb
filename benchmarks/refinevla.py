"""ReFineVLA's ablations in shape, at tiny size: what each setting does to actions and reasoning.

Small models with random weights say nothing about large ones; this shows that each setting is
trained, evaluated on held-out episodes and reported, and what it did here, whatever that is. The
traces are made from the motion's own steps by a rule, released in ReFineVLA's form, and taken over
with `finedata annotate import`: recorded traces as a user would bring them.

    finedata demo --out demo
    OMP_NUM_THREADS=1 python benchmarks/refinevla.py demo/bridge --out DIR --only weight
    ... --only frozen | order | stay | attention | run      (`run`: one longer run, with its report)
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import finedata
from finedata.annotate.trace_text import Trace, trace_text
from finedata.api.recipe import training_report

VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "weight": {f"lambda {x}": {"reasoning_weight": x} for x in (0.0, 0.1, 0.3, 1.0, 3.0)},
    "frozen": {f"{n} of 4 blocks": {"freeze_blocks": n} for n in (0, 2, 3, 4)},
    "order": {name: {"order": name} for name in ("action_first", "reasoning_first")},
    "stay": {f"stay_bin {x}": {"stay_bin": x} for x in (False, True)},
    "attention": {name: {"attention": name} for name in ("prefix", "causal")},
    "run": {"tiny_refinevla": {}},
}
TOLD = ("l1", "action", "action_accuracy", "reasoning", "reasoning_accuracy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=[*VARIANTS], required=True)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    shards = prepared(given.dataset, given.out)
    runs: list[Path] = []
    print("| variant | " + " | ".join(f"held-out {name}" for name in TOLD) + " | CPU s |")
    print("|---" * (len(TOLD) + 2) + "|")
    for name, changes in VARIANTS[given.only].items():
        for seed in range(given.seeds):
            run = given.out / given.only / f"{name}, {given.steps} steps, seed {seed}"
            began = time.process_time()
            done = finedata.recipe(
                "tiny_refinevla", mix="raw=1", words_raw="goal", steps=given.steps, seed=seed,
                batch=8, micro_batch=8, warmup=5, log_every=10, max_tokens=320, save_every=1000,
                eval_every=max(1, given.steps // 4), eval_samples=48, **changes,
            ).train(shards, out=run, resume=True, workers=0)  # fmt: skip
            found = done.heldout["raw"]
            told = " | ".join(f"{found[key]:.3f}" if key in found else "-" for key in TOLD)
            print(f"| {name} | {told} | {time.process_time() - began:.0f} |", flush=True)
            runs.append(run)
    page = training_report(runs, given.out / f"{given.only}.html")
    print(f"\n{given.steps} steps of 8 samples each; curves: {page}")
    if given.only == "run":
        say(given.out, runs[0])


def prepared(dataset: Path, out: Path) -> Path:
    """Shards of the dataset with traces of every frame."""
    shards = out / "shards"
    if shards.exists():
        return shards
    root = out / "dataset"
    shutil.copytree(dataset, root)
    opened = finedata.open(root)
    opened.annotate_kinematic(everything=True)
    release(finedata.open(root), out / "released")
    taken = finedata.open(root).import_annotations(out / "released", format="refinevla")
    print(f"{taken.rows['traces']} traces taken over; counts {taken.counts}")
    finedata.open(root).shard(shards, held_out=0.2, cameras=("image_0",), resize=(56, 56))
    return shards


def release(dataset: Any, out: Path) -> None:
    """`reasoning/*.json` as ReFineVLA has them, from the steps of the motion."""
    steps = dataset.steps.filter(pl.col("origin") == "kinematic").sort("episode_id", "start_frame")
    by_episode = steps.collect().partition_by("episode_id", as_dict=True)
    (out / "reasoning").mkdir(parents=True)
    index: list[dict[str, str]] = []
    for number, row in enumerate(dataset.episodes.collect().iter_rows(named=True)):
        mine = by_episode.get((row["episode_id"],))
        if mine is None:
            continue
        plan = list(mine.iter_rows(named=True))
        entries: list[dict[str, str]] = []
        for frame in range(row["length"]):
            at = max(k for k, step in enumerate(plan) if step["start_frame"] <= frame or k == 0)
            verbs = [step["primitive_action"] for step in plan]
            trace = Trace(
                observation=f"The arm is in step {at + 1} of {len(plan)}.",
                situation_analysis=f"{at} of {len(plan)} are done.",
                spatial_reasoning=plan[at]["text"].split(" between ")[0] + ".",
                task_planning=f"then {verbs[min(at + 1, len(plan) - 1)]}",
                logical_steps=verbs,
                sub_action=verbs[at],
            )
            entries.append({str(frame): trace_text(trace)})
        name = f"0_{number}.json"
        (out / "reasoning" / name).write_text(json.dumps(entries))
        index.append({"file": name, "finedata_episode_id": row["episode_id"]})
    (out / "index.jsonl").write_text("".join(json.dumps(line) + "\n" for line in index))


def say(out: Path, run: Path) -> None:
    """What the run says of the middle of two episodes, beside what was recorded."""
    dataset = finedata.open(out / "dataset")
    traced = dataset.traces.collect()
    ids = traced["episode_id"].unique().sort().to_list()
    whole = [name for name in ids if np.isfinite(dataset[name].state).all()]
    for episode_id in whole[:2]:
        one = dataset[episode_id]
        frame = len(one) // 2
        found = finedata.policy(run).predict(
            {
                "image_0": one.frames("image_0", [frame])[0],
                "prompt": one.task,
                "state": one.state[frame],
            },
            reasoning=True,
        )
        mine = (pl.col("episode_id") == episode_id) & (pl.col("frame_index") == frame)
        print(f"\n{episode_id} frame {frame}, said:\n{found.reasoning}")
        print(f"recorded:\n{traced.filter(mine)['raw_text'][0]}")


if __name__ == "__main__":
    main()
