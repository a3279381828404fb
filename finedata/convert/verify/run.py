"""The proof: source and output read again and held against each other.

A dataset passes when every written episode is in the output what its source record says, every
failed one still fails, and the counts add up; else each problem is listed. Conversion is repeated
in memory and compared number for number; the state is also taken back into the source's own
encoding and compared with the source's bytes, so that an error that repeats itself still shows.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl

from finedata.convert.account.compare import account_for
from finedata.convert.account.hdf5 import hdf5_inventory
from finedata.convert.account.lerobot import lerobot_inventory
from finedata.convert.account.output import Output, damage_of
from finedata.convert.account.rh20t import rh20t_inventory
from finedata.convert.account.rlds import rlds_inventory
from finedata.convert.columns import episode_numbers
from finedata.convert.planning.assign import ClipJob, EpisodeJob, Part
from finedata.convert.planning.plan import RecordPlan, ShardJob, ShardPlan, plan_shard
from finedata.convert.run import prepare_from_dataset
from finedata.convert.slabs import PictureSlabs
from finedata.convert.verify.alone import check_counts, check_indices
from finedata.convert.verify.episode import check_pictures, check_round_trips, check_videos
from finedata.convert.verify.report import VerifyReport
from finedata.convert.verify.tables import TableChecks
from finedata.convert.work import OpenShards, episode_result, stored_cameras, without_videos
from finedata.errors import SourceError
from finedata.store.dataset import open_dataset
from finedata.store.episode import Episode
from finedata.store.lerobot.layout import data_file_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.convert.prepared import PreparedRun
    from finedata.store.dataset import Dataset

__all__ = ["verify"]


def verify(
    root: str | Path,
    *,
    input: str | Path | Sequence[str | Path],
    decode: bool = False,
) -> VerifyReport:
    """Re-read a dataset and its sources, and compare them.

    Args:
        root: The dataset.
        input: Folder or address of the source it was converted from; one for each of several.
        decode: Whether to decode every picture as well.

    Raises:
        UsageError: No dataset there, or no such input.
        SourceError: The source cannot be read at all.
    """
    dataset = open_dataset(root)
    addresses = [str(input)] if isinstance(input, str | Path) else [str(one) for one in input]
    run = prepare_from_dataset(dataset.info, addresses=addresses, out=str(root))
    report = VerifyReport()
    with damage_of(root, report):
        check_counts(dataset, report)
    for part in dataset.parts:
        with damage_of(f"{root}/{part.path}", report):
            check_indices(dataset, part.name, report)
    with damage_of(root, report), closing(Output(dataset.root, dataset.info)) as output:
        _Records(run, dataset, output, report, decode=decode).check()
        with damage_of(root, report):
            _check_accounts(run, output, report, decode=decode)
    return report


_INVENTORIES = {
    "lerobot": lerobot_inventory,
    "rlds": rlds_inventory,
    "hdf5": hdf5_inventory,
    "rh20t": rh20t_inventory,
}


def _check_accounts(
    run: PreparedRun, output: Output, report: VerifyReport, *, decode: bool
) -> None:
    """Hold each source, enumerated by another way than the converter's, against the raw output."""
    selection = run.selection
    complete = output.info.derived_from is None and selection.all and selection.most is None
    for described, source, file in zip(
        run.context.sources, run.sources, run.converters, strict=True
    ):
        take = _INVENTORIES.get(described.reader)
        if take is None:
            report.note(f"{file.converter.name}: no account of its features by another way")
            continue
        account_for(
            take(source.folder),
            output,
            report,
            converter=file.converter,
            reader=described.reader,
            folder=source.folder,
            options=run.context.options,
            complete=complete,
            decode=decode,
        )


