"""RH20T as a source: each scene folder is one shard with one raw episode.

One scene folder is one demonstration, and a scene's files are the smallest thing that can be
damaged alone: a broken scene is a `Found` with its reason, and its neighbours are read.
`rh20t_scene` says which files are a scene, `rh20t_episode` what it holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finedata.errors import (
    CorruptRecordError,
    FeatureError,
    LengthError,
    MissingFeatureError,
    SourceError,
    UsageError,
)
from finedata.readers.episode import Found, Shard
from finedata.readers.files import open_folder
from finedata.readers.npy import RefusedPickleError
from finedata.readers.rh20t.episode import Rh20tEpisode
from finedata.readers.rh20t.scene import Rh20tScene, find_scenes, is_scene_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from finedata.readers.episode import RawEpisode
    from finedata.readers.files import SourceFile, SourceFolder

__all__ = ["Rh20tSource", "open_rh20t", "recognises"]


def recognises(files: list[SourceFile]) -> bool:
    """Whether files are RH20T's: a scene folder that holds `metadata.json` or a camera."""
    return any(is_scene_file(file.name) for file in files)


def open_rh20t(address: str | Path) -> Rh20tSource:
    """Open a folder of scenes: `RH20T_cfg3` or its parent.

    Scenes found twice under the same name in trees of depth or joints are one scene. The
    publisher's `configs.json` and `task_description.json` are read where they lie in the folder or
    one below.

    Args:
        address: A local path, or an address with a scheme that fsspec knows.

    Raises:
        UsageError: No such folder, or no scene in it.
        SourceError: `configs.json` or `task_description.json` does not decode.
    """
    folder = open_folder(address)
    scenes = find_scenes(folder, listed=folder.files())
    if not scenes:
        raise UsageError(
            parameter="input",
            place=f"input {address}",
            found="no folder named like task_0001_user_0001_scene_0001_cfg_0001",
            wanted="the folder that holds RH20T's scene folders, or its parent",
        )
    return Rh20tSource(folder, scenes)


@dataclass(frozen=True, slots=True)
class Rh20tSource:
    """A folder of scenes; see `Source`.

    Attributes:
        folder: Where it lies.
        scenes: Its scenes, sorted by folder; scene i is shard i.
    """

    folder: SourceFolder
    scenes: tuple[Rh20tScene, ...]
    version: str = ""
    missing_shards: tuple[str, ...] = ()
    one_part: bool = False
    byte_ranges: bool = False

    @property
    def shards(self) -> Sequence[Shard]:
        """The scene folders, sorted by path."""
        return tuple(Shard(scene.folder, 0) for scene in self.scenes)

    def scan(self, shard: int) -> Iterator[tuple[Found, RawEpisode | None]]:
        """The one record of a scene; see `Source.scan`."""
        scene = self.scenes[shard]
        try:
            episode = Rh20tEpisode(self.folder, scene)
        except SourceError as error:
            yield Found(0, 0, 0, _reason(error), str(error)), None
            return
        rows = len(episode.time_ms)
        if rows:
            yield Found(0, 0, rows), episode
        else:
            message = f"{scene.folder}: no time stamp of the camera {episode.reference}"
            yield Found(0, 0, 0, "zero_steps", message), None
        episode.close()

    def open_shard(self, shard: int) -> _OpenScene:
        """Open a scene; see `Source.open_shard`."""
        return _OpenScene(self.folder, self.scenes[shard])


def _reason(error: SourceError) -> str:
    """The receipt's word for it; the order matters, for some kinds are others' special cases."""
    reasons = {
        RefusedPickleError: "refused_pickle",
        CorruptRecordError: "unparsable",
        MissingFeatureError: "missing_feature",
        LengthError: "unequal_lengths",
        FeatureError: "wrong_type",
    }
    return next((r for kind, r in reasons.items() if isinstance(error, kind)), "unreadable_file")


@dataclass(frozen=True, slots=True)
class _OpenScene:
    """A scene; no file stays open. See `OpenShard`."""

    folder: SourceFolder
    scene: Rh20tScene

    def episode(self, found: Found) -> Rh20tEpisode:
        """The scene's episode; see `OpenShard.episode`."""
        episode = Rh20tEpisode(self.folder, self.scene)
        if len(episode.time_ms) != found.length:
            raise SourceError(
                place=self.scene.folder,
                found=f"{len(episode.time_ms)} rows",
                wanted=f"{found.length}, as when it was planned",
                next_command="restore the source files, then run the same command again",
            )
        return episode

    def close(self) -> None:
        """Nothing is open."""
