"""One page of closed-loop results: what was asked, how often it came true, what was done instead.

Everything is counted from the results; nothing is fitted. Two kinds of chance stay apart: the
interval at a rate is Wilson's, over scenes, and how far seeds of training lie apart is seen in
their points and told as a range. Curves are drawn only through runs that had the same number of
steps, or saw as many fine-grained samples: a mixture changes how often those are seen, so one of
the two is always the other one's rival.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import PurePath
from typing import TYPE_CHECKING

from finedata.errors import ConformError
from finedata.report.drawing.rates import RatePoint, RateSeries, rate_chart
from finedata.report.drawing.svg import MINUS, counted, escape
from finedata.report.html import Cell as TableCell
from finedata.report.html import figure, jpeg_image, note, page, pairs, said, table
from finedata.sim.cells import NOTHING, cell_differences, confusion, fine_share, questions
from finedata.sim.compare import rates
from finedata.sim.film import read_film
from finedata.sim.outcome import FACTORS
from finedata.store.atomic import write_atomic

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from finedata.sim.cells import Cell, CellDifference, Question
    from finedata.sim.compare import Rate
    from finedata.sim.evaluate import Result
    from finedata.sim.film import Film, Shown

__all__ = ["write_closed_loop_report"]

_STYLE = (
    "svg .branch.thin { stroke-width: 1; stroke-opacity: .6; } "
    ".wide th, .wide td { padding-right: .75rem; } .strip img { width: 6.8rem; height: auto; } "
    ".i { white-space: nowrap; color: var(--quiet); font-size: .8125rem; }"
)
# Seeds whose steps or samples differ by less are of one budget: a run ends on a whole batch.
_ALIKE = 0.02
# All of it first: the last columns of a wide table are out of sight.
_COLUMNS = ("all", "goal", *FACTORS)


def write_closed_loop_report(
    results: Sequence[Result], out: Path, *, films: Sequence[Path] = (), seed: int = 0
) -> list[CellDifference]:
    """Write the page.

    Args:
        results: Of the same scenes.
        out: The file; replaced.
        films: Folders of films.
        seed: Of the bootstrap.

    Returns:
        Every difference that the page shows.

    Raises:
        ConformError: A folder holds no films.
        UsageError: Results are of other scenes, or one is named twice.
        OutputError: It cannot be written.
    """
    asked = questions(results)
    shown = [(folder, read_film(folder)) for folder in films]
    apart = [
        cell_differences(question.cells, seed=seed, question=question.title) for question in asked
    ]
    sections = [
        ("asked", "What was asked", _asked(asked)),
        ("rates", "How often it came true", "".join(map(_rates, asked))),
        ("mixtures", "Over mixtures", _mixtures(asked)),
        ("differences", "Differences", "".join(map(_differences, asked, apart))),
        ("done", "What was done instead", "".join(map(_done, asked))),
        ("faults", "Faults", _faults(results)),
        ("runs", "What was trained", _runs(results)),
    ]
    if shown:
        sections.insert(1, ("films", "Films", "".join(_film(*one) for one in shown)))
    lead = (
        f"<style>{_STYLE}</style><p>{counted(len(results), 'result')} of "
        f"{counted(sum(len(q.cells) for q in asked), 'cell')}: runs that differ in their seed "
        "alone are one cell. The physics says what happened, not the policy.</p>"
    )
    foot = "Made by <code>finedata sim report</code> from the results alone."
    write_atomic(out, page("Closed loop", sections, lead=lead, foot=foot))
    return [one for group in apart for one in group]


def _asked(asked: Sequence[Question]) -> str:
    rows: list[list[TableCell]] = [
        [
            said(question.title),
            question.settings.scenes,
            f"{question.settings.first:,}",
            question.settings.execute,
            question.settings.seed,
            f"<code>{escape(question.scenes_sha256[:16])}</code>",
            escape(question.mujoco),
        ]
        for question in asked
    ]
    heads = ["question", "scenes", "first scene", "execute", "seed", "scenes and wishes", "MuJoCo"]
    told = (
        "Fine prompts name the manner, raw ones the goal only. All manners are wished equally "
        "often, so a policy that is not told one has each of its factors right in about half of "
        "the scenes. Scenes, wishes, phrasings and the noise of a policy are the same for all."
    )
    return note(told) + table("What policies were put before", heads, rows)


def _percent(rate: Rate | None) -> str:
    if rate is None:
        return ""
    return f"{100 * rate.share:.1f} {_interval(f'{100 * rate.low:.1f}, {100 * rate.high:.1f}')}"


def _interval(ends: str) -> str:
    return f'<span class="i">[{ends}]</span>'


def _rates(question: Question) -> str:
    rows: list[list[TableCell]] = []
    for cell in question.cells:
        for result in cell.results:
            found = {rate.score: rate for rate in rates(result)}
            seed = "" if result.run is None else str(result.run.seed)
            rows.append([said(cell.name), seed, *(_percent(found.get(one)) for one in _COLUMNS)])
        if len(cell.results) > 1:
            rows.append(
                [said(cell.name), "mean; range", *(_range(cell.shares(one)) for one in _COLUMNS)]
            )
    caption = "Percent of scenes with Wilson's 95 % interval over scenes"
    drawn = table(caption, ["cell", "seed", *_COLUMNS], rows)
    return f"<h3>{said(question.title)}</h3>{drawn}"


def _range(shares: Sequence[float]) -> str:
    if not shares:
        return ""
    mean = sum(shares) / len(shares)
    ends = f"{100 * min(shares):.1f} to {100 * max(shares):.1f}"
    return f'<b>{100 * mean:.1f}</b> <span class="i">{ends}</span>'


def _mixtures(asked: Sequence[Question]) -> str:
    drawn = "".join(map(_curves, asked))
    if drawn:
        told = "A line joins runs of one recipe and one budget, and goes through their means."
        return note(told) + drawn
    return note("A curve takes runs of two mixtures at least, of one recipe and one budget.")


def _curves(question: Question) -> str:
    drawn = ""
    for words, cells in _budgets(question.cells):
        whole = [
            RateSeries(
                name=score,
                points=tuple(
                    _point(result, rate)
                    for cell in cells
                    for result in cell.results
                    for rate in rates(result)
                    if rate.score == score
                ),
            )
            for score in ("goal", "all")
        ]
        means = [
            RateSeries(
                name=score,
                points=tuple(p for cell in cells if (p := _mean_point(cell, score)) is not None),
            )
            for score in FACTORS
        ]
        for title, series, told in (
            ("Goal and all of it", whole, "each seed with Wilson's interval"),
            ("Each factor", means, "means with the range of the seeds"),
        ):
            chart = rate_chart(
                [one for one in series if one.points],
                x_title="fine-grained samples among all that were learnt from, %",
                y_title="% of scenes",
                label=f"{title} over mixtures, {question.title}, {words}",
            )
            drawn += figure(chart, f"{escape(title)}, {escape(words)}: {told}.")
    return f"<h3>{said(question.title)}</h3>{drawn}" if drawn else ""


def _point(result: Result, rate: Rate) -> RatePoint:
    run, share = result.run, fine_share(result)
    assert run is not None
    assert share is not None
    return RatePoint(
        x=round(100 * share, 1),
        y=100 * rate.share,
        low=100 * rate.low,
        high=100 * rate.high,
        name=f"{run.mix}, seed {run.seed}: {rate.score} {100 * rate.share:.1f}",
    )


def _mean_point(cell: Cell, score: str) -> RatePoint | None:
    """The mean of a cell's seeds, with their range."""
    shares, share = [100 * one for one in cell.shares(score)], fine_share(cell.results[0])
    if not shares or share is None:
        return None
    mean = sum(shares) / len(shares)
    return RatePoint(
        x=round(100 * share, 1),
        y=mean,
        low=min(shares),
        high=max(shares),
        name=f"{cell.name}: {score} {mean:.1f}, seeds {min(shares):.1f} to {max(shares):.1f}",
    )


