"""The demo: every verb of finedata, one after the other, on a small corpus.

Each step calls the same library function as its verb, and prints the command that does it. The
corpus lies packed beside this file (`corpus.tar.xz`): small pictures of one camera in the bytes of
an RLDS build, some records broken on purpose, and what is true of each record in `truth.json`. The
checkout's `tests/corpora/pack_demo.py` makes it; whoever installs finedata needs no maker of it.
Beside it lie the answers of a recorded teacher (`traces.jsonl.xz`), which
`tests/demo/record_traces.py` makes from the motion by a rule: nobody was asked.
"""

from __future__ import annotations

import io
import json
import lzma
import shutil
import tarfile
from collections import Counter
from importlib.resources import files
from typing import TYPE_CHECKING, cast

from finedata.api import source as name_source
from finedata.api import teacher
from finedata.engine.local import available_cores
from finedata.errors import UsageError
from finedata.shard.stream.opening import stream
from finedata.shard.stream.record import receipt_text
from finedata.store.tables.rows import rows_as_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from finedata.annotate.outcome import AnnotateSummary
    from finedata.api import Dataset
    from finedata.hub.plan import PublishPlan

__all__ = ["unpack", "walk"]

_MARKER = ".finedata-demo"
_TRACES = "traces.jsonl.xz"
# The default of `finedata stream --batch`, so that the command that is shown draws the same.
_BATCH = 32
_BATCHES = 4
_QUERIES = (
    "select task, count(*) as episodes, round(avg(duration_s), 1) as mean_s from episodes "
    "group by task order by task",
    "select reason, source_file, source_record from receipts where status = 'failed' "
    "order by reason",
    "select round(f.start_s, 1) as s, f.slot, f.value, f.text from facts f join representatives r "
    "on f.episode_id = r.episode_id where r.rank = 0 and f.anchor = 'step' "
    "order by f.start_s, f.slot limit 12",
    "select flag, count(*) as episodes from "
    "(select unnest(flags) as flag from receipts where status = 'written') "
    "group by flag order by flag",
)


def walk(out: Path) -> Iterator[str]:
    """Run the demo.

    Args:
        out: Where corpus and dataset go; what an earlier demo left there is made anew.

    Yields:
        Lines for the user.
    """
    source, dataset, shards = out / "source", out / "bridge", out / "shards"
    _make_room(out, source, dataset, shards)
    yield f"1. A source corpus in BridgeData-V2's own bytes, in {source}"
    unpack(source)
    truths = json.loads((source / "truth.json").read_text("utf-8"))
    kinds = Counter(truth["kind"] for truth in truths)
    yield (
        f"   {len(truths)} records; {kinds['failed']} cannot be read, {kinds['flagged']} have "
        "something odd: see truth.json"
    )
    address = source / "bridge_dataset" / "1.0.0"
    yield ""
    yield "2. Convert it: JPEG bytes untouched, poses canonical, a receipt for every record"
    yield f"   $ finedata convert bridge_v2 --input {address} --out {dataset}"
    corpus = name_source("bridge_v2", address)
    opened = corpus.convert(dataset, workers=available_cores())
    summary = opened.conversion
    yield (
        f"   {summary.episodes} episodes, {summary.frames} frames; {summary.failed} of "
        f"{summary.found} failed, each with a receipt"
    )
    yield ""
    yield "3. Prove it: source and output read again and compared"
    yield f"   $ finedata verify {dataset} --input {address}"
    report = opened.verify(corpus)
    yield (
        f"   {report.episodes} episodes, {report.frames} frames, {report.pictures} pictures; "
        f"{len(report.problems)} problems"
    )
    yield from _curate(opened, out / "report.html")
    yield from _trace(opened, out / "traces.jsonl")
    yield from _shard(opened, shards)
    for number, query in enumerate(_QUERIES, start=11):
        yield ""
        yield f"{number}. Query it"
        yield f'   $ finedata query {dataset} "{query}"'
        yield rows_as_text(opened.sql(query))
    yield from _publish(opened, shards, number=11 + len(_QUERIES))
    yield ""
    yield "Where to look next"
    yield f"   {out / 'report.html'} in a browser: what was kept, and why"
    yield f"   finedata view {dataset}  # every episode in a browser; finedata review decides"
    yield f"   finedata info {dataset}"
    yield f"   finedata info {shards}"
    yield f"   {dataset} is a LeRobot v3.0 dataset: LeRobotDataset('me/demo', root='{dataset}')"
    yield f"   python -c \"import finedata; print(finedata.open('{dataset}').episodes.collect())\""


