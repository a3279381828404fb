"""One page that compares training runs: curves, held-out errors, and whether they drew the same.

Runs of one recipe that differ by their seed only are one line with a band from lowest to highest.
Everything is read from the runs' folders: the log, the recipe, and the receipts of the newest
checkpoint.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from finedata.errors import UsageError
from finedata.report.drawing.plots import Line, line_chart
from finedata.report.drawing.svg import counted, escape
from finedata.report.html import Cell, figure, note, page, said, table
from finedata.schema.recipe_file import decode_recipe, recipe_digest
from finedata.store.atomic import write_atomic
from finedata.train.log import LOG, read_log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from finedata.schema.recipe_file import Recipe

__all__ = ["write_training_report"]

_CLASSES = 8
# Lines differ in dashes too.
_STYLE = "".join(
    f"svg .line.s{k} {{ stroke: var(--c{k}); stroke-dasharray: {dash}; }} "
    f"svg .band.s{k} {{ fill: var(--c{k}); }} "
    for k, dash in enumerate(("none", "6 3", "2 3", "8 3 2 3", "1 4", "10 4", "4 2", "3 6"))
)


@dataclass(frozen=True)
class _Run:
    name: str
    recipe: Recipe
    log: list[dict[str, Any]]
    receipts: list[dict[str, Any]]

    @property
    def heldout(self) -> dict[str, dict[str, float]]:
        entries = [entry["heldout"] for entry in self.log if "heldout" in entry]
        return entries[-1] if entries else {}


def write_training_report(runs: Sequence[Path], out: Path) -> Path:
    """Write the page.

    Args:
        runs: Folders of runs.
        out: The file; replaced.

    Raises:
        UsageError: A folder is no run.
        OutputError: It cannot be written.
    """
    read = [_read(run) for run in runs]
    groups: dict[str, list[_Run]] = defaultdict(list)
    for run in read:
        groups[recipe_digest(msgspec.structs.replace(run.recipe, seed=0))].append(run)
    named = list(groups.values())
    sections = [
        ("loss", "Loss", _curves(named, "loss", lambda entry: entry.get("loss"))),
        *_accuracies(named),
        ("heldout", "Held-out error", _heldout_curves(named) + _heldout_table(read)),
        ("speed", "Speed", _speed(read)),
        ("drawn", "What was drawn", _drawn(read)),
        ("recipes", "Recipes", _recipes(read)),
    ]
    said_of = f"{counted(len(read), 'run')} of {counted(len(named), 'recipe')}"
    lead = f"<style>{_STYLE}</style><p>{said_of}.</p>"
    html = page("Training runs", sections, lead=lead, foot="")
    write_atomic(out, html)
    return out


def _read(folder: Path) -> _Run:
    recipe = folder / "recipe.toml"
    if not recipe.is_file() or not (folder / LOG).is_file():
        raise UsageError(
            place=str(folder), found="no recipe.toml or log.jsonl", wanted="the folder of a run"
        )
    last = folder / "checkpoints" / "last" / "training_state" / "stream_receipts.json"
    return _Run(
        name=folder.name,
        recipe=decode_recipe(recipe.read_text("utf-8"), place=str(recipe)).recipe,
        log=read_log(folder),
        receipts=msgspec.json.decode(last.read_bytes()) if last.is_file() else [],
    )


def _curves(
    groups: Sequence[list[_Run]], what: str, value: Callable[[dict[str, Any]], float | None]
) -> str:
    """One line a group; a band where several runs have a point at a step."""
    lines: list[Line] = []
    for k, runs in enumerate(groups):
        points: dict[int, list[float]] = defaultdict(list)
        for run in runs:
            for entry in run.log:
                found = value(entry)
                if found is not None:
                    points[entry["step"]].append(found)
        if not points:
            continue
        steps = sorted(points)
        band = len(runs) > 1
        lines.append(
            Line(
                name=runs[0].name + (f" and {len(runs) - 1} more seeds" if band else ""),
                class_=f"s{k % _CLASSES}",
                xs=tuple(map(float, steps)),
                ys=tuple(sum(points[s]) / len(points[s]) for s in steps),
                low=tuple(min(points[s]) for s in steps) if band else (),
                high=tuple(max(points[s]) for s in steps) if band else (),
            )
        )
    if not lines:
        return note(f"No run has a {escape(what)} in its log.")
    drawing = line_chart(lines, x_title="step", y_title=what, label=f"{what} by step")
    return figure(drawing, "Mean of the seeds; the band is from lowest to highest.")


def _accuracies(groups: Sequence[list[_Run]]) -> list[tuple[str, str, str]]:
    """Shares of tokens that were the likeliest, of runs that speak; ReFineVLA's Figures 4 and 5."""
    told = {
        name
        for runs in groups
        for run in runs
        for entry in run.log
        for name in entry.get("terms", {})
        if name.endswith("_accuracy")
    }
    if not told:
        return []
    names = sorted(told)
    learnt = [
        _curves(groups, _spaced(name), lambda entry, name=name: entry.get("terms", {}).get(name))
        for name in names
    ]
    views = sorted({view for runs in groups for run in runs for view in run.heldout})
    unseen = [
        f"<h3>View {escape(view)}</h3>"
        + _curves(
            groups,
            f"{_spaced(name)}, view {view}",
            lambda entry, view=view, name=name: entry.get("heldout", {}).get(view, {}).get(name),
        )
        for view in views
        for name in names
        if any(name in run.heldout.get(view, {}) for runs in groups for run in runs)
    ]
    told_by = "On samples that are learnt, and on held-out ones, each told what was said before."
    found = [("accuracy", "Accuracy of tokens in training", note(told_by) + "".join(learnt))]
    if unseen:
        found.append(("unseen", "Accuracy of tokens, held out", "".join(unseen)))
    return found


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _heldout_curves(groups: Sequence[list[_Run]]) -> str:
    views = sorted({view for runs in groups for run in runs for view in run.heldout})
    return "".join(
        f"<h3>View {escape(view)}</h3>"
        + _curves(
            groups,
            f"{said_as}, view {view}",
            lambda entry, view=view, name=name: entry.get("heldout", {}).get(view, {}).get(name),
        )
        for view in views
        for name, said_as in (("l1", "L1"), ("words", "cross-entropy"))
        if any(name in run.heldout.get(view, {}) for runs in groups for run in runs)
    )


