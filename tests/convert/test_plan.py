"""The plan decides places, and decides them well."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finedata.convert import plan
from finedata.convert.context import ConvertOptions, RunContext
from finedata.convert.plan import (
    Assigner,
    EpisodeJob,
    FileJob,
    RecordPlan,
    Selection,
    ShardPlan,
    parse_selection,
)
from finedata.errors import UsageError

CONTEXT = RunContext(
    address="", out="", converter_text="", converter_origin="", options=ConvertOptions()
)
LIMIT = plan.DATA_FILE_MB * 1024 * 1024


def record(number: int, *, megabytes: int = 1, good: bool = True, task: str = "go") -> RecordPlan:
    return RecordPlan(
        record=number,
        offset=0,
        length=0,
        episode_id=f"id-{number}",
        reason=None if good else "zero_steps",
        frames_read=7,
        frames=7 if good else 0,
        instructions=(task,) if task else (),
        picture_bytes=megabytes << 20,
    )


def assign(
    shards: list[list[RecordPlan]], selection: Selection | None = None
) -> tuple[Assigner, list[RecordPlan | EpisodeJob], list[FileJob]]:
    assigner = Assigner(CONTEXT, selection or Selection())
    placed: list[RecordPlan | EpisodeJob] = []
    files: list[FileJob] = []
    for number, records in enumerate(shards):
        shard = ShardPlan(shard=number, records=records)
        some, complete = assigner.add(shard, file=f"f{number}", split=f"s{number // 2}", source="x")
        placed += some
        files += complete
    return assigner, placed, files + assigner.rest()


@settings(deadline=None)
@given(sizes=st.lists(st.lists(st.integers(0, 150), max_size=6), max_size=6))
def test_files_are_filled_in_order_and_never_over(sizes: list[list[int]]) -> None:
    number = iter(range(1000))
    shards = [
        [record(next(number), megabytes=size, good=size % 7 != 0) for size in shard]
        for shard in sizes
    ]
    assigner, placed, files = assign(shards)
    jobs = [item for item in placed if isinstance(item, EpisodeJob)]
    assert [job for file in files for job in file.episodes] == jobs
    assert [file.file_number for file in files] == list(range(len(files)))
    assert [job.episode_index for job in jobs] == list(range(len(jobs)))
    assert [job.first_index for job in jobs] == [7 * i for i in range(len(jobs))]
    assert len(placed) == sum(map(len, shards))
    assert (assigner.written, assigner.frames) == (len(jobs), 7 * len(jobs))
    weights = [sum(job.plan.picture_bytes for job in file.episodes) for file in files]
    for file, weight in zip(files, weights, strict=True):
        assert weight <= LIMIT or len(file.episodes) == 1
    for first, second, weight in zip(files, files[1:], weights, strict=False):
        # A file is closed only when the next episode does not fit.
        assert weight + second.episodes[0].plan.picture_bytes + 10_000 > LIMIT
        assert first.episodes


def test_tasks_are_numbered_as_they_appear() -> None:
    records = [record(i, task=task) for i, task in enumerate(["b", "a", "b", "", "a"])]
    assigner, placed, _ = assign([records])
    assert list(assigner.tasks) == ["b", "a", ""]
    assert [item.task_index for item in placed if isinstance(item, EpisodeJob)] == [0, 1, 0, 2, 1]


def test_splits_are_ranges_of_episodes() -> None:
    shards = [[record(10 * s + i) for i in range(3)] for s in range(4)]
    assigner, _, _ = assign(shards)
    assert assigner.splits == [("s0", 0, 6), ("s1", 6, 12)]


def test_selection_by_position_counts_failed_ones_too() -> None:
    shards = [[record(0), record(1, good=False)], [record(2), record(3)]]
    assigner, placed, _ = assign(shards, Selection(ranges=((1, 2),)))
    assert [getattr(item, "episode_index", "failed") for item in placed] == ["failed", 0]
    assert assigner.finished


def test_what_was_asked_for_and_is_not_there_is_said() -> None:
    shards = [[record(0), record(1)], [record(2)]]
    asked = Selection(ranges=((1, 1), (2, 5), (9, 9)), ids=frozenset({"id-0", "id-77"}))
    assigner, placed, _ = assign(shards, asked)
    assert len(placed) == 3
    assert assigner.unmatched() == ["2-5", "9", "id-77"]
    assert assign(shards)[0].unmatched() == []


def test_most_stops_the_plan() -> None:
    shards = [[record(0), record(1, good=False), record(2)], [record(3)]]
    assigner, placed, files = assign(shards, Selection(most=2))
    assert len(placed) == 3
    assert assigner.finished
    assert len(files) == 1


@pytest.mark.parametrize("text", ["a", "1-", "-1", "1-b", "bridge_v2-123", "1,2"])
def test_what_is_no_selection(text: str) -> None:
    with pytest.raises(UsageError, match="--episodes"):
        parse_selection(ConvertOptions(episodes=(text,)))


def test_what_is_one() -> None:
    chosen = parse_selection(
        ConvertOptions(episodes=("7", "10-19", "x-" + "0" * 16), max_episodes=3)
    )
    assert chosen.ranges == ((7, 7), (10, 19))
    assert chosen.ids == {"x-" + "0" * 16}
    assert chosen.most == 3
