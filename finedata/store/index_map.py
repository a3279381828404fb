"""The map between LeRobot's indices and `episode_id`, both ways.

A LeRobot reader speaks of episode 12, or of row 4711, of one part; everything in finedata speaks
of an `episode_id`. Either finds an episode's place: part, episode index, rows, and the files where
its frames and pictures are.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from finedata.errors import UsageError
from finedata.store.lerobot.layout import data_file, picture_column, video_cameras, video_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.store.dataset import Dataset

__all__ = [
    "EpisodePlace",
    "VideoPlace",
    "episode_places",
    "places_of_frames",
    "places_of_ids",
    "places_of_indices",
]

_VIDEOS = f"videos/{picture_column('')}"


class VideoPlace(msgspec.Struct, frozen=True, kw_only=True):
    """Where a camera's frames of an episode are.

    Attributes:
        camera: The camera.
        file: The video file, relative to the dataset.
        from_s: When the first frame is shown, in seconds.
        to_s: One frame after the last.
    """

    camera: str
    file: str
    from_s: float
    to_s: float


class EpisodePlace(msgspec.Struct, frozen=True, kw_only=True):
    """An episode by its id and by LeRobot's numbers.

    Attributes:
        episode_id: Its name in every finedata table.
        part: Its part.
        episode_index: LeRobot's number of it in that part.
        first_index: LeRobot's number (`index`) of its first row in that part.
        last_index: The same of its last row, itself included.
        data_file: The file of its rows, relative to the dataset.
        videos: Its video files; none where pictures are in the rows.
    """

    episode_id: str
    part: str
    episode_index: int
    first_index: int
    last_index: int
    data_file: str
    videos: list[VideoPlace]


def episode_places(dataset: Dataset, *, where: str = "") -> list[EpisodePlace]:
    """Places of all episodes, or of those for which a condition holds, in the dataset's order.

    Args:
        dataset: The dataset.
        where: SQL condition over `episodes`; empty means all.

    Raises:
        UsageError: The condition is wrong.

    Example:
        >>> episode_places(finedata.open("bridge"))[0].episode_index  # doctest: +SKIP
        0
    """
    if not where.strip():
        return _places(dataset, dataset.episodes)
    found = dataset.episode_ids_where(where)
    return _places(dataset, dataset.episodes.filter(pl.col("episode_id").is_in(found)))


def places_of_ids(dataset: Dataset, *, episode_ids: Sequence[str]) -> list[EpisodePlace]:
    """Places of some episodes, in the order in which they are given.

    Raises:
        UsageError: One of them is not in this dataset.
    """
    rows = dataset.episodes.filter(pl.col("episode_id").is_in(list(episode_ids)))
    known = {place.episode_id: place for place in _places(dataset, rows)}
    for episode_id in episode_ids:
        if episode_id not in known:
            raise UsageError(
                parameter="id",
                found=f"{episode_id!r}",
                wanted="an episode of this dataset",
                next_command=f"finedata episodes {dataset.root}",
            )
    return [known[episode_id] for episode_id in episode_ids]


def places_of_indices(
    dataset: Dataset, *, part: str | None = None, episode_indices: Sequence[int]
) -> list[EpisodePlace]:
    """Places of LeRobot's episodes of a part, in the order in which they are given.

    Args:
        dataset: The dataset.
        part: Name of the part; needless where there is one.
        episode_indices: LeRobot's `episode_index`.

    Raises:
        UsageError: No such part, or no such episode in it.
    """
    name = _part_name(dataset, part)
    here = pl.col("part") == name
    rows = dataset.episodes.filter(here & pl.col("episode_index").is_in(list(episode_indices)))
    known = {place.episode_index: place for place in _places(dataset, rows)}
    _check_numbers(dataset, name, episode_indices, known, what="episode_index")
    return [known[number] for number in episode_indices]


def places_of_frames(
    dataset: Dataset, *, part: str | None = None, indices: Sequence[int]
) -> list[EpisodePlace]:
    """Places of the episodes that rows of a part belong to, in the order of the rows given.

    Args:
        dataset: The dataset.
        part: Name of the part; needless where there is one.
        indices: LeRobot's `index` of rows.

    Raises:
        UsageError: No such part, or no such row in it.
    """
    name = _part_name(dataset, part)
    places = _places(dataset, dataset.episodes.filter(pl.col("part") == name))
    places.sort(key=lambda place: place.first_index)
    found: dict[int, EpisodePlace] = {}
    for index in indices:
        before = bisect_right(places, index, key=lambda place: place.first_index)
        if before and index <= places[before - 1].last_index:
            found[index] = places[before - 1]
    _check_numbers(dataset, name, indices, found, what="index")
    return [found[index] for index in indices]


def _check_numbers(
    dataset: Dataset,
    part: str,
    asked: Sequence[int],
    known: dict[int, EpisodePlace],
    *,
    what: str,
) -> None:
    entry = next(entry for entry in dataset.parts if entry.name == part)
    count = entry.episodes if what == "episode_index" else entry.frames
    for number in asked:
        if number not in known:
            raise UsageError(
                place=f"{what} of part {part}", found=f"{number}", wanted=f"0 to {count - 1}"
            )


def _part_name(dataset: Dataset, part: str | None) -> str:
    names = [entry.name for entry in dataset.parts]
    if part is None and len(names) == 1:
        return names[0]
    if part not in names:
        raise UsageError(
            place="part",
            found="none named" if part is None else f"{part!r}",
            wanted=f"one of {', '.join(names)}",
        )
    return part


def _places(dataset: Dataset, rows: pl.LazyFrame) -> list[EpisodePlace]:
    names = [name for name in rows.collect_schema().names() if not name.startswith("stats/")]
    paths = {part.name: part.path for part in dataset.parts}
    return [_place(paths[row["part"]], row) for row in rows.select(names).collect().to_dicts()]


def _place(folder: str, row: dict[str, Any]) -> EpisodePlace:
    below = "" if folder == "." else f"{folder}/"
    videos = [
        VideoPlace(
            camera=camera,
            file=f"{below}{video_file(row, camera=camera)}",
            from_s=row[f"{_VIDEOS}{camera}/from_timestamp"],
            to_s=row[f"{_VIDEOS}{camera}/to_timestamp"],
        )
        for camera in sorted(video_cameras(row))
    ]
    return EpisodePlace(
        episode_id=row["episode_id"],
        part=row["part"],
        episode_index=row["episode_index"],
        first_index=row["dataset_from_index"],
        last_index=row["dataset_to_index"] - 1,
        data_file=f"{below}{data_file(row)}",
        videos=videos,
    )
