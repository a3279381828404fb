"""`bench.json` of a benchmark, and `summary.json` of a result: numbers, and all they rest on.

Two results may be compared if their `asked` digests differ in the answerer alone, which is why what
was asked and who judged stand in preimages of their own.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from finedata.schema.documents import Count, Sha256, digest_of
from finedata.schema.strict import Strict

__all__ = [
    "BenchSummary",
    "Benchmark",
    "Noise",
    "Score",
    "Speaker",
    "Usage",
    "asked_digest",
    "item_id",
]


class Benchmark(Strict, frozen=True, kw_only=True):
    """Which benchmark: its name, revision, and the digests of its two tables' rows.

    The digests are SHA-256 over the rows' canonical JSON, one a line, sorted by key.
    """

    name: str
    revision: str
    samples_sha256: Sha256
    items_sha256: Sha256
    samples: Count
    items: Count


class BenchFile(Strict, frozen=True, kw_only=True):
    """`bench.json` of a benchmark that finedata cut.

    Attributes:
        schema: `bench`.
        version: 1.
        finedata_version: Which cut it.
        name: Of the benchmark.
        samples_sha256: Digest of the rows of `samples.parquet`.
        items_sha256: Digest of the rows of `items.parquet`.
        samples: Videos.
        items: Questions and facts.
        seed: Of every draw.
        annotators: Who made the facts: `origin/annotator`, sorted. None of them may be graded.
        heldout_sha256: Digest of `heldout.txt`, the list that `shard --held-out` takes.
        notes: What was left out and why, and what a blind answerer scores.
    """

    schema: Literal["bench"] = msgspec.field(name="finedata.schema", default="bench")
    version: Literal[1] = msgspec.field(name="finedata.version", default=1)
    finedata_version: str
    name: str
    samples_sha256: Sha256
    items_sha256: Sha256
    samples: Count
    items: Count
    seed: int
    annotators: list[str]
    heldout_sha256: Sha256
    notes: list[str]


class Speaker(Strict, frozen=True, kw_only=True):
    """An answerer or a judge: settings by name, as text; prompts by name, as SHA-256."""

    teacher: str
    model: str
    settings: dict[str, str]
    prompts: dict[str, Sha256]


class Score(Strict, frozen=True, kw_only=True):
    """One number.

    Attributes:
        metric: `accuracy`, `consistency`, `coverage`, `anti_hallucination`, `overall`.
        mode: `strict` or `released`.
        average: Over items, or over the ten dimensions.
        by: What the group is of; `all` for everything.
        group: The dimension, axis, dataset, answer type or error type; "" for everything.
        value: In [0, 1]; `released` may leave it. Null where nothing was asked.
        low: Lower end of the interval; null where none can be given.
        high: Upper end.
        level: Of the interval, e.g. 0.95.
        method: How the interval was had.
        items: How many items.
        clusters: How many videos.
        unrankable: Whether there are too few videos to rank by it.
    """

    metric: Literal["accuracy", "consistency", "coverage", "anti_hallucination", "overall"]
    mode: Literal["strict", "released"]
    average: Literal["micro", "macro"]
    by: Literal["all", "dimension", "axis", "dataset", "answer_type", "error_type"]
    group: str
    value: float | None
    low: float | None
    high: float | None
    level: float
    method: Literal["cluster_t", "cluster_bootstrap", "wilson", "none"]
    items: Count
    clusters: Count
    unrankable: bool


class Noise(Strict, frozen=True, kw_only=True):
    """What repeating alone changes, told apart from what differs between videos.

    One-way components of variance (trials within videos) of a number of each video.

    Attributes:
        of: What was repeated: the judge's answer to the same caption, or the answerer's.
        metric: See `Score`.
        mode: See `Score`.
        within_sd: Standard deviation between trials of one video.
        between_sd: Standard deviation between videos, that of trials taken out.
        trials: How often each was repeated, the first time included.
        videos: How many videos were.
    """

    of: Literal["judge", "answerer"]
    metric: Literal["accuracy", "consistency", "coverage", "anti_hallucination", "overall"]
    mode: Literal["strict", "released"]
    within_sd: float
    between_sd: float
    trials: Count
    videos: Count


class Usage(Strict, frozen=True, kw_only=True):
    """What was spent; null where a server did not say."""

    calls: Count
    retries: Count
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None


class BenchSummary(Strict, frozen=True, kw_only=True):
    """The document.

    Attributes:
        schema: `bench-summary`.
        version: 1.
        finedata_version: Which scored.
        libraries: Name to version of what scores depend on.
        asked: See `asked_digest`.
        benchmark: Which.
        track: `vqa` or `caption`.
        setting: `easy` or `hard`.
        trials: How often each video was asked.
        seed: Of the bootstrap.
        answerer: Who answered.
        judge: Who judged; null where nothing needs a judge.
        statuses: Status of the answers to how many.
        judge_statuses: Status of the judgements to how many.
        scores: Every number.
        noise: What repeating alone changes; empty where nothing was repeated.
        notes: What a reader of the numbers should know: broken videos, judges' slips.
        usage: Of the answerer.
        judge_usage: Of the judge.
    """

    schema: Literal["bench-summary"] = msgspec.field(
        name="finedata.schema", default="bench-summary"
    )
    version: Literal[1] = msgspec.field(name="finedata.version", default=1)
    finedata_version: str
    libraries: dict[str, str]
    asked: Sha256
    benchmark: Benchmark
    track: Literal["vqa", "caption"]
    setting: Literal["easy", "hard"]
    trials: Count
    seed: int
    answerer: Speaker
    judge: Speaker | None
    statuses: dict[str, Count]
    judge_statuses: dict[str, Count]
    scores: list[Score]
    noise: list[Noise]
    notes: list[str]
    usage: Usage
    judge_usage: Usage


def asked_digest(benchmark: Benchmark, *, track: str, setting: str, judge: Speaker | None) -> str:
    """Name what results must share to be compared.

    SHA-256 of the canonical JSON `{"finedata.schema": "bench-asked", "finedata.version": 1,
    "samples_sha256", "items_sha256", "track", "setting", "judge"}`, the judge as in the summary.
    """
    preimage: dict[str, Any] = {
        "finedata.schema": "bench-asked",
        "finedata.version": 1,
        "samples_sha256": benchmark.samples_sha256,
        "items_sha256": benchmark.items_sha256,
        "track": track,
        "setting": setting,
        "judge": judge,
    }
    return digest_of(preimage)


def item_id(sample_id: str, *, track: str, name: str) -> str:
    """Name an item: first 16 digits of SHA-256 of the canonical JSON `[sample_id, track, name]`.

    Released sample ids and question ids are free text, so they are not joined by a mark.
    """
    return digest_of([sample_id, track, name])[:16]
