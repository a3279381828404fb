"""Motion out of a dataset: states and actions of one part's episodes as joined arrays.

Only the columns of motion are read: pictures lie in the same files and are never touched. A part
is read file by file, in batches of whole episodes, so that a million of them need no more memory
than one batch. Numbers that are not finite are passed on as they are stored: judging them is the
gate's work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from finedata.errors import UsageError
from finedata.store.lerobot.layout import DATA_FILE_COLUMNS
from finedata.store.motion.arm_columns import ArmColumns, arm_columns, joint_track, pose_track
from finedata.store.motion.track_files import BATCH_ROWS, scan_episodes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from numpy.typing import NDArray

    from finedata.store.dataset import Dataset
    from finedata.store.lerobot.layout import Feature

__all__ = [
    "ArmColumns",
    "PartTracks",
    "arm_columns",
    "joint_track",
    "pose_track",
    "read_tracks",
    "scan_tracks",
    "without_vector",
]

_STATE, _ACTION, _TIME = "observation.state", "action", "source_time_s"


@dataclass(frozen=True, slots=True, eq=False)
class PartTracks:
    """States and actions of some episodes of one part, one episode after the other.

    A part without one of the two (see `without_vector`) has no column on that side.

    Attributes:
        part: Name of the part.
        space: `ee`, `joint` or `undeclared`.
        names: Names of the columns of `state`, and of `action` but for undeclared parts.
        action_names: Names of the columns of `action`.
        arms: `right`, `left` or both, in the order of the columns; () where undeclared.
        episode_ids: N ids, in the part's order.
        offsets: (N + 1,) int64: episode k is rows `offsets[k]` to `offsets[k + 1]`.
        state: (sum of T, n) float32, `observation.state`.
        action: (sum of T, m) float32, `action`.
        source_time_s: (sum of T,) float64, the source's own clock; None where it has none.
    """

    part: str
    space: str
    names: tuple[str, ...]
    action_names: tuple[str, ...]
    arms: tuple[str, ...]
    episode_ids: list[str]
    offsets: NDArray[np.int64]
    state: NDArray[np.float32]
    action: NDArray[np.float32]
    source_time_s: NDArray[np.float64] | None

    def __len__(self) -> int:
        return len(self.episode_ids)


def without_vector(features: Mapping[str, Feature], column: str) -> str | None:
    """Say why a part has no vector of that name to compare; None where it has one.

    The one place that decides it: what is declared decides, and every verb that needs the packed
    vectors leaves such a part out with these words.

    Args:
        features: The part's features.
        column: `observation.state` or `action`.

    Example:
        >>> without_vector({}, "action")
        "no feature 'action'"
    """
    feature = features.get(column)
    if feature is None:
        return f"no feature {column!r}"
    if not feature.dtype.startswith(("float", "int", "uint")):
        return f"feature {column!r} of dtype {feature.dtype}"
    if len(feature.shape) > 1:
        return f"feature {column!r} of shape {feature.shape}"
    return None


def read_tracks(
    dataset: Dataset, *, part: str, episodes: Collection[str] | None = None
) -> PartTracks:
    """Read a part's motion, or some episodes of it, whole.

    Args:
        dataset: The dataset.
        part: Name of the part.
        episodes: Their episode_ids; all by default. The answer has the part's order anyway.

    Returns:
        The motion.

    Raises:
        UsageError: There is no such part, or an episode is not in it.
        ConformError: The data files do not hold what the table of episodes says.
    """
    rows = _episode_rows(dataset, part, episodes)
    return _joined(_frame_of(dataset, part, rows), list(_batches(dataset, part, rows, None)))


def scan_tracks(dataset: Dataset, *, part: str, frames: int = 500_000) -> Iterator[PartTracks]:
    """Read a part's motion in batches of whole episodes, in the part's order.

    Args:
        dataset: The dataset.
        part: Name of the part.
        frames: A batch is given out when it has this many. It has at most twice as many, or
            65,536 more, and one episode. That bounds the memory.

    Yields:
        Batches; none for a part without episodes.

    Raises:
        UsageError: There is no such part.
        ConformError: The data files do not hold what the table of episodes says.
    """
    yield from _batches(dataset, part, _episode_rows(dataset, part, None), frames)


def _episode_rows(dataset: Dataset, part: str, episodes: Collection[str] | None) -> pl.DataFrame:
    if all(entry.name != part for entry in dataset.parts):
        raise UsageError(
            place="part",
            found=f"{part!r}",
            wanted=f"one of {', '.join(entry.name for entry in dataset.parts)}",
            next_command=f"finedata info {dataset.root}",
        )
    rows = (
        dataset.episodes.filter(pl.col("part") == part)
        .select(
            "episode_id",
            "episode_index",
            "length",
            "space",
            *DATA_FILE_COLUMNS,
        )
        .sort("episode_index")
        .collect()
    )
    if episodes is None:
        return rows
    chosen = rows.filter(pl.col("episode_id").is_in(list(episodes)))
    if len(chosen) < len(set(episodes)):
        missing = sorted(set(episodes) - set(chosen["episode_id"]))
        raise UsageError(
            place="episodes",
            found=f"{missing[0]!r}",
            wanted=f"episodes of the part {part!r}",
            next_command=f'finedata query {dataset.root} "select episode_id from episodes"',
        )
    return chosen


def _frame_of(dataset: Dataset, part: str, rows: pl.DataFrame) -> PartTracks:
    """The answer without any episode: what all batches of a part have in common."""
    features = dataset.features(part)
    names = [_names_of(features, name) for name in (_STATE, _ACTION)]
    space = str(rows["space"][0]) if len(rows) else "undeclared"
    return PartTracks(
        part=part,
        space=space,
        names=names[0],
        action_names=names[1],
        arms=() if space == "undeclared" else tuple(arm_columns(names[0])),
        episode_ids=[],
        offsets=np.zeros(1, np.int64),
        state=np.zeros((0, len(names[0])), np.float32),
        action=np.zeros((0, len(names[1])), np.float32),
        source_time_s=np.zeros(0, np.float64) if _TIME in features else None,
    )


def _names_of(features: Mapping[str, Feature], column: str) -> tuple[str, ...]:
    """One name for each number of a vector; none where the part has no such vector."""
    if without_vector(features, column) is not None:
        return ()
    feature = features[column]
    width = feature.shape[0] if feature.shape else 1
    names = feature.names or ()
    return names if len(names) == width else tuple(f"{column}_{k}" for k in range(width))


def _batches(
    dataset: Dataset, part: str, rows: pl.DataFrame, frames: int | None
) -> Iterator[PartTracks]:
    empty = _frame_of(dataset, part, rows)
    there = {
        _STATE: bool(empty.names),
        _ACTION: bool(empty.action_names),
        _TIME: empty.source_time_s is not None,
    }
    columns = [name for name, is_there in there.items() if is_there]
    pending: list[PartTracks] = []
    for some, values in scan_episodes(
        dataset.part_folder(part),
        rows,
        columns=columns,
        batch_rows=min(frames or BATCH_ROWS, BATCH_ROWS),
    ):
        offsets = _offsets(some["length"].to_numpy())
        pending.append(_with_rows(empty, some["episode_id"].to_list(), offsets, values))
        if frames is not None and sum(len(one.state) for one in pending) >= frames:
            yield _joined(empty, pending)
            pending = []
    if pending:
        yield _joined(empty, pending)


def _with_rows(
    empty: PartTracks, ids: list[str], offsets: NDArray[np.int64], values: dict[str, NDArray[Any]]
) -> PartTracks:
    none = np.zeros((int(offsets[-1]), 0), np.float32)
    return PartTracks(
        part=empty.part,
        space=empty.space,
        names=empty.names,
        action_names=empty.action_names,
        arms=empty.arms,
        episode_ids=ids,
        offsets=offsets,
        # A vector of one number is stored as a plain column.
        state=_vectors(values[_STATE], len(empty.names)) if _STATE in values else none,
        action=_vectors(values[_ACTION], len(empty.action_names)) if _ACTION in values else none,
        source_time_s=values.get(_TIME),
    )


def _joined(empty: PartTracks, pieces: list[PartTracks]) -> PartTracks:
    if not pieces:
        return empty
    if len(pieces) == 1:
        return pieces[0]
    lengths = np.concatenate([np.diff(piece.offsets) for piece in pieces])
    values: dict[str, NDArray[Any]] = {}
    if empty.names:
        values[_STATE] = np.concatenate([piece.state for piece in pieces])
    if empty.action_names:
        values[_ACTION] = np.concatenate([piece.action for piece in pieces])
    times = [piece.source_time_s for piece in pieces if piece.source_time_s is not None]
    if times:
        values[_TIME] = np.concatenate(times)
    ids = [episode_id for piece in pieces for episode_id in piece.episode_ids]
    return _with_rows(empty, ids, _offsets(lengths), values)


def _vectors(values: NDArray[Any], width: int) -> NDArray[np.float32]:
    """(rows, width) as stored; whole numbers as float32, which the kernels want."""
    rows = values.reshape(-1, width)
    return rows if rows.dtype.kind == "f" else rows.astype(np.float32)


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
