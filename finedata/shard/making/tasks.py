"""The tasks of a run: a unit of episodes to a spill file, a piece of the spills to a tar.

A task is told a set and a number and reads the rest from the run's plan, so it can run anywhere
and in any order. What it writes takes its name when it is whole, and what it returns goes into the
ledger; a task that is run again writes the same bytes.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np
import pyarrow as pa

from finedata.schema.tables.all import shard_index_schema
from finedata.shard.files import index_path, tar_folder, tar_name, write_arrow
from finedata.shard.making.baked import BakedWords
from finedata.shard.making.clips import episode_members
from finedata.shard.making.plan import (
    SetPlan,
    ShardContext,
    iter_episodes,
    plan_table,
    samples_of,
    suffixes,
)
from finedata.shard.making.sample import CameraCounts, iter_steps, sample_key
from finedata.shard.making.spill import Spilled, read_tar_samples, write_spill
from finedata.shard.making.tar import BLOCK_BYTES, Sample, TarPlaces, write_energon_index, write_tar
from finedata.shard.order.permute import permute

if TYPE_CHECKING:
    from collections.abc import Iterator

# Where the mean size of a sample is measured.
_MEASURED_EPISODES, _MEASURED_FRAMES = 8, 4


class ShardTask(msgspec.Struct, frozen=True):
    """Something to do: unit or tar `number` of what a run adds to a set."""

    context: ShardContext
    plan: SetPlan
    number: int


class TarResult(msgspec.Struct, frozen=True):
    """A tar as `shards.json` lists it."""

    name: str
    bytes: int
    sha256: str
    samples: int
    index_sha256: str

    def is_whole(self, folder: Path) -> bool:
        """Whether the tar is there, with its indexes."""
        path = folder / self.name
        beside = (index_path(path), path.with_name(f"{path.name}.idx"))
        return (
            path.is_file()
            and path.stat().st_size == self.bytes
            and all(one.is_file() for one in beside)
        )


class TaskResult(msgspec.Struct, frozen=True):
    """What a task wrote: bytes of the spill, or a tar; and how the pictures came into it."""

    spill_bytes: int
    tar: TarResult | None
    cameras: dict[str, CameraCounts]


def spill_path(context: ShardContext, plan: SetPlan, unit: int) -> Path:
    """The spill file of a unit."""
    return Path(context.work) / "spill" / plan.name / f"{unit:08d}.spill"


def write_unit(task: ShardTask) -> TaskResult:
    """First pass of `--order step`: a unit's samples, grouped by the tar they belong to.

    Raises:
        ConformError: A picture does not decode, or a file of the dataset is damaged.
        OutputError: The disk is full.
    """
    plan, context = task.plan, task.context
    counts = {camera.name: CameraCounts() for camera in plan.cameras}
    first, last = plan.units[task.number : task.number + 2]
    starts = _starts(context, plan)
    every = context.settings.every
    begin = int(starts[first])
    end = int(starts[last]) if last < plan.episodes else plan.samples
    places = permute(np.arange(begin, end), size=plan.samples, key=plan.key)
    spilled: list[Spilled] = []
    for number, frame, members in _steps(context, plan, range(first, last), counts):
        position = int(starts[number]) + frame // every
        tar, place = divmod(int(places[position - begin]), plan.per_tar)
        spilled.append(Spilled(tar, place, position, members))
    path = spill_path(context, plan, task.number)
    write_spill(path, spilled, num_members=len(suffixes(plan, context.settings)))
    return TaskResult(path.stat().st_size, None, counts)


def write_step_tar(task: ShardTask) -> TaskResult:
    """Second pass of `--order step`: one tar, from its piece of every spill file.

    Raises:
        OutputError: The disk is full, or a spill file is not of this run.
    """
    plan, context = task.plan, task.context
    spills = [spill_path(context, plan, unit) for unit in range(len(plan.units) - 1)]
    names = suffixes(plan, context.settings)
    count = min(plan.per_tar, plan.samples - task.number * plan.per_tar)
    places, samples = read_tar_samples(spills, task.number, num_members=len(names), count=count)
    starts, every = _starts(context, plan), context.settings.every
    numbers = np.searchsorted(starts, places, side="right") - 1
    frames = (places - starts[numbers]) * every
    of_set: Any = plan_table(context, plan.name).column("episode_id")
    ids: dict[int, str] = {n: of_set[n].as_py() for n in np.unique(numbers).tolist()}
    named = (
        (number, frame, ids[number], members)
        for number, frame, members in zip(numbers.tolist(), frames.tolist(), samples, strict=True)
    )
    return TaskResult(0, _write(task, named, names), {})


def write_episode_tar(task: ShardTask) -> TaskResult:
    """A tar in the order of episodes, in one pass.

    Raises:
        ConformError: A picture does not decode, or a file of the dataset is damaged.
        OutputError: The disk is full.
    """
    plan, context = task.plan, task.context
    counts = {camera.name: CameraCounts() for camera in plan.cameras}
    numbers = range(*plan.units[task.number : task.number + 2])
    ids = plan_table(context, plan.name).column("episode_id")
    found = _clips if context.settings.sample == "episode" else _steps
    samples = (
        (number, frame, ids[number].as_py(), members)
        for number, frame, members in found(context, plan, numbers, counts)
    )
    return TaskResult(0, _write(task, samples, suffixes(plan, context.settings)), counts)


def _steps(
    context: ShardContext, plan: SetPlan, numbers: range, counts: dict[str, CameraCounts]
) -> Iterator[tuple[int, int, tuple[bytes, ...]]]:
    baked = BakedWords(context, plan)
    for number, episode in iter_episodes(context, plan, numbers):
        words = baked.of(number, episode) if plan.baked else {}
        steps = iter_steps(episode, plan, context.settings, words=words, counts=counts)
        for frame, members in steps:
            yield number, frame, members


def _clips(
    context: ShardContext, plan: SetPlan, numbers: range, counts: dict[str, CameraCounts]
) -> Iterator[tuple[int, int, tuple[bytes, ...]]]:
    scratch = Path(context.work) / "clips" / plan.name
    for number, episode in iter_episodes(context, plan, numbers):
        yield (
            number,
            0,
            episode_members(episode, plan, scratch=scratch, counts=counts),
        )


def _write(
    task: ShardTask,
    samples: Iterator[tuple[int, int, str, tuple[bytes, ...]]],
    names: tuple[str, ...],
) -> TarResult:
    """Write a tar of what a run adds to a set."""
    plan, context = task.plan, task.context
    number = plan.first_tar + task.number
    path = tar_folder(Path(context.out), plan.name) / tar_name(plan.side, number)
    numbered = ((plan.first_episode + episode, *rest) for episode, *rest in samples)
    as_steps = context.settings.sample == "step"
    return write_set_tar(path, number, cast("Any", numbered), names, as_steps=as_steps)


def write_set_tar(
    path: Path,
    number: int,
    samples: Iterator[tuple[int, int, str, tuple[bytes, ...]]],
    names: tuple[str, ...],
    *,
    as_steps: bool,
) -> TarResult:
    """Write a tar with its two indexes.

    Args:
        path: The tar.
        number: In its name.
        samples: Number of the episode in the set, frame, `episode_id`, and the bytes of members.
        names: Suffixes of the members.
        as_steps: Whether a sample is a step; else it is an episode.

    Raises:
        OutputError: The disk is full.
    """
    episodes: list[int] = []
    ids: list[str] = []
    frames: list[int] = []

    def noted() -> Iterator[Sample]:
        for episode, frame, episode_id, members in samples:
            episodes.append(episode)
            ids.append(episode_id)
            frames.append(frame)
            yield Sample(sample_key(episode_id, frame if as_steps else None), members)

    places = write_tar(path, noted(), suffixes=names)
    write_energon_index(path, places.sample_offset)
    index = _index_table(places, episodes, ids, frames, number)
    write_arrow(index_path(path), [index], schema=index.schema)
    return TarResult(
        name=path.name,
        bytes=places.total_bytes,
        sha256=places.sha256,
        samples=len(ids),
        index_sha256=hashlib.sha256(index_path(path).read_bytes()).hexdigest(),
    )


def _index_table(
    places: TarPlaces, episodes: list[int], ids: list[str], frames: list[int], tar: int
) -> pa.Table:
    offsets = np.array(places.sample_offset, np.int64)
    width = places.offset.shape[1]

    def vectors(values: np.ndarray) -> Any:
        flat: Any = pa.array(values.reshape(-1))
        lists: Any = pa.FixedSizeListArray
        return lists.from_arrays(flat, width)

    schema = shard_index_schema(width)
    columns: list[Any] = [
        pa.array(episodes, pa.int32()),
        pa.array(ids, pa.string()),
        pa.array(frames, pa.int32()),
        pa.array(np.full(len(ids), tar, np.int32)),
        pa.array(offsets[:-1]),
        pa.array(np.diff(offsets)),
        vectors(places.offset),
        vectors(places.size),
        vectors(places.crc32c),
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def is_done(task: ShardTask, result: TaskResult) -> bool:
    """Whether what a finished task wrote is still there."""
    plan, context = task.plan, task.context
    if result.tar is None:
        path, size = spill_path(context, plan, task.number), result.spill_bytes
        return path.is_file() and path.stat().st_size == size
    return result.tar.is_whole(tar_folder(Path(context.out), plan.name))


def measure_sample_bytes(context: ShardContext, plan: SetPlan) -> int:
    """Mean bytes of a sample in a tar, headers and padding counted, of a few spread evenly.

    Raises:
        ConformError: A picture does not decode, or a file of the dataset is damaged.
    """
    chosen = np.unique(np.linspace(0, plan.episodes - 1, _MEASURED_EPISODES).round()).astype(int)
    sizes: list[int] = []
    scratch = Path(context.work) / "clips" / plan.name
    settings = context.settings
    baked = BakedWords(context, plan)
    for number, episode in iter_episodes(context, plan, chosen.tolist()):
        if settings.sample == "episode":
            counts = {camera.name: CameraCounts() for camera in plan.cameras}
            samples = [episode_members(episode, plan, scratch=scratch, counts=counts)]
        else:
            last = (len(episode) - 1) // settings.every
            steps = np.unique(np.linspace(0, last, _MEASURED_FRAMES).round()).astype(int)
            frames = (steps * settings.every).tolist()
            words = baked.of(number, episode) if plan.baked else {}
            found = iter_steps(episode, plan, settings, frames=frames, words=words)
            samples = [members for _, members in found]
        sizes += [sum(map(_in_tar, members)) for members in samples]
    return max(1, round(sum(sizes) / len(sizes)))


def _in_tar(member: bytes) -> int:
    return BLOCK_BYTES + len(member) + -len(member) % BLOCK_BYTES


def _starts(context: ShardContext, plan: SetPlan) -> np.ndarray:
    """(episodes,) place of each episode's first sample in the order of (episode, frame)."""
    lengths: Any = plan_table(context, plan.name).column("length")
    samples = samples_of(np.asarray(lengths.to_numpy()), context.settings)
    return np.cumsum(samples) - samples
