"""From stored answers to rows and numbers: no call is made here, so a score can always be had anew.

Every item of every usable video counts in `strict`, whatever happened to its call. `released`
leaves captions out that are missing or were not judged, and facts that the judge did not return.
Both stand side by side.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from finedata.bench.benchmark import AXES
from finedata.bench.prompting import judged_lines, read_judgement
from finedata.bench.scores.caption import (
    FACT_SCORE,
    CaptionScore,
    JudgedLine,
    label_each,
    score_nothing,
    score_released,
    score_strict,
)
from finedata.bench.scores.intervals import Interval, Ratios, interval
from finedata.bench.scores.vqa_match import (
    answers_of,
    parse_released,
    parse_strict,
    right_released,
    right_strict,
    shown_options,
)
from finedata.schema.bench_summary import Noise, Score
from finedata.schema.dimension import DIMENSIONS
from finedata.teachers.protocol import UnusableAnswerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from finedata.bench.answerers import OwnAnswerer
    from finedata.bench.benchmark import Benchmark, Row

Mode = Literal["strict", "released"]
MODES: tuple[Mode, ...] = ("strict", "released")
_AT_MOST_ONE = (-np.inf, 1.0)  # released anti-hallucination has no lower end


class VideoNumber:
    """A number of each video for one metric, mode and group: its sum and count of items."""

    def __init__(self) -> None:
        self.total: dict[tuple[str, int], float] = defaultdict(float)
        self.count: dict[tuple[str, int], float] = defaultdict(float)

    def add(self, sample_id: str, trial: int, score: float) -> None:
        """Count an item."""
        self.total[sample_id, trial] += score
        self.count[sample_id, trial] += 1


class Scored:
    """Rows of `bench_results`, and the numbers of each video behind every score.

    Attributes:
        rows: Rows of `bench_results`, in the order of their key.
        numbers: (metric, mode, by, group) -> numbers of videos.
        notes: What a reader should know.
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.numbers: dict[tuple[str, Mode, str, str], VideoNumber] = defaultdict(VideoNumber)
        self.notes: list[str] = []

    def add(
        self, metric: str, mode: Mode, groups: Iterable[tuple[str, str]], key: tuple[str, int],
        score: float | None,
    ) -> None:  # fmt: skip
        """Count a score in each of its groups; None is left out."""
        if score is not None:
            for by, group in groups:
                self.numbers[metric, mode, by, group].add(*key, score)


def score_answers(benchmark: Benchmark, answers: Sequence[Row]) -> Scored:
    """Score stored answers.

    Args:
        benchmark: With the items of one track.
        answers: Rows of `bench_answers` of that track.
    """
    scored = Scored()
    slips = 0
    for answer in answers:
        items = benchmark.items_of(answer["sample_id"], answer["track"])
        if answer["track"] == "vqa":
            _score_vqa(scored, answer, items)
        else:
            slips += _score_caption(scored, answer, items)
    if slips:
        scored.notes.append(
            f"{slips} of {len(answers)} judgements do not hold each fact exactly once: in `strict` "
            "what is left out is an omission and of two labels the worse counts; `released` takes "
            "them as they are"
        )
    unjudged = sum(a["judge_status"] not in (None, "ok") for a in answers)
    if unjudged:
        scored.notes.append(
            f"{unjudged} of {len(answers)} captions were not judged: zero in `strict`, left out in "
            "`released`; ask again with --retry all"
        )
    missing = sum(a["status"] != "ok" for a in answers)
    if missing:
        scored.notes.append(f"{missing} of {len(answers)} videos were not answered: all wrong")
    scored.rows.sort(key=lambda row: (row["item_id"], row["setting"], row["trial"]))
    return scored


def _score_vqa(scored: Scored, answer: Row, items: Sequence[Row]) -> None:
    given: dict[str, str] = {}
    if answer["response"] is not None:
        try:
            given = answers_of(answer["response"], [item["name"] for item in items])
        except UnusableAnswerError:
            given = {}
    key = (answer["sample_id"], answer["trial"])
    for item in items:
        said, kind = given.get(item["name"]), item["answer_type"]
        options = shown_options(item["name"], item["options"])
        strict = said is not None and right_strict(kind, said, item["answer"], options)
        released = said is not None and right_released(kind, said, item["answer"], options)
        groups = [*_groups(item), ("answer_type", kind)]
        if item["error_type"]:
            groups.append(("error_type", item["error_type"]))
        scored.add("accuracy", "strict", groups, key, float(strict))
        scored.add("accuracy", "released", groups, key, float(released))
        scored.rows.append(
            _row(answer, item)
            | {
                "question": item["question"],
                "response": said,
                "parsed": None if said is None else parse_strict(kind, said, options),
                "parsed_released": None if said is None else parse_released(kind, said, options),
                "label": None,
                "evidence": None,
                "score": float(strict),
                "score_released": float(released),
            }
        )


