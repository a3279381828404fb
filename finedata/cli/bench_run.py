"""What the commands of `finedata bench` share at their end: how a result is printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from finedata.cli.frame import emit

if TYPE_CHECKING:
    from finedata.bench.estimate import BenchEstimate
    from finedata.schema.bench_summary import BenchSummary

AGAIN = "stopped; the same command continues, and pays for nothing twice"


def three_digits(value: float | None) -> str:
    """A number, or that it is none."""
    return "not defined" if value is None else f"{value:.3f}"


def print_run(found: BenchSummary | BenchEstimate, *, strict: bool, as_json: bool) -> None:
    """Print what was or would be asked; exit with 1 where nothing came well."""
    from finedata.bench.estimate import BenchEstimate

    if isinstance(found, BenchEstimate):
        cost = "unknown price" if found.most_usd is None else f"at most {found.most_usd:.2f} USD"
        line = (
            f"{found.videos} videos: {found.calls} calls with {found.pictures} pictures, {cost} "
            f"(from {found.looked_at} videos); {found.judge_calls} calls of the judge besides"
        )
        emit(found, line, as_json=as_json)
        return
    emit(found, summary_lines(found), as_json=as_json)
    for note in found.notes:
        typer.echo(note, err=True)
    answered, judged = found.statuses, found.judge_statuses
    unwell = sum(n for status, n in (*answered.items(), *judged.items()) if status != "ok")
    if not answered.get("ok") or (judged and not judged.get("ok")) or (strict and unwell):
        raise typer.Exit(1)


def summary_lines(found: BenchSummary) -> list[str]:
    """Everything of both modes, then the dimensions in `strict`."""
    head = f"{found.benchmark.name} {found.benchmark.revision}, {found.track}, {found.setting}"
    lines = [f"{head}: {found.answerer.model}"]
    for one in found.scores:
        if one.value is None or one.by not in ("all", "dimension"):
            continue
        if one.by == "dimension" and one.mode == "released":
            continue
        what = one.group or f"{one.average}, {one.mode}"
        ends = "" if one.low is None or one.high is None else (
            f"  [{100 * one.low:5.1f}, {100 * one.high:5.1f}]"
        )  # fmt: skip
        few = f"  unrankable: {one.clusters} videos" if one.unrankable else ""
        lines.append(f"  {one.metric:18} {what:28} {100 * one.value:6.1f}{ends}{few}")
    return lines
