"""One episode of a finished dataset: the only reader of its rows, pictures and videos.

Nothing is read before it is asked for, and then only the columns, cameras and frames asked for:
an `Episode` is its row of the table `episodes` and knows from there where everything lies. Three
ways of reading serve three uses. `slabs` goes through all rows once, row group by row group, with
the stored pictures undecoded: for copying and packing, in memory of one slab however long the
episode is. `rows` gives numbers and touches no picture. `frames` and `iter_frames` decode chosen
frames of one camera.

Colours: a camera whose name ends in `_bgr` stores red and blue exchanged, as its source did
(pixels are never re-encoded on the default path). What is decoded here is always red, green, blue;
only `stored` and `slabs` give the bytes as they are, and `right_picture` puts those right.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast, overload

import numpy as np
import pyarrow as pa

from finedata.errors import SourceError, UsageError
from finedata.store.damaged import damaged_file
from finedata.store.deep import depth_scale
from finedata.store.lerobot.layout import (
    INFO_PATH,
    data_file,
    picture_column,
    video_cameras,
    video_file,
)
from finedata.store.pictures import decode_picture, is_deep, is_tiff
from finedata.store.tables.row_groups import column_array

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from finedata.errors import ConformError
    from finedata.store.dataset import Dataset
    from finedata.store.deep import DepthScale
    from finedata.store.tables.row_groups import DataFile, Stretch

__all__ = [
    "BGR_ENDING",
    "Episode",
    "Slab",
    "VideoSpan",
    "is_swapped",
    "right_picture",
    "shown_camera",
]

BGR_ENDING = "_bgr"
_PICTURES = picture_column("")


def is_swapped(camera: str) -> bool:
    """Whether a camera's stored pictures have red and blue exchanged."""
    return camera.endswith(BGR_ENDING)


def shown_camera(camera: str) -> str:
    """The camera's name once its colours are right."""
    return camera.removesuffix(BGR_ENDING)


def right_picture(camera: str, picture: bytes) -> bytes:
    """A stored picture with right colours: the same bytes, unless the camera's are exchanged.

    Exchanging loses nothing of a PNG; a JPEG is encoded anew at quality 95.

    Args:
        camera: The camera's name in the dataset.
        picture: A JPEG or PNG.

    Raises:
        CorruptRecordError: Its colours are exchanged and it does not decode.
    """
    if not is_swapped(camera):
        return picture
    from finedata.store.pixels import swap_red_blue

    return swap_red_blue(picture)


@dataclass(frozen=True, slots=True)
class VideoSpan:
    """Where an episode's frames are in a video file.

    Attributes:
        path: The file.
        from_s: When the first frame is shown, in seconds.
        to_s: One frame after the last.
        frames: How many there are.
        first_frame: Number of the first frame in the file, in order of display.
    """

    path: Path
    from_s: float
    to_s: float
    frames: int
    first_frame: int


@dataclass(frozen=True, slots=True, eq=False)
class Slab:
    """Some rows of an episode, one after the other, with their stored pictures.

    Attributes:
        frames: Which rows: a range of `frame_index`.
        columns: Column to its numbers, (R,) or (R, n).
        pictures: Camera to its encoded pictures, R of them, as they are stored.
    """

    frames: range
    columns: dict[str, np.ndarray]
    pictures: dict[str, list[bytes]]