def _budgets(cells: Sequence[Cell]) -> list[tuple[str, list[Cell]]]:
    """Cells of one recipe and one budget, in words; those of two mixtures at least."""
    found: dict[tuple[str, str], list[tuple[float, Cell]]] = defaultdict(list)
    for cell in cells:
        result = cell.results[0]
        run, share = result.run, fine_share(result)
        if run is None or share is None:
            continue
        found[cell.recipe, "samples"].append((run.step * run.batch, cell))
        if share > 0:
            found[cell.recipe, "fine-grained samples"].append((run.drawn["fg"], cell))
    groups: list[tuple[str, list[Cell]]] = []
    for (recipe, what), counted_cells in found.items():
        left = sorted(counted_cells, key=lambda pair: pair[0])
        while left:
            least = left[0][0]
            alike = [cell for count, cell in left if count <= least * (1 + _ALIKE)]
            left = left[len(alike) :]
            if len({_mix_of(cell) for cell in alike}) > 1:
                groups.append((f"{recipe}, {least:,.0f} {what}", alike))
    return groups


def _mix_of(cell: Cell) -> str:
    run = cell.results[0].run
    return "" if run is None else run.mix


def _differences(question: Question, apart: Sequence[CellDifference]) -> str:
    if not apart:
        return f"<h3>{said(question.title)}</h3>" + note("One cell: nothing to compare.")
    rows: list[list[TableCell]] = []
    for cell in question.cells[1:]:
        mine = {one.score: one for one in apart if one.cell == cell.name}
        first = next(iter(mine.values()))
        seeds = f"{first.seeds[0]}, {first.seeds[1]}"
        rows.append([said(cell.name), seeds, *(_points(mine.get(one)) for one in _COLUMNS)])
    against = question.cells[0].name
    drawn = table(
        f"Minus {said(against)}, in points, with a bootstrap's 95 % interval",
        ["cell", "seeds of both", *_COLUMNS],
        rows,
    )
    told = (
        "Scenes are paired; scenes and seeds are drawn anew. With one seed the interval is of "
        "scenes alone, with three it is rather too narrow."
    )
    return f"<h3>{said(question.title)}</h3>{note(told)}{drawn}"


