"""Does fine-grained text steer a policy, and at which share of it? The study, preregistered.

    python benchmarks/steer.py prepare --steps 9000        # writes the plan: commit it, then run
    python benchmarks/steer.py run --out DIR --workers 2   # every part; goes on after any kill
    python benchmarks/steer.py run --out DIR --part first_table
    python benchmarks/steer.py table --out DIR             # DIR/table.md, table.json, table.html

The plan is benchmarks/steer_preregistration.toml. `run` refuses one that is not committed, that was
changed since the first result in DIR, or whose digests (recipe, recording, scenes and wishes) are
not those of this checkout; it goes on only with the code that DIR was begun with. `--draft` runs
one that is not committed, and its results say so. The first 12 digits of its SHA-256 stand in every
result.

`prepare --reasoning --plan FILE` writes another study, of reasoning, for `run --plan FILE`.

A cell is one training and its evaluations, in a process of its own with one thread. Data, trainings
and evaluations that were stopped are gone on with: trainings from their checkpoint, evaluations
scene by scene. Two runners in one folder share the work: a cell is locked while it is worked on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
from steer_data import make_shards
from steer_plan import (
    EVALUATIONS,
    Cell,
    Plan,
    cells,
    code_sha256,
    digests,
    file_sha256,
    plan_toml,
    read_plan,
    steps_of,
)
from steer_tables import write_tables

import finedata
from finedata.store.lock import locked

PLAN = Path(__file__).with_name("steer_preregistration.toml")
QUESTION = (
    "Fine-grained text is mixed with raw goals in a ratio. Does a policy that is told the manner"
    " follow it, does it keep raw goals, and at which ratio? FineVLA reports the best between 1:2"
    " and 1:1."
)
_RATIOS = {
    "raw": "raw=1", "1:4": "fg=1,raw=4", "1:2": "fg=1,raw=2", "1:1": "fg=1,raw=1",
    "2:1": "fg=2,raw=1", "4:1": "fg=4,raw=1", "fg": "fg=1",
}  # fmt: skip
_HELD_OUT = ["fine", "raw", "raw_only"]


def draft(*, steps: int, episodes: int) -> dict[str, Any]:
    """The plan without its digests."""
    every = list(_RATIOS)

    def part(name: str, about: str, **more: Any) -> dict[str, Any]:
        usual = {"data": ["truth"], "heads": ["flow"], "budgets": ["steps"], "ratios": every}
        return {"name": name, "about": about, **usual, "evaluations": _HELD_OUT, **more}

    return {
        "version": 1,
        "question": QUESTION,
        "primary": {"evaluation": "fine", "score": "all"},
        "contrasts": [
            ["1:1", "fg"], ["1:1", "raw"], ["1:2", "fg"], ["1:2", "1:1"], ["2:1", "fg"],
            ["4:1", "fg"], ["1:4", "fg"],
        ],
        "recipe": "steer_state",
        "heads": {head: {"loss": head} for head in ("flow", "l1")},
        "recipe_sha256": {},
        "ratios": _RATIOS,
        "seeds": [0, 1, 2],
        "steps": steps,
        "data": {
            "episodes": episodes, "first": 0, "noise": 0.8, "fine": 0.2, "run_id": "",
            "wrong": 0.05,
        },
        "scenes": {"first": 3_000_000, "count": 192, "seed": 0, "execute": 4, "sha256": {}},
        "parts": [
            part("first_table", "the two ends and the middle", ratios=["raw", "1:1", "fg"]),
            part("equal_steps", "every ratio, equally many steps"),
            part(
                "wording_seen", "the same, in wording of demonstrations",
                evaluations=["fine_seen", "raw_seen"],
            ),
            part(
                "equal_exposures", "every ratio, equally many fine-grained samples",
                budgets=["exposures"],
            ),
            part("l1_steps", "the other head", heads=["l1"]),
            part(
                "annotation", "what the quality of annotation is worth",
                data=["kinematic", "corrupted"], ratios=["1:1", "fg"],
            ),
            part("l1_exposures", "the other head", heads=["l1"], budgets=["exposures"]),
        ],
    }  # fmt: skip


def draft_of_reasoning(*, steps: int, episodes: int) -> dict[str, Any]:
    """ReFineVLA's question: the same trainings with and without reasoning, and in both orders."""
    content = draft(steps=steps, episodes=episodes)
    reasons = {"loss": "l1", "traces": "hold", "reasoning_tokens": 176}
    heads = {
        f"{order}_{weight:g}": {**reasons, "order": order, "reasoning_weight": weight}
        for order in ("action_first", "reasoning_first")
        for weight in (0.0, 0.1, 0.3, 1.0, 3.0)
    }
    content["question"] = (
        "The expert's reasoning is learnt beside its actions, with a weight and in two orders. Do"
        " actions become better for it? ReFineVLA reports that they do, at a weight of 0.3."
    )
    content["heads"] = {"none": {"loss": "l1"}, **heads}
    content["contrasts"] = []
    # Beside no reasoning at all stands the same network whose reasoning weighs nothing.
    content["head_contrasts"] = [[name, "none"] for name in heads] + [
        [name, f"{name.rpartition('_')[0]}_0"] for name in heads if not name.endswith("_0")
    ]
    content["parts"] = [
        {
            "name": "reasoning", "about": "with and without, equally many steps",
            "data": ["truth"], "heads": list(content["heads"]), "budgets": ["steps"],
            "ratios": ["1:1"], "evaluations": ["fine", "raw"],
        }
    ]  # fmt: skip
    return content


