"""What a report says about budgets: a chart, the numbers at the chosen budget, a few as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finedata.report.coverage import SEEDS
from finedata.report.drawing.plots import Line, Mark, line_chart
from finedata.report.drawing.svg import count_text, escape, number_text
from finedata.report.html import figure, note, table

if TYPE_CHECKING:
    from finedata.report.coverage import Coverage

_ROWS = 8


def coverage_section(found: Coverage) -> str:
    """The chart, its numbers at the chosen budget in words, and a few of them as a table."""
    if found.note:
        return note(escape(found.note))
    chosen = found.representatives
    at = found.budgets.index(chosen)
    ours, random = found.ours.mean[-1], found.random.mean[at]
    longest = found.longest.mean[at]
    words = (
        f"<p>{count_text(chosen)} representatives of {count_text(found.episodes)} episodes leave a "
        f"mean distance of <strong>{number_text(ours)}</strong> to the nearest one. As many chosen "
        f"at random leave {number_text(random)} (mean of {SEEDS} seeds), the longest first "
        f"{number_text(longest)}. "
    )
    if found.random_needs is None:
        words += f"Random needs more than {count_text(found.budgets[-1])} to do as well.</p>"
    else:
        words += f"Random needs {count_text(found.random_needs)} to do as well.</p>"
    budgets = tuple(float(b) for b in found.budgets)
    lines = [
        Line(
            "random",
            "random",
            budgets,
            tuple(found.random.mean),
            tuple(found.random.low),
            tuple(found.random.high),
        ),
        Line("longest first", "longest", budgets, tuple(found.longest.mean)),
        Line("representatives", "chosen", budgets[: at + 1], tuple(found.ours.mean)),
    ]
    label = (
        "Mean distance of all episodes to the nearest chosen one, against how many are chosen: "
        f"at {chosen}, representatives {number_text(ours)}, random {number_text(random)}, longest "
        f"first {number_text(longest)}."
    )
    drawing = line_chart(
        lines,
        x_title="chosen episodes (budget)",
        y_title="mean distance to the nearest chosen episode (DTW distance)",
        label=label,
        mark=Mark(float(chosen), f"{count_text(chosen)} representatives"),
    )
    caption = (
        f"Lower is better. The band is the range of {SEEDS} random selections. An episode whose "
        "task has no chosen one yet counts its task's largest distance, or the median of those of "
        "all tasks where that is more."
    )
    if found.left_out:
        caption += (
            f" {count_text(found.left_out)} clustered episodes are left out: not all distances of "
            "their tasks are known."
        )
    return words + figure(drawing, caption) + _numbers(found, at)


def _numbers(found: Coverage, at: int) -> str:
    last = len(found.budgets) - 1
    picked = sorted({round(i * last / _ROWS) for i in range(_ROWS + 1)} | {at})
    rows = [
        [
            found.budgets[i],
            found.ours.mean[i] if i <= at else None,
            found.random.mean[i],
            f"{number_text(found.random.low[i])} to {number_text(found.random.high[i])}",
            found.longest.mean[i],
        ]
        for i in picked
    ]
    heads = ["chosen", "representatives", "random, mean", "random, range", "longest first"]
    shown = table("Mean distance to the nearest chosen episode.", heads, rows)
    return f"<details><summary>The numbers</summary>{shown}</details>"
