"""How `finedata annotate` says its results to a person, line by line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from finedata.annotate.estimate import AnnotateEstimate
    from finedata.annotate.importing.run import ImportSummary
    from finedata.annotate.outcome import AnnotateSummary
    from finedata.annotate.status import AnnotateStatus


def estimate_lines(found: AnnotateEstimate) -> list[str]:
    """What a run would take."""
    lines = [
        f"{found.episodes - found.before} of {found.episodes} episodes to annotate "
        f"({found.before} done before): {found.calls} calls, {found.pictures} pictures",
        f"tokens: about {found.input_tokens} sent, {found.output_tokens} received",
        f"cost: about {_usd(found.cost_usd)}, at most {_usd(found.most_usd)} if every answer is as "
        "long as allowed",
    ]
    if found.recorded:
        lines.append(f"{found.recorded} of these calls are answered already and cost nothing")
    if found.sampled < found.episodes - found.before:
        lines.append(f"scaled up from {found.sampled} episodes, evenly spaced")
    if found.without_pictures:
        lines.append(f"{found.without_pictures} of {found.sampled} have no picture to show")
    return [*lines, "nothing was asked", *(f"note: {note}" for note in found.notes)]


def summary_lines(summary: AnnotateSummary) -> list[str]:
    """What a run did."""
    rows = ", ".join(f"{count} {table}" for table, count in summary.rows.items())
    lines = [
        f"{summary.done} of {summary.episodes} episodes annotated"
        + (f" ({summary.before} were before)" if summary.before else "")
        + (f": {rows}" if summary.done else "")
    ]
    if summary.verdicts and summary.product == "facts":
        said = ", ".join(f"{count} {verdict}" for verdict, count in summary.verdicts.items())
        lines.append(f"the motion says of the facts: {said}")
    if summary.reworded:
        lines.append(
            f"the motion contradicts the wording of {summary.reworded} steps: told otherwise"
        )
    if summary.omissions:
        said = ", ".join(f"{count} x {kind}" for kind, count in summary.omissions.items())
        lines.append(f"in the motion and in no fact: {said}")
    if summary.product != "kinematic":
        per_fact = summary.cost_per_fact_usd
        lines.append(
            f"{summary.calls} answers paid for, {summary.recorded} from the ledger; "
            f"{_usd(summary.cost_usd)}"
            + (f", {_usd(per_fact)} per accepted fact" if per_fact is not None else "")
        )
    return lines


def failure_lines(summary: AnnotateSummary) -> list[str]:
    """What failed, and why; nothing where nothing did."""
    unit = "frames" if summary.product == "traces" else "episodes"
    lines: list[str] = []
    if summary.failed:
        lines.append(f"FAILED: {summary.failed} {unit}; they have no rows")
    if summary.not_applicable:
        lines.append(f"not applicable: {summary.not_applicable} {unit}; they have no rows")
    if summary.over_budget:
        lines.append(f"not asked, as the budget is spent: {summary.over_budget} {unit}")
    lines += [f"  {count} x {reason}" for reason, count in summary.reasons.items()]
    return lines + [f"note: {note}" for note in summary.notes]


def import_lines(found: ImportSummary) -> list[str]:
    """What an import did."""
    rows = ", ".join(f"{count} {table}" for table, count in found.rows.items() if count)
    lines = [
        f"{found.episodes} episodes of {found.files} files, said by {found.annotator} "
        f"({found.origin}, run {found.run_id}): {rows or 'nothing new'}"
        + (f" ({found.before} were there before)" if found.before else "")
    ]
    if found.unmatched:
        lines.append(f"SKIPPED: {found.unmatched} ids mean no episode of this dataset")
    lines += [f"{name.replace('_', ' ')}: {count}" for name, count in found.counts.items()]
    lines += [f"  {count} x {reason}" for reason, count in found.reasons.items()]
    return [*lines, f"receipt: {found.receipt}"]


def status_lines(found: AnnotateStatus) -> list[str]:
    """How far the annotation is."""
    lines = [
        f"{found.episodes} episodes; {found.representatives_done} of {found.representatives} "
        "representatives have a fine-grained instruction"
    ]
    lines += [
        f"{run.table}: {run.rows} rows of {run.episodes} episodes by {run.annotator} "
        f"({run.origin}, run {run.run_id})"
        for run in found.runs
    ]
    if found.verdicts:
        said = ", ".join(f"{count} {verdict}" for verdict, count in found.verdicts.items())
        lines.append(f"teachers' facts: {said}; {found.accepted_facts} accepted")
    lines += [
        f"calls {stage.stage} to {stage.model}: "
        + ", ".join(f"{count} {state}" for state, count in stage.states.items())
        + f"; tokens {_number(stage.input_tokens)} sent, {_number(stage.output_tokens)} received; "
        + _usd(stage.cost_usd)
        for stage in found.stages
    ]
    lines += [f"  {count} x {reason}" for reason, count in found.reasons.items()]
    total = f"cost: {_usd(found.cost_usd)}"
    if found.unknown_cost:
        total += f", and {found.unknown_cost} calls of unknown price"
    if found.unsure_usd:
        total += f", and up to {_usd(found.unsure_usd)} for calls in doubt"
    if found.cost_per_fact_usd is not None:
        total += f"; {_usd(found.cost_per_fact_usd)} per accepted fact"
    return [*lines, total]


def _usd(value: float | None) -> str:
    return "an unknown price" if value is None else f"${value:.6f}".rstrip("0").rstrip(".")


def _number(value: int | None) -> str:
    return "unknown" if value is None else str(value)
