"""What the study's results say: every cell, the seeds' range, and paired differences, each apart.

A cell has Wilson's interval over its scenes, which knows nothing of how far seeds of training
differ; so the lowest and the highest seed stand beside it. A contrast is the difference of two
ratios over the seeds that both have; its interval is the bootstrap of `finedata.sim.cells`, over
scenes, which are paired, and over seeds. With three seeds such an interval is rough. What was not
run is said.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import replace
from steer_plan import cell_of, cells, steps_of

import finedata
from finedata.sim.cells import Cell as Seeds
from finedata.sim.cells import cell_differences
from finedata.sim.compare import wilson
from finedata.store.atomic import write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from steer_plan import Cell, Part, Plan

    from finedata.sim.evaluate import Result

# (evaluation, score, heading): the columns of a table; factors follow.
MEASURES = (
    ("fine", "all", "all, fine prompt"), ("fine", "goal", "goal, fine prompt"),
    ("raw", "goal", "goal, raw prompt"), ("raw_only", "goal", "goal that only raw data has"),
    ("fine_seen", "all", "all, fine prompt, seen wording"),
    ("fine_seen", "goal", "goal, fine prompt, seen wording"),
    ("raw_seen", "goal", "goal, raw prompt, seen wording"),
)  # fmt: skip
FACTORS = ("arm", "approach", "rotation", "side")


def write_tables(plan: Plan, stamp: str, out: Path) -> None:
    """Write `table.md` and `table.json`, and `table.html` of the results of true texts.

    On the page every cell is held against the first one, so a ratio that others are contrasted
    with comes first.
    """
    found: dict[str, Any] = {"stamp": stamp, "question": plan.question}
    found["parts"] = [_part(plan, part, out) for part in plan.parts]
    for row in (r for part in found["parts"] for group in part["groups"] for r in group["cells"]):
        del row["read"]
    write_atomic(out / "table.json", (json.dumps(found, indent=1) + "\n").encode())
    write_atomic(out / "table.md", "".join(_markdown(found)).encode())
    trained = dict.fromkeys(
        cell for part in plan.parts for cell in cells(plan, part) if cell.data == "truth"
    )
    others = [second for _, second in plan.contrasts]
    order = sorted(trained, key=lambda cell: -others.count(cell.ratio))
    if results := [one for cell in order for one in _results(plan, cell, out).values()]:
        finedata.sim_report(results, out=out / "table.html")


def _results(plan: Plan, cell: Cell, out: Path) -> dict[str, Result]:
    """Of each evaluation, with what the plan set in the recipe where the result does not tell."""
    changes = finedata.recipe(plan.recipe, **plan.heads[cell.head]).values
    changed = {key: str(getattr(changes, key)) for key in sorted(plan.heads[cell.head])}
    found: dict[str, Result] = {}
    for path in sorted((out / "cells" / cell.name).glob("*.jsonl")):
        result = finedata.sim_result(path)
        if result.run is not None and not result.run.changed:
            result = replace(result, run=replace(result.run, changed=changed))
        found[path.stem] = result
    return found


def _part(plan: Plan, part: Part, out: Path) -> dict[str, Any]:
    # Factors stand beside fine prompts, in seen wording where no other is asked for.
    seen = "fine_seen" in part.evaluations and "fine" not in part.evaluations
    # What a part does not ask is no column of it: "not run" is of what was registered.
    measures = tuple(one for one in MEASURES if one[0] in part.evaluations)
    groups: list[dict[str, Any]] = []
    for data in part.data:
        for head in part.heads:
            for budget in part.budgets:
                rows = [
                    _cell(plan, cell, out)
                    for ratio in part.ratios
                    for seed in plan.seeds
                    if (cell := cell_of(plan, data, head, budget, ratio, seed)) is not None
                ]
                groups.append(
                    {
                        "data": data, "head": head, "budget": budget, "seen": seen, "cells": rows,
                        "ratios": _means(rows, measures, by="ratio"),
                        "contrasts": _contrasts(plan, rows, measures),
                    }
                )  # fmt: skip
    rows = [row for group in groups for row in group["cells"]]
    of: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        of.setdefault((row["data"], row["budget"], row["ratio"]), []).append(row)
    named = ("data", "budget", "ratio")
    heads = [
        {**dict(zip(named, key, strict=True)), **one}
        for key, mine in of.items()
        for one in _contrasts(plan, mine, measures, by="head")
    ]
    means = [
        {**dict(zip(named, key, strict=True)), "heads": _means(mine, measures, by="head")}
        for key, mine in of.items()
        if len(part.heads) > 1
    ]
    return {
        "name": part.name, "about": part.about, "measures": measures, "groups": groups,
        "means": means, "heads": heads,
    }  # fmt: skip


def _cell(plan: Plan, cell: Cell, out: Path) -> dict[str, Any]:
    """A cell's rates, and its scores by scene for what is paired."""
    folder = out / "cells" / cell.name
    rates: dict[str, Any] = {}
    read: dict[str, Any] = {}
    results: dict[str, str] = {}
    for name, result in _results(plan, cell, out).items():
        results[name] = f"cells/{cell.name}/{name}.jsonl"
        rates[name] = {
            one.score: [one.share, one.low, one.high, one.scenes]
            for one in finedata.sim_rates(result)
        }
        rates[name]["faults"] = sum(bool(one.fault) for one in result.episodes)
        read[name] = result
    trained = folder / "trained.json"
    told = json.loads(trained.read_text()) if trained.exists() else {}
    return {
        "name": cell.name, "data": cell.data, "head": cell.head, "budget": cell.budget,
        "ratio": cell.ratio, "seed": cell.seed, "steps": steps_of(plan, cell),
        "cpu_s": told.get("cpu_s"), "rates": rates, "results": results, "read": read,
    }  # fmt: skip


