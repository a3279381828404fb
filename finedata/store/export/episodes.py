"""What every exporter needs of a dataset: selected episodes by part, and pictures in right colours.

Parts and episodes keep the dataset's own order. A camera whose name ends in `_bgr` stores red and
blue exchanged (DESIGN: pixels are never re-encoded on the default path); an export exchanges them
and drops the ending, so that no reader downstream has to know.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl

from finedata.errors import ConformError, CorruptRecordError, UsageError
from finedata.store.episode import BGR_ENDING, is_swapped, right_picture, shown_camera
from finedata.store.lerobot.layout import Feature, picture_column, read_info
from finedata.store.merge.part_files import read_tasks
from finedata.store.nothing import nothing_to_export
from finedata.store.pictures import as_rgb
from finedata.store.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from finedata.store.dataset import Dataset
    from finedata.store.episode import Episode

__all__ = [
    "ExportPart",
    "ExportSummary",
    "camera_features",
    "export_parts",
    "right_frames",
    "right_pictures",
    "select_episodes",
    "summary_of_parts",
]

_PICTURES = picture_column("")
_VIDEO = "video"


class ExportSummary(Summary, msgspec.Struct, frozen=True, kw_only=True):
    """What an export wrote.

    Attributes:
        format: Name of the format.
        out: The folder, as it was given.
        parts: Folders of the parts below it; `.` where there is one.
        episodes: Episodes written.
        frames: Frames written.
        counts: Whatever a reader should know: `colours_exchanged`, `videos_encoded`,
            `undecodable_pictures`, `episodes_without_fine_grained` and so on; zeros are left out.
    """

    format: str
    out: str
    parts: list[str]
    episodes: int
    frames: int
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class ExportPart:
    """The selected episodes of one part.

    Attributes:
        name: The part's name in the dataset.
        folder: Where it goes below the output, `.` where it is the only one.
        embodiment: The robot.
        fps: Frames a second.
        features: Every stored column, as info.json declares it.
        infos: What info.json says of cameras beside that: depth, its scale, pixels; by column.
        tasks: Instruction by task_index, as the dataset has them.
        episodes: Rows of the episodes table (without statistics), by episode_index.
        stats: The same episodes' statistics of cameras, one column each.
    """

    name: str
    folder: str
    embodiment: str
    fps: float
    features: Mapping[str, Feature]
    infos: Mapping[str, dict[str, Any]]
    tasks: Mapping[int, str]
    episodes: list[dict[str, Any]]
    stats: pl.DataFrame = field(repr=False)

    @property
    def frames(self) -> int:
        """Frames of the selected episodes."""
        return sum(int(row["length"]) for row in self.episodes)


def summary_of_parts(
    parts: Sequence[ExportPart], *, format: str, out: Path, counts: Mapping[str, int]
) -> ExportSummary:
    """What an export of these parts wrote; counts that are zero are left out."""
    return ExportSummary(
        format=format,
        out=str(out),
        parts=[part.folder for part in parts],
        episodes=sum(len(part.episodes) for part in parts),
        frames=sum(part.frames for part in parts),
        counts={name: count for name, count in sorted(counts.items()) if count},
    )


def select_episodes(dataset: Dataset, *, where: str = "") -> list[str]:
    """Episode ids in the dataset's order, those only for which a SQL condition holds.

    Args:
        dataset: The dataset.
        where: A condition over the columns of `episodes`; it may name other tables in a
            subquery: `episode_id in (select episode_id from representatives)`. Empty means all.

    Raises:
        UsageError: The condition is wrong, or no episode meets it.
    """
    if not where.strip():
        return dataset.episodes.select("episode_id").collect()["episode_id"].to_list()
    chosen = set(dataset.episode_ids_where(where))
    everything: list[str] = dataset.episodes.select("episode_id").collect()["episode_id"].to_list()
    ids = [episode_id for episode_id in everything if episode_id in chosen]
    if not ids:
        raise UsageError(
            parameter="where",
            found=f"no episode for which {where} holds",
            wanted="at least one",
            next_command=f'finedata query {dataset.root} "select * from episodes limit 3"',
        )
    return ids


def export_parts(dataset: Dataset, *, episode_ids: Sequence[str]) -> list[ExportPart]:
    """Sort episodes by part; each part is one dataset of the target format.

    Args:
        dataset: The dataset.
        episode_ids: Which; the order is the dataset's own, whatever the order here.

    Raises:
        UsageError: An id is not of this dataset, or there are none.
    """
    chosen = dataset.episodes.filter(pl.col("episode_id").is_in(list(episode_ids))).collect()
    if not episode_ids:
        raise nothing_to_export(dataset)
    unknown = set(episode_ids) - set(chosen["episode_id"].to_list())
    if unknown:
        raise UsageError(
            place="episodes to export",
            found=f"{min(unknown)!r}",
            wanted="episodes of this dataset",
            next_command=f'finedata query {dataset.root} "select episode_id from episodes"',
        )
    picture_stats = [name for name in chosen.columns if name.startswith(f"stats/{_PICTURES}")]
    plain = [name for name in chosen.columns if not name.startswith("stats/")]
    present = [part for part in dataset.parts if chosen.filter(pl.col("part") == part.name).height]
    parts: list[ExportPart] = []
    for part in present:
        rows = chosen.filter(pl.col("part") == part.name).sort("episode_index")
        parts.append(
            ExportPart(
                name=part.name,
                folder="." if len(present) == 1 else part.path,
                embodiment=part.embodiment,
                fps=part.fps,
                features=dataset.features(part.name),
                infos=_infos(dataset.root / part.path),
                tasks=read_tasks(dataset.root / part.path),
                episodes=rows.select(plain).to_dicts(),
                # without the index a part that has no camera would have no rows here either
                stats=rows.select("episode_index", *picture_stats),
            )
        )
    return parts


def _infos(part: Path) -> dict[str, dict[str, Any]]:
    features = read_info(part)["features"]
    return {name: entry["info"] for name, entry in features.items() if entry.get("info")}


def camera_features(part: ExportPart) -> dict[str, Feature]:
    """The part's cameras, by the name in the dataset.

    Raises:
        ConformError: Two cameras would have one name once their colours are right.
    """
    cameras = {
        name.removeprefix(_PICTURES): feature
        for name, feature in part.features.items()
        if name.startswith(_PICTURES) and str(feature.dtype) in ("image", _VIDEO)
    }
    names = Counter(shown_camera(camera) for camera in cameras)
    doubled = [name for name, count in names.items() if count > 1]
    if doubled:
        raise ConformError(
            place=f"part {part.name}",
            found=f"cameras {doubled[0]} and {doubled[0]}{BGR_ENDING}",
            wanted="one of them, as both would be exported under one name",
        )
    return cameras


def right_pictures(episode: Episode, *, camera: str, counts: Counter[str]) -> list[bytes]:
    """A camera's encoded pictures with right colours, byte for byte where they were right.

    Args:
        episode: The episode; the camera's pictures are in `episode.pictures`.
        camera: Its name in the dataset.
        counts: Counts `colours_exchanged` up.
    """
    pictures = episode.pictures[camera]
    if not is_swapped(camera):
        return pictures
    counts["colours_exchanged"] += len(pictures)
    return [_exchanged_picture(camera, picture) for picture in pictures]


def _exchanged_picture(camera: str, picture: bytes) -> bytes:
    try:
        return right_picture(camera, picture)
    except CorruptRecordError:
        # Nothing to exchange; whoever needs its pixels counts and replaces it.
        return picture


def right_frames(
    episode: Episode, *, camera: str, shape: tuple[int, ...], counts: Counter[str]
) -> Iterator[np.ndarray]:
    """A camera's frames decoded, with right colours, one at a time.

    Args:
        episode: The episode.
        camera: Its name in the dataset.
        shape: (height, width, channels) of the feature: the size of the black frame that stands
            for a picture which does not decode (it is counted as `undecodable_pictures`).
        counts: Counted up.

    Yields:
        uint8 (height, width, 3), RGB.
    """
    for frame in episode.iter_frames(camera):
        if frame is None:
            counts["undecodable_pictures"] += 1
            yield np.zeros((shape[0], shape[1], 3), np.uint8)
        else:
            yield as_rgb(frame)
    if is_swapped(camera):
        counts["colours_exchanged"] += len(episode)
