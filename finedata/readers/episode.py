"""What every reader gives: sources of shards, shards of records, records as raw episodes.

A reader turns bytes into `RawEpisode`: named features with a leading time axis, decoded only
when asked for. Nothing here knows what the numbers mean; the converter file does. The four
families (`rlds`, `lerobot`, `hdf5`, `rh20t`) implement `Source`; the conversion knows nothing
else of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np

    from finedata.readers.byte_slices import BytesSlices
    from finedata.readers.files import SourceFolder

__all__ = [
    "Absent",
    "CameraKind",
    "Found",
    "OpenShard",
    "PictureList",
    "RawEpisode",
    "Shard",
    "Source",
    "VideoClip",
]

CameraKind = Literal["pictures", "video"]
Absent = Literal["camera", "other"]


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of a source that holds records: many (RLDS, LeRobot v3.0), or one (HDF5).

    Attributes:
        file: Name relative to the source folder; for RH20T the scene folder's.
        size: Bytes of the file (0 where it is a folder: never a reason to read it).
        split: The source's own split it belongs to; empty where there is none.
        declared_records: How many records the source's description says it has, where it does.
    """

    file: str
    size: int
    split: str = ""
    declared_records: int | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """One record of a shard: where it is, and why it is no episode where it is none.

    Attributes:
        number: Its number in the shard, from 0.
        offset: Where it begins: a byte, or a row; only its own reader gives it a meaning.
        length: How far it reaches, in the same unit.
        reason: A receipt's reason (`finedata.schema.enums.RECEIPT_REASONS`) where it is broken.
        message: What was found there, in words; empty where nothing is wrong.
        flags: A receipt's flags (`finedata.schema.enums.RECEIPT_FLAGS`) of a good record: what
            the source says of it in two ways that differ.
    """

    number: int
    offset: int
    length: int
    reason: str | None = None
    message: str = ""
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VideoClip:
    """The frames of one camera in one episode, where they lie in a video file of the source.

    Attributes:
        file: Name relative to the source folder.
        size: Bytes of the file.
        first_frame: Number of the episode's first frame in the file's order of display.
        frames: How many frames of the file belong to the episode.
        shape: (height, width, channels).
        fps: Frames a second as the file's own time stamps have them.
        codec: `h264`, `av1`, `mpeg4`, ...
        rows: For each row of the episode the frame shown (counted from `first_frame`), increasing;
            `None` where row k shows frame k.
        flags: A receipt's flags: what is doubtful about where the frames are.
    """

    file: str
    size: int
    first_frame: int
    frames: int
    shape: tuple[int, int, int]
    fps: float
    codec: str
    rows: np.ndarray | None = None
    flags: tuple[str, ...] = ()


