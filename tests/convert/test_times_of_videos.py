"""Which picture a row shows, where files begin late and descriptions contradict each other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from convert.lerobot_view import receipts_of, shown_numbers
from hypothesis import given, settings
from hypothesis import strategies as st
from sources import generic_lerobot
from sources.generic_lerobot import CAMERA
from sources.video import numbered_picture, write_video

from finedata.convert.run import convert

EPISODES = "meta/episodes/chunk-000/file-000.parquet"
SHARED = f"videos/{CAMERA}/chunk-000/file-000.mp4"


def wanted(folder: Path, lengths: list[int]) -> dict[str, list[int]]:
    return {
        f"{folder.name}#{number}": [100 * number + k for k in range(length)]
        for number, length in enumerate(lengths)
    }


def shared(folder: Path, lengths: list[int], **video: Any) -> None:
    """A v3.0 dataset whose episodes of `lengths` lie in one file, written as `video` says."""
    generic_lerobot.write(
        folder, episodes=len(lengths), length=lengths[0], episodes_per_file=len(lengths)
    )
    pictures = [
        numbered_picture(100 * number + k)
        for number, length in enumerate(lengths)
        for k in range(length)
    ]
    write_video(folder / SHARED, pictures, fps=10, **video)


def edit_starts(folder: Path, edit: Callable[[list[float]], list[float]]) -> None:
    name = f"videos/{CAMERA}/from_timestamp"
    table = pq.read_table(folder / EPISODES)
    starts = edit(table[name].to_pylist())
    at = table.schema.get_field_index(name)
    pq.write_table(table.set_column(at, name, pa.array(starts, pa.float64())), folder / EPISODES)


def converted(folder: Path, out: Path) -> Path:
    shutil.rmtree(out, ignore_errors=True)
    convert("lerobot", input=folder, out=out)
    return out


@pytest.mark.parametrize("edit_list", ["0", "1"])
@pytest.mark.parametrize(("start_s", "b_frames"), [(0.0, 3), (0.2, 2), (10.0, 0)])
def test_the_first_frame_of_a_shared_file_is_its_zero(
    edit_list: str, start_s: float, b_frames: int, tmp_path: Path
) -> None:
    shared(
        tmp_path / "in",
        [16, 20, 24],
        start_s=start_s,
        b_frames=b_frames,
        options={"use_editlist": edit_list, "avoid_negative_ts": "disabled"},
    )
    out = converted(tmp_path / "in", tmp_path / "out")
    assert shown_numbers(out, "front") == wanted(tmp_path / "in", [16, 20, 24])
    assert all("video_start_differs" not in row["flags"] for row in receipts_of(out).values())


def test_a_file_of_one_episode_that_begins_late(tmp_path: Path) -> None:
    generic_lerobot.write(tmp_path / "in", version="v2.1")
    for number, length in enumerate([16, 20, 24]):
        pictures = [numbered_picture(100 * number + k) for k in range(length)]
        name = f"videos/chunk-000/{CAMERA}/episode_{number:06d}.mp4"
        write_video(tmp_path / "in" / name, pictures, fps=10, start_s=10.0)
    out = converted(tmp_path / "in", tmp_path / "out")
    assert shown_numbers(out, "front") == wanted(tmp_path / "in", [16, 20, 24])


def test_a_header_of_another_average_rate_is_not_linked(tmp_path: Path) -> None:
    """Behind the rows the file goes on at half the rate: LeRobot's default decoder would be off."""
    generic_lerobot.write(tmp_path / "in", version="v2.1", episodes=1)
    times = np.concatenate([np.arange(16) / 10, 1.6 + np.arange(16) / 5])
    video = tmp_path / "in" / f"videos/chunk-000/{CAMERA}/episode_000000.mp4"
    write_video(video, 32, fps=10, times_s=times)
    out = converted(tmp_path / "in", tmp_path / "out")
    assert shown_numbers(out, "front") == wanted(tmp_path / "in", [16])


def test_a_start_between_frames_is_settled_by_the_lengths_and_said(tmp_path: Path) -> None:
    shared(tmp_path / "in", [16, 20, 24])
    edit_starts(tmp_path / "in", lambda starts: [s + 0.06 * k for k, s in enumerate(starts)])
    out = converted(tmp_path / "in", tmp_path / "out")
    flags = [row["flags"] for row in receipts_of(out).values()]
    assert [("video_start_differs" in row) for row in flags] == [False, True, True]
    shown = shown_numbers(out, "front")
    assert shown["in#1"] == [100 + k for k in range(20)]
    assert shown["in#2"] == [200 + k for k in range(24)]


