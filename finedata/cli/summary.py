"""`finedata summary`: FineVLA's Table 1 for a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from finedata.cli.frame import AsJson, emit

if TYPE_CHECKING:
    from finedata.annotate.summary import DatasetSummary, SourceSummary

HELP = """How much is annotated, by source: FineVLA's Table 1, and facts by dimension.

Density is words of the fine-grained instruction over words of the raw one.

Example: finedata summary bridge
"""


def summary(
    *,
    root: Annotated[Path, typer.Argument(metavar="DIR", help="The dataset.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """See HELP."""
    from finedata.api import open

    found = open(root).summarise()
    emit(found, _lines(found), as_json=as_json)


def _lines(found: DatasetSummary) -> list[str]:
    rows = [*found.sources, found.all]
    head = ["", *(row.source for row in rows)]
    measures: list[tuple[str, list[str]]] = [
        ("trajectories", [str(row.trajectories) for row in rows]),
        ("frames", [str(row.frames) for row in rows]),
        ("annotated", [str(row.annotated) for row in rows]),
        ("steps", [str(row.steps) for row in rows]),
        ("words, raw", [_mean(row.raw_words) for row in rows]),
        ("words, fine-grained", [_mean(row.fine_words) for row in rows]),
        ("density", [_mean(row.density) for row in rows]),
        ("action verbs", [str(row.verbs) for row in rows]),
        ("facts", [str(row.facts) for row in rows]),
    ]
    measures += [(f"  {name}", _facts(rows, name)) for name in found.all.facts_per_dimension]
    table = [head, *([name, *values] for name, values in measures)]
    widths = [max(len(line[k]) for line in table) for k in range(len(head))]
    return [
        "  ".join(
            cell.ljust(width) if k == 0 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in table
    ]


def _facts(rows: list[SourceSummary], dimension: str) -> list[str]:
    return [str(row.facts_per_dimension[dimension]) for row in rows]


def _mean(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
