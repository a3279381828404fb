"""The assignment decides places, and decides them well."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finedata.convert.context import ConvertOptions, RunContext
from finedata.convert.planning import assign
from finedata.convert.planning.assign import Assigner, EpisodeJob, FileJob
from finedata.convert.planning.layout import PartLayout
from finedata.convert.planning.plan import RecordPlan, ShardPlan
from finedata.convert.planning.selection import Selection
from finedata.convert.videos.clips import ClipPlan
from finedata.readers.episode import Shard
from finedata.schema.language_spec import EpisodeLanguage, Instruction
from finedata.store.lerobot.layout import Feature

CONTEXT = RunContext(sources=(), out="", options=ConvertOptions())
LIMIT = assign.DATA_FILE_MB * 1024 * 1024
STATE = {"observation.state": Feature("float32", (2,), ("x", "y"))}


@dataclass(frozen=True)
class FakeSource:
    """The part of a source that the assignment asks for."""

    shards: list[Shard]
    one_part: bool


def layout(
    embodiment: str = "arm", *, fps: float = 10.0, source: int = 0, variant: int = 0
) -> PartLayout:
    return PartLayout(
        source=source,
        variant=variant,
        embodiment=embodiment,
        fps=fps,
        cameras=(),
        features=STATE,
    )


def goal(text: str) -> EpisodeLanguage:
    said = Instruction(text=text, original=None, language="en", kind="goal")
    other = Instruction(text=f"{text}, please", original=None, language="en", kind="alternative")
    return EpisodeLanguage(instructions=(said, other) if text else ())


def record(
    number: int,
    *,
    megabytes: int = 1,
    good: bool = True,
    task: str = "go",
    split: str = "",
    layout: int = 0,
    clips: tuple[ClipPlan, ...] = (),
) -> RecordPlan:
    return RecordPlan(
        record=number,
        offset=0,
        length=0,
        episode_id=f"id-{number}",
        reason=None if good else "zero_steps",
        layout=layout if good else -1,
        frames_read=7,
        frames=7 if good else 0,
        language=goal(task),
        picture_bytes=megabytes << 20,
        split=split,
        clips=clips,
    )


def assign_all(
    shards: list[list[RecordPlan]],
    selection: Selection | None = None,
    *,
    layouts: list[PartLayout] | None = None,
    one_part: bool = True,
) -> tuple[Assigner, list[RecordPlan | EpisodeJob], list[FileJob]]:
    source = FakeSource([Shard(f"f{number}", 0) for number in range(len(shards))], one_part)
    assigner = Assigner(CONTEXT, [source], ["x"], selection or Selection())
    placed: list[RecordPlan | EpisodeJob] = []
    files: list[FileJob] = []
    for number, records in enumerate(shards):
        plan = ShardPlan(source=0, shard=number, layouts=layouts or [layout()], records=records)
        some, complete = assigner.add(plan)
        placed += some
        files += complete
    return assigner, placed, files + assigner.rest()


def jobs_of(placed: list[RecordPlan | EpisodeJob]) -> list[EpisodeJob]:
    return [item for item in placed if isinstance(item, EpisodeJob)]


@settings(deadline=None)
@given(sizes=st.lists(st.lists(st.integers(0, 150), max_size=6), max_size=6))
def test_files_are_filled_in_order_and_never_over(sizes: list[list[int]]) -> None:
    number = iter(range(1000))
    shards = [
        [record(next(number), megabytes=size, good=size % 7 != 0) for size in shard]
        for shard in sizes
    ]
    assigner, placed, files = assign_all(shards)
    jobs = jobs_of(placed)
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
    assigner, placed, _ = assign_all([records])
    (part,) = assigner.parts
    assert list(part.tasks) == ["b", "a", ""]
    assert [job.task_index for job in jobs_of(placed)] == [0, 1, 0, 2, 1]


def test_splits_are_ranges_of_episodes() -> None:
    shards = [[record(10 * s + i, split=f"s{s // 2}") for i in range(3)] for s in range(4)]
    (part,) = assign_all(shards)[0].parts
    assert part.splits == [("s0", 0, 6), ("s1", 6, 12)]


def test_selection_by_position_counts_failed_ones_too() -> None:
    shards = [[record(0), record(1, good=False)], [record(2), record(3)]]
    assigner, placed, _ = assign_all(shards, Selection(ranges=((1, 2),)))
    assert [getattr(item, "episode_index", "failed") for item in placed] == ["failed", 0]
    assert assigner.finished


def test_what_was_asked_for_and_is_not_there_is_said() -> None:
    shards = [[record(0), record(1)], [record(2)]]
    asked = Selection(ranges=((1, 1), (2, 5), (9, 9)), ids=frozenset({"id-0", "id-77"}))
    assigner, placed, _ = assign_all(shards, asked)
    assert len(placed) == 3
    assert assigner.unmatched() == ["2-5", "9", "id-77"]
    assert assign_all(shards)[0].unmatched() == []


def test_most_stops_the_plan() -> None:
    shards = [[record(0), record(1, good=False), record(2)], [record(3)]]
    assigner, placed, files = assign_all(shards, Selection(most=2))
    assert len(placed) == 3
    assert assigner.finished
    assert len(files) == 1


def test_without_splits_all_is_for_training() -> None:
    (part,) = assign_all([[record(0), record(1)]])[0].parts
    assert part.splits == [("train", 0, 2)]


TWO = [layout("arm"), layout("arm", fps=30.0), layout("humanoid")]


def test_every_layout_is_a_part_with_its_own_numbers() -> None:
    kinds = [0, 1, 0, 2, 1, 0]
    records = [record(i, layout=kind, task=f"t{i % 2}") for i, kind in enumerate(kinds)]
    # The second shard met the layouts in another order.
    other = ShardPlan(
        source=0,
        shard=1,
        layouts=[TWO[2], TWO[0]],
        records=[record(6, layout=0), record(7, layout=1)],
    )
    source = FakeSource([Shard("f0", 0), Shard("f1", 0)], one_part=False)
    assigner = Assigner(CONTEXT, [source], ["x"], Selection())
    placed, _ = assigner.add(ShardPlan(source=0, shard=0, layouts=TWO, records=records))
    more, _ = assigner.add(other)
    jobs = jobs_of(placed + more)
    assert [job.part for job in jobs] == [*kinds, 2, 0]
    assert [job.episode_index for job in jobs] == [0, 0, 1, 0, 1, 2, 1, 3]
    assert [job.first_index for job in jobs] == [7 * job.episode_index for job in jobs]
    # Same robot, other rate: another dataset of that robot.
    assert [part.name for part in assigner.parts] == ["arm", "arm_2", "humanoid"]
    assert [part.path for part in assigner.parts] == ["arm", "arm_2", "humanoid"]
    assert [list(part.tasks) for part in assigner.parts] == [
        ["t0", "t1", "go"],
        ["t1", "t0"],
        ["t1", "go"],
    ]
    assert [(part.episodes, part.frames) for part in assigner.parts] == [(4, 28), (2, 14), (2, 14)]
    files = assigner.rest()
    assert [(file.part, file.file_number, file.sequence) for file in files] == [
        (0, 0, 0), (1, 0, 1), (2, 0, 2),
    ]  # fmt: skip
    assert [file.layout for file in files] == TWO
    assert [[job.episode_index for job in file.episodes] for file in files] == [
        [0, 1, 2, 3], [0, 1], [0, 1],
    ]  # fmt: skip


@settings(deadline=None)
@given(
    records=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 60)), max_size=30),
    cut=st.integers(0, 30),
)
def test_parts_fill_their_files_as_if_they_were_alone(
    records: list[tuple[int, int]], cut: int
) -> None:
    planned = [record(i, layout=kind, megabytes=mb) for i, (kind, mb) in enumerate(records)]
    shards = [planned[:cut], planned[cut:]]
    _, placed, files = assign_all(shards, layouts=TWO, one_part=False)
    for number in {job.part for job in jobs_of(placed)}:
        mine = [job for job in jobs_of(placed) if job.part == number]
        kind = mine[0].plan.layout
        alone = assign_all([[job.plan for job in mine]], layouts=TWO, one_part=False)[2]
        together = [file for file in files if file.part == number]
        assert [file.file_number for file in together] == list(range(len(together)))
        assert [[job.plan for job in file.episodes] for file in together] == [
            [job.plan for job in file.episodes] for file in alone
        ]
        assert {job.plan.layout for job in mine} == {kind}
    assert sorted(file.sequence for file in files) == list(range(len(files)))
    assert [file.sequence for file in files] == list(range(len(files)))


def test_another_layout_gets_a_part_beside_the_root() -> None:
    records = [record(0), record(1, layout=1), record(2)]
    assigner, placed, _ = assign_all([records], layouts=TWO)
    assert [part.path for part in assigner.parts] == [".", "arm_2"]
    first, odd, last = placed
    assert [job.part for job in jobs_of([first, odd, last])] == [0, 1, 0]
    assert [job.episode_index for job in jobs_of([first, last])] == [0, 1]


def test_several_sources_are_parts_named_after_them() -> None:
    sources = [FakeSource([Shard("f", 0)], one_part=True) for _ in range(2)]
    assigner = Assigner(CONTEXT, sources, ["x", "y"], Selection())
    for number in range(2):
        plan = ShardPlan(
            source=number,
            shard=0,
            layouts=[layout(source=number)],
            records=[record(number)],
        )
        (job,), _ = assigner.add(plan)
        assert isinstance(job, EpisodeJob)
        assert (job.source, job.part, job.episode_index) == (number, number, 0)
    assert [(part.name, part.path) for part in assigner.parts] == [
        ("x-arm", "x-arm"),
        ("y-arm", "y-arm"),
    ]


def test_one_id_twice_keeps_the_first() -> None:
    again = record(0)
    _, placed, _ = assign_all([[record(0), record(1)], [again]])
    assert len(jobs_of(placed)) == 2
    (failed,) = [item for item in placed if isinstance(item, RecordPlan)]
    assert failed.reason == "duplicate_id"
    assert "f1, record 0: the id id-0" in failed.message
    assert "f0, record 0, which is kept" in failed.message


def clip(file: str, *, camera: str = "top", mode: str = "link", from_s: float = 0.0) -> ClipPlan:
    return ClipPlan(
        camera=camera,
        feature=f"videos/{camera}",
        file=file,
        size=9,
        mode=mode,
        from_s=from_s,
        codec="h264",
        sha256="",
    )


def test_a_linked_file_that_episodes_share_keeps_one_number() -> None:
    spans = [("a", 0.0), ("a", 0.7), ("b", 0.0), ("a", 1.4), ("b", 0.7)]
    records = [record(i, clips=(clip(file, from_s=at),)) for i, (file, at) in enumerate(spans)]
    _, placed, _ = assign_all([records[:2], records[2:]])
    clips = [job.clips[0] for job in jobs_of(placed)]
    assert [one.file_number for one in clips] == [0, 0, 1, 0, 1]
    assert [one.write for one in clips] == [True, False, True, False, False]
    assert [one.from_s for one in clips] == [at for _, at in spans]
    # Seven frames at ten a second.
    assert [one.to_s for one in clips] == pytest.approx([at + 0.7 for _, at in spans])


def test_what_is_written_anew_is_a_file_for_each_episode_and_camera() -> None:
    modes = ["remux", "remux", "link", "transcode", "link"]
    records = [
        record(i, clips=(clip("a", mode=mode), clip("a", camera="wrist", mode="remux")))
        for i, mode in enumerate(modes)
    ]
    _, placed, _ = assign_all([records])
    top = [job.clips[0] for job in jobs_of(placed)]
    assert [one.file_number for one in top] == [0, 1, 2, 3, 2]
    assert [one.write for one in top] == [True, True, True, True, False]
    wrist = [job.clips[1] for job in jobs_of(placed)]
    assert [one.file_number for one in wrist] == [0, 1, 2, 3, 4]
    assert all(one.write for one in wrist)


def test_one_file_may_be_linked_by_two_cameras_and_two_parts() -> None:
    both = (clip("a"), clip("a", camera="wrist"))
    records = [record(0, clips=both), record(1, layout=1, clips=both)]
    _, placed, _ = assign_all([records], layouts=TWO, one_part=False)
    for job in jobs_of(placed):
        assert [(one.file_number, one.write) for one in job.clips] == [(0, True), (0, True)]
    # The rate is the part's.
    assert [job.clips[0].to_s for job in jobs_of(placed)] == pytest.approx([0.7, 7 / 30])
