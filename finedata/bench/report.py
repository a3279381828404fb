"""Results as a page: the shape of the paper's Tables 2 and 3, with intervals and differences.

The same tables go to Markdown and HTML. Percentages have one decimal, as published; a number of
fewer than 30 videos says "unrankable" in its cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from finedata.bench.benchmark import AXES
from finedata.bench.result import read_result
from finedata.bench.scores.compare import check_comparable, compare_results
from finedata.bench.scores.rows import MODES
from finedata.errors import UsageError
from finedata.schema.dimension import DIMENSIONS
from finedata.store.atomic import write_atomic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.bench.result import Result
    from finedata.bench.scores.compare import Compared
    from finedata.schema.bench_summary import BenchSummary, Score

__all__ = ["Section", "bench_report", "html_of", "markdown_of", "write_report"]

_NONE = "-"
_CAPTION = ("consistency", "coverage", "anti_hallucination", "overall")
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem}"
    "table{border-collapse:collapse;margin:.5rem 0 2rem;display:block;overflow-x:auto}"
    "th,td{border-bottom:1px solid #ccc;padding:.3rem .6rem;text-align:left;white-space:nowrap}"
    "td{font-variant-numeric:tabular-nums}"
)


@dataclass(frozen=True)
class Section:
    """A heading, paragraphs and one table.

    Attributes:
        title: Plain text.
        text: Paragraphs.
        heads: Names of columns.
        rows: Cells, plain text.
    """

    title: str
    text: list[str]
    heads: list[str]
    rows: list[list[str]]


def write_report(
    roots: Sequence[str | Path], *, out: str | Path | None = None, force: bool = False
) -> tuple[list[Section], list[str]]:
    """Read results and lay them out.

    Args:
        roots: Folders of results.
        out: A file that ends in `.html` or `.md`, or a folder's name without ending: both are
            written beside it; nothing if None.
        force: Compare results of different questions.

    Returns:
        The sections, and the files written.

    Raises:
        UsageError: No result, or results of different questions without `force`.
    """
    if not roots:
        raise UsageError(place="RESULT", found="none", wanted="folders of results")
    sections = bench_report([read_result(root) for root in roots], force=force)
    if out is None:
        return sections, []
    path = Path(out)
    kinds = [path.suffix] if path.suffix in (".html", ".md") else [".html", ".md"]
    written: list[str] = []
    for kind in kinds:
        file = path if path.suffix == kind else path.with_name(path.name + kind)
        write_atomic(file, html_of(sections) if kind == ".html" else markdown_of(sections))
        written.append(str(file))
    return sections, written


def bench_report(results: Sequence[Result], *, force: bool = False) -> list[Section]:
    """Tables of results, those of one track and setting together.

    Raises:
        UsageError: Two of one track and setting are of different questions, without `force`.
    """
    sections: list[Section] = []
    groups: dict[tuple[str, str], list[Result]] = {}
    for one in results:
        groups.setdefault((one.summary.track, one.summary.setting), []).append(one)
    for (track, setting), members in sorted(groups.items()):
        warnings = check_comparable(members, force=force)
        names = _names(members)
        title = "Questions" if track == "vqa" else "Captions"
        for mode in MODES:
            make = _vqa_rows if track == "vqa" else _caption_rows
            heads, rows = make(members, names, mode)
            told = [f"Compared by force although they differ: {one}" for one in warnings]
            sections.append(Section(f"{title}, {setting}, {mode}", told, heads, rows))
        if track == "caption":
            sections.append(_dimensions(members, names, setting))
        sections += _breakdowns(members, names, title, setting)
        for number, one in enumerate(members):
            for place in range(number + 1, len(members)):
                found = compare_results(one, members[place], force=force)
                sections.append(_differences(found, names[number], names[place], setting))
    sections.append(_spent(results, _names(results)))
    sections.append(_pinned(results, _names(results)))
    return sections


def _names(results: Sequence[Result]) -> list[str]:
    names = [one.summary.answerer.model for one in results]
    return [
        name if names.count(name) == 1 else f"{name} ({one.root.name})"
        for name, one in zip(names, results, strict=True)
    ]


def _find(
    summary: BenchSummary, metric: str, mode: str, average: str, by: str, group: str
) -> Score | None:
    wanted = (metric, mode, average, by, group)
    return next(
        (s for s in summary.scores if (s.metric, s.mode, s.average, s.by, s.group) == wanted), None
    )


def _cell(score: Score | None) -> str:
    if score is None or score.value is None:
        return _NONE
    text = f"{100 * score.value:.1f}"
    if score.low is not None and score.high is not None:
        text += f" [{100 * score.low:.1f}, {100 * score.high:.1f}]"
    return text + (f" unrankable, {score.clusters} videos" if score.unrankable else "")


def _vqa_rows(
    results: Sequence[Result], names: Sequence[str], mode: str
) -> tuple[list[str], list[list[str]]]:
    columns = [name for members in AXES.values() for name in members]
    heads = ["model", *(f"{_axis_of(name)}: {_said(name)}" for name in columns)]
    heads += [*AXES, "micro", "macro"]
    rows: list[list[str]] = []
    for one, name in zip(results, names, strict=True):
        wanted = [
            *(("micro", "dimension", column) for column in columns),
            *(("micro", "axis", axis) for axis in AXES),
            ("micro", "all", ""),
            ("macro", "all", ""),
        ]
        cells = [_cell(_find(one.summary, "accuracy", mode, *place)) for place in wanted]
        rows.append([name, *cells])
    return heads, rows


def _caption_rows(
    results: Sequence[Result], names: Sequence[str], mode: str
) -> tuple[list[str], list[list[str]]]:
    heads = ["model", *(_said(metric) for metric in _CAPTION), "captions"]
    heads += ["consistency, macro", "coverage, macro"]
    rows: list[list[str]] = []
    for one, name in zip(results, names, strict=True):
        found = [_find(one.summary, metric, mode, "micro", "all", "") for metric in _CAPTION]
        macro = [_find(one.summary, m, mode, "macro", "all", "") for m in _CAPTION[:2]]
        counted = str(found[-1].clusters) if found[-1] else "0"
        rows.append([name, *map(_cell, found), counted, *map(_cell, macro)])
    return heads, rows


def _dimensions(results: Sequence[Result], names: Sequence[str], setting: str) -> Section:
    rows = [
        [name, metric, *(_cell(_find(one.summary, metric, "strict", "micro", "dimension", d))
                         for d in DIMENSIONS)]
        for one, name in zip(results, names, strict=True)
        for metric in _CAPTION[:2]
    ]  # fmt: skip
    heads = ["model", "metric", *map(_said, DIMENSIONS)]
    return Section(f"Captions, {setting}, strict, by dimension", [], heads, rows)


def _breakdowns(
    results: Sequence[Result], names: Sequence[str], title: str, setting: str
) -> list[Section]:
    found: list[Section] = []
    metric = "accuracy" if title == "Questions" else "overall"
    for by in ("dataset", "answer_type", "error_type"):
        groups = sorted({s.group for one in results for s in one.summary.scores if s.by == by})
        if not groups:
            continue
        rows = [
            [name, mode, *(_cell(_find(one.summary, metric, mode, "micro", by, g)) for g in groups)]
            for one, name in zip(results, names, strict=True)
            for mode in MODES
        ]
        found.append(
            Section(
                f"{title}, {setting}, {metric} by {_said(by)}", [], ["model", "mode", *groups], rows
            )
        )
    return found


def _differences(found: Sequence[Compared], one: str, other: str, setting: str) -> Section:
    rows = [
        [
            _said(c.metric),
            c.mode,
            c.average,
            _said(c.group) or "all",
            f"{100 * c.value:+.1f} [{100 * c.low:+.1f}, {100 * c.high:+.1f}]",
            f"{c.p:.4f}",
            f"{c.clusters}" + (", unrankable" if c.unrankable else ""),
        ]
        for c in found
    ]
    return Section(
        f"{one} minus {other}, {setting}",
        ["Paired by video. p over the ten dimensions is corrected by Holm; intervals are not."],
        ["metric", "mode", "average", "of", "difference, points", "p", "videos"],
        rows,
    )


def _spent(results: Sequence[Result], names: Sequence[str]) -> Section:
    rows: list[list[str]] = []
    for one, name in zip(results, names, strict=True):
        usage, judge = one.summary.usage, one.summary.judge_usage
        videos = max(1, len(one.datasets))
        latency = sorted(a["latency_s"] for a in one.answers if a["latency_s"] is not None)
        rows.append(
            [
                name,
                str(len(one.datasets)),
                _per(usage.input_tokens, videos),
                _per(usage.output_tokens, videos),
                _NONE if usage.cost_usd is None else f"{usage.cost_usd / videos:.5f}",
                f"{latency[len(latency) // 2]:.2f}" if latency else _NONE,
                str(usage.retries),
                _NONE if judge.cost_usd is None else f"{judge.cost_usd / videos:.5f}",
                ", ".join(f"{n} {status}" for status, n in one.summary.statuses.items()),
            ]
        )
    heads = [
        "model", "videos", "tokens sent / video", "tokens received / video", "USD / video",
        "median latency, s", "retries", "judge, USD / video", "answers",
    ]  # fmt: skip
    return Section("What it took", [], heads, rows)


def _per(tokens: int | None, videos: int) -> str:
    return _NONE if tokens is None else f"{tokens / videos:,.0f}"


def _pinned(results: Sequence[Result], names: Sequence[str]) -> Section:
    rows = [
        [
            name,
            f"{one.summary.benchmark.name} {one.summary.benchmark.revision}",
            one.summary.asked[:12],
            one.summary.setting,
            "none" if one.summary.judge is None else one.summary.judge.model,
            f"{one.summary.seed}",
            one.summary.finedata_version,
            "; ".join(one.summary.notes) or _NONE,
            "; ".join(
                f"{n.metric} ({n.mode}): {100 * n.within_sd:.1f} points between trials, "
                f"{100 * n.between_sd:.1f} between videos, {n.videos} videos x {n.trials}"
                for n in one.summary.noise
            )
            or "not measured",
        ]
        for one, name in zip(results, names, strict=True)
    ]
    heads = [
        "model", "benchmark", "asked", "setting", "judge", "seed", "finedata", "notes", "noise",
    ]  # fmt: skip
    text = [
        "`strict` counts every item once; `released` is the published scorer with its holes. "
        "Intervals: whole videos, datasets as strata."
    ]
    return Section("What it rests on", text, heads, rows)


def _said(name: str) -> str:
    return name.replace("_", " ")


def _axis_of(dimension: str) -> str:
    return next(axis for axis, members in AXES.items() if dimension in members)


def markdown_of(sections: Sequence[Section]) -> str:
    """The sections as Markdown."""
    parts: list[str] = ["# Benchmark\n"]
    for section in sections:
        parts.append(f"## {section.title}\n")
        parts += [f"{text}\n" for text in section.text]
        rows = [section.heads, ["---"] * len(section.heads), *section.rows]
        escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
        parts.append("\n".join(f"| {' | '.join(row)} |" for row in escaped) + "\n")
    return "\n".join(parts)


def html_of(sections: Sequence[Section]) -> str:
    """The sections as one page that fetches nothing."""
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Benchmark</title>'
        '<meta name="viewport" content="width=device-width">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        f"style-src 'unsafe-inline'\"><style>{_STYLE}</style></head><body><h1>Benchmark</h1>"
    ]
    for section in sections:
        parts.append(f"<h2>{escape(section.title)}</h2>")
        parts += [f"<p>{escape(text)}</p>" for text in section.text]
        heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in section.heads)
        body = "".join(
            f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
            for row in section.rows
        )
        parts.append(f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>")
    return "\n".join(parts) + "\n</body></html>\n"