class Episode:
    """One episode, read as far as it is asked.

    Args:
        dataset: Its dataset.
        row: Its row of the table `episodes`, with LeRobot's columns.

    Attributes:
        row: That row: length, fps, cameras, cameras_missing, success and all else.
        episode_id: Its id.
        part: Name of its part.
        task: The instruction; empty where there is none.
        fps: Frames a second.

    Example:
        >>> episode = finedata.open("bridge").episode(
        ...     "bridge_v2-0123456789abcdef"
        ... )  # doctest: +SKIP
        >>> episode.state.shape, episode.frames("image_0", [0, 30]).shape  # doctest: +SKIP
        ((43, 8), (2, 256, 256, 3))
    """

    def __init__(self, dataset: Dataset, row: Mapping[str, Any]) -> None:
        self.row = row
        self.episode_id: str = row["episode_id"]
        self.part: str = row["part"]
        self.task: str = row["task"]
        self.fps: float = row["fps"]
        self._dataset = dataset

    def __len__(self) -> int:
        return int(self.row["length"])

    def __repr__(self) -> str:
        return f"Episode({self.episode_id!r}, {len(self)} frames)"

    @cached_property
    def columns(self) -> dict[str, np.ndarray]:
        """Every numeric column: name to (T,) or (T, n); see `rows`."""
        return self.rows()

    @property
    def state(self) -> np.ndarray:
        """`observation.state`, (T, n) float32."""
        return self.columns["observation.state"]

    @property
    def action(self) -> np.ndarray:
        """`action`, (T, n) float32: the absolute target commanded at each frame."""
        return self.columns["action"]

    @cached_property
    def pictures(self) -> dict[str, list[bytes]]:
        """Camera to all its encoded pictures as they are stored, for cameras that are no video.

        All of them lie in memory; `slabs` gives them a slab at a time, `stored` some of them.
        """
        self._load()
        return self.pictures

    @cached_property
    def names(self) -> dict[str, tuple[str, ...]]:
        """Column to the names of its numbers."""
        features = self._dataset.features(self.part)
        return {name: one.names for name, one in features.items() if one.names is not None}

    @cached_property
    def cameras(self) -> list[str]:
        """Its part's cameras by their stored names, those that it lacks included."""
        return [*_numbers_and_cameras(self._file())[1], *self.videos]

    @cached_property
    def videos(self) -> dict[str, VideoSpan]:
        """Camera to its video, for cameras that are stored as such."""
        spans: dict[str, VideoSpan] = {}
        for camera in video_cameras(self.row):
            prefix = f"videos/{_PICTURES}{camera}"
            from_s = self.row[f"{prefix}/from_timestamp"]
            spans[camera] = VideoSpan(
                path=self._root / video_file(self.row, camera=camera),
                from_s=from_s,
                to_s=self.row[f"{prefix}/to_timestamp"],
                frames=len(self),
                first_frame=round(from_s * self.fps),
            )
        return spans

    def rows(self, columns: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Numbers of all frames; no picture is read.

        Args:
            columns: Which; every numeric column by default.

        Returns:
            Column to (T,) or (T, n), in the order asked for.

        Raises:
            UsageError: There is no such column of numbers.
            ConformError: The data file is damaged, or has other rows than `episodes` says.
        """
        return _joined([slab.columns for slab in self.slabs(columns=columns, cameras=())])

    def slabs(
        self, *, columns: Sequence[str] | None = None, cameras: Sequence[str] | None = None
    ) -> Iterator[Slab]:
        """All rows in order, a slab (about 16 MiB of pictures) at a time, each read once.

        Args:
            columns: Columns of numbers wanted; all by default, () for none.
            cameras: Cameras whose stored pictures are wanted; by default all that are no video,
                () for none.

        Raises:
            UsageError: There is no such column, or no such camera with stored pictures.
            ConformError: The data file is damaged, or has other rows than `episodes` says.
        """
        file = self._file()
        numbers, stored = _numbers_and_cameras(file)
        asked = numbers if columns is None else list(columns)
        shown = stored if cameras is None else list(cameras)
        self._check("column", asked, numbers)
        self._check("camera with stored pictures", shown, stored)
        return self._slabs(file, asked, shown)

    def _slabs(self, file: DataFile, columns: list[str], cameras: list[str]) -> Iterator[Slab]:
        leaves = [*columns, *(f"{picture_column(camera)}.bytes" for camera in cameras)]
        first = 0
        for stretch in self._stretches:
            # Without any column Arrow would not even say that the rows are there.
            table = file.read(stretch.group, columns=leaves or ["frame_index"])
            table = table.slice(stretch.start, stretch.rows)
            yield Slab(
                range(first, first + stretch.rows),
                {name: column_array(table.column(name).combine_chunks()) for name in columns},
                {camera: _bytes(table.column(picture_column(camera))) for camera in cameras},
            )
            first += stretch.rows

    def stored(self, camera: str, frames: Sequence[int] | None = None) -> list[bytes]:
        """Encoded pictures of a camera exactly as they are stored.

        Only the row groups that hold them are read, and of those only this camera.

        Args:
            camera: Its name in the dataset.
            frames: Which frames, in any order; all by default.

        Raises:
            UsageError: There is no such camera, it is a video, or there is no such frame.
            ConformError: The data file is damaged, or has other rows than `episodes` says.
        """
        self._check_stored(camera)
        if frames is None:
            return [picture for picture, _ in self._iter_stored(camera, None)]
        numbers = self._numbers(frames)
        ordered = np.unique(numbers)
        found = {number: picture for picture, number in self._iter_stored(camera, ordered)}
        return [found[number] for number in cast("list[int]", numbers.tolist())]

    @overload
    def frames(
        self, camera: str, frames: Sequence[int] | None = None, *, encoded: Literal[False] = False
    ) -> np.ndarray: ...

    @overload
    def frames(
        self, camera: str, frames: Sequence[int] | None = None, *, encoded: Literal[True]
    ) -> list[bytes]: ...

    def frames(
        self, camera: str, frames: Sequence[int] | None = None, *, encoded: bool = False
    ) -> np.ndarray | list[bytes]:
        """Frames of a camera in right colours; only those asked for are decoded.

        Args:
            camera: Its name in the dataset.
            frames: Which frames, in any order; all by default.
            encoded: Give JPEG or PNG bytes, as they are stored wherever the colours are right.

        Returns:
            uint8 (N, height, width, 3), red, green, blue; uint16 (N, height, width) for a camera
            of more than 8 bits (depth), its numbers as they are; see `depth_m`. With `encoded`, N
            pictures.

        Raises:
            UsageError: There is no such camera or frame, or `encoded` is asked of a video.
            ConformError: A file is damaged or has fewer frames, or a picture does not decode, or
                has another size than the first one.
        """
        if encoded:
            numbers = range(len(self)) if frames is None else frames
            pictures = self.stored(camera, frames)
            return [
                self._right(camera, number, picture)
                for number, picture in zip(numbers, pictures, strict=True)
            ]
        numbers = range(len(self)) if frames is None else self._numbers(frames).tolist()
        found: np.ndarray | None = None
        for at, frame in enumerate(self.iter_frames(camera, frames)):
            if frame is None:
                raise self._bad_picture(camera, numbers[at], "no JPEG or PNG that decodes")
            if found is None:
                found = np.empty((len(numbers), *frame.shape), frame.dtype)
            if frame.shape != found.shape[1:] or frame.dtype != found.dtype:
                raise self._bad_picture(
                    camera,
                    numbers[at],
                    f"{frame.dtype} {frame.shape}, not {found.dtype} {found.shape[1:]} as the first"
                    " (iter_frames gives each as it is)",
                )
            found[at] = frame
        return np.zeros((0, 0, 0, 3), np.uint8) if found is None else found

    def iter_frames(
        self, camera: str, frames: Sequence[int] | None = None
    ) -> Iterator[np.ndarray | None]:
        """As `frames`, one at a time, so that memory stays flat.

        Yields:
            A frame; `None` for a stored picture that does not decode.
        """
        swapped = is_swapped(camera)
        span = self.videos.get(camera)
        if span is not None:
            decoded: Iterator[np.ndarray | None] = self._decoded(
                span, range(len(self)) if frames is None else self._numbers(frames).tolist()
            )
        else:
            self._check_stored(camera)
            if frames is None:
                pictures = (picture for picture, _ in self._iter_stored(camera, None))
            else:
                pictures = iter(self.stored(camera, frames))
            decoded = map(decode_picture, pictures)
        if not swapped:
            return decoded
        return (
            frame if frame is None or frame.ndim != 3 else np.ascontiguousarray(frame[..., ::-1])
            for frame in decoded
        )

    def depth_m(self, camera: str, frames: Sequence[int] | None = None) -> np.ndarray:
        """Distances of a camera of depth in metres: float32 (N, height, width); 0 where none is.

        Args:
            camera: Its name in the dataset.
            frames: Which frames, in any order; all by default.

        Raises:
            UsageError: There is no such camera or frame, it has colours, or nothing says what its
                numbers are.
            ConformError: As `frames` does; or what info.json says makes no distances.
        """
        numbers, scale = self.frames(camera, frames), self.depth_scale(camera)
        if scale is None or numbers.ndim != 3:
            raise UsageError(
                parameter="camera",
                place=f"camera {camera} of {self.episode_id}",
                found="colours" if numbers.ndim != 3 else "numbers whose unit info.json leaves out",
                wanted="a camera that info.json calls a depth map, with its unit or its codes",
                next_command="frames(camera)  # the numbers as they are",
            )
        return scale.metres(numbers)

    def is_deep(self, camera: str) -> bool:
        """Whether a camera's pictures are numbers of more than 8 bits, by the first one.

        Raises:
            UsageError: There is no such camera.
            ConformError: Its file is damaged.
            MissingExtraError: It is a video, and PyAV is not installed.
        """
        span = self.videos.get(camera)
        if span is not None:
            with self._dataset.videos.reader(span.path) as reader:
                return reader.is_deep
        (picture,) = self.stored(camera, [0])
        return is_deep([picture]) or is_tiff(picture)

    def depth_scale(self, camera: str) -> DepthScale | None:
        """What the numbers of a camera of depth are; `None` where info.json does not say.

        Raises:
            ConformError: What it says makes no distances.
        """
        return depth_scale(
            self.depth_info(camera),
            video=camera in self.videos,
            place=f"camera {camera} of {self._root / INFO_PATH}",
        )

    def depth_info(self, camera: str) -> dict[str, Any] | None:
        """What info.json says of a camera of depth beside its shape; `None` of any other camera."""
        feature = self._dataset.features(self.part).get(picture_column(camera))
        return None if feature is None else feature.info

    @property
    def _root(self) -> Path:
        return self._dataset.part_folder(self.part)

    def _file(self) -> DataFile:
        return self._dataset.data_files.open(self._root / data_file(self.row))

    @cached_property
    def _stretches(self) -> list[Stretch]:
        file = self._file()
        found = file.stretches(self.row["episode_index"])
        rows = sum(stretch.rows for stretch in found)
        if rows != len(self):
            raise damaged_file(
                file.path,
                found=f"{rows} rows of episode {self.episode_id}",
                wanted=f"{len(self)}, as meta/episodes says",
            )
        return found

    def _load(self) -> None:
        """Read numbers and stored pictures in one pass, and keep them."""
        known = "columns" in self.__dict__
        slabs = list(self.slabs(columns=() if known else None))
        if not known:
            self.columns = _joined([slab.columns for slab in slabs])
        self.pictures = {
            camera: [picture for slab in slabs for picture in slab.pictures[camera]]
            for camera in slabs[0].pictures
        }

    def _iter_stored(self, camera: str, numbers: np.ndarray | None) -> Iterator[tuple[bytes, int]]:
        """Pictures and their frames, of all or of ascending numbers, row group by row group."""
        file, leaf = self._file(), f"{picture_column(camera)}.bytes"
        first = 0
        for stretch in self._stretches:
            last = first + stretch.rows
            inside = np.arange(first, last) if numbers is None else numbers
            inside = inside[(inside >= first) & (inside < last)]
            if len(inside):
                table = file.read(stretch.group, columns=[leaf])
                column = table.column(picture_column(camera))
                taken = column.slice(stretch.start, stretch.rows)
                yield from zip(_bytes(taken, inside - first), inside.tolist(), strict=True)
            first = last

    def _decoded(self, span: VideoSpan, numbers: Sequence[int]) -> Iterator[np.ndarray]:
        wanted = np.asarray(numbers, np.int64) + span.first_frame
        with self._dataset.videos.reader(span.path) as reader:
            if (np.diff(wanted) > 0).all():
                yield from reader.each(wanted.tolist())
                return
            ordered, places = np.unique(wanted, return_inverse=True)
            found = list(reader.each(ordered.tolist()))
        yield from (found[place] for place in places)

    def _right(self, camera: str, number: int, picture: bytes) -> bytes:
        try:
            return right_picture(camera, picture)
        except SourceError as error:
            raise self._bad_picture(camera, number, error.found) from error

    def _bad_picture(self, camera: str, number: int, found: str) -> ConformError:
        span = self.videos.get(camera)
        path = self._root / data_file(self.row) if span is None else span.path
        return damaged_file(
            path,
            found=f"at frame {number} of camera {camera} of episode {self.episode_id}: {found}",
            wanted="a picture that decodes, of the camera's size",
        )

    def _numbers(self, frames: Sequence[int]) -> np.ndarray:
        numbers = np.asarray(frames, np.int64).reshape(-1)
        wrong = numbers[(numbers < 0) | (numbers >= len(self))]
        if len(wrong):
            raise UsageError(
                place=f"frames of episode {self.episode_id}",
                found=f"{int(wrong[0])}",
                wanted=f"0 to {len(self) - 1}",
            )
        return numbers

    def _check_stored(self, camera: str) -> None:
        if camera in self.videos:
            raise UsageError(
                place=f"camera {camera} of episode {self.episode_id}",
                found="a video",
                wanted="a camera whose pictures are stored one by one",
                next_command="frames(camera) decodes it; videos[camera] says where it is",
            )
        self._check("camera with stored pictures", [camera], _numbers_and_cameras(self._file())[1])

    def _check(self, what: str, asked: Sequence[str], there: Sequence[str]) -> None:
        for name in asked:
            if name not in there:
                raise UsageError(
                    place=f"{what} of episode {self.episode_id}",
                    found=f"{name!r}",
                    wanted=f"one of {', '.join(there) or 'none, as there is none'}",
                )


def _numbers_and_cameras(file: DataFile) -> tuple[list[str], list[str]]:
    """Columns of numbers of a data file, and cameras whose pictures are in it."""
    numbers: list[str] = []
    cameras: list[str] = []
    for entry in cast("list[Any]", list(file.schema)):
        if pa.types.is_struct(entry.type):
            cameras.append(entry.name.removeprefix(_PICTURES))
        else:
            numbers.append(entry.name)
    return numbers, cameras


def _joined(pieces: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    if len(pieces) == 1:
        return pieces[0]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def _bytes(column: Any, rows: np.ndarray | None = None) -> list[bytes]:
    """Pictures of a column, all or some; a null, which finedata never writes, is no bytes."""
    # Arrow's own `take` would make an array of the numbers, for which it imports pandas.
    values = column.combine_chunks().field("bytes")
    if rows is None or len(rows) == len(values):
        return [one or b"" for one in values.to_pylist()]
    return [values[row].as_py() or b"" for row in rows.tolist()]