def prepare(path: Path, content: dict[str, Any]) -> None:
    """Write the preregistration, digests and all."""
    found = digests(msgspec.convert(content, Plan))
    content["recipe_sha256"] = found["recipe_sha256"]
    content["data"]["run_id"] = found["run_id"]
    content["scenes"]["sha256"] = found["scenes_sha256"]
    plan = msgspec.convert(content, Plan)
    head = (
        "# A preregistration, as benchmarks/steer.py prepare wrote it. Results name its SHA-256.\n"
        "# What each key means: benchmarks/steer_plan.py.\n"
    )
    path.write_text(head + plan_toml(plan))


def told(path: Path, out: Path) -> tuple[Plan, str]:
    """The plan and the stamp of the results in a folder; any later checkout may make tables."""
    stamp = json.loads((out / "study.json").read_text())
    if stamp["preregistration_sha256"] != file_sha256(path):
        sys.exit(f"{out} has results of another preregistration than {path}")
    return read_plan(path), _stamp(stamp)


def _stamp(stamp: dict[str, Any]) -> str:
    kind = "draft" if stamp["draft"] else "preregistration"
    return f"{kind} {stamp['preregistration_sha256'][:12]}"


def check(path: Path, out: Path, *, uncommitted: bool) -> tuple[Plan, str]:
    """The plan and what results say of it; refused where it is not the one that was registered."""
    plan, sha = read_plan(path), file_sha256(path)
    found = digests(plan)
    named = {
        "run_id": plan.data.run_id,
        "recipe_sha256": plan.recipe_sha256,
        "scenes_sha256": plan.scenes.sha256,
    }
    for name, value in named.items():
        if found[name] != value:
            sys.exit(
                f"{path}: {name} is {value}, this checkout has {found[name]}: go back to the"
                " checkout it was prepared in, or prepare another one before there is any result"
            )
    if not uncommitted:
        git = ["git", "-C", str(path.parent)]
        known = subprocess.run([*git, "show", f"HEAD:./{path.name}"], capture_output=True)
        if known.returncode or known.stdout != path.read_bytes():
            sys.exit(f"{path} is not committed as it is: commit it before the first result")
    stamp = {"preregistration_sha256": sha, "draft": uncommitted, "code_sha256": code_sha256()}
    marker = out / "study.json"
    if marker.exists():
        before = json.loads(marker.read_text())
        if before != stamp:
            sys.exit(
                f"{out} was begun with {before}, this is {stamp}: go on in the checkout that it was"
                " begun in, or take another --out"
            )
    else:
        out.mkdir(parents=True, exist_ok=True)
        marker.write_text(json.dumps(stamp) + "\n")
    return plan, _stamp(stamp)


