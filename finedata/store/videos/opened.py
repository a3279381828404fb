"""Videos that stay open between episodes: one file holds many episodes, and opening costs much.

To find a frame, the packets of a whole file are listed; and a decoder that stands before the frame
asked for need not go back to a key frame. A video is lent to one user at a time, so threads never
meet in a decoder. Nothing here is closed but by age: idle readers go with the `Dataset` that keeps
them.
"""

from __future__ import annotations

from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from finedata.errors import SourceError
from finedata.store.damaged import damaged_file
from finedata.store.remote.path import buffered
from finedata.store.videos.frames import VideoReader

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

# Videos that stay open while nobody decodes them.
_IDLE_VIDEOS = 8


class OpenVideos:
    """The videos of a dataset; safe to share between threads."""

    def __init__(self) -> None:
        self._idle: dict[Path, VideoReader] = {}
        self._lock = Lock()

    @contextmanager
    def reader(self, path: Path) -> Generator[VideoReader]:
        """Lend a video.

        Raises:
            ConformError: It is not there, is damaged, or has fewer frames than are asked for.
            MissingExtraError: PyAV is not installed.
        """
        with self._lock:
            reader = self._idle.pop(path, None)
        try:
            reader = reader or VideoReader(buffered(path))
            yield reader
        except SourceError as error:
            if reader is not None:
                reader.close()
            raise damaged_file(path, found=error.found, wanted=error.wanted) from error
        closing: list[VideoReader] = []
        with self._lock:
            if path in self._idle or len(self._idle) >= _IDLE_VIDEOS:
                oldest = path if path in self._idle else next(iter(self._idle))
                closing.append(self._idle.pop(oldest))
            self._idle[path] = reader
        for one in closing:
            one.close()
