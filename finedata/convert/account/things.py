"""What an account is made of: the things of a source, its episodes, and what is not known of it.

Every family of sources is brought to these few types, so that one comparison holds them against
the output. An episode is named as receipts name it: the file, and its number inside that file.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

# What reading a damaged file raises, whichever library reads it.
DAMAGE = (
    pa.ArrowException,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    OverflowError,
    RecursionError,
    struct.error,
)

Kind = Literal["numbers", "text", "camera"]


class UnreadError(Exception):
    """Something of the source could not be looked at; it is said so, and is no problem."""


def reading(read: Callable[..., Any], *given: Any) -> Callable[[], Any]:
    """A call whose damage is an `UnreadError`."""

    def call() -> Any:
        try:
            return read(*given)
        except DAMAGE as error:
            raise UnreadError(said(error)) from error

    return call


def said(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


@dataclass(frozen=True, slots=True)
class Declared:
    """A feature or camera that the source declares, or holds without declaring it.

    Attributes:
        name: The source's own name of it.
        kind: What it holds, by its declared type (by the type of its column where undeclared).
        place: Where that is said.
        made_anew: Whether every LeRobot dataset has it, made of the rows' positions.
        describes: Whether it says something of the whole recording, and has no rows.
    """

    name: str
    kind: Kind
    place: str
    made_anew: bool = False
    describes: bool = False


@dataclass(frozen=True, slots=True)
class VideoWindow:
    """The frames of a video file that an episode shows.

    Attributes:
        file: The file, relative to the source folder.
        start_s: When the first frame is shown, in seconds after the file's first shown frame.
        any_frames: Whether rows may show any of its frames, each once and in order.
        tolerance_s: How far from there a frame may lie and still be the one that is meant.
    """

    file: str
    start_s: float = 0.0
    tolerance_s: float = 1e-4
    any_frames: bool = False


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures of an episode, read when asked for.

    Attributes:
        count: How many.
        read: Gives the bytes of each.
        frames: Whether these are pixels, not encoded pictures.
        padded: Whether zeros may follow a picture, which do not count.
    """

    count: int
    read: Callable[[], list[bytes]]
    frames: bool = False
    padded: bool = False


@dataclass(slots=True)
class SourceEpisode:
    """One episode as the source has it.

    Attributes:
        file: Its file, relative to the source folder, as receipts name it.
        record: Its number in the file, as receipts count.
        name: How the source itself calls it.
        length: Steps that were counted; `None` where they could not be.
        declared_length: Steps that the source declares.
        texts: What it is told to do: text to where that is said.
        values: Numbers by feature, read when asked for.
        cameras: Camera to its pictures or its window of a video; `None` where it has none.
        doubts: What the source says of it in two ways that differ: the flag of the receipt that
            must say so, to what was seen.
        look: Fills in the rest, where that is done only for episodes that were written.
        unread: Why it could not be looked into; empty where it was.
    """

    file: str
    record: int
    name: str
    length: int | None = None
    declared_length: int | None = None
    texts: dict[str, str] = field(default_factory=dict[str, str])
    values: dict[str, Callable[[], np.ndarray | list[Any]]] = field(
        default_factory=dict[str, "Callable[[], np.ndarray | list[Any]]"]
    )
    cameras: dict[str, VideoWindow | Pictures | None] = field(
        default_factory=dict[str, "VideoWindow | Pictures | None"]
    )
    doubts: dict[str, str] = field(default_factory=dict[str, str])
    unread: str = ""
    look: Callable[[], None] | None = None


@dataclass(slots=True)
class Inventory:
    """What a source declares and holds.

    Attributes:
        things: Its features and cameras, by name.
        episodes: Its episodes, file by file; read as they are asked for.
        tasks: The texts of its table of tasks, to where it is.
        absent: Episodes that it declares and that have no row: name to where that is said.
        notes: What could not be looked at, and why.
        written: Files of which an episode was written; known before the episodes are asked for.
    """

    things: dict[str, Declared]
    episodes: Callable[[], Any]
    tasks: dict[str, str] = field(default_factory=dict[str, str])
    absent: dict[str, str] = field(default_factory=dict[str, str])
    notes: list[str] = field(default_factory=list[str])
    written: frozenset[str] = frozenset()