def _curate(opened: Dataset, page: Path) -> Iterator[str]:
    """Gate, cluster, report, annotate."""
    dataset = opened.root
    yield ""
    yield "4. Gate it: action against state, and nine other checks; nothing is deleted"
    yield f"   $ finedata gate {dataset}"
    judged = opened.gate()
    reasons = ", ".join(f"{name} {count}" for name, count in judged.reasons.items() if count)
    yield f"   {judged.verdicts['pass']} of {judged.episodes} pass; failed: {reasons or 'none'}"
    yield ""
    yield "5. Cluster what passed: dynamic time warping within each task, representatives chosen"
    yield f"   $ finedata cluster {dataset}"
    clustered = opened.cluster(device="cpu")
    yield (
        f"   {clustered.clustered} episodes, {clustered.clusters} clusters, "
        f"{clustered.representatives} representatives"
    )
    yield ""
    yield "6. Report: the funnel, maps of the tasks, film strips, coverage against budget"
    yield f"   $ finedata report {dataset} --out {page}"
    opened.report(page)
    yield ""
    yield "7. Facts of the representatives, measured from the motion; no model is asked"
    yield f"   $ finedata annotate kinematic {dataset}"
    annotated = opened.annotate_kinematic()
    yield f"   {annotated.rows.get('steps', 0)} steps and {annotated.rows.get('facts', 0)} facts"


def _trace(opened: Dataset, answers: Path) -> Iterator[str]:
    """Reasoning of the representatives, by a teacher whose answers are recorded."""
    yield ""
    yield "8. Why it moves: a reasoning trace a frame, of a recorded teacher; nobody is asked"
    answers.write_bytes(lzma.decompress(files("finedata.demo").joinpath(_TRACES).read_bytes()))
    yield f"   $ finedata annotate traces {opened.root} --teacher replay --recorded {answers}"
    made = opened.annotate_traces(teacher("replay", recorded=answers))
    told = cast("AnnotateSummary", made)
    yield f"   {told.rows.get('traces', 0)} traces of {told.done} episodes; {told.failed} failed"


def _shard(opened: Dataset, out: Path) -> Iterator[str]:
    """Pixels once, for both views."""
    yield ""
    yield "9. Shards for training: pixels once; held-out episodes in files of their own"
    yield f"   $ finedata shard {opened.root} --out {out} --held-out 0.1"
    made = opened.shard(out, held_out=0.1, workers=available_cores())
    for one in made.sets:
        yield f"   {one.name}: {one.episodes} episodes, {one.samples} samples, {one.tars} tars"
    for view in made.views:
        words = "the source's words" if view.policy is None else f"{view.policy} fine-grained text"
        yield f"   view {view.view}, {view.side}, {words}: {view.samples} samples"
    filled = sorted({one.view for one in made.views if one.side == "train" and one.samples})
    if "fg" not in filled:
        yield "   fg is empty: its text is a teacher's, as what is measured names no object:"
        yield f"   finedata annotate facts {opened.root}"
        yield f"   finedata shard {out} --text {opened.root}"
    yield from _stream(out, mix=",".join(f"{view}=1" for view in filled))


def _stream(shards: Path, *, mix: str) -> Iterator[str]:
    """A few batches, and the proof of what was in them."""
    yield ""
    yield "10. Stream them into training: an exact mixture, and a receipt of what was drawn"
    yield f"   $ finedata stream {shards} --mix {mix} --batches {_BATCHES}"
    with stream(shards, mix=mix, batch=_BATCH, stop=_BATCH * _BATCHES) as opened:
        for batch in opened:
            if batch.n[0] == 0:
                arrays = batch.pictures | batch.vectors
                shapes = (f"{role} {array.shape} {array.dtype}" for role, array in arrays.items())
                yield f"   a batch: {', '.join(shapes)}"
                yield f"   {batch.episode_id[0]}, frame {batch.frame_index[0]}: {batch.text[0]!r}"
        receipt = opened.receipt()
    yield from (f"   {line}" for line in receipt_text(receipt).splitlines())


def _publish(opened: Dataset, shards: Path, *, number: int) -> Iterator[str]:
    """What publishing both would take; nobody is asked."""
    yield ""
    yield f"{number}. Publish both on the Hugging Face Hub: verified, counted, and nothing sent"
    yield f"   $ finedata publish {opened.root} {shards} --repo-id org/bridge --dry-run"
    planned = opened.publish("org/bridge", shards=shards, dry_run=True)
    yield from (f"   {line}" for line in cast("PublishPlan", planned).lines())


def unpack(folder: Path) -> None:
    """Write the packed corpus below a folder: `bridge_dataset/1.0.0` and `truth.json`."""
    packed = files("finedata.demo").joinpath("corpus.tar.xz").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress(packed))) as tar:
        for entry in tar:
            path = folder / entry.name
            path.parent.mkdir(parents=True, exist_ok=True)
            content = tar.extractfile(entry)
            if content is not None:
                path.write_bytes(content.read())


def _make_room(out: Path, *folders: Path) -> None:
    """Remove what an earlier demo made, and nothing else."""
    marker = out / _MARKER
    if out.exists() and not out.is_dir():
        raise UsageError(parameter="out", place=f"out {out}", found="a file", wanted="a folder")
    if out.is_dir() and any(out.iterdir()) and not marker.is_file():
        raise UsageError(
            parameter="out",
            place=f"out {out}",
            found="a folder with files that are not a demo's",
            wanted="a new or empty folder, or that of an earlier demo",
            next_command="finedata demo --out demo-out",
        )
    out.mkdir(parents=True, exist_ok=True)
    marker.touch()
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
