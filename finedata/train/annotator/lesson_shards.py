# pyright: basic, reportMissingImports=false
"""Shards whose samples are episodes as a source of lessons: their words, and frames of their clips.

Words are those of a text revision, which keeps steps where a sample is an episode. Where shards and
dataset hold the same the lessons are the same; pictures of a clip that had to be encoded are as
good as that. Which episodes are held out was decided when the shards were made.
"""

from __future__ import annotations

import io
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import polars as pl

from finedata.annotate.asking.pictures import EpisodePictures, encoded_frame
from finedata.annotate.results import EpisodeContext
from finedata.annotate.selection import usable_steps
from finedata.errors import SourceError, UsageError
from finedata.store.videos.frames import iter_frames

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from finedata.annotate.asking.frames import FrameSettings
    from finedata.schema.shards_file import ShardSet, Side
    from finedata.shard.shards import Shards

_ARMS = ("left", "right")
_STEP_KINDS = ("subtask", "primitive")
_ORDER = {
    "steps": ("start_frame", "step_index", "step_id"),
    "facts": ("start_frame", "step_index", "fact_id"),
}


class OfShards:
    """Shards as a source of lessons; see `LessonSource`.

    Args:
        shards: The shards.

    Raises:
        UsageError: Their samples are steps, or their words hold no steps.
    """

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        if shards.document.sample != "episode":
            raise UsageError(
                parameter="shards",
                place=str(shards.root),
                found="shards whose samples are time steps",
                wanted="shards of episodes, or a dataset: an annotator learns from whole episodes",
                next_command="finedata shard DATASET --out SHARDS --type episode",
            )
        text = shards.text_revision().revision
        self._text = {
            name: {table: self._table(name, table, text) for table in ("facts", "steps")}
            for name in shards.sets
        }
        self._rows = {
            row["episode_id"]: row for name in shards.sets for row in self._episodes(name)
        }

    def ids(self, side: Side) -> list[str]:
        """Episodes of a side, sorted."""
        return sorted(name for name, row in self._rows.items() if row["side"] == side)

    def contexts(self, ids: Sequence[str]) -> Iterator[EpisodeContext]:
        """See `LessonSource`."""
        for episode_id in ids:
            row = self._rows[episode_id]
            told = self._of(row, "steps").filter(
                (pl.col("origin") == "source") & pl.col("kind").is_in(_STEP_KINDS)
            )
            rows = told.sort("step_index").to_dicts()
            yield EpisodeContext(row=row, source_steps=usable_steps(rows, frames=row["length"]))

    def rows(self, table: str, ids: Sequence[str]) -> Mapping[str, list[dict[str, Any]]]:
        """See `LessonSource`."""
        found: dict[str, list[dict[str, Any]]] = {}
        for episode_id in ids:
            rows = self._of(self._rows[episode_id], table)
            if table == "steps":
                rows = rows.filter(pl.col("origin") != "source")
            found[episode_id] = rows.sort(*_ORDER[table], nulls_last=True).to_dicts()
            if table == "facts":
                self._name_next_steps(episode_id, found[episode_id])
        return found

    def episode(self, row: dict[str, Any]) -> EpisodePictures:
        """See `LessonSource`."""
        return EpisodePictures(self, row)

    def cameras(self, part: str) -> list[str]:
        """See `Cameras`; `part` is the set's name."""
        return [camera.name for camera in self._shards.sets[part].cameras]

    def encoded(
        self, row: dict[str, Any], camera: str, frames: Sequence[int], settings: FrameSettings
    ) -> list[bytes | None]:
        """See `Cameras`.

        Raises:
            SourceError: A clip has fewer frames, or does not decode.
        """
        clip = io.BytesIO(self._clip(row, camera))
        clip.name = f"{row['episode_id']}.{camera}.mp4"
        wanted = set(frames)
        found: dict[int, bytes] = {}
        for number, pixels in enumerate(iter_frames(clip, frames=max(frames) + 1)):
            if number in wanted:
                found[number] = encoded_frame(pixels, settings=settings)
        return [found[frame] for frame in frames]

    def _clip(self, row: dict[str, Any], camera: str) -> bytes:
        one = self._shards.sets[row["part"]]
        names = [other.name for other in one.cameras]
        member = one.members.index(one.cameras[names.index(camera)].member)
        tar, place = self._places[row["episode_id"]]
        index = self._shards.index(one.name, tar)
        begin, size = (index.value(f"member_{what}", place)[member] for what in ("offset", "size"))
        data = bytes(self._shards.tar(one.name, tar)[begin : begin + size])
        if len(data) != size:
            raise SourceError(
                place=f"{self._shards.tar_path(one.name, tar)}, clip of {row['episode_id']}",
                found=f"{len(data)} bytes",
                wanted=f"{size}",
            )
        return data

    @cached_property
    def _places(self) -> dict[str, tuple[int, int]]:
        """Episode to its tar and place in it."""
        found: dict[str, tuple[int, int]] = {}
        for one in self._shards.sets.values():
            for tar, listed in enumerate(one.tars):
                index = self._shards.index(one.name, tar)
                for place in range(listed.samples):
                    found[index.value("episode_id", place)] = tar, place
        return found

    def _table(self, name: str, table: str, revision: str) -> dict[int, pl.DataFrame]:
        """Number of an episode to its rows.

        Raises:
            UsageError: There is no such file.
        """
        listed = {file.path for file in self._shards.text_revision().files}
        if f"text/{revision}/{name}/{table}.arrow" not in listed:
            raise UsageError(
                place=f"text {revision} of {self._shards.root}",
                found=f"no {table}, as shards of before have none",
                wanted="words with steps",
                next_command=f"finedata shard {self._shards.root} --text DATASET",
            )
        mapped = self._shards.text(name, table)
        rows = cast("pl.DataFrame", pl.from_arrow(mapped.rows(0, len(mapped))))
        return {key[0]: part for key, part in rows.partition_by("episode", as_dict=True).items()}

    def _of(self, row: dict[str, Any], table: str) -> pl.DataFrame:
        known = self._text[row["part"]][table]
        nothing = next(iter(known.values()), pl.DataFrame()).clear()
        return known.get(row["number"], nothing)

    def _name_next_steps(self, episode_id: str, facts: list[dict[str, Any]]) -> None:
        """Facts between two steps name the second by its place, as the dataset does by its id."""
        steps = self._of(self._rows[episode_id], "steps")
        if "origin" in steps.columns:
            steps = steps.filter(pl.col("origin") != "source")
        ids = {row["step_index"]: row["step_id"] for row in steps.to_dicts()}
        for fact in facts:
            fact["next_step_id"] = ids.get(fact["next_step_index"])

    def _episodes(self, name: str) -> Iterator[dict[str, Any]]:
        """Rows as `contexts` of a dataset has them, as far as lessons read them."""
        one = self._shards.sets[name]
        mapped = self._shards.episodes(name)
        rows = cast("pl.DataFrame", pl.from_arrow(mapped.rows(0, len(mapped))))
        arms = _arms(one)
        for number, row in enumerate(rows.iter_rows(named=True)):
            of_set = {"source": one.source, "part": name, "side": one.side, "arms": arms}
            yield row | of_set | {"number": number}


def _arms(one: ShardSet) -> list[str]:
    """The arms of a set, by the names of its numbers; none where nobody declared them."""
    if one.space == "undeclared":
        return []
    names = {inner.partition("_")[0] for feature in one.features for inner in feature.names}
    return [arm for arm in _ARMS if arm in names]
