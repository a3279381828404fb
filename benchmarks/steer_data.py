"""The demonstrations of the study, once for each kind of fine-grained text.

All kinds describe the same demonstrations, and give fine-grained text to the same of them:

- `truth`: the text of the recording, made of what the physics knows;
- `kinematic`: made of what `finedata annotate kinematic` measures. It names no object and no place,
  so the colour is that of the goal, as the pipeline takes it from the source's words, the half of
  the tray is left out, and so is whatever else was not measured;
- `corrupted`: the truth, but each of the five values is another one of its kind with a small
  probability: what wrong annotation costs.

Every episode is made a representative, because a fine-grained view is of representatives only.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

import finedata
from finedata.schema.identity import hash16
from finedata.schema.makers import make_instruction, provenance
from finedata.sim.factors import FINE_COLOURS, MANNERS
from finedata.sim.wording import describe
from finedata.store.tables.table import append_rows, undo_unfinished

if TYPE_CHECKING:
    from steer_plan import Data, Plan

_ANNOTATOR = "benchmarks_steer"


def make_shards(plan: Plan, data: Data, out: Path, *, workers: int) -> Path:
    """Record, gate, cluster and shard; the same call goes on with what was stopped.

    Args:
        plan: The study.
        data: Whose text.
        out: The study's folder.
        workers: Processes.

    Returns:
        The shards.
    """
    folder = out / "data" / data
    done, shards = folder / "done", folder / "shards"
    if done.exists():
        return shards
    dataset = finedata.open(make_dataset(plan, data, out, workers=workers))
    dataset.gate(workers=workers)
    dataset.cluster(budget=plan.data.episodes, workers=workers)
    dataset.shard(shards, workers=workers)
    done.touch()
    return shards


def make_dataset(plan: Plan, data: Data, out: Path, *, workers: int) -> Path:
    """Record demonstrations, and describe them; see `make_shards`."""
    root = out / "data" / data / "dataset"
    finedata.sim_record(
        root, workers=workers, episodes=plan.data.episodes, first=plan.data.first,
        noise=plan.data.noise, pictures=0, fine=plan.data.fine if data == "truth" else 0.0,
    )  # fmt: skip
    if data != "truth":
        truth = make_dataset(plan, "truth", out, workers=workers)
        _append_texts(root, truth, data, wrong=plan.data.wrong)
    return root


def _append_texts(root: Path, truth: Path, data: Data, *, wrong: float) -> None:
    """Append fine-grained texts to the episodes that have them in `truth`, once."""
    run_id = hash16(f"{_ANNOTATOR} {data} {wrong if data == 'corrupted' else ''}")
    undo_unfinished(root)
    dataset = finedata.open(root)
    if data == "kinematic":
        dataset.annotate_kinematic(everything=True)
        dataset = finedata.open(root)
    if len(dataset.instructions.filter(pl.col("run_id") == run_id).head(1).collect()):
        return
    chosen = _numbers(finedata.open(truth))
    facts = _facts(dataset)
    said_by = provenance("assembled", annotator=_ANNOTATOR, run_id=run_id)
    with append_rows(root, ("instructions",)) as writer:
        for episode_id, number in sorted(chosen.items(), key=lambda one: one[1]):
            mine = facts[episode_id]
            known = true_values(mine) if data == "corrupted" else measured_values(mine)
            if data == "corrupted":
                known = corrupted(known, wrong=wrong, seed=number)
            text = describe(known, seed=number)
            row = make_instruction(
                said_by, episode_id=episode_id, kind="fine_grained", order=0, text=text,
                language="en",
                fact_ids=[
                    row["fact_id"]
                    for row in mine
                    if row["origin"] == ("kinematic" if data == "kinematic" else "source")
                ],
            )  # fmt: skip
            writer.add("instructions", [row])


def _numbers(truth: Any) -> dict[str, int]:
    """Episodes with fine-grained text -> number of their scene."""
    texts = truth.instructions.filter(pl.col("kind") == "fine_grained").select("episode_id")
    files = truth.receipts.select("episode_id", "source_file").collect()
    stems = {
        str(episode): int(Path(str(name)).stem.removeprefix("scene_"))
        for episode, name in files.rows()
    }
    return {str(one): stems[str(one)] for one in texts.collect()["episode_id"]}


def _facts(dataset: Any) -> dict[str, list[dict[str, Any]]]:
    """Episode -> its facts in the order of time."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in dataset.facts.sort("episode_id", "start_frame", "fact_id").collect().to_dicts():
        found.setdefault(row["episode_id"], []).append(row)
    return found


def true_values(facts: list[dict[str, Any]]) -> dict[str, str]:
    """The five values from the facts of the recording."""
    value = {row["slot"]: row["value"] for row in facts if row["origin"] == "source"}
    return {
        "colour": value["color"],
        "arm": value["actor"],
        "approach": "above" if value["approach_direction"] == "from above" else "side",
        "rotation": value["rotation_direction"].split(" ")[0],
        "side": value["final_workspace_location"].split(" ")[0],
    }


def measured_values(facts: list[dict[str, Any]]) -> dict[str, str]:
    """What the motion alone tells, and the colour of the goal.

    The arm that acts; its approach, where anything but straight down is a side; its last turn about
    the vertical. What was not measured has no value.
    """
    known = {"colour": next(r["value"] for r in facts if r["slot"] == "color")}
    measured = [row for row in facts if row["origin"] == "kinematic"]
    arms = {row["value"] for row in measured if row["slot"] == "actor"}
    if len(arms) != 1 or not arms <= {"left", "right"}:
        return known
    (known["arm"],) = arms
    for row in measured:
        if row["actor"] != known["arm"]:
            continue
        if row["slot"] == "approach_direction":
            known["approach"] = "above" if row["value"] == "from above" else "side"
        if row["slot"] == "rotation_direction" and "clockwise" in row["value"]:
            known["rotation"] = "counter-clockwise" if "counter" in row["value"] else "clockwise"
    return known


def corrupted(known: dict[str, str], *, wrong: float, seed: int) -> dict[str, str]:
    """The same values, each another one of its kind with a probability.

    Args:
        known: The true ones.
        wrong: The probability.
        seed: Of what is changed; two numbers are drawn for each value, whatever happens.
    """
    rng = np.random.Generator(np.random.PCG64([seed, 91]))
    found: dict[str, str] = {}
    for name, values in {"colour": FINE_COLOURS, **MANNERS}.items():
        swap, which = rng.random() < wrong, float(rng.random())
        others = [value for value in values if value != known[name]]
        found[name] = others[int(which * len(others))] if swap else known[name]
    return found
