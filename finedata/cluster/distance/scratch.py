"""The motion of a part in the order of its tasks, in one scratch file: built once, read in slices.

The data files have the order of the source, where the episodes of a task lie scattered. So the
part is read once, front to back, and each episode is written to its place in a plain file of
float32 below `.finedata/`. The file is written beside and renamed, and used again while the data
files and the order are the same. It is read with pread, never mapped: memory stays ours.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from finedata.cluster.choose.quality import motion_measures
from finedata.errors import ConformError
from finedata.store.atomic import atomic_path, output_errors
from finedata.store.motion.tracks import arm_columns, scan_tracks
from finedata.store.run.ledger import LEDGER_FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from finedata.cluster.plan import PartPlan
    from finedata.store.dataset import Dataset
    from finedata.store.motion.tracks import ArmColumns

_FLOAT = 4
_SCANNED_FRAMES = 200_000


class _Head(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What the file beside the numbers says."""

    key: str
    width: int
    names: tuple[str, ...]
    space: str
    usable: bytes
    measures: bytes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PartMotion:
    """A part's motion on disk; indexing with a slice of frames reads them.

    Attributes:
        path: The scratch file.
        width: Columns.
        names: Their names.
        space: `ee`, `joint` or `undeclared`.
        arms: Arm to its columns; empty where undeclared.
        usable: (N, arms or 1) int8: 1 where all numbers of that arm are usable, 0 where some are
            not finite or a quaternion is zero, -1 where none is finite (the arm is not there).
        measures: (N, 2) float64 frozen share and roughness of the motion; see `quality`.
    """

    path: Path
    width: int
    names: tuple[str, ...]
    space: str
    arms: dict[str, ArmColumns]
    usable: NDArray[np.int8]
    measures: NDArray[np.float64]

    def __getitem__(self, frames: slice) -> NDArray[np.float32]:
        first, last, _ = frames.indices(self.path.stat().st_size // (_FLOAT * self.width))
        count = max(0, last - first) * self.width
        rows = np.fromfile(self.path, "<f4", count=count, offset=first * self.width * _FLOAT)
        return rows.reshape(-1, self.width)


def open_motion(
    dataset: Dataset,
    plan: PartPlan,
    *,
    on: str,
    on_frames: Callable[[int], None] | None = None,
) -> PartMotion:
    """Open the scratch file of a part; build it where there is none for these data files.

    Args:
        dataset: The dataset.
        plan: The part's episodes in the order of its units.
        on: `action` or `state`.
        on_frames: Called with the number of frames read so far.

    Returns:
        The motion.

    Raises:
        ConformError: The data files do not hold what the table of episodes says.
        OutputError: There is no room for the file.
    """
    home = dataset.root / LEDGER_FOLDER / "cluster-motion"
    stem = hashlib.sha256(plan.part.encode()).hexdigest()[:16] + f"-{on}"
    numbers, head_path = home / f"{stem}.f32", home / f"{stem}.head"
    key = _key(dataset, plan, on)
    head = _read_head(head_path)
    frames = int(plan.lengths.sum())
    if (
        head is None
        or head.key != key
        or not numbers.is_file()
        or numbers.stat().st_size != frames * head.width * _FLOAT
    ):
        # The head goes first: numbers of another order never stand beside a head that fits.
        with output_errors(head_path):
            head_path.unlink(missing_ok=True)
        head = _build(dataset, plan, on, numbers, key, on_frames)
        with atomic_path(head_path) as partial:
            partial.write_bytes(msgspec.msgpack.encode(head))
    usable = np.frombuffer(head.usable, np.int8).reshape(len(plan.episode_ids), -1)
    return PartMotion(
        path=numbers,
        width=head.width,
        names=head.names,
        space=head.space,
        arms={} if head.space == "undeclared" else arm_columns(head.names),
        usable=usable,
        measures=np.frombuffer(head.measures, "<f8").reshape(-1, 2),
    )


def undone_motion(dataset: Dataset, plan: PartPlan, *, on: str) -> PartMotion:
    """The layout of a part, as if all its motion were usable; nothing is read or written."""
    feature = dataset.features(plan.part)["action" if on == "action" else "observation.state"]
    width = feature.shape[0]
    names = feature.names or tuple(f"{k}" for k in range(width))
    arms = {} if plan.space == "undeclared" else arm_columns(names)
    count = len(plan.episode_ids)
    return PartMotion(
        path=dataset.root / "nowhere",
        width=width,
        names=names,
        space=plan.space,
        arms=arms,
        usable=np.ones((count, max(1, len(arms))), np.int8),
        measures=np.full((count, 2), np.nan),
    )


def _build(
    dataset: Dataset,
    plan: PartPlan,
    on: str,
    path: Path,
    key: str,
    on_frames: Callable[[int], None] | None,
) -> _Head:
    place = {episode_id: k for k, episode_id in enumerate(plan.episode_ids)}
    offsets = np.concatenate([[0], np.cumsum(plan.lengths)])
    names: tuple[str, ...] = ()
    space, width, done = "undeclared", 0, 0
    usable: NDArray[np.int8] | None = None
    measures = np.full((len(place), 2), np.nan)
    with atomic_path(path) as partial:
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            for batch in scan_tracks(dataset, part=plan.part, frames=_SCANNED_FRAMES):
                values = batch.action if on == "action" else batch.state
                names = batch.action_names if on == "action" else batch.names
                space, width = batch.space, values.shape[1]
                arms = {} if space == "undeclared" else arm_columns(names)
                if usable is None:
                    usable = np.ones((len(place), max(1, len(arms))), np.int8)
                verdicts = _usable(values, batch.offsets, arms)
                measured = _measures(values, batch.offsets, arms)
                for k, episode_id in enumerate(batch.episode_ids):
                    at = place.get(episode_id)
                    if at is None:
                        continue
                    rows = values[batch.offsets[k] : batch.offsets[k + 1]]
                    if len(rows) != plan.lengths[at]:
                        raise ConformError(
                            place=f"episode {episode_id}",
                            found=f"{len(rows)} frames",
                            wanted=f"{plan.lengths[at]}, as the table of episodes says",
                        )
                    usable[at], measures[at] = verdicts[k], measured[k]
                    _write_all(descriptor, rows, int(offsets[at]) * width * _FLOAT)
                done += len(values)
                if on_frames is not None:
                    on_frames(done)
        finally:
            os.close(descriptor)
    flags = np.ones((len(place), 1), np.int8) if usable is None else usable
    return _Head(
        key=key,
        width=width,
        names=names,
        space=space,
        usable=flags.tobytes(),
        measures=measures.astype("<f8").tobytes(),
    )


def _measures(
    values: NDArray[np.float32], offsets: NDArray[np.int64], arms: dict[str, ArmColumns]
) -> NDArray[np.float64]:
    """(N, 2) frozen share and roughness, over the positions or joints of all arms."""
    moving = [one.position or one.joints or slice(0, 0) for one in arms.values()]
    columns = [k for one in moving for k in range(one.start, one.stop)]
    with np.errstate(all="ignore"):  # numbers that are not finite make unknowns
        found = motion_measures(values[:, columns] if arms else values, offsets)
    return np.stack([found.frozen_share, found.roughness], axis=1)


def _usable(
    values: NDArray[np.float32], offsets: NDArray[np.int64], arms: dict[str, ArmColumns]
) -> NDArray[np.int8]:
    """(N, arms or 1); see `PartMotion.usable`. Every episode has a frame."""
    groups = [_columns_of(arm) for arm in arms.values()] or [list(range(values.shape[1]))]
    verdicts = np.zeros((len(offsets) - 1, len(groups)), np.int8)
    if not len(verdicts):
        return verdicts
    for place, columns in enumerate(groups):
        finite = np.isfinite(values[:, columns])
        fine = finite.all(axis=1)
        arm = list(arms.values())[place] if arms else None
        if arm is not None and arm.quaternion is not None:
            fine &= (values[:, arm.quaternion] != 0).any(axis=1)
        whole = np.logical_and.reduceat(fine, offsets[:-1])
        some = np.logical_or.reduceat(finite.any(axis=1), offsets[:-1])
        verdicts[:, place] = np.where(whole, 1, np.where(some, 0, -1))
    return verdicts


def _columns_of(arm: ArmColumns) -> list[int]:
    columns: list[int] = []
    for one in (arm.position, arm.quaternion, arm.joints):
        if one is not None:
            columns += range(one.start, one.stop)
    return columns + ([] if arm.gripper is None else [arm.gripper])


def _write_all(descriptor: int, rows: NDArray[np.float32], offset: int) -> None:
    left = memoryview(np.ascontiguousarray(rows, "<f4").tobytes())
    while left:
        written = os.pwrite(descriptor, left, offset)
        left, offset = left[written:], offset + written


def _read_head(path: Path) -> _Head | None:
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=_Head)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _key(dataset: Dataset, plan: PartPlan, on: str) -> str:
    """What the file depends on: the order, and the data files by name, size and time."""
    entry = next(entry for entry in dataset.parts if entry.name == plan.part)
    files: list[Any] = []
    for path in sorted((dataset.root / entry.path / "data").rglob("*.parquet")):
        status = path.stat()
        files.append((path.name, path.parent.name, status.st_size, status.st_mtime_ns))
    digest = hashlib.sha256(msgspec.json.encode((on, plan.part, files)))
    for episode_id in plan.episode_ids:
        digest.update(episode_id.encode() + b"\0")
    digest.update(plan.lengths.tobytes())
    return digest.hexdigest()