class _Records:
    """Plans the sources anew, and holds every record against its receipt and its rows."""

    def __init__(
        self,
        run: PreparedRun,
        dataset: Dataset,
        output: Output,
        report: VerifyReport,
        *,
        decode: bool,
    ) -> None:
        self._run = run
        self._dataset = dataset
        self._output = output
        self._derived = dataset.info.derived_from is not None
        self._tables = TableChecks(run, output, report, derived=self._derived, decoded=decode)
        self._report = report
        self._decode = decode
        # LeRobot's own columns are not there where no episode was written.
        names = [
            "episode_id",
            "part",
            "episode_index",
            "dataset_from_index",
            "task_index",
            "length",
        ]
        known = dataset.episodes.collect_schema().names()
        columns = dataset.episodes.select(
            pl.col(name) if name in known else pl.lit(None, pl.Int64).alias(name) for name in names
        )
        joined = dataset.receipts.drop("part").join(columns, on="episode_id", how="left")
        self._receipts = {
            (row["source"], row["source_file"], row["source_record"]): row
            for row in joined.collect().iter_rows(named=True)
        }
        self._seen: set[tuple[str, str, int]] = set()

    def check(self) -> None:
        """Check them all."""
        assigner = self._run.assigner()
        with closing(OpenShards(self._run.context)) as shards:
            for source, shard in self._run.units:
                job = ShardJob(
                    context=self._run.context, source=source, shard=shard, most_good=None
                )
                plan = plan_shard(job)
                if self._derived:
                    for record in plan.records:
                        self._check_record(plan, record, self._placed(plan, record), shards)
                    continue
                placed, _ = assigner.add(plan)
                for one in placed:
                    record = one.plan if isinstance(one, EpisodeJob) else one
                    self._note_fate(plan, record)
                    where = None
                    if isinstance(one, EpisodeJob):
                        where = (assigner.parts[one.part], one)
                        where = self._placed(plan, record) if self._tables.moved else where
                    self._check_record(plan, record, where, shards)
        there = {shard.file for source in self._run.sources for shard in source.shards}
        for (_, file, number), receipt in self._receipts.items():
            if (receipt["source"], file, number) not in self._seen:
                found = "no such record" if file in there else "no such file in the source"
                self._report.add(f"{file}, record {number}", found, "what the receipt says")
                self._tables.moved = True
        self._tables.finish(assigner)

    def _note_fate(self, plan: ShardPlan, record: RecordPlan) -> None:
        """A record that was written and would fail, or the reverse, moves all that follow it."""
        receipt = self._receipts.get(self._key(plan, record))
        written = receipt is not None and receipt["status"] == "written"
        if written != (record.reason is None):
            self._tables.moved = True

    def _key(self, plan: ShardPlan, record: RecordPlan) -> tuple[str, str, int]:
        name = self._run.converters[plan.source].converter.name
        return name, self._run.sources[plan.source].shards[plan.shard].file, record.record

    def _placed(self, plan: ShardPlan, record: RecordPlan) -> tuple[Part, EpisodeJob] | None:
        """Where a selection or a merge put an episode, as its own rows say."""
        stored = self._output.episodes.get(record.episode_id)
        if record.reason is not None or stored is None:
            return None
        layout = plan.layouts[record.layout]
        row = stored.row
        job = EpisodeJob(
            source=plan.source,
            shard=plan.shard,
            part=0,
            plan=record,
            episode_index=row["episode_index"],
            first_index=row["dataset_from_index"],
            task_index=row["task_index"],
            clips=tuple(
                ClipJob(plan=clip, file_number=0, write=False, from_s=0.0, to_s=0.0)
                for clip in record.clips
            ),
        )
        name = self._run.converters[plan.source].converter.name
        return Part(row["part"], ".", layout, name), job

    def _check_record(
        self,
        plan: ShardPlan,
        record: RecordPlan,
        placed: tuple[Part, EpisodeJob] | None,
        shards: OpenShards,
    ) -> None:
        key = self._key(plan, record)
        receipt = self._receipts.get(key)
        place = f"{key[1]}, record {record.record}"
        if receipt is None:
            if not self._derived:
                self._report.add(place, "no receipt", "one for every record")
            return
        self._seen.add(key)
        reason = receipt["reason"]
        if receipt["status"] == "failed":
            self._report.failed += 1
            # A selection has no neighbours: that two share an id, or a part, is not seen there.
            if not self._derived or reason not in ("duplicate_id", "wrong_type"):
                self._report.expect(f"{place}: why it failed", reason, record.reason)
            if reason == record.reason:
                self._tables.failed(plan, record, place)
            return
        self._report.expect(f"{place}: why it failed", reason, record.reason)
        if placed is None:
            return
        with damage_of(place, self._report):
            self._check_episode(*placed, receipt, place, shards)

    def _check_episode(
        self,
        part: Part,
        job: EpisodeJob,
        receipt: dict[str, Any],
        place: str,
        shards: OpenShards,
    ) -> None:
        report, layout, record = self._report, part.layout, job.plan
        report.expect(f"{place}: length", receipt["length"], record.frames)
        if record.episode_id != receipt["episode_id"]:
            # An id may come of the content: all else is held against what has the old one.
            report.expect(f"{place}: episode_id", receipt["episode_id"], record.episode_id)
            record = msgspec.structs.replace(record, episode_id=receipt["episode_id"])
            job = msgspec.structs.replace(job, plan=record)
        stored = self._output.episodes.get(receipt["episode_id"])
        if stored is None:
            report.add(place, "no row in meta/episodes", f"one of {receipt['episode_id']}")
            return
        options = self._run.context.options
        if not self._decode:
            options = msgspec.structs.replace(options, image_stats=False)
        try:
            with shards.view(job) as (view, variant):
                pictures = PictureSlabs(
                    view, stored_cameras(layout, options), frames=record.frames, options=options
                )
                for _ in pictures.slabs():
                    pass
                examined = pictures.results()
                numbers = episode_numbers(view, variant, layout, job)
                result = episode_result(
                    view, variant, job, numbers, examined, layout=layout, options=options
                )
        except SourceError as error:
            report.add(place, error.found, "the record that was converted")
            return
        result = without_videos(result, _replaced(job, receipt))
        digest = result.source_sha256
        report.expect(f"{place}: sha256 of the record", receipt["source_sha256"], digest)
        number = data_file_number(stored.row)
        self._tables.written(part, job, result, number=number, place=place)
        episode = Episode(self._dataset, stored.row)
        for name, values in numbers.columns.items():
            column = episode.columns.get(name)
            same = column is not None and np.array_equal(
                column, values, equal_nan=values.dtype.kind == "f"
            )
            report.require(
                f"{place}: column {name}", holds=same, wanted="the source converted anew"
            )
        if digest == receipt["source_sha256"]:
            with shards.view(job) as (view, variant):
                check_round_trips(view, variant, episode, place, report)
        check_pictures(examined, episode, receipt, place, report, decode=self._decode)
        check_videos(episode, receipt, place, report)
        report.episodes += 1
        report.frames += len(episode)


def _replaced(job: EpisodeJob, receipt: dict[str, Any]) -> list[str]:
    """Cameras for which a black video stands, the packets of the source's being unreadable."""
    mended = {clip.plan.camera for clip in job.clips if clip.plan.mode != "link" and clip.plan.file}
    return [
        image["camera"]
        for image in receipt["images"]
        if image["camera"] in mended and image["placeholder_count"] == image["count"] > 0
    ]