def test_a_start_between_frames_that_nothing_settles_is_refused(tmp_path: Path) -> None:
    shared(tmp_path / "in", [16, 20, 24])
    pictures = [numbered_picture(k) for k in range(90)]  # not the sum of the lengths
    write_video(tmp_path / "in" / SHARED, pictures, fps=10)
    edit_starts(tmp_path / "in", lambda starts: [starts[0], starts[1] + 0.05, starts[2] + 0.01])
    receipts = receipts_of(converted(tmp_path / "in", tmp_path / "out"))
    assert [(row["status"], row["reason"]) for row in receipts.values()] == [
        ("written", None),
        ("failed", "unequal_lengths"),
        ("written", None),
    ]
    assert receipts["in#2"]["flags"] == ["video_start_differs"]
    assert "none at 1.65" in receipts["data/chunk-000/file-000.parquet#1"]["message"]


@settings(max_examples=6, deadline=None)
@given(
    shifts=st.lists(st.integers(-8, 8), min_size=3, max_size=3),
    start_s=st.sampled_from([0.0, 0.3]),
)
def test_a_start_is_followed_exactly_or_flagged(
    shifts: list[int], start_s: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Starts off by quarters of a frame: never another picture without a word."""
    root = tmp_path_factory.mktemp("shifted")
    shared(root / "in", [16, 20, 24], start_s=start_s)
    edit_starts(
        root / "in",
        lambda starts: [s + q * 0.025 for s, q in zip(starts, shifts, strict=True)],
    )
    out = converted(root / "in", root / "out")
    receipts = receipts_of(out)
    truth, shown = wanted(root / "in", [16, 20, 24]), shown_numbers(out, "front")
    assert len(receipts) == 3
    for number, shift in enumerate(shifts):
        key = f"in#{number}"
        if key not in shown:
            continue  # refused: its receipt names the start
        flagged = "video_start_differs" in receipts[key]["flags"]
        assert flagged == (shift != 0)
        assert flagged or shown[key] == truth[key]


def test_rows_that_bear_another_number_than_their_file_are_flagged(tmp_path: Path) -> None:
    generic_lerobot.write(tmp_path / "in", version="v2.1", episodes=4)
    data, videos = tmp_path / "in/data/chunk-000", tmp_path / "in/videos/chunk-000" / CAMERA
    (data / "episode_000003.parquet").replace(data / "episode_000002.parquet")
    (videos / "episode_000003.mp4").unlink()
    write_video(videos / "episode_000002.mp4", 40, fps=10)
    receipts = receipts_of(converted(tmp_path / "in", tmp_path / "out"))
    assert receipts["in#2"]["flags"] == [
        "declared_length_differs",
        "episode_number_differs",
        "task_differs",
        "video_longer",
    ]
    assert receipts["in#0"]["flags"] == receipts["in#1"]["flags"] == []


def test_two_episodes_in_the_file_of_one_are_refused(tmp_path: Path) -> None:
    generic_lerobot.write(tmp_path / "in", version="v2.1")
    data = tmp_path / "in/data/chunk-000"
    two = [pq.read_table(data / f"episode_00000{number}.parquet") for number in (1, 2)]
    pq.write_table(pa.concat_tables(two), data / "episode_000001.parquet")
    receipts = receipts_of(converted(tmp_path / "in", tmp_path / "out"))
    row = receipts["data/chunk-000/episode_000001.parquet#0"]
    assert (row["status"], row["reason"]) == ("failed", "framing_error")
    assert "the episodes 1, 2" in row["message"]


def test_whole_numbers_that_pandas_made_floats_are_numbers(tmp_path: Path) -> None:
    """A column with one gap is all floats: files, lengths and starts are still what they say."""
    generic_lerobot.write(tmp_path / "in", episodes=4)
    path = tmp_path / "in" / EPISODES
    table = pq.read_table(path)
    for name in table.column_names:
        if name.endswith("_index") or name == "length":
            at = table.schema.get_field_index(name)
            table = table.set_column(at, name, table[name].cast(pa.float64()))
    pq.write_table(table, path)
    summary = convert("lerobot", input=tmp_path / "in", out=tmp_path / "out")
    assert (summary.episodes, summary.missing_shards) == (4, [])
    assert shown_numbers(tmp_path / "out", "front") == wanted(tmp_path / "in", [16, 20, 24, 28])


def test_a_declared_length_that_is_untrue_is_said(tmp_path: Path) -> None:
    generic_lerobot.write(tmp_path / "in", version="v2.1")
    path = tmp_path / "in/meta/episodes.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[1]["length"] += 5
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    receipts = receipts_of(converted(tmp_path / "in", tmp_path / "out"))
    assert [row["flags"] for row in receipts.values()] == [[], ["declared_length_differs"], []]
