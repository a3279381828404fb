"""Where the sample of any frame is: what a history of pictures needs.

In shards in the order of episodes the frames of an episode stand next to each other in one tar, so
an earlier one is found by counting. In the order of steps they lie anywhere: then the indexes of
the tars are read once into a map from rows of `shard_frames` to samples, four bytes a frame, which
is kept in the shards' `.finedata/places/` and mapped into memory like everything else.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from finedata.errors import ConformError, UsageError
from finedata.schema.documents import digest_of
from finedata.store.atomic import atomic_path

if TYPE_CHECKING:
    from pathlib import Path

    from finedata.shard.shards import Shards
    from finedata.shard.stream.sequence import Samples
    from finedata.shard.stream.settings import Pictures

_NONE = 0xFFFFFFFF


class SamplePlaces:
    """Finds samples of frames.

    Args:
        shards: The shards; `prepare_places` was called for them.
        names: Their sets, by number.
    """

    def __init__(self, shards: Shards, names: tuple[str, ...]) -> None:
        self._shards = shards
        self._names = names
        self._map = lru_cache(maxsize=None)(self._open)

    def find(
        self, shard_set: int, samples: Samples, ago: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The samples of earlier frames of the same episodes.

        Args:
            shard_set: Number of the set that all samples are of.
            samples: Samples, n.
            ago: (n, k) how many frames earlier, none before the episode's first.

        Returns:
            Tar and place, (n, k) each.

        Raises:
            ConformError: A map is not that of the shards.
        """
        if self._shards.document.order == "episode":
            earlier = samples.place[:, None] - ago // self._shards.document.options.every
            return np.broadcast_to(samples.tar[:, None], ago.shape), earlier
        frame = samples.frame_index[:, None] - ago
        return self.look_up(shard_set, samples.episode[:, None], frame)

    def look_up(
        self, shard_set: int, episode: np.ndarray, frame_index: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Tar and place of frames, in the map that `write_places` made.

        Args:
            shard_set: Number of the set.
            episode: Numbers of episodes.
            frame_index: Frames, which broadcast against them.

        Raises:
            ConformError: A map is not that of the shards.
        """
        name = self._names[shard_set]
        first = self._shards.episodes(name).take("first_row", episode)
        found, starts = self._map(name)
        position = found[first + frame_index].astype(np.int64)
        if (position >= starts[-1]).any():
            raise ConformError(
                place=f"places of set {name}",
                found="no sample of a frame",
                wanted="the places of these shards",
                next_command=f"rm -r {self._shards.root / '.finedata' / 'places'}  # made anew",
            )
        number = np.searchsorted(starts, position, side="right") - 1
        return number, position - starts[number]

    def _open(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        path = _path(self._shards, name)
        return np.memmap(path, "<u4", mode="r"), _starts(self._shards, name)


def prepare_places(shards: Shards, names: tuple[str, ...], pictures: Pictures) -> None:
    """Make what `SamplePlaces` needs, where it is not there yet.

    Raises:
        UsageError: Frames so many steps apart are not all samples.
        OutputError: The shards may not be written to, and their samples are shuffled.
        ConformError: An index is damaged.
    """
    every = shards.document.options.every
    if pictures.stride % every:
        raise UsageError(
            place="picture_stride",
            found=f"{pictures.stride}, of shards with a sample every {every} frames",
            wanted=f"a multiple of {every}",
        )
    if shards.document.order == "episode":
        return
    for name in names:
        write_places(shards, name)


def write_places(shards: Shards, name: str) -> None:
    """Make the map of a set, where it is not there yet.

    Raises:
        OutputError: The shards may not be written to.
        ConformError: An index is damaged.
    """
    path = _path(shards, name)
    if path.is_file():
        return
    one = shards.sets[name]
    first_row = shards.episodes(name).numbers("first_row", 0, one.episodes)
    starts = _starts(shards, name)
    # Ranks that start together may all do this, each under a name of its own.
    own = path.with_name(f"{path.name}.{os.getpid()}")
    with atomic_path(own) as partial:
        found = np.memmap(partial, "<u4", mode="w+", shape=(one.frames,))
        found[:] = _NONE
        for number, tar in enumerate(one.tars):
            index = shards.index(name, number)
            episode = index.numbers("episode", 0, tar.samples)
            row = first_row[episode] + index.numbers("frame_index", 0, tar.samples)
            found[row] = np.arange(starts[number], starts[number + 1], dtype=np.uint32)
        found.flush()
    own.replace(path)


def _path(shards: Shards, name: str) -> Path:
    one = shards.sets[name]
    tars = [[tar.name, tar.index_sha256] for tar in one.tars]
    digest = digest_of({"set": name, "tars": tars, "episodes": one.episodes_file.sha256})
    return shards.root / ".finedata" / "places" / f"{name}-{digest[:16]}.u4"


def _starts(shards: Shards, name: str) -> np.ndarray:
    return np.cumsum([0, *(tar.samples for tar in shards.sets[name].tars)])