def _means(
    rows: list[dict[str, Any]], measures: tuple[tuple[str, str, str], ...], *, by: str
) -> list[Any]:
    """Of each ratio, or head: mean over seeds, lowest and highest seed, of every measure."""
    found: list[Any] = []
    for one in dict.fromkeys(row[by] for row in rows):
        mine = [row for row in rows if row[by] == one]
        told: dict[str, Any] = {by: one}
        for evaluation, score, heading in measures:
            shares = [r["rates"][evaluation][score][0] for r in mine if evaluation in r["rates"]]
            if shares:
                told[heading] = {
                    "mean": float(np.mean(shares)), "lowest": min(shares), "highest": max(shares),
                    "seeds": len(shares),
                }  # fmt: skip
        found.append(told)
    return found


def _contrasts(
    plan: Plan, rows: list[dict[str, Any]], measures: tuple[tuple[str, str, str], ...],
    *, by: str = "ratio",
) -> list[Any]:  # fmt: skip
    found: list[Any] = []
    for first, second in plan.contrasts if by == "ratio" else plan.head_contrasts:
        for evaluation, score, heading in measures:
            of = {
                ratio: {
                    row["seed"]: row["read"][evaluation]
                    for row in rows
                    if row[by] == ratio and evaluation in row["read"]
                }
                for ratio in (first, second)
            }
            seeds = sorted(of[first].keys() & of[second].keys())
            if not seeds:
                continue
            pair = [Seeds(name=r, results=[of[r][seed] for seed in seeds]) for r in (second, first)]
            told = next(one for one in cell_differences(pair) if one.score == score)
            primary = (evaluation, score) == (plan.primary["evaluation"], plan.primary["score"])
            found.append(
                {
                    "first": first, "second": second, "measure": heading, "mean": told.mean,
                    "low": told.low, "high": told.high, "seeds": len(seeds), "primary": primary,
                }
            )  # fmt: skip
    return found