def run(plan: Plan, stamp: str, given: argparse.Namespace) -> None:
    """Every cell of the parts, a process each."""
    parts = [part for part in plan.parts if not given.part or part.name in given.part]
    if not parts:
        sys.exit(f"no part {given.part}; there are {', '.join(part.name for part in plan.parts)}")
    todo = [(cell, part.evaluations) for part in parts for cell in cells(plan, part)]
    began = time.monotonic()

    def one(job: tuple[Cell, list[str]]) -> int:
        cell, evaluations = job
        if all(_result(given.out, cell, name).exists() for name in evaluations):
            return 0
        with locked(given.out / "data" / "lock"):
            make_shards(plan, cell.data, given.out, workers=given.workers)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        command = [
            sys.executable, __file__, "cell", "--out", str(given.out), "--plan", str(given.plan),
            "--cell", msgspec.json.encode(cell).decode(), "--stamp", stamp,
            "--evaluations", *evaluations,
        ]  # fmt: skip
        log = given.out / "logs" / f"{cell.name}.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            code = subprocess.run(command, stdout=file, stderr=file, env=environment).returncode
        minutes = (time.monotonic() - began) / 60
        print(
            f"{minutes:6.1f} min  {cell.name}: {'done' if not code else f'failed, see {log}'}",
            flush=True,
        )
        return code

    with ThreadPoolExecutor(given.workers) as pool:
        codes = list(pool.map(one, todo))
    write_tables(plan, stamp, given.out)
    if any(codes):
        failed = sum(bool(code) for code in codes)
        sys.exit(f"{failed} cells failed; the same command tries them again")


def run_cell(plan: Plan, given: argparse.Namespace) -> None:
    """Train a cell, and put it before the scenes."""
    import torch

    torch.set_num_threads(1)
    if not given.stamp.endswith(file_sha256(given.plan)[:12]):
        sys.exit(f"{given.plan} was changed while the study ran")
    cell = msgspec.json.decode(given.cell, type=Cell)
    folder = given.out / "cells" / cell.name
    with locked(folder / "lock"):
        trained = folder / "trained.json"
        if not trained.exists():
            began, clock = time.process_time(), time.monotonic()
            recipe = finedata.recipe(
                plan.recipe, mix=plan.ratios[cell.ratio], seed=cell.seed,
                steps=steps_of(plan, cell), **plan.heads[cell.head],
            )  # fmt: skip
            shards = given.out / "data" / cell.data / "shards"
            done = recipe.train(shards, out=folder / "run", resume=True, workers=0, device="cpu")
            told = {
                "steps": done.step,
                "cpu_s": round(time.process_time() - began, 1),
                "wall_s": round(time.monotonic() - clock, 1),
                "stamp": given.stamp,
                "last": done.last,
                "notes": done.notes,
            }
            trained.write_bytes(msgspec.json.encode(told) + b"\n")
        for name in given.evaluations:
            finedata.sim_evaluate(
                folder / "run",
                out=_result(given.out, cell, name),
                name=f"{cell.name}, {given.stamp}",
                device="cpu",
                scenes=plan.scenes.count,
                first=plan.scenes.first,
                seed=plan.scenes.seed,
                execute=plan.scenes.execute,
                **EVALUATIONS[name],
            )


def _result(out: Path, cell: Cell, evaluation: str) -> Path:
    return out / "cells" / cell.name / f"{evaluation}.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    made = verbs.add_parser("prepare")
    made.add_argument("--plan", type=Path, default=PLAN)
    made.add_argument("--steps", type=int, required=True)
    made.add_argument("--episodes", type=int, default=3200)
    made.add_argument("--reasoning", action="store_true")
    for name in ("run", "cell", "table"):
        verb = verbs.add_parser(name)
        verb.add_argument("--out", type=Path, required=True)
        verb.add_argument("--plan", type=Path, default=PLAN)
        verb.add_argument("--draft", action="store_true")
        if name == "run":
            verb.add_argument("--part", action="append", default=[])
            verb.add_argument("--workers", type=int, default=2)
        if name == "cell":
            verb.add_argument("--cell", required=True)
            verb.add_argument("--stamp", required=True)
            verb.add_argument("--evaluations", nargs="+", required=True)
    given = parser.parse_args()
    if given.verb == "prepare":
        about = draft_of_reasoning if given.reasoning else draft
        prepare(given.plan, about(steps=given.steps, episodes=given.episodes))
    elif given.verb == "cell":
        run_cell(read_plan(given.plan), given)
    elif given.verb == "run":
        plan, stamp = check(given.plan, given.out, uncommitted=given.draft)
        run(plan, stamp, given)
    else:
        plan, stamp = told(given.plan, given.out)
        write_tables(plan, stamp, given.out)


if __name__ == "__main__":
    main()
