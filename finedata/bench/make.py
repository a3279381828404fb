"""A benchmark cut from one's own data: videos held out, facts, questions, and what they leak.

Facts must have been accepted by a person unless `policy` says otherwise; who made them stands in
`bench.json`, and such an annotator is not graded on its own facts. Episodes come from the held-out
side of SHARDS, or their ids go to `heldout.txt`, the list that `finedata shard --held-out` takes.
An episode is where its copies are (`gate.duplicate_of`): a copy of a held-out episode is held out,
one of an episode that is trained on is refused, copies stand in the list beside what is asked
about, and of equal episodes one is asked about. Pictures are copied as they are stored.
"""

from __future__ import annotations

import io
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
import polars as pl

from finedata.annotate.asking.frames import FrameSettings, sample_frames
from finedata.annotate.asking.pictures import PictureSource
from finedata.annotate.selection import Choice, select_ids
from finedata.bench.answerers import own_answerer
from finedata.bench.benchmark import (
    BENCH_FILE,
    Benchmark,
    Row,
    rows_digest,
    write_rows,
)
from finedata.bench.questions import fact_items, question_items
from finedata.bench.scores.intervals import Interval, Ratios, interval
from finedata.bench.scores.rows import score_own
from finedata.engine.progress import Progress
from finedata.errors import UsageError
from finedata.schema.bench_summary import BenchFile
from finedata.schema.documents import encode_document
from finedata.schema.identity import hash16
from finedata.store.atomic import atomic_folder, check_new_folder
from finedata.store.dataset import open_dataset
from finedata.store.summary import Summary
from finedata.store.text_policy import of_one_run, passing_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from finedata.engine.progress import OnProgress
    from finedata.store.dataset import Dataset

__all__ = ["MakeSummary", "make_benchmark"]

HELD_OUT = "heldout.txt"


class Leak(msgspec.Struct, frozen=True, kw_only=True):
    """What an answerer scores that never sees the video."""

    answerer: str
    value: float | None
    low: float | None
    high: float | None


class MakeSummary(Summary, msgspec.Struct, frozen=True, kw_only=True):
    """What was cut.

    Attributes:
        out: The benchmark's folder.
        videos: How many.
        questions: Items of track `vqa`.
        facts: Items of track `caption`.
        by_dimension: Dimension -> questions.
        by_answer: Kind of answer -> questions.
        answers: `yes`, `no` -> questions.
        blind: What a blind answerer scores: the leak of the questions.
        random: What chance scores.
        annotators: Who made the facts.
        held_out: The list for `shard --held-out`; empty where videos are of a held-out side.
        notes: What was left out and why.
    """

    out: str
    videos: int
    questions: int
    facts: int
    by_dimension: dict[str, int]
    by_answer: dict[str, int]
    answers: dict[str, int]
    blind: Leak
    random: Leak
    annotators: list[str]
    held_out: str
    notes: list[str]


def make_benchmark(
    root: str | Path,
    *,
    out: str | Path,
    name: str = "",
    videos: int = 500,
    per_video: float = 2.0,
    policy: Literal["reviewed", "not_contradicted"] = "reviewed",
    shards: str | Path | None = None,
    choice: Choice | None = None,
    fps: float = 4.0,
    seed: int = 0,
    on_progress: OnProgress = None,
) -> MakeSummary:
    """Cut a benchmark.

    Args:
        root: An annotated dataset.
        out: The new folder.
        name: Of the benchmark; that of the folder if empty.
        videos: At most so many, spread over tasks.
        per_video: Questions for each video, on average.
        policy: Which facts are the truth: those that a person accepted, or all not contradicted.
        shards: SHARDS whose held-out side the videos are of.
        choice: Which episodes; the representatives by default.
        fps: Pictures a second that are kept.
        seed: Of every draw.
        on_progress: Called after each video.

    Raises:
        UsageError: No fact passes, an episode stands in a training side, or `out` is there.
        SourceError: Pictures cannot be read.
    """
    dataset, target, notes = open_dataset(root), Path(out), list[str]()
    check_new_folder(target)
    facts, copies = _facts(dataset, policy), _Copies(dataset)
    chosen = _chosen(
        dataset, choice or Choice(), shards, facts, copies, notes, videos=videos, seed=seed
    )
    if not chosen:
        raise UsageError(
            place=f"{dataset.root}, facts",
            found=f"no episode with facts that are {policy.replace('_', ' ')}",
            wanted="facts of representatives that a person accepted",
            next_command=f"finedata annotate status {dataset.root}  # or --policy not_contradicted",
        )
    annotators = sorted(
        {f"{fact['origin']}/{fact['annotator']}" for one in chosen for fact in facts[one]}
    )
    with atomic_folder(target) as partial:
        samples = _samples(dataset, chosen, partial, fps, notes, on_progress)
        items = [
            item for sample in samples for item in fact_items(facts[sample["episode_id"]], sample)
        ]
        items += question_items(facts, samples, per_video=per_video, seed=seed)
        samples.sort(key=lambda row: row["sample_id"])
        items.sort(key=lambda row: row["item_id"])
        found = Benchmark(partial, name or target.name, "", samples, items)
        leaks = {one: _leak(found, one, seed) for one in ("blind", "random")}
        notes.append(
            f"a blind answerer scores {_share(leaks['blind'])}, chance {_share(leaks['random'])}"
        )
        held = "".join(f"{one}\n" for one in sorted(copies.of(s["episode_id"] for s in samples)))
        write_rows(partial / "samples.parquet", "bench_samples", samples)
        write_rows(partial / "items.parquet", "bench_items", items)
        (partial / HELD_OUT).write_text(held)
        (partial / BENCH_FILE).write_bytes(
            _document(found, seed=seed, annotators=annotators, held=held, notes=notes)
        )
    asked = [item for item in items if item["track"] == "vqa"]
    return MakeSummary(
        out=str(target),
        videos=len(samples),
        questions=len(asked),
        facts=len(items) - len(asked),
        by_dimension=_counts(asked, "dimension"),
        by_answer=_counts(asked, "answer_type"),
        answers={
            word: sum(i["answer_type"] == "yes_no" and i["answer"] == word for i in asked)
            for word in ("yes", "no")
        },
        blind=leaks["blind"],
        random=leaks["random"],
        annotators=annotators,
        held_out="" if shards else str(target / HELD_OUT),
        notes=notes,
    )


