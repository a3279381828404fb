"""What the study of mixing ratios is, before anything is run: its cells, measure and contrasts.

The plan is a file, and the file is what counts: `run` reads it, and refuses one that was changed
since the first result, that is not committed, or whose digests are not those of the checkout (the
recipe, the recording's settings, scenes and wishes). Everything else follows from it here, without
a choice left: which cells there are, for how many steps each is trained, in what order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator  # noqa: TC003  (a reader of types needs it)
from pathlib import Path
from typing import Any, Literal

import msgspec

import finedata
from finedata.sim.evaluate import scenes_digest
from finedata.sim.factors import balanced_wishes
from finedata.sim.record import RecordSettings
from finedata.sim.scene import scene_of

Budget = Literal["steps", "exposures"]
Data = Literal["truth", "kinematic", "corrupted"]
EVALUATIONS: dict[str, dict[str, str]] = {
    "fine": {"prompts": "fine", "wording": "held_out", "goals": "fine"},
    "raw": {"prompts": "raw", "wording": "held_out", "goals": "fine"},
    "raw_only": {"prompts": "raw", "wording": "held_out", "goals": "raw_only"},
    "fine_seen": {"prompts": "fine", "wording": "seen", "goals": "fine"},
    "raw_seen": {"prompts": "raw", "wording": "seen", "goals": "fine"},
}
"""What a trained cell is asked: fine prompts, raw prompts of the same goals, raw prompts of goals
that only raw data has, each in wording that no demonstration has; the first two in seen wording."""


class Struct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the plan."""


class DataPlan(Struct):
    """The demonstrations.

    Attributes:
        episodes: How many are tried.
        first: Number of the first scene.
        noise: Scale of what pushes the demonstrator.
        fine: Share with fine-grained text.
        run_id: hash16 of these settings and of the simulator.
        wrong: Share of the facts that are another value in the variant `corrupted`.
    """

    episodes: int
    first: int
    noise: float
    fine: float
    run_id: str
    wrong: float


class ScenePlan(Struct):
    """What every cell is put before.

    Attributes:
        first: Number of the first scene.
        count: How many.
        seed: Of wishes and phrasings.
        execute: Steps of an answer that are taken.
        sha256: Goals -> digest of scenes and wishes.
    """

    first: int
    count: int
    seed: int
    execute: int
    sha256: dict[str, str]


class Part(Struct):
    """Cells that are run one behind the other; a cell that an earlier part has is not run twice.

    Attributes:
        name: Of the part.
        about: What it answers.
        data: Whose fine-grained texts.
        heads: Heads of the recipe.
        budgets: What is equal between ratios.
        ratios: Which.
        evaluations: What is asked.
    """

    name: str
    about: str
    data: list[Data]
    heads: list[str]
    budgets: list[Budget]
    ratios: list[str]
    evaluations: list[str]


class Plan(Struct):
    """The preregistration; see docs/sim-study.md for what each thing means.

    Attributes:
        version: 1.
        question: What is asked.
        primary: Evaluation and score that the contrasts are about.
        contrasts: Pairs of ratios; the first minus the second, paired by scene, of the same seeds.
        recipe: Its name in `trainers/`.
        heads: Head -> keys of the recipe that differ.
        recipe_sha256: Head -> digest of every key of the recipe, at the first ratio and seed 0.
        ratios: Name -> mix.
        seeds: Of training.
        steps: Of the budget `steps`. In `exposures` every ratio is trained until it has seen as
            many fine-grained samples as 1:1 in these steps; raw, which sees none, is left out.
        data: The demonstrations.
        scenes: What is evaluated on.
        head_contrasts: Pairs of heads, of every ratio.
        parts: In the order in which they are run; inside a part by seed, then data, head, budget,
            ratio, so that what is stopped early is balanced.
    """

    version: Literal[1]
    question: str
    primary: dict[str, str]
    recipe: str
    heads: dict[str, dict[str, Any]]
    recipe_sha256: dict[str, str]
    ratios: dict[str, str]
    seeds: list[int]
    steps: int
    data: DataPlan
    scenes: ScenePlan
    parts: list[Part]
    contrasts: list[tuple[str, str]] = []
    head_contrasts: list[tuple[str, str]] = []


class Cell(Struct):
    """One training."""

    data: Data
    head: str
    budget: Budget
    ratio: str
    seed: int

    @property
    def name(self) -> str:
        """A folder's name."""
        ratio = self.ratio.replace(":", "-")
        return f"{self.data}.{self.head}.{self.budget}.{ratio}.seed{self.seed}"