def _heldout_table(runs: Sequence[_Run]) -> str:
    names = sorted(
        {
            name
            for run in runs
            for errors in run.heldout.values()
            for name in errors
            if not name.startswith("l1/step")
        }
    )
    rows: list[list[Cell]] = [
        [said(run.name), said(view), *(errors.get(name) for name in names)]
        for run in runs
        for view, errors in run.heldout.items()
    ]
    return table("Last evaluation", ["run", "view", *names], rows) if rows else ""


def _speed(runs: Sequence[_Run]) -> str:
    rows: list[list[Cell]] = []
    for run in runs:
        timed = [entry for entry in run.log if "step_s" in entry]
        if timed:
            last = timed[-1]
            rows.append(
                [
                    said(run.name),
                    int(last["step"]),
                    last["samples_per_s"],
                    100 * last["waiting_share"],
                    100 * last["mfu"].get("of_matmul", 0.0),
                    100 * last["mfu"]["of_peak"] if "of_peak" in last["mfu"] else None,
                ]
            )
    heads = ["run", "steps", "samples/s", "waiting, %", "of own matmul, %", "of data sheet, %"]
    return table("At the end of the log", heads, rows)


def _drawn(runs: Sequence[_Run]) -> str:
    """Samples by view and source, and whether two runs are of one sequence."""
    rows: list[list[Cell]] = []
    for run in runs:
        counts: dict[tuple[str, str], int] = defaultdict(int)
        for receipt in run.receipts:
            for one in receipt["drawn"]:
                counts[one["view"], one["source"]] += one["samples"]
        chain = run.receipts[-1]["chain"][-1]["sha256"][:16] if run.receipts else ""
        sequence = run.receipts[-1]["sequence"][:16] if run.receipts else ""
        bad = sum(len(receipt["bad"]) for receipt in run.receipts)
        for (view, source), count in sorted(counts.items()):
            rows.append(
                [said(run.name), said(view), said(source), count, bad, said(sequence), said(chain)]
            )
    heads = ["run", "view", "source", "samples", "bad samples", "sequence", "chain"]
    body = table("Samples until the newest checkpoint", heads, rows)
    return body + note("Runs with one chain drew the same samples in the same order.")


def _recipes(runs: Sequence[_Run]) -> str:
    """The keys in which runs differ."""
    keys = [
        key
        for key in runs[0].recipe.__struct_fields__
        if len({repr(getattr(run.recipe, key)) for run in runs}) > 1
    ]
    rows: list[list[Cell]] = [
        [said(run.name), *(said(getattr(run.recipe, key)) for key in keys)] for run in runs
    ]
    return table("Keys that differ", ["run", *keys], rows)
