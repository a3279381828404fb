"""What a report says about the dataset as a whole: what it is, its distributions, its reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from finedata.report.drawing.plots import Bins, Mark, histogram
from finedata.report.drawing.svg import count_text, escape, number_text
from finedata.report.html import NEXT_GATE, figure, note, pairs, said, table

if TYPE_CHECKING:
    from finedata.report.drawing.binning import Distribution
    from finedata.report.facts import DatasetFacts

_MOST_ROWS = 60
# Outcome -> class of the style sheet, in the order of stacking.
_OUTCOMES = {
    "passed": "kept",
    "written": "kept",
    "judged": "kept",
    "not applicable": "fourth",
    "not judged": "third",
    "failed the gate": "aside",
}


def dataset_section(facts: DatasetFacts) -> str:
    """Sources, licences, parts, versions and settings."""
    sources = [
        [
            said(s.title),
            f"<code>{escape(s.name)}</code> {said(s.revision)}",
            said(s.licence),
            said(s.citation, longest=400),
        ]
        for s in facts.sources[:_MOST_ROWS]
    ]
    parts = [
        [
            f"<code>{escape(p.name)}</code>",
            said(p.embodiment),
            f"{p.fps:g} Hz",
            p.episodes,
            p.frames,
        ]
        for p in facts.parts[:_MOST_ROWS]
    ]
    versions = ", ".join(
        f"{escape(k)} {escape(v)}"
        for k, v in {"finedata": facts.finedata_version, **facts.libraries}.items()
    )
    rows = [("converted with", versions)]
    options = {k: v for k, v in facts.options.items() if v not in (None, "", [], {}, False)}
    if options:
        rows.append(("options", said(msgspec.json.encode(options).decode())))
    if facts.derived:
        rows.append(("derived", said(facts.derived)))
    made = [
        table(
            _capped("The sources.", len(facts.sources)),
            ["source", "name and revision", "licence", "citation"],
            sources,
        ),
        table(
            _capped("The parts: one robot, one set of features, one rate each.", len(facts.parts)),
            ["part", "embodiment", "rate", "episodes", "frames"],
            parts,
        ),
        pairs(rows),
    ]
    if facts.settings:
        made.append(
            table(
                "Settings of what ran, as the tables record them.",
                ["table", "settings", "settings_sha256", "episodes"],
                [
                    [
                        f"<code>{escape(s.table)}</code>",
                        said(", ".join(f"{k} {v}" for k, v in s.words.items())),
                        f"<code>{escape(s.settings_sha256[:16])}</code>",
                        s.episodes,
                    ]
                    for s in facts.settings
                ],
            )
        )
    return "".join(made)


def _capped(caption: str, count: int) -> str:
    if count <= _MOST_ROWS:
        return caption
    return f"{caption} {count_text(count - _MOST_ROWS)} more are not shown."


def distribution_figure(found: Distribution, *, name: str, axis: str) -> str:
    """A histogram with its caption; a sentence where there is no value."""
    if not found.values:
        return note(f"{escape(name)}: no episode has a value.")
    order = [outcome for outcome in _OUTCOMES if outcome in found.outcomes]
    bins = Bins(
        edges=tuple(found.edges),
        stacks=tuple((_OUTCOMES[o], o, tuple(found.outcomes[o])) for o in order),
        beyond=tuple(found.beyond[o] for o in order),
    )
    numbers = (
        f"median {number_text(found.median)}, from {number_text(found.smallest)} to "
        f"{number_text(found.largest)}"
    )
    label = f"Histogram of {name} over {count_text(found.values)} episodes: {numbers}."
    marks = [Mark(value, text) for value, text in found.marks]
    drawing = histogram(bins, title=axis, label=label, marks=marks)
    caption = f"{escape(name)}: {count_text(found.values)} episodes, {numbers}."
    if found.without:
        caption += f" {count_text(found.without)} have no value."
    return figure(drawing, caption)


def distributions_section(facts: DatasetFacts) -> str:
    """Length, gate score and lag."""
    made = [
        "<h3>Length</h3>",
        distribution_figure(facts.length, name="Length in frames", axis="length, frames"),
        distribution_figure(facts.duration, name="Length in seconds", axis="length, seconds"),
        "<h3>Gate score</h3>",
    ]
    if facts.scores:
        made.append(
            "<p>The distance between what was commanded and what was done, time warped onto each "
            "other; lower is better. An episode below the threshold can still fail another check."
            "</p>"
        )
    else:
        made.append(note(NEXT_GATE))
    made += [
        distribution_figure(scores, name=_capital(scores.title), axis=scores.title)
        for scores in facts.scores
    ]
    if facts.lag.values:
        made += [
            "<h3>Lag</h3>",
            "<p>By how many frames the measured state follows the command; negative where it "
            "leads.</p>",
            distribution_figure(facts.lag, name="Lag", axis="lag, frames"),
        ]
    return "".join(made)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def reasons_section(facts: DatasetFacts) -> str:
    """Why episodes were set aside, with ids to look at."""
    if not facts.reasons:
        made = [note("No episode was set aside.")]
    else:
        made = [
            table(
                "First: episodes whose first failed check it is. Any: episodes that it met at all.",
                ["step", "reason", "first", "any", "for example"],
                [
                    [
                        escape(r.step),
                        f"<code>{escape(r.reason)}</code>"
                        + (f"<br>{escape(r.meaning)}" if r.meaning else ""),
                        r.first,
                        r.any,
                        "<br>".join(f"<code>{escape(i)}</code>" for i in r.examples),
                    ]
                    for r in facts.reasons
                ],
            )
        ]
    if facts.checks:
        rows = [
            [
                f"<code>{escape(c.name)}</code>",
                c.made,
                c.failed,
                c.median,
                c.largest,
                ", ".join(number_text(limit) for limit in c.limits) or "none",
            ]
            for c in facts.checks
        ]
        checks = table(
            "Every check of the gate. Values and limits are in the check's own unit.",
            ["check", "made", "failed", "median value", "largest value", "limit"],
            rows,
        )
        made.append(f"<details open><summary>All checks</summary>{checks}</details>")
    if facts.flags:
        flags = table(
            "What conversion flagged; a flag sets nothing aside.",
            ["flag", "episodes", "meaning"],
            [[f"<code>{escape(n)}</code>", c, escape(m)] for n, c, m in facts.flags],
        )
        made.append(f"<details><summary>Flags of conversion</summary>{flags}</details>")
    return "".join(made)