def _document(
    found: Benchmark, *, seed: int, annotators: list[str], held: str, notes: list[str]
) -> bytes:
    import finedata

    return encode_document(
        BenchFile(
            finedata_version=finedata.__version__,
            name=found.name,
            samples_sha256=rows_digest(found.samples, "bench_samples", without=("duration_s",)),
            items_sha256=rows_digest(found.items, "bench_items"),
            samples=len(found.samples),
            items=len(found.items),
            seed=seed,
            annotators=annotators,
            heldout_sha256=sha256(held.encode()).hexdigest(),
            notes=notes,
        )
    )


def _facts(dataset: Dataset, policy: str) -> dict[str, list[Row]]:
    """Episode id -> facts of its one run."""
    rows = passing_rows(dataset, "facts")
    if policy == "reviewed":
        rows = rows.filter(pl.col("policy") == "reviewed")
    found: dict[str, list[Row]] = {}
    for row in of_one_run(rows).sort("episode_id", "fact_id").collect().iter_rows(named=True):
        found.setdefault(row["episode_id"], []).append(row)
    return found


class _Copies:
    """Which episodes are equal, as the gate found; an episode without copies is alone."""

    def __init__(self, dataset: Dataset) -> None:
        rows = dataset.table("gate").select("episode_id", "duplicate_of").drop_nulls().collect()
        self._kept: dict[str, str] = dict(rows.iter_rows())
        self._copies: dict[str, list[str]] = {}
        for one in self._kept:
            self._copies.setdefault(self.kept(one), []).append(one)

    def kept(self, episode_id: str) -> str:
        """The one of equal episodes that the gate keeps."""
        seen = {episode_id}
        while (above := self._kept.get(episode_id)) is not None and above not in seen:
            seen.add(episode_id := above)
        return episode_id

    def of(self, ids: Iterable[str]) -> set[str]:
        """These, and every episode equal to one of them."""
        kept = {self.kept(one) for one in ids}
        return kept.union(*(self._copies.get(one, ()) for one in kept))


def _chosen(
    dataset: Dataset,
    choice: Choice,
    shards: str | Path | None,
    facts: dict[str, list[Row]],
    copies: _Copies,
    notes: list[str],
    *,
    videos: int,
    seed: int,
) -> list[str]:
    """Episodes with facts, one of equal ones, one of each task before a second of any."""
    if shards is None:
        ids = select_ids(dataset, choice)
    else:
        ids = _held_out(shards, dataset, choice, copies)
    first: dict[str, str] = {}
    for one in sorted(
        (one for one in ids if one in facts), key=lambda one: (one != copies.kept(one), one)
    ):
        other = first.setdefault(copies.kept(one), one)
        if other != one:
            notes.append(f"{one}: left out, a copy of {other}")
    ids = [one for one in ids if first.get(copies.kept(one)) == one]
    rows = dataset.episodes.select("episode_id", "task_id").filter(pl.col("episode_id").is_in(ids))
    tasks = dict(rows.collect().iter_rows())
    turns: dict[str | None, int] = {}
    ranked: list[tuple[int, str, str]] = []
    for one in sorted(ids, key=lambda one: hash16(f"{seed}/{one}")):
        turn = turns[tasks[one]] = turns.get(tasks[one], -1) + 1
        ranked.append((turn, hash16(f"{seed}/{tasks[one]}"), one))
    return [one for _, _, one in sorted(ranked)[:videos]]