def _markdown(found: dict[str, Any]) -> Iterator[str]:
    yield f"# Every cell\n\n{found['question']}\n\n"
    yield f"Made by `python benchmarks/steer.py table`; {found['stamp']}.\n"
    for part in found["parts"]:
        yield f"\n## {part['name'].replace('_', ' ')}: {part['about']}\n"
        for group in part["groups"]:
            yield f"\n{group['data']}, head {group['head']}, equal {group['budget']}\n\n"
            if not any(row["rates"] for row in group["cells"]):
                yield "Not run yet.\n"
                continue
            yield from _cells_markdown(group, part["measures"])
            yield from _means_markdown(group["ratios"], part["measures"], by="ratio")
            yield from _contrasts_markdown(group["contrasts"])
        for one in part["means"]:
            if any(len(row) > 1 for row in one["heads"]):
                yield f"\n{one['data']}, {one['ratio']}, equal {one['budget']}: the heads.\n"
                yield from _means_markdown(one["heads"], part["measures"], by="head")
        yield from _contrasts_markdown(part["heads"])


def _cells_markdown(
    group: dict[str, Any], measures: tuple[tuple[str, str, str], ...]
) -> Iterator[str]:
    fine = "fine_seen" if group["seen"] else "fine"
    yield "Every cell, percent [Wilson 95 % over scenes]; factors with fine prompts.\n\n"
    yield "| FG:Raw | seed | steps | " + " | ".join(heading for *_, heading in measures)
    # A training that was gone on with counts from there: what was spent before is not known.
    yield f" | {' / '.join(FACTORS)} | faults | CPU s since it last began |\n"
    yield "|---" * (len(measures) + 6) + "|\n"
    for row in group["cells"]:
        told = [_rate(row["rates"].get(name, {}).get(score)) for name, score, _ in measures]
        rates = row["rates"].get(fine)
        factors = " / ".join(f"{100 * rates[name][0]:.0f}" for name in FACTORS) if rates else "-"
        faults = sum(one["faults"] for one in row["rates"].values()) if row["rates"] else "-"
        yield f"| {row['ratio']} | {row['seed']} | {row['steps']} | {' | '.join(told)} | {factors} "
        yield f"| {faults} | {row['cpu_s'] or '-'} |\n"


def _rate(rate: list[float] | None) -> str:
    if rate is None:
        return "not run"
    share, scenes = rate[0], int(rate[3])
    low, high = wilson(share, scenes)
    return f"{100 * share:.0f} [{100 * low:.0f}, {100 * high:.0f}]"


def _means_markdown(
    rows: list[dict[str, Any]], measures: tuple[tuple[str, str, str], ...], *, by: str
) -> Iterator[str]:
    name = "FG:Raw" if by == "ratio" else by
    yield f"\nMean over seeds (lowest seed to highest seed).\n\n| {name} | seeds | "
    yield " | ".join(heading for *_, heading in measures)
    yield " |\n" + "|---" * (len(measures) + 2) + "|\n"
    for row in rows:
        told = [
            "{mean:.0f} ({lowest:.0f} to {highest:.0f})".format(
                **{name: 100 * row[h][name] for name in ("mean", "lowest", "highest")}
            )
            if h in row
            else "not run"
            for *_, h in measures
        ]
        seeds = max((row[h]["seeds"] for *_, h in measures if h in row), default=0)
        yield f"| {row[by]} | {seeds} | {' | '.join(told)} |\n"


def _contrasts_markdown(contrasts: list[dict[str, Any]]) -> Iterator[str]:
    if not contrasts:
        return
    yield "\nDifferences in points, paired by scene [bootstrap over scenes and seeds, 95 %].\n\n"
    yield "| contrast | measure | difference | seeds |\n|---|---|---|---|\n"
    for one in contrasts:
        mark = " (primary)" if one["primary"] else ""
        where = f", {one['ratio']}" if "ratio" in one else ""
        yield f"| {one['first']} - {one['second']}{where} | {one['measure']}{mark} "
        yield f"| {100 * one['mean']:+.1f} "
        yield f"[{100 * one['low']:+.1f}, {100 * one['high']:+.1f}] | {one['seeds']} |\n"
