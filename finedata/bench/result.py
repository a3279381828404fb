"""RESULT: one folder that says everything a number rests on, and from which it can be had anew.

summary.json      every number with its interval, and what it depends on; written last
results.parquet   an item a row: question, right answer, answer, label, score
answers.parquet   a video a row: what came back, what the judge said, tokens, cost, retries
items.parquet     what was asked, samples.parquet: of which videos
.finedata/        the ledger of calls; no part of the result
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from finedata.bench.benchmark import Benchmark, Row, read_rows, write_rows
from finedata.bench.scores.rows import Scored, noise_of, score_answers, scores_of
from finedata.errors import UsageError
from finedata.schema.bench_summary import BenchSummary, Speaker, Usage, asked_digest
from finedata.schema.documents import decode_document, encode_document
from finedata.store.atomic import write_atomic
from finedata.teachers.prices import usd_of_nano

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.bench.settings import BenchSettings
    from finedata.teachers.calls.record import CallRecord

__all__ = ["SUMMARY", "Result", "read_result", "score_again", "write_result"]

SUMMARY = "summary.json"
_TABLES = {"items": "bench_items", "samples": "bench_samples", "answers": "bench_answers"}


@dataclass(frozen=True, eq=False)
class Result:
    """A result that was read.

    Attributes:
        root: Its folder.
        summary: Its summary.
        benchmark: What was asked.
        answers: Rows of `bench_answers`.
    """

    root: Path
    summary: BenchSummary
    benchmark: Benchmark
    answers: list[Row]

    @property
    def datasets(self) -> dict[str, str]:
        """Sample id -> dataset, of the videos that count."""
        return _datasets(self.benchmark, self.summary.track)

    def scored(self) -> Scored:
        """Score it anew."""
        return score_answers(self.benchmark, self.answers)


def write_result(
    root: Path,
    *,
    benchmark: Benchmark,
    answers: list[Row],
    settings: BenchSettings,
    answerer: Speaker,
    judge: Speaker | None,
    usages: tuple[Sequence[CallRecord], Sequence[CallRecord]],
    libraries: dict[str, str],
) -> BenchSummary:
    """Score answers and write the result; the summary comes last.

    Raises:
        UsageError: `root` holds the result of another question.
    """
    import finedata

    pinned = benchmark.pinned()
    asked = asked_digest(pinned, track=settings.track, setting=settings.setting, judge=judge)
    _check_same(root, asked, answerer)
    scored = score_answers(benchmark, answers)
    repeated: Literal["judge", "answerer"] = "judge" if settings.track == "caption" else "answerer"
    summary = BenchSummary(
        finedata_version=finedata.__version__,
        libraries=libraries,
        asked=asked,
        benchmark=pinned,
        track=settings.track,
        setting=settings.setting,
        trials=settings.trials if settings.track == "vqa" else settings.judge_trials,
        seed=settings.seed,
        answerer=answerer,
        judge=judge,
        statuses=_counted(row["status"] for row in answers),
        judge_statuses=_counted(row["judge_status"] for row in answers if row["judge_status"]),
        scores=scores_of(
            scored,
            _datasets(benchmark, settings.track),
            track=settings.track,
            level=settings.level,
            method=settings.method,
            seed=settings.seed,
        ),
        noise=noise_of(scored, of=repeated, track=settings.track),
        notes=[*benchmark.notes, *scored.notes],
        usage=_usage(usages[0]),
        judge_usage=_usage(usages[1]),
    )
    _write(root, benchmark, answers, scored, summary)
    return summary


def read_result(root: str | Path) -> Result:
    """Read a result.

    Raises:
        UsageError: There is none, or it was not finished.
        ConformError: Its summary is of another version or damaged.
        SourceError: A table is.
    """
    path = Path(root)
    if not (path / SUMMARY).is_file():
        raise UsageError(
            place=str(path),
            found="no summary.json" if path.exists() else "nothing",
            wanted="the folder of a result",
            next_command=f"finedata bench vqa|caption … --out {path}  # continues what was stopped",
        )
    summary = decode_document(
        (path / SUMMARY).read_bytes(), BenchSummary, place=str(path / SUMMARY)
    )
    rows = {name: read_rows(path / f"{name}.parquet", table) for name, table in _TABLES.items()}
    benchmark = Benchmark(
        path, summary.benchmark.name, summary.benchmark.revision, rows["samples"], rows["items"]
    )
    return Result(path, summary, benchmark, rows["answers"])


def score_again(
    root: str | Path,
    *,
    out: str | Path,
    level: float = 0.95,
    method: Literal["cluster_t", "cluster_bootstrap"] = "cluster_t",
) -> BenchSummary:
    """Score a result's stored answers by this finedata; nothing is asked.

    Raises:
        UsageError: There is no result, or `out` holds another.
    """
    result = read_result(root)
    old = result.summary
    _check_same(Path(out), old.asked, old.answerer)
    scored = result.scored()
    import finedata

    summary = msgspec.structs.replace(
        old,
        finedata_version=finedata.__version__,
        scores=scores_of(
            scored,
            result.datasets,
            track=old.track,
            level=level,
            method=method,
            seed=old.seed,
        ),
        noise=noise_of(
            scored, of="judge" if old.track == "caption" else "answerer", track=old.track
        ),
    )
    _write(Path(out), result.benchmark, result.answers, scored, summary)
    return summary


def _write(
    root: Path, benchmark: Benchmark, answers: list[Row], scored: Scored, summary: BenchSummary
) -> None:
    for name, rows in (
        ("items", benchmark.items), ("samples", benchmark.samples), ("answers", answers),
    ):  # fmt: skip
        write_rows(root / f"{name}.parquet", _TABLES[name], rows)
    write_rows(root / "results.parquet", "bench_results", scored.rows)
    write_atomic(root / SUMMARY, encode_document(summary))


def _check_same(root: Path, asked: str, answerer: Speaker) -> None:
    place = root / SUMMARY
    if not place.exists():
        return
    found = decode_document(place.read_bytes(), BenchSummary, place=str(place))
    if found.asked != asked or found.answerer != answerer:
        raise UsageError(
            place=str(root),
            found=f"a result of {found.answerer.model} on {found.benchmark.name}, "
            f"{found.track}/{found.setting}, asked {found.asked[:12]}",
            wanted=f"a new folder, or the result of {answerer.model}, asked {asked[:12]}",
            next_command="choose another --out; --store lets two runs share their answers",
        )


def _datasets(benchmark: Benchmark, track: str) -> dict[str, str]:
    return {sample["sample_id"]: sample["dataset"] for sample in benchmark.asked(track)}


def _counted(statuses: object) -> dict[str, int]:
    return dict(sorted(Counter(statuses).items()))  # pyright: ignore


def _usage(records: Sequence[CallRecord]) -> Usage:
    inputs = [record.input_tokens for record in records]
    outputs = [record.output_tokens for record in records]
    costs = [record.cost_nano for record in records]
    return Usage(
        calls=sum(record.charged for record in records),
        retries=sum(max(0, record.attempts - 1) for record in records),
        input_tokens=None if None in inputs else sum(one or 0 for one in inputs),
        output_tokens=None if None in outputs else sum(one or 0 for one in outputs),
        cost_usd=None if None in costs else usd_of_nano(sum(one or 0 for one in costs)),
    )