class PictureList(Protocol):
    """The encoded pictures of a camera, one a step, read when they are asked for.

    `lengths` has the bytes of each, int64 (T,); an absent picture has length 0.
    """

    @property
    def lengths(self) -> np.ndarray:
        """Bytes of each picture, int64 (T,)."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> bytes: ...

    def slab(self, first: int, last: int) -> PictureList:
        """The pictures [first, last)."""
        ...

    def joined(self, *, instead_of_empty: bytes = b"") -> bytes:
        """All pictures one after the other; what to put where one has no bytes."""
        ...

    def in_memory(self) -> BytesSlices:
        """All pictures as slices of one buffer, each byte read once; see `slab` for fewer."""
        ...


class RawEpisode(Protocol):
    """One episode of a source, undecoded. Close it: a file may be open behind it."""

    def has(self, feature: str) -> bool:
        """Whether the episode holds the feature (of whatever kind)."""
        ...

    def feature_names(self) -> list[str]:
        """Every feature the episode holds, in the source's order."""
        ...

    def declared_absent(self) -> Mapping[str, Absent]:
        """What the source's description declares and this episode lacks, cameras told apart.

        A camera that has a place in the part all the same (`camera_kind` and `picture_shape`
        know it) is none of them.
        """
        ...

    def is_derived(self, feature: str) -> bool:
        """Whether a feature is no part of the record, but looked up or computed from elsewhere."""
        ...

    def as_declared(self) -> bool:
        """Whether the numbers decoded so far have the shapes that the source declares."""
        ...

    def numbers(self, feature: str) -> np.ndarray:
        """Decode a numeric feature: (T, ...) inside the steps, (...) at episode level.

        Raises:
            FeatureError: Missing, of another type, or of an impossible size.
        """
        ...

    def texts(self, feature: str) -> list[str]:
        """Decode a text feature: one string a step, or a single one at episode level.

        Raises:
            FeatureError: Missing, of another type, or not UTF-8.
        """
        ...

    def columns_of(self, feature: str) -> tuple[str, ...] | None:
        """What the source calls the columns of a numeric feature, where it says so."""
        ...

    def camera_kind(self, feature: str) -> CameraKind | None:
        """Whether a feature is encoded pictures, a video, or neither."""
        ...

    def pictures(self, feature: str) -> PictureList:
        """The encoded pictures of a camera, one a step.

        Raises:
            FeatureError: Missing, or not pictures.
        """
        ...

    def picture_shape(self, feature: str) -> tuple[int, int, int] | None:
        """(height, width, channels) that the source declares; `None` where it does not."""
        ...

    def picture_info(self, feature: str) -> dict[str, Any] | None:
        """What the source declares of a camera beside its size: depth, scales, pixel format."""
        ...

    def video(self, feature: str) -> VideoClip:
        """Where a camera's video is.

        Raises:
            FeatureError: Missing, not a video, or a file whose index cannot be read.
        """
        ...

    def digest(self, pictures: Mapping[str, tuple[str, np.ndarray]]) -> str:
        """Hex sha256 of the whole record: it changes when any byte of it does.

        Args:
            pictures: Features whose pictures were hashed already: feature to (hex sha256 of all
                pictures joined, their lengths). A digest found here need not be taken again.
        """
        ...

    def close(self) -> None:
        """Release what is open behind the episode."""
        ...


class OpenShard(Protocol):
    """A shard that is open for the episodes that a plan found in it."""

    def episode(self, found: Found) -> RawEpisode:
        """The episode at a place that `Source.scan` found.

        Raises:
            SourceError: It is no longer there, or cannot be read any more.
        """
        ...

    def close(self) -> None:
        """Release the shard."""
        ...


class Source(Protocol):
    """A source dataset that was opened: cheap to open, nothing read but its description.

    Attributes:
        folder: Where it lies.
        version: The source's own version; empty where it has none.
        shards: What holds records, in the source's order (never the file system's).
        missing_shards: Names that the source declares and lacks.
        one_part: Whether all its episodes must have the same features and rate by construction.
        byte_ranges: Whether `Found.offset` and `length` are bytes of the shard's file.
    """

    @property
    def folder(self) -> SourceFolder:
        """Where it lies."""
        ...

    @property
    def version(self) -> str:
        """The source's own version."""
        ...

    @property
    def shards(self) -> Sequence[Shard]:
        """What holds records."""
        ...

    @property
    def missing_shards(self) -> Sequence[str]:
        """What is declared and lacking."""
        ...

    @property
    def one_part(self) -> bool:
        """Whether one layout holds for all episodes."""
        ...

    @property
    def byte_ranges(self) -> bool:
        """Whether places are bytes."""
        ...

    def scan(self, shard: int) -> Iterator[tuple[Found, RawEpisode | None]]:
        """Every record of a shard in order, the broken ones too (then without an episode).

        The episode is good until the next step of the iteration. Damage is a `Found` with a
        reason; only a disk or a network that fails for now is an `OSError`.
        """
        ...

    def open_shard(self, shard: int) -> OpenShard:
        """Open a shard for its episodes."""
        ...
