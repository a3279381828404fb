"""The plan of a shard: every record is decided, the same way whoever asks."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from conftest import Corpus

from finedata.convert.context import ConvertOptions, RunContext, opened_source
from finedata.convert.planning.plan import ShardJob, ShardPlan, plan_shard
from finedata.convert.run import prepare
from finedata.errors import SourceError
from finedata.readers.rlds.source import RldsSource


def context(folder: Path, **options: object) -> RunContext:
    return prepare([("bridge_v2", str(folder))], out="", options=ConvertOptions(**options)).context


def plan(run: RunContext, shard: int, *, most_good: int | None = None) -> ShardPlan:
    return plan_shard(ShardJob(context=run, source=0, shard=shard, most_good=most_good))


def test_every_record_is_decided_with_its_place(corpus: Corpus) -> None:
    run = context(corpus.folder)
    source = opened_source(str(corpus.folder), "rlds")
    for shard, described in enumerate(source.shards):
        truths = [truth for truth in corpus.truths if truth.shard_file == described.file]
        found = plan(run, shard)
        assert (found.source, found.shard) == (0, shard)
        assert [record.record for record in found.records] == list(range(len(truths)))
        assert [record.offset for record in found.records] == [t.byte_offset + 12 for t in truths]
        assert [record.length for record in found.records] == [t.payload_bytes for t in truths]
        failed = [truth.kind == "failed" for truth in truths]
        assert [record.reason is not None for record in found.records] == failed
        for record, truth in zip(found.records, truths, strict=True):
            if record.reason is None:
                assert (record.frames, record.task) == (truth.length, truth.instruction)
                # The split is the shard's.
                assert record.split == truth.split == described.split
            else:
                assert (record.frames, record.layout, record.variant) == (0, -1, -1)
        # All bridge episodes have one layout, a lacking camera or not.
        assert [layout.embodiment for layout in found.layouts] == ["widowx_250"]
        assert {record.layout for record in found.records if record.reason is None} == {0}


def test_a_plan_is_the_same_again_and_from_the_ledger(corpus: Corpus) -> None:
    first = plan(context(corpus.folder), 0)
    assert plan(context(corpus.folder), 0) == first
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(first), type=ShardPlan) == first


@pytest.mark.parametrize("most", [1, 2])
def test_enough_good_ones_end_the_look(corpus: Corpus, most: int) -> None:
    run = context(corpus.folder)
    whole = plan(run, 0).records
    some = plan(run, 0, most_good=most).records
    assert some == whole[: len(some)]
    assert sum(record.reason is None for record in some) == most
    assert some[-1].reason is None


def test_the_camera_options_are_part_of_the_layout(corpus: Corpus) -> None:
    chosen = plan(context(corpus.folder, cameras=("image_1",)), 0).layouts[0]
    assert [camera.name for camera in chosen.cameras] == ["image_1"]
    resized = plan(context(corpus.folder, resize=(8, 12)), 0).layouts[0]
    assert {camera.shape for camera in resized.cameras} == {(8, 12, 3)}
    assert {camera.source_shape for camera in resized.cameras} == {(48, 48, 3)}
    assert chosen.key != resized.key


def test_a_disk_that_fails_for_now_is_no_verdict(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be read just now stops the run; it never becomes a receipt."""
    run = context(corpus.folder)
    scan = RldsSource.scan

    def interrupted(self: RldsSource, shard: int) -> object:
        for number, item in enumerate(scan(self, shard)):
            if number == 2:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            yield item

    monkeypatch.setattr(RldsSource, "scan", interrupted)
    with pytest.raises(SourceError, match=r"after 2 records: found Input/output error(.|\n)*same"):
        plan(run, 0)


def test_a_file_that_may_not_be_read_fails_as_many_as_are_declared(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = context(corpus.folder)

    def refused(self: RldsSource, shard: int) -> object:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        yield

    declared = opened_source(str(corpus.folder), "rlds").shards[0].declared_records
    monkeypatch.setattr(RldsSource, "scan", refused)
    found = plan(run, 0)
    assert declared is not None
    assert [record.record for record in found.records] == list(range(declared))
    assert {record.reason for record in found.records} == {"unreadable_file"}
    assert "Permission denied" in found.records[0].message
    # Where nothing is declared, one receipt stands for the file.
    source = opened_source(str(corpus.folder), "rlds")
    unknown = tuple(replace(shard, declared_records=None) for shard in source.shards)
    monkeypatch.setattr(
        "finedata.convert.planning.plan.opened_source", lambda *_: replace(source, shards=unknown)
    )
    assert len(plan(run, 0).records) == 1