def read_plan(path: Path) -> Plan:
    """Read a plan from TOML."""
    return msgspec.toml.decode(path.read_bytes(), type=Plan)


def plan_toml(plan: Plan) -> str:
    """A plan as TOML."""
    lines: list[str] = []
    tables: list[str] = []
    for name, value in msgspec.to_builtins(plan).items():
        if isinstance(value, dict):
            tables += ["", f"[{name}]", *(f"{_key(k)} = {_toml(v)}" for k, v in value.items())]
        elif value == []:
            continue
        elif isinstance(value, list) and isinstance(value[0], dict):
            for one in value:
                tables += ["", f"[[{name}]]", *(f"{k} = {_toml(v)}" for k, v in one.items())]
        else:
            lines.append(f"{name} = {_toml(value)}")
    return "\n".join([*lines, *tables]) + "\n"


def _key(name: str) -> str:
    return name if name.replace("_", "").isalnum() else msgspec.json.encode(name).decode()


def _toml(value: Any) -> str:
    """A value; texts, numbers, booleans and lists are JSON's."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(k)} = {_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    return msgspec.json.encode(value).decode()


def file_sha256(path: Path) -> str:
    """Digest of the plan's bytes, which stands in every result."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def code_sha256() -> str:
    """Digest of the modules that results depend on."""
    whole = hashlib.sha256()
    root = Path(finedata.__file__).parent
    for room in ("kinematic", "schema", "shard", "sim", "train"):
        for path in sorted((root / room).rglob("*.py")):
            whole.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return whole.hexdigest()


def digests(plan: Plan) -> dict[str, Any]:
    """What this checkout would do: the digests that the plan names."""
    recording = RecordSettings(
        episodes=plan.data.episodes, first=plan.data.first, noise=plan.data.noise,
        pictures=0, fine=plan.data.fine,
    )  # fmt: skip
    scenes = [scene_of(plan.scenes.first + k) for k in range(plan.scenes.count)]
    goals = sorted({EVALUATIONS[name]["goals"] for part in plan.parts for name in part.evaluations})
    return {
        "run_id": recording.run_id,
        "recipe_sha256": {
            head: finedata.recipe(
                plan.recipe, mix=next(iter(plan.ratios.values())), seed=0, steps=plan.steps, **keys
            ).sha256
            for head, keys in plan.heads.items()
        },
        "scenes_sha256": {
            name: scenes_digest(scenes, balanced_wishes(scenes, seed=plan.scenes.seed, goals=name))  # type: ignore[arg-type]
            for name in goals
        },
    }


def shares(mix: str) -> tuple[float, float]:
    """Share of fine-grained and of raw samples in a mix.

    Example:
        >>> shares("fg=1,raw=4")
        (0.2, 0.8)
    """
    weights = {name: float(weight) for name, weight in (one.split("=") for one in mix.split(","))}
    total = sum(weights.values())
    return weights.get("fg", 0.0) / total, weights.get("raw", 0.0) / total


def steps_of(plan: Plan, cell: Cell) -> int:
    """Optimiser steps of a cell."""
    if cell.budget == "steps":
        return plan.steps
    return round(plan.steps * shares(plan.ratios["1:1"])[0] / shares(plan.ratios[cell.ratio])[0])


def cells(plan: Plan, part: Part) -> Iterator[Cell]:
    """The cells of a part in their order.

    What a budget does not tell apart is one cell: 1:1 has its steps in both, and raw only in one.
    """
    seen: set[Cell] = set()
    for seed in plan.seeds:
        for data in part.data:
            for head in part.heads:
                for budget in part.budgets:
                    for ratio in part.ratios:
                        cell = cell_of(plan, data, head, budget, ratio, seed)
                        if cell is not None and cell not in seen:
                            seen.add(cell)
                            yield cell


def cell_of(
    plan: Plan, data: Data, head: str, budget: Budget, ratio: str, seed: int
) -> Cell | None:
    """The cell of these choices; None where there is none."""
    if budget == "exposures" and not shares(plan.ratios[ratio])[0]:
        return None
    cell = Cell(data=data, head=head, budget=budget, ratio=ratio, seed=seed)
    if steps_of(plan, cell) == plan.steps:
        cell = msgspec.structs.replace(cell, budget="steps")
    if not shares(plan.ratios[ratio])[0] and data != "truth":
        return msgspec.structs.replace(cell, data="truth")  # no fine-grained text is seen
    return cell
