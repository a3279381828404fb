"""What LeRobot shows of a converted dataset: its two decoders' ways to a frame, with PyAV alone."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import polars as pl
from sources.video import picture_number

from finedata.store.dataset import Dataset, open_dataset

__all__ = ["receipts_of", "shown_numbers"]


def shown_numbers(root: Path, camera: str) -> dict[str, list[int]]:
    """For each episode, by its number (`in#3`), the number that the picture of each row says.

    Both ways must show the same frame: the one whose time is `from_timestamp + k / fps` within
    1e-4 s, and the one whose number is that time times the average rate of the file's header.
    """
    dataset = open_dataset(root)
    locators = {
        identity: _named(locator)
        for identity, locator in dataset.receipts.select("episode_id", "locator")
        .collect()
        .iter_rows()
    }
    found: dict[str, list[int]] = {}
    for identity in dataset.episodes.select("episode_id").collect()["episode_id"]:
        found[locators[identity]] = _of_episode(dataset, identity, camera)
    return found


def _of_episode(dataset: Dataset, identity: str, camera: str) -> list[int]:
    episode = dataset.episode(identity)
    span = episode.videos[camera]
    with av.open(str(span.path)) as container:
        stream = container.streams.video[0]
        average = float(stream.average_rate)
        frames = [
            (float(frame.pts * stream.time_base), picture_number(frame.to_ndarray(format="rgb24")))
            for frame in container.decode(stream)
        ]
    times = np.array([time for time, _ in frames])
    numbers: list[int] = []
    for k in range(len(episode)):
        wanted = span.from_s + k / episode.fps
        nearest = int(np.argmin(np.abs(times - wanted)))
        assert abs(times[nearest] - wanted) <= 1e-4, f"{identity} has no frame at {wanted} s"
        assert nearest == round(wanted * average), f"{identity}, row {k}: two decoders, two frames"
        numbers.append(frames[nearest][1][0])
    return numbers


def _named(locator: str) -> str:
    return f"in#{locator.rpartition('#')[2]}"


def receipts_of(root: Path) -> dict[str, dict]:
    """Receipts by file and record, `file#record`, or by number (`in#3`) where it was written."""
    rows = open_dataset(root).receipts.sort("source_file", "source_record").collect()
    return {
        _named(row["locator"])
        if row["locator"]
        else f"{row['source_file']}#{row['source_record']}": row
        for row in rows.with_columns(pl.col("flags").list.sort()).iter_rows(named=True)
    }