def _score_caption(scored: Scored, answer: Row, items: Sequence[Row]) -> bool:
    """Score one caption; whether the judge's answer is not as asked."""
    names = [item["name"] for item in items]
    dimension_of = {item["name"]: item["dimension"] for item in items}
    labelled = released = None
    strict = score_nothing(dimension_of)
    stated: dict[str, str] = {}
    if answer["judge_status"] == "ok" and answer["judge_text"] is not None:
        judgement = read_judgement(answer["judge_text"])
        lines = judged_lines(judgement)
        hallucinated = len(judgement.hallucinated_actions)
        labelled = label_each(names, lines)
        released = score_released(lines, hallucinated=hallucinated)
        for line in lines:
            stated.setdefault(line.fact_id, line.label)
        if answer["caption"]:
            strict = score_strict(dimension_of, labelled.labels, hallucinated=hallucinated)
    elif answer["status"] == "ok" and answer["caption"] == []:
        # nothing to judge: every fact is omitted, which the released scorer gives a third for
        nothing = [JudgedLine(name, dimension_of[name], "omission") for name in names]
        released = score_released(nothing, hallucinated=0)
        stated = dict.fromkeys(names, "omission")
    key = (answer["sample_id"], answer["trial"])
    everything = [("all", ""), ("dataset", answer["dataset"])]
    by_mode: tuple[tuple[Mode, CaptionScore | None], ...] = (
        ("strict", strict), ("released", released),
    )  # fmt: skip
    for mode, score in by_mode:
        if score is None:
            continue
        for metric in ("consistency", "coverage", "anti_hallucination", "overall"):
            scored.add(metric, mode, everything, key, getattr(score, metric))
        for name in DIMENSIONS:
            tally, group = score.dimensions[name], [("dimension", name)]
            scored.add("consistency", mode, group, key, tally.consistency)
            scored.add("coverage", mode, group, key, tally.coverage)
        for axis, members in AXES.items():
            for metric in ("consistency", "coverage"):
                values = [getattr(score.dimensions[name], metric) for name in members]
                values = [value for value in values if value is not None]
                mean = sum(values) / len(values) if values else None
                scored.add(metric, mode, [("axis", axis)], key, mean)
    for item in items:
        label = labelled.labels[item["name"]] if labelled and answer["caption"] else "omission"
        told = FACT_SCORE.get(stated.get(item["name"], ""))
        scored.rows.append(
            _row(answer, item)
            | {
                "question": None,
                "response": None if labelled is None else labelled.evidence.get(item["name"]),
                "parsed": None,
                "parsed_released": None,
                "label": label,
                "evidence": None if labelled is None else labelled.evidence.get(item["name"]),
                "score": FACT_SCORE[label],
                "score_released": told,
            }
        )
    return bool(labelled and labelled.problem)


def _row(answer: Row, item: Row) -> Row:
    return {
        "item_id": item["item_id"],
        "sample_id": item["sample_id"],
        "dataset": item["dataset"],
        "track": item["track"],
        "setting": answer["setting"],
        "trial": answer["trial"],
        "dimension": item["dimension"],
        "answer": item["answer"],
    }


def _groups(item: Row) -> list[tuple[str, str]]:
    axis = next(axis for axis, members in AXES.items() if item["dimension"] in members)
    return [
        ("all", ""),
        ("dimension", item["dimension"]),
        ("axis", axis),
        ("dataset", item["dataset"]),
    ]


def ratios_of(
    numbers: Sequence[VideoNumber],
    datasets: Mapping[str, str],
    *,
    trials: Sequence[int] | None = None,
) -> Ratios:
    """Numbers of videos as ratios, one group each, over given trials.

    Args:
        numbers: One for each group of a mean.
        datasets: Sample id -> dataset, of all videos that count, in the order of the result.
        trials: Which trials; None for all.
    """
    ids = list(datasets)
    place = {sample_id: number for number, sample_id in enumerate(ids)}
    total = np.zeros((len(numbers), len(ids)))
    count = np.zeros_like(total)
    for group, number in enumerate(numbers):
        for (sample_id, trial), items in number.count.items():
            if trials is None or trial in trials:
                total[group, place[sample_id]] += number.total[sample_id, trial]
                count[group, place[sample_id]] += items
    return Ratios.of(total, count, list(datasets.values()))