def _held_out(shards: str | Path, dataset: Dataset, choice: Choice, copies: _Copies) -> list[str]:
    """Episodes that are held out, themselves or a copy, and none of which a copy is trained on."""
    from finedata.shard.describe import find_leaks
    from finedata.shard.shards import Shards

    opened = Shards.open(shards)
    known = dataset.episodes.select("episode_id").collect()["episode_id"].to_list()
    held: set[str] = set()
    for one in opened.sets.values():
        if one.side == "heldout":
            table = opened.episodes(one.name)
            rows = table.rows(0, len(table), columns=["episode_id"]).to_pylist()
            held.update(row["episode_id"] for row in rows)
    held = copies.of(held).intersection(known)
    wanted = list(choice.episodes)
    if not wanted:
        wanted = [one for one in known if one in held]
        if choice.where.strip():
            met = set(select_ids(dataset, choice))
            wanted = [one for one in wanted if one in met]
    if leaked := find_leaks(opened, copies.of(wanted)):
        raise UsageError(
            place=f"{shards}, training side",
            found=f"{len(leaked)} of the episodes, or copies of them: {', '.join(leaked[:5])}",
            wanted="episodes that are held out, and no copy of which is trained on",
            next_command="finedata shard … --held-out with the list of a benchmark",
        )
    if not held:
        raise UsageError(
            place=f"{shards}",
            found="no held-out episode of this dataset",
            wanted="a held-out side",
            next_command="finedata shard … --held-out 0.05",
        )
    absent = [one for one in wanted if one not in held]
    if absent:
        raise UsageError(
            place=f"{shards}, held-out side",
            found=f"{len(absent)} of the episodes are not there: {', '.join(absent[:5])}",
            wanted="episodes of a held-out side only",
        )
    return [one for one in known if one in set(wanted)]


def _samples(
    dataset: Dataset,
    ids: Sequence[str],
    folder: Path,
    fps: float,
    notes: list[str],
    on_progress: OnProgress,
) -> list[Row]:
    source = PictureSource(dataset)
    rows = dataset.episodes.filter(pl.col("episode_id").is_in(list(ids)))
    names = [one for one in rows.collect_schema().names() if not one.startswith("stats/")]
    by_id = {row["episode_id"]: row for row in rows.select(names).collect().iter_rows(named=True)}
    settings = FrameSettings(fps=fps, width=None, min_frames=1, max_views=None, quality=95)
    samples: list[Row] = []
    for number, episode_id in enumerate(ids, start=1):
        row = by_id[episode_id]
        views: list[Row] = []
        for camera in source.episode(row).cameras(settings):
            data = _film(source, row, camera, settings)
            if data is None:
                notes.append(f"{episode_id}, camera {camera}: no picture decodes")
                continue
            path = f"videos/{row['source']}/{episode_id}/{camera}.zip"
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
            views.append({"name": camera, "path": path, "sha256": sha256(data).hexdigest()})
        if not views:
            notes.append(f"{episode_id}: left out, it has no picture to show")
            continue
        samples.append(
            {
                "sample_id": episode_id,
                "dataset": row["source"],
                "episode_id": episode_id,
                "instruction": [row["task"]] if row["task"] else [],
                "robot_type": row["embodiment"],
                "duration_s": row["length"] / row["fps"],
                "views": views,
                "usable": True,
            }
        )
        if on_progress is not None:
            on_progress(Progress("cutting", number, len(ids)))
    return samples


def _film(source: PictureSource, row: Row, camera: str, settings: FrameSettings) -> bytes | None:
    """A ZIP of pictures, stored as they are, named by their time in milliseconds."""
    frames = sample_frames(row["length"], fps=row["fps"], settings=settings)
    memory = io.BytesIO()
    count = 0
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_STORED) as file:
        for frame, data in zip(frames, source.encoded(row, camera, frames, settings), strict=True):
            if data is None:
                continue
            ending = "png" if data.startswith(b"\x89PNG") else "jpg"
            name = f"{round(1000 * frame / row['fps']):09d}.{ending}"
            file.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
            count += 1
    return memory.getvalue() if count else None


def _leak(found: Benchmark, name: str, seed: int) -> Leak:
    score: Interval = interval(_ratios(found, name, seed))
    return Leak(answerer=name, value=score.value, low=score.low, high=score.high)


def _ratios(found: Benchmark, name: str, seed: int) -> Ratios:
    return score_own(found, own_answerer(name, found, seed=seed))


def _share(leak: Leak) -> str:
    if leak.value is None or leak.low is None or leak.high is None:
        return "nothing, there is no question"
    return f"{100 * leak.value:.1f} % [{100 * leak.low:.1f}, {100 * leak.high:.1f}]"


def _counts(rows: Sequence[Row], column: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in rows:
        found[row[column]] = found.get(row[column], 0) + 1
    return dict(sorted(found.items()))
