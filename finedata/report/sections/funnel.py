"""What a report says about where episodes went: bars for the steps that ran, a table by source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finedata.report.drawing.plots import funnel_bars
from finedata.report.drawing.svg import MINUS, count_text, escape
from finedata.report.html import NEXT_CLUSTER, NEXT_GATE, figure, note, table

if TYPE_CHECKING:
    from finedata.report.funnel import Funnel, FunnelRow

_MOST_ROWS = 60


def funnel_steps(funnel: Funnel) -> list[tuple[str, int, str]]:
    """The steps that have run: name, episodes left, what was set aside before it in words."""
    total = funnel.total
    steps = [("found", total.found, "")]
    steps.append(("written", total.written, _aside(sum(total.failed.values()), "failed")))
    if funnel.gate_ran:
        refused = _aside(sum(total.gate_failed.values()), "refused")
        if total.unjudged:
            refused += f", {count_text(total.unjudged)} not judged"
        steps.append(("passed the gate", total.through, refused))
    steps.append(
        (
            "with an instruction",
            total.with_instruction,
            _aside(total.without_instruction, "without"),
        )
    )
    if funnel.cluster_ran:
        steps.append(("clustered", total.clustered, _aside(total.unclustered, "not clustered")))
    if funnel.select_ran:
        others = _aside(total.represented, "stood for by others")
        steps.append(("representatives", total.representatives, others))
    return steps


def _aside(count: int, word: str) -> str:
    return f"{MINUS} {count_text(count)} {word}" if count else ""


def funnel_section(funnel: Funnel) -> str:
    """The funnel as bars, and per source as a table."""
    steps = funnel_steps(funnel)
    spoken = "; ".join(f"{name} {count_text(count)}" for name, count, _ in steps)
    made = [
        figure(
            funnel_bars(steps, label=f"Episodes left after each step: {spoken}."),
            "Episodes left after each step, as a share of those found, and what each set aside. "
            "Nothing is deleted: every episode that was written is in the dataset.",
        )
    ]
    if not funnel.gate_ran:
        made.append(note(f"{NEXT_GATE} All that is written counts as let through."))
    elif funnel.total.not_applicable:
        made.append(
            note(
                f"{count_text(funnel.total.not_applicable)} of those that passed could not be "
                "judged (verdict <code>not_applicable</code>): the gate lets them through."
            )
        )
    if not funnel.cluster_ran:
        made.append(note(NEXT_CLUSTER))
    for count, name in (
        (funnel.stray_clusters, "clusters"),
        (funnel.stray_representatives, "representatives"),
    ):
        if count:
            made.append(
                note(
                    f"{count_text(count)} rows of <code>{name}</code> belong to episodes that an "
                    "earlier step has set aside since, and are not counted above. Run "
                    "<code>finedata cluster</code> again.",
                    warn=True,
                )
            )
    heads = ["source", "found", "failed", "written", "refused", "not judged", "passed"]
    heads += ["no instruction", "instruction", "not clustered", "clustered", "chosen"]
    made.append(
        note(
            "In the table, found is failed and written; written is refused, not judged and passed; "
            "passed is with and without instruction; with instruction is clustered and not."
        )
    )
    made.append(
        table(
            "Episodes per source.",
            heads,
            [_funnel_cells(row) for row in funnel.sources[:_MOST_ROWS]],
            last=_funnel_cells(funnel.total),
        )
    )
    return "".join(made)


def _funnel_cells(row: FunnelRow) -> list[str | int]:
    return [
        f"<code>{escape(row.source)}</code>" if row.source else "all",
        row.found,
        sum(row.failed.values()),
        row.written,
        sum(row.gate_failed.values()),
        row.unjudged,
        row.through,
        row.without_instruction,
        row.with_instruction,
        row.unclustered,
        row.clustered,
        row.representatives,
    ]
