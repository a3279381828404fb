"""Everything about a set that is known before its first picture is read.

Which members a sample has, how large pictures become, how many samples go into a tar, where each
sample stands, and which episodes are read together. Workers, shares and a run that continues all
take it from here, so none of them can decide a byte. The rows of the episodes are kept as a mapped
file: a worker is told numbers, and memory does not grow with the corpus.

How many samples a tar takes is the wanted size over the mean size of a sample, measured on a few
episodes that are spread evenly over the set. A tar in the order of episodes ends with an episode,
so that windows never cross a file.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
import pyarrow as pa

from finedata.errors import UsageError
from finedata.shard.files import write_arrow
from finedata.shard.order.permute import derive_key
from finedata.shard.roles import depth_of
from finedata.store.dataset import Dataset, open_dataset
from finedata.store.episode import Episode, shown_camera
from finedata.store.lerobot.layout import Feature, picture_column

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import polars as pl

    from finedata.shard.making.settings import ShardSettings

UNIT_BYTES = 96 << 20
"""Samples of about so many bytes are read, shuffled and spilled together: one worker's memory."""

_PICTURES = picture_column("")
_MEMBER_CHARACTERS = 40


class CameraPlan(msgspec.Struct, frozen=True):
    """A camera of a set.

    Attributes:
        name: In the dataset.
        member: Suffix in the tars.
        codec: What its members are.
        height: In pixels.
        width: In pixels.
        bits: Of a colour or depth: 8 or 16.
        resized: Whether the dataset's pictures have another size.
        video: Whether the dataset keeps it as video.
        depth_of: The camera whose depth is estimated here; "" of a camera that the dataset has.
    """

    name: str
    member: str
    codec: Literal["jpeg", "png", "mp4"]
    height: int
    width: int
    bits: int
    resized: bool
    video: bool
    depth_of: str = ""


class ShardContext(msgspec.Struct, frozen=True):
    """What every task of a run is told.

    Attributes:
        roots: The datasets' folders.
        out: The shards' folder.
        work: Folder of this run's spills; all of its shares write there.
        plans: Folder of this process's copy of the plan.
        settings: What was asked for.
    """

    roots: tuple[str, ...]
    out: str
    work: str
    plans: str
    settings: ShardSettings


class SetPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What one run adds to one set.

    Attributes:
        name: Of the set.
        source: Its source.
        part: Its part.
        tier: Its tier.
        side: Its side.
        embodiment: The robot.
        space: What state and action hold.
        fps: Frames a second.
        licences: Of its episodes, sorted.
        cameras: Its cameras.
        numbers: Which of `state` and `action` are members.
        baked: Words that are members.
        first_episode: Number of the first episode that this run adds.
        episodes: How many it adds.
        samples: How many samples these have.
        sample_bytes: Mean bytes of a sample in a tar.
        per_tar: Most samples of a tar.
        first_tar: Number of the first tar that this run adds.
        tars: How many it adds.
        key: Of the shuffle.
        units: First episodes (of those added) of the units, and one past the last.
    """

    name: str
    source: str
    part: str
    tier: Literal["rep", "rest", "unlabelled", "failed"]
    side: Literal["train", "heldout"]
    embodiment: str
    space: str
    fps: float
    licences: tuple[str, ...]
    cameras: tuple[CameraPlan, ...]
    numbers: tuple[str, ...]
    baked: tuple[str, ...]
    first_episode: int
    episodes: int
    samples: int = 0
    sample_bytes: int = 0
    per_tar: int = 0
    first_tar: int = 0
    tars: int = 0
    key: int = 0
    units: tuple[int, ...] = ()


def suffixes(plan: SetPlan, settings: ShardSettings) -> tuple[str, ...]:
    """Suffixes of a sample's members, in their order."""
    pictures = [camera.member for camera in plan.cameras]
    if settings.thin:
        return tuple(pictures)
    numbers = [f"{name}.npy" for name in plan.numbers]
    return (*pictures, *numbers, "meta.json", *(f"{name}.txt" for name in plan.baked))


def plan_cameras(
    dataset: Dataset, part: str, settings: ShardSettings, *, bits: dict[str, int]
) -> tuple[CameraPlan, ...]:
    """The cameras of a part that are taken, by the names of their members.

    Args:
        dataset: The dataset.
        part: Name of the part.
        settings: What was asked for.
        bits: Camera to bits a colour; 8 where it says nothing.

    Raises:
        UsageError: None of the cameras asked for is there, or clips of no camera are wanted.
    """
    features = {
        name.removeprefix(_PICTURES): feature
        for name, feature in dataset.features(part).items()
        if feature.dtype in ("image", "video")
    }
    wanted = settings.cameras or tuple(features)
    # Depth is no film: an encoder for pictures would give it colours.
    clips = settings.sample == "episode"
    taken = sorted(
        name for name in features if name in wanted and not (clips and bits.get(name) == 16)
    )
    if not features and not wanted and not clips:
        return ()  # its samples are numbers and words
    if not taken:
        raise UsageError(
            place=f"cameras of part {part}",
            found=f"none of {', '.join(wanted)}" if wanted else "no camera",
            wanted=f"one of {', '.join(sorted(features)) or 'those that it has'}",
            next_command=f"finedata info {dataset.root}  # cameras of every part",
        )
    used: set[str] = set()
    found = [_camera(name, features[name], settings, bits.get(name, 8), used) for name in taken]
    if settings.depth:
        deep = [one.name for one in found if one.codec == "png"]
        found += [
            _estimated(one, used)
            for one in found
            if one.codec == "jpeg" and depth_of(one.name, deep) is None
        ]
    return tuple(found)


