"""The distances of the last finished run, out of its ledger: for the report and for looking.

A run leaves a manifest beside its tiles: which units there were, which episodes they had, and
which tiles hold their distances. Ledgers are opened to read only, and never locked.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from finedata.cluster.distance.manifest import (
    FINISHED,
    IDS,
    INDEX,
    MANIFEST,
    Finished,
    StoredGroup,
    numbers_of,
    stored_tiles,
)
from finedata.cluster.distance.pipeline import TILE, stored_distances
from finedata.errors import OutputError
from finedata.store.run.ledger import LEDGER_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray


__all__ = ["TaskDistances", "iter_distances", "read_distances", "read_task"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TaskDistances:
    """The distances of one unit: a task in a part, its episodes having the same arms.

    Args:
        part: The part.
        task_id: The task.
        arms: The arms; () where undeclared.
        episode_ids: N ids, ascending.
        condensed: (N (N - 1) / 2,) all pairs; None for a task with landmarks.
        landmarks: (M,) numbers of its landmarks, where it has some.
        to_landmarks: (M, N) each landmark to each episode, where it has some.
    """

    part: str
    task_id: str
    arms: tuple[str, ...]
    episode_ids: list[str]
    condensed: NDArray[np.floating] | None
    landmarks: NDArray[np.int64] | None = None
    to_landmarks: NDArray[np.floating] | None = None


def read_distances(
    root: Path, *, part: str, task_id: str
) -> tuple[list[str], NDArray[np.floating]] | None:
    """All pairs of a task, as the last finished `finedata cluster` computed them.

    Args:
        root: Root of the dataset.
        part: The part.
        task_id: The task.

    Returns:
        N episode ids, ascending, and (N (N - 1) / 2,) distances. Of a task whose episodes have
        different arms, the first of its units (`read_task` has all); of a task with landmarks,
        the landmarks only. None where no run has finished, or the task was not in it.

    Raises:
        OutputError: The ledger cannot be read.
    """
    for found in read_task(root, part=part, task_id=task_id):
        if found.condensed is not None:
            return found.episode_ids, found.condensed
        if found.landmarks is not None and found.to_landmarks is not None:
            among = found.to_landmarks[:, found.landmarks]
            ids = [found.episode_ids[k] for k in map(int, found.landmarks)]
            return ids, among[np.triu_indices(len(ids), k=1)]
    return None


def read_task(root: Path, *, part: str, task_id: str) -> list[TaskDistances]:
    """The units of one task in one part; see `read_distances`."""
    return list(iter_distances(root, part=part, task_id=task_id))


def iter_distances(
    root: Path, *, part: str | None = None, task_id: str | None = None
) -> Iterator[TaskDistances]:
    """The units of the last finished run, one in memory at a time.

    Args:
        root: Root of the dataset.
        part: Only this part.
        task_id: Only this task.

    Yields:
        Units; none where no run has finished.

    Raises:
        OutputError: The ledger cannot be read.
    """
    home = root / LEDGER_FOLDER
    index = home / f"{INDEX}.sqlite"
    if not index.is_file():
        return
    with closing(_open(index)) as connection:
        mark = _get(connection, index, FINISHED, 0)
    if not mark:
        return
    finished = msgspec.msgpack.decode(mark, type=Finished)
    path = home / f"{finished.ledger}.sqlite"
    with closing(_open(path)) as connection:
        manifest = _wanted(connection, path, MANIFEST, 0)
        groups = msgspec.msgpack.decode(manifest, type=list[StoredGroup])
        for place, group in enumerate(groups):
            if part is not None and group.part != part:
                continue
            offsets = numbers_of(group.unit_offsets)
            ids = _wanted(connection, path, IDS, place).decode().split("\n")
            chosen = range(len(group.task_ids))
            if task_id is not None:
                chosen = [u for u in chosen if group.task_ids[u] == task_id]
            units = stored_distances(
                partial(_wanted, connection, path, TILE),
                tiles=stored_tiles(group),
                unit_offsets=offsets,
                dtype=np.dtype(finished.dtype).type,
                wanted=set(chosen),
            )
            for unit in units:
                yield TaskDistances(
                    part=group.part,
                    task_id=group.task_ids[unit.unit],
                    arms=group.arms,
                    episode_ids=ids[offsets[unit.unit] : offsets[unit.unit + 1]],
                    condensed=unit.condensed,
                    landmarks=None if unit.subset is None else unit.subset.landmarks,
                    to_landmarks=unit.to_landmarks,
                )


def _open(path: Path) -> sqlite3.Connection:
    # A database in WAL mode in a folder that cannot be written opens only as immutable.
    for mode in ("mode=ro", "mode=ro&immutable=1"):
        try:
            connection = sqlite3.connect(f"{path.resolve().as_uri()}?{mode}", uri=True)
            connection.execute("select count(*) from run").fetchone()
        except sqlite3.Error as error:
            problem = error
        else:
            return connection
    raise _unreadable(path, f"{problem}") from problem


def _get(connection: sqlite3.Connection, path: Path, kind: str, number: int) -> bytes | None:
    try:
        row = connection.execute(
            "select payload from items where kind = ? and number = ?", (kind, number)
        ).fetchone()
    except sqlite3.Error as error:
        raise _unreadable(path, f"{error}") from error
    return None if row is None else row[0]


def _wanted(connection: sqlite3.Connection, path: Path, kind: str, number: int) -> bytes:
    payload = _get(connection, path, kind, number)
    if payload is None:
        raise _unreadable(path, f"no {kind} {number}")
    return payload


def _unreadable(path: Path, found: str) -> OutputError:
    return OutputError(
        place=str(path),
        found=found,
        wanted="the ledger of a finished `finedata cluster`",
        next_command=f"remove the file, then: finedata cluster {path.parent.parent}",
    )
