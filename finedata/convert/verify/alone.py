"""Checks of a dataset that need no source: whether it is whole, and agrees with itself.

Whoever has a dataset without what it was converted from (it was fetched, merged, or the source is
gone) can know that every file is there and readable to its last byte, and that counts, indices and
videos fit each other. Whether the numbers are the source's only `verify` can say.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from finedata.convert.account.output import damage_of
from finedata.convert.verify.report import VerifyReport
from finedata.store.dataset import open_dataset
from finedata.store.lerobot.layout import video_cameras, video_file

if TYPE_CHECKING:
    from pathlib import Path

    from finedata.store.dataset import Dataset
from finedata.store.tables.table_file import read_through

__all__ = ["check_counts", "check_indices", "verify_alone"]


def verify_alone(root: str | Path) -> VerifyReport:
    """Check a dataset against itself.

    Args:
        root: The dataset.

    Raises:
        UsageError: There is none, or it is not finished.
    """
    dataset = open_dataset(root)
    report = VerifyReport()
    report.note("the source: it was not given")
    with damage_of(root, report):
        check_counts(dataset, report)
    for part in dataset.parts:
        with damage_of(f"{root}/{part.path}", report):
            check_indices(dataset, part.name, report)
    for path in sorted(dataset.root.rglob("*.parquet")):
        if not path.name.startswith("."):
            with damage_of(path, report):
                read_through(path)
    _check_videos(dataset, report)
    with damage_of(root, report):
        counts = dataset.info.counts
        report.episodes, report.frames = counts["written"], counts["frames_written"]
    return report


def _check_videos(dataset: Dataset, report: VerifyReport) -> None:
    """Every video is there, and has the frames that the rows of its episodes need."""
    wanted: dict[Path, int] = {}
    for part in dataset.parts:
        with damage_of(f"{dataset.root}/{part.path}", report):
            rows = dataset.episodes.filter(pl.col("part") == part.name)
            names = [one for one in rows.collect_schema().names() if not one.startswith("stats/")]
            for row in rows.select(names).collect().iter_rows(named=True):
                for camera in video_cameras(row):
                    path = dataset.part_folder(part.name) / video_file(row, camera=camera)
                    end = row[f"videos/observation.images.{camera}/to_timestamp"]
                    wanted[path] = max(wanted.get(path, 0), round(end * row["fps"]))
    can_read = find_spec("av") is not None
    if wanted and not can_read:
        report.note("frames of videos: PyAV is not installed (the extra `video`)")
    for path, frames in sorted(wanted.items()):
        with damage_of(path, report):
            there = path.is_file()
            report.require(str(path), holds=there, wanted=f"a video of {frames} frames")
            if there and can_read:
                found = _frames_of(path)
                report.require(
                    f"{path}: frames", holds=found >= frames, wanted=f"{frames}, not {found}"
                )
                report.pictures += found


def _frames_of(path: Path) -> int:
    from finedata.store.videos.files import list_packets, opened_video

    with opened_video(path) as container:
        return int((~list_packets(container, str(path)).hidden).sum())


def check_counts(dataset: Dataset, report: VerifyReport) -> None:
    """Hold the counts of finedata.json, receipts and tables against each other."""
    counts = dataset.info.counts
    statuses = dict(dataset.receipts.group_by("status").len().collect().iter_rows())
    episodes, frames = dataset.episodes.select(pl.len(), pl.col("length").sum()).collect().row(0)
    report.expect("finedata.json found", counts["found"], counts["written"] + counts["failed"])
    report.expect("receipts written", statuses.get("written", 0), counts["written"])
    report.expect("receipts failed", statuses.get("failed", 0), counts["failed"])
    report.expect("rows of episodes", episodes, counts["written"])
    report.expect("sum of episodes.length", frames or 0, counts["frames_written"])
    report.expect(
        "frames read", counts["frames_read"], counts["frames_written"] + counts["frames_dropped"]
    )
    report.expect("rows of frames", dataset.frames.select(pl.len()).collect().item(), frames or 0)


def check_indices(dataset: Dataset, part: str, report: VerifyReport) -> None:
    """LeRobot finds rows by position: any gap shifts every later episode without a word."""
    rows = (
        dataset.episodes.filter(pl.col("part") == part)
        .select("episode_id", "episode_index", "dataset_from_index", "dataset_to_index", "length")
        .collect()
    )
    index = dataset.part_frames(part).select("index").collect()["index"].to_numpy()
    gapless = bool((index == np.arange(len(index))).all())
    report.require(f"{part}: frames.index", holds=gapless, wanted="0, 1, 2, ...")
    ends = np.cumsum(rows["length"].to_numpy())
    ordered = (rows["episode_index"].to_numpy() == np.arange(rows.height)).all()
    report.require(f"{part}: episodes.episode_index", holds=bool(ordered), wanted="0, 1, 2, ...")
    adds_up = bool((rows["dataset_to_index"].to_numpy() == ends).all())
    report.require(
        f"{part}: episodes.dataset_to_index", holds=adds_up, wanted="the sum of lengths so far"
    )
