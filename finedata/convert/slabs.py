"""How much of an episode's pictures is in memory: one slab, a stretch of rows of all cameras.

So an episode may be of any length. What became of every camera is told after the last slab.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from finedata.convert.pictures import (
    CameraPictures,
    CameraScan,
    Rewriting,
    absent_pictures,
    rows_per_slab,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from finedata.convert.context import ConvertOptions
    from finedata.convert.forms import EpisodeView
    from finedata.convert.planning.layout import CameraLayout
    from finedata.readers.episode import PictureList


class PictureSlabs:
    """The pictures of an episode, read once.

    Args:
        view: The episode.
        cameras: Those whose pictures are stored as they are.
        frames: How many rows the episode has.
        options: What may be done to pixels, and whether to sample for statistics.
    """

    def __init__(
        self,
        view: EpisodeView,
        cameras: Sequence[CameraLayout],
        *,
        frames: int,
        options: ConvertOptions,
    ) -> None:
        self._frames = frames
        self._cameras = cameras
        self._lists: dict[str, PictureList | None] = {
            camera.name: view.pictures(camera.feature) if view.has(camera.feature) else None
            for camera in cameras
        }
        self._scans = {
            camera.name: CameraScan(
                frames,
                camera.source_shape,
                options.image_stats,
                Rewriting.of(camera, options),
                absent=self._lists[camera.name] is None,
            )
            for camera in cameras
        }

    def slabs(self) -> Iterator[tuple[int, int, dict[str, tuple[bytes, np.ndarray]]]]:
        """(first row, one past the last, camera to its joined pictures and their lengths)."""
        first_bytes = sum(len(found[0]) for found in self._lists.values() if found is not None)
        rows = rows_per_slab(first_bytes) if self._cameras else self._frames
        for first in range(0, self._frames, rows):
            last = min(first + rows, self._frames)
            yield first, last, {name: self._take(name, first, last) for name in self._lists}

    def _take(self, name: str, first: int, last: int) -> tuple[bytes, np.ndarray]:
        found = self._lists[name]
        slab = absent_pictures(last - first) if found is None else found.slab(first, last)
        return self._scans[name].take(slab)

    def results(self) -> dict[str, CameraPictures]:
        """What became of every camera; after the last slab."""
        found: dict[str, CameraPictures] = {}
        for name, scan in self._scans.items():
            pictures = self._lists[name]
            whole = pictures is not None and len(pictures) == self._frames
            found[name] = scan.result(verbatim=whole)
        return found