def _estimated(camera: CameraPlan, used: set[str]) -> CameraPlan:
    """The depth of a camera, of the size of its pictures."""
    stem = camera.member.removesuffix(".jpg")[: _MEMBER_CHARACTERS - len("_depth")]
    return msgspec.structs.replace(
        camera,
        name=f"{shown_camera(camera.name)}_depth",
        member=_unused(f"{stem}_depth", "png", used),
        codec="png",
        bits=16,
        resized=False,
        video=False,
        depth_of=camera.name,
    )


def _unused(stem: str, ending: str, used: set[str]) -> str:
    member, number = f"{stem}.{ending}", 2
    while member in used:
        member, number = f"{stem}_{number}.{ending}", number + 1
    used.add(member)
    return member


def _camera(
    name: str, feature: Feature, settings: ShardSettings, bits: int, used: set[str]
) -> CameraPlan:
    depth = bits == 16 or "depth" in name.lower()
    codec: Literal["jpeg", "png", "mp4"] = "png" if depth else "jpeg"
    if settings.sample == "episode":
        codec = "mp4"
    height, width = settings.resize or (feature.shape[0], feature.shape[1])
    # Readers take all after the first dot as the suffix, and lower-case it.
    stem = "".join(
        sign if sign.isascii() and (sign.isalnum() or sign in "_-") else "_"
        for sign in shown_camera(name).lower()
    )
    # Key and suffix share the 100 bytes of a tar's header.
    stem = stem[:_MEMBER_CHARACTERS]
    ending = {"jpeg": "jpg", "png": "png", "mp4": "mp4"}[codec]
    return CameraPlan(
        name,
        _unused(stem, ending, used),
        codec,
        height,
        width,
        bits,
        resized=(height, width) != feature.shape[:2],
        video=feature.dtype == "video",
    )


def samples_of(lengths: np.ndarray, settings: ShardSettings) -> np.ndarray:
    """How many samples episodes of these lengths have."""
    if settings.sample == "episode":
        return np.ones(len(lengths), np.int64)
    return -(-lengths.astype(np.int64) // settings.every)


def plan_tars(
    plan: SetPlan, lengths: np.ndarray, settings: ShardSettings, *, sample_bytes: int
) -> SetPlan:
    """Decide tars, places and units of what a run adds to a set.

    Args:
        plan: What is known of the set.
        lengths: (episodes,) frames of each episode that is added, in their order.
        settings: What was asked for.
        sample_bytes: Mean bytes of a sample in a tar.
    """
    samples = samples_of(lengths, settings)
    total = int(samples.sum())
    per_tar = max(1, settings.shard_bytes // sample_bytes)
    if settings.tar_order == "episode":
        units = episode_units(samples, most=per_tar)
        tars = len(units) - 1
    else:
        units = episode_units(samples, most=max(1, UNIT_BYTES // sample_bytes))
        tars = -(-total // per_tar)
    return msgspec.structs.replace(
        plan,
        samples=total,
        sample_bytes=sample_bytes,
        per_tar=per_tar,
        tars=tars,
        key=derive_key("finedata.shards", plan.name, settings.seed, plan.first_tar),
        units=units,
    )


def episode_units(samples: np.ndarray, *, most: int) -> tuple[int, ...]:
    """Cut episodes into runs of at most `most` samples, or of one episode that has more.

    Returns:
        First episode of each run, and at last the number of episodes.
    """
    edges, held = [0], 0
    for number, count in enumerate(samples.tolist()):
        if held and held + count > most:
            edges.append(number)
            held = 0
        held += count
    return (*edges, len(samples))


def write_plan_rows(path: Path, rows: pl.DataFrame) -> None:
    """Keep the rows of a set's episodes where workers map them."""
    table = rows.to_arrow()
    write_arrow(path, [table], schema=table.schema)


@lru_cache(maxsize=8)
def _plan_rows(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def forget_plans() -> None:
    """Forget what was read of datasets and plans: a new run may find other files."""
    _plan_rows.cache_clear()
    _opened.cache_clear()


@lru_cache(maxsize=8)
def _opened(root: str) -> Dataset:
    return open_dataset(root)


def iter_episodes(
    context: ShardContext, plan: SetPlan, numbers: Sequence[int] | range
) -> Iterator[tuple[int, Episode]]:
    """Episodes of those that a run adds to a set, with their places among them."""
    rows = plan_table(context, plan.name)
    for number in numbers:
        row: dict[str, Any] = rows.slice(number, 1).to_pylist()[0]
        yield number, Episode(_opened(context.roots[int(row["dataset"])]), row)


def plan_table(context: ShardContext, set_name: str) -> pa.Table:
    """The rows of the episodes that a run adds to a set, mapped."""
    return _plan_rows(plan_path(context, set_name))


def plan_path(context: ShardContext, set_name: str) -> Path:
    """Where the rows of a set's episodes are during a run."""
    return Path(context.plans) / f"{set_name}.arrow"