def scores_of(
    scored: Scored,
    datasets: Mapping[str, str],
    *,
    track: str,
    level: float = 0.95,
    method: Literal["cluster_t", "cluster_bootstrap"] = "cluster_t",
    seed: int = 0,
) -> list[Score]:
    """Every number with its interval.

    Args:
        scored: From `score_answers`.
        datasets: Sample id -> dataset.
        track: Captions are scored on their first trial; the others only tell the judge's noise.
        level: Of the intervals.
        method: Where there are videos enough.
        seed: Of the bootstrap.
    """
    trials = (0,) if track == "caption" else None
    found: list[Score] = []

    def put(
        metric: Any, mode: Mode, average: Any, by: Any, group: str, numbers: Sequence[VideoNumber]
    ) -> None:
        unbounded = mode == "released" and metric in ("anti_hallucination", "overall")
        one: Interval = interval(
            ratios_of(numbers, datasets, trials=trials),
            level=level,
            method=method,
            seed=seed,
            bounds=_AT_MOST_ONE if unbounded else (0.0, 1.0),
        )
        found.append(
            Score(
                metric=metric,
                mode=mode,
                average=average,
                by=by,
                group=group,
                value=one.value,
                low=one.low,
                high=one.high,
                level=level,
                method=one.method,
                items=one.items,
                clusters=one.videos,
                unrankable=one.unrankable,
            )
        )

    metrics = ("accuracy",) if track == "vqa" else (
        "consistency", "coverage", "anti_hallucination", "overall",
    )  # fmt: skip
    for metric in metrics:
        for mode in MODES:
            mine = {
                (by, group): number
                for (m, o, by, group), number in scored.numbers.items()
                if (m, o) == (metric, mode)
            }
            put(metric, mode, "micro", "all", "", [mine.get(("all", ""), VideoNumber())])
            dimensions = [mine[by] for name in DIMENSIONS if (by := ("dimension", name)) in mine]
            if dimensions:
                put(metric, mode, "macro", "all", "", dimensions)
            for by, names in _orders(mine).items():
                for name in names:
                    put(metric, mode, "micro", by, name, [mine[by, name]])
    return found


def _orders(mine: Mapping[tuple[str, str], VideoNumber]) -> dict[str, list[str]]:
    canonical = {"dimension": list(DIMENSIONS), "axis": list(AXES)}
    found: dict[str, list[str]] = {}
    for by in ("dimension", "axis", "dataset", "answer_type", "error_type"):
        names = {group for one, group in mine if one == by}
        found[by] = [name for name in canonical.get(by, sorted(names)) if name in names]
    return found


def score_own(benchmark: Benchmark, answerer: OwnAnswerer) -> Ratios:
    """Accuracy of an answerer that needs no call, micro, in `strict`."""
    number = VideoNumber()
    for sample in benchmark.asked("vqa"):
        for item in benchmark.items_of(sample["sample_id"], "vqa"):
            said = answerer.answer(item)
            options = shown_options(item["name"], item["options"])
            right = said is not None and right_strict(
                item["answer_type"], said, item["answer"], options
            )
            number.add(sample["sample_id"], 0, float(right))
    datasets = {sample["sample_id"]: sample["dataset"] for sample in benchmark.asked("vqa")}
    return ratios_of([number], datasets)


def noise_of(scored: Scored, *, of: Literal["judge", "answerer"], track: str) -> list[Noise]:
    """Components of variance: trials within videos, by the analysis of variance.

    Only videos with more than one trial count; between_sd is 0 where trials explain everything.
    """
    metrics = ("accuracy",) if track == "vqa" else (
        "consistency", "coverage", "anti_hallucination", "overall",
    )  # fmt: skip
    found: list[Noise] = []
    for metric in metrics:
        for mode in MODES:
            number = scored.numbers.get((metric, mode, "all", ""))
            videos: dict[str, list[float]] = defaultdict(list)
            for (sample_id, trial), count in (number.count if number else {}).items():
                videos[sample_id].append((number.total[sample_id, trial] if number else 0) / count)
            repeated = [np.asarray(v) for v in videos.values() if len(v) > 1]
            if len(repeated) < 2:
                continue
            trials = min(len(v) for v in repeated)
            within = float(np.mean([v.var(ddof=1) for v in repeated]))
            means = np.asarray([v.mean() for v in repeated])
            between = max(0.0, float(means.var(ddof=1)) - within / trials)
            found.append(
                Noise(
                    of=of,
                    metric=metric,  # pyright: ignore[reportArgumentType]
                    mode=mode,
                    within_sd=float(np.sqrt(within)),
                    between_sd=float(np.sqrt(between)),
                    trials=trials,
                    videos=len(repeated),
                )
            )
    return found