def _points(one: CellDifference | None) -> str:
    if one is None:
        return ""
    mean, low, high = (
        f"{100 * value:+.1f}".replace("-", MINUS) for value in (one.mean, one.low, one.high)
    )
    return f"{mean} {_interval(f'{low}, {high}')}"


def _done(question: Question) -> str:
    drawn = "".join(
        f"<details><summary>{said(cell.name)}</summary>"
        f'<div class="pair">{"".join(_confusion(cell, factor) for factor in FACTORS)}</div>'
        "</details>"
        for cell in question.cells
    )
    return f"<h3>{said(question.title)}</h3>{drawn}"


def _confusion(cell: Cell, factor: str) -> str:
    counts = confusion(cell, factor)
    if not counts:
        return ""
    seen = {done for row in counts.values() for done in row}
    columns = [*sorted((seen | set(counts)) - {NOTHING}), NOTHING]
    rows: list[list[TableCell]] = [
        [said(wished), *(row.get(done, 0) for done in columns)] for wished, row in counts.items()
    ]
    return table(f"{escape(factor)}: wished down, done across", ["wished", *columns], rows)


def _faults(results: Sequence[Result]) -> str:
    rows: list[list[TableCell]] = []
    for result in results:
        frames = sum(one.frames for one in result.episodes)
        beyond = sum(one.out_of_reach for one in result.episodes)
        rows.append(
            [
                said(result.policy),
                "" if result.run is None else said(f"{result.run.mix}, seed {result.run.seed}"),
                said(result.settings.prompts),
                len(result.episodes),
                sum(bool(one.fault) for one in result.episodes),
                sum(one.outcome.lifts == 0 for one in result.episodes),
                sum(one.outcome.lifts > 1 for one in result.episodes),
                frames,
                beyond,
            ]
        )
    heads = [
        "policy", "run", "prompts", "episodes", "ended by no number", "lifted nothing",
        "lifted more than once", "actions", "out of reach",
    ]  # fmt: skip
    return table("Episodes and actions", heads, rows)


def _runs(results: Sequence[Result]) -> str:
    rows: list[list[TableCell]] = []
    known: set[str] = set()
    for result in results:
        run = result.run
        if run is None or repr(run) in known:
            continue
        known.add(repr(run))
        drawn = ", ".join(f"{view} {count:,}" for view, count in run.drawn.items())
        rows.append(
            [
                said(run.recipe),
                said(", ".join(f"{key}={text}" for key, text in run.changed.items())),
                f"<code>{escape(run.family)}</code>",
                said(run.mix),
                run.seed,
                run.step,
                run.batch,
                said(drawn),
                f"<code>{escape(run.shards)}</code>",
            ]
        )
    if not rows:
        return note("No result is of a trained policy that tells what it learnt from.")
    heads = [
        "recipe", "set for it", "family", "mixture", "seed", "steps", "batch", "samples drawn",
        "shards",
    ]  # fmt: skip
    return table("Runs; a family is a recipe without mixture, seed and length", heads, rows)


def _film(folder: Path, film: Film) -> str:
    settings = film.settings
    title = f"{film.policy}: scene {settings.scene:,}, camera {settings.camera}"
    return f"<h3>{said(title)}</h3>" + "".join(_shown(folder, one) for one in film.films)


def _shown(folder: Path, one: Shown) -> str:
    pictures: list[str] = []
    for name, time_s in zip(one.pictures, one.times_s, strict=True):
        alt = f"{time_s:.1f} s of: {one.prompt}"
        data = _picture(folder, name)
        size = _jpeg_size(data)
        pictures.append(
            f"<li>{jpeg_image(data, alt=alt, width=size[0], height=size[1])}{time_s:.1f} s</li>"
        )
    done = one.outcome
    told = ", ".join(f"{name} {getattr(done, name) or NOTHING}" for name in FACTORS)
    missed = [name for name, good in one.scored.items() if not good and name in FACTORS]
    verdict = (
        "not scored"
        if not one.scored
        else "all of it came true"
        if one.scored["all"]
        else f"missed: {', '.join(missed)}"
    )
    rows = [("said", said(one.prompt)), ("done", said(told)), ("verdict", escape(verdict))]
    if one.fault:
        rows.append(("fault", escape("the policy's answer was no number")))
    strip = f'<ul class="strip" aria-label="Film strip">{"".join(pictures)}</ul>'
    return f'<div class="card">{pairs(rows)}{strip}</div>'


def _picture(folder: Path, name: str) -> bytes:
    """A picture of a film; of that folder, whatever its document says.

    Raises:
        ConformError: It is not there.
    """
    path = folder / PurePath(name).name
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConformError(
            place=str(path),
            found=f"{error.strerror or error}",
            wanted="a picture of the film",
            next_command="finedata sim film POLICY --out another folder",
        ) from error


def _jpeg_size(data: bytes) -> tuple[int, int]:
    import simplejpeg  # pyright: ignore[reportMissingTypeStubs]  (it has none)

    height, width, *_ = simplejpeg.decode_jpeg_header(data)
    return int(width), int(height)
