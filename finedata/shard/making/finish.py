"""The end of a run: numbers, words, roles, energon's folder, and `shards.json` as the last.

Until `shards.json` is there, nothing is; where shards are appended to, the old one names the old
files until the new one takes its name. Files that grew by an append (numbers, episodes) are
replaced just before, and a run that was killed in between is finished by the same command.
"""

from __future__ import annotations

import math
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from msgspec import UNSET

import finedata
from finedata.schema.conform import conform
from finedata.schema.documents import encode_document
from finedata.schema.shards_file import (
    SHARDS_FILE,
    Shard,
    ShardCamera,
    ShardFeature,
    ShardSet,
    ShardsFile,
    shards_identity,
)
from finedata.schema.tables.all import arrow_schema
from finedata.shard.files import (
    episodes_path,
    file_digest,
    frames_path,
    tar_folder,
    write_arrow,
)
from finedata.shard.making.frames import frame_columns, write_frames
from finedata.shard.making.plan import SetPlan, iter_episodes, plan_table, suffixes
from finedata.shard.making.prepare import lineage_of, versions
from finedata.shard.making.sample import CameraCounts
from finedata.shard.making.text import write_text
from finedata.shard.roles import write_roles
from finedata.shard.statistics import shard_statistics
from finedata.store.atomic import write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from finedata.shard.making.prepare import Prepared
    from finedata.shard.making.tasks import TarResult, TaskResult
    from finedata.store.dataset import Dataset
    from finedata.store.lerobot.layout import Feature


def finish_shards(
    run: Prepared, results: Mapping[str, Sequence[TaskResult]], *, known: ShardsFile | None
) -> ShardsFile:
    """Write everything but tars.

    Args:
        run: What was done.
        results: Set -> what its tasks wrote.
        known: Shards that were appended to.

    Raises:
        ConformError: A file of a dataset is damaged.
        OutputError: The disk is full.
    """
    root = Path(run.context.out)
    sets = {one.name: one for one in (known.sets if known else ())}
    for plan in run.plans:
        old = sets.get(plan.name)
        _write_numbers(run, plan, old, root)
        sets[plan.name] = _set_of(run, plan, results[plan.name], old, root)
    listed = [sets[name] for name in sorted(sets)]
    for one in listed:
        write_energon_folder(root, one)
    # Words first: what may be shown follows from the tars' indexes and the tables alone.
    texts = list(known.texts) if known else []
    steps = run.context.settings.sample == "episode"
    text = write_text(root, run.datasets, listed, before=texts, steps=steps)
    write_roles(root, listed)
    before = [one for one in texts if one.revision != text.revision]
    settings = run.context.settings
    lineage = [lineage_of(dataset) for dataset in run.datasets]
    left_out = dict(known.left_out) if known else {}
    for reason, count in run.sorted.left_out.items():
        left_out[reason] = left_out.get(reason, 0) + count
    document = ShardsFile(
        identity=shards_identity(listed, order=settings.tar_order, sample=settings.sample),
        finedata_version=finedata.__version__,
        libraries=versions(settings),
        order=settings.tar_order,
        sample=settings.sample,
        options=settings.as_options(),
        sets=listed,
        left_out=dict(sorted(left_out.items())),
        statistics=shard_statistics(root, listed),
        texts=[*before, text],
        lineage=[*(known.lineage if known else ()), *lineage],
    )
    write_atomic(root / SHARDS_FILE, encode_document(document))
    return document


def _write_numbers(run: Prepared, plan: SetPlan, old: ShardSet | None, root: Path) -> None:
    """Episodes and frames of a set, behind those that were there."""
    schema = arrow_schema("shard_episodes")
    lengths = _lengths(run, plan)
    rows = plan_table(run.context, plan.name)
    first_row = np.cumsum(lengths) - lengths + (old.frames if old else 0)
    table = rows.append_column("first_row", pa.array(first_row)).select(schema.names)
    path = episodes_path(root, plan.name)
    added = conform(table, "shard_episodes", cast=True)
    write_arrow(path, chain(first_rows(path, old and old.episodes), [added]), schema=schema)
    path = frames_path(root, plan.name)
    dataset = _dataset_of(run, plan)
    write_frames(
        path,
        (episode for _, episode in iter_episodes(run.context, plan, range(plan.episodes))),
        columns=frame_columns(dataset, plan.part),
        first=plan.first_episode,
        before=first_rows(path, old and old.frames),
    )


def first_rows(path: Path, rows: int | None) -> Iterator[pa.Table]:
    """The first rows of a file: those of earlier runs, whether or not this one grew it already."""
    left = rows or 0
    if not left:
        return
    with pa.memory_map(str(path)) as file:
        reader: Any = pa.ipc.open_file(file)
        for number in range(int(reader.num_record_batches)):
            batch = reader.get_batch(number)
            taken = min(left, int(batch.num_rows))
            yield pa.Table.from_batches([batch.slice(0, taken)])
            left -= taken
            if not left:
                return


def _lengths(run: Prepared, plan: SetPlan) -> np.ndarray:
    column: Any = plan_table(run.context, plan.name).column("length")
    return np.asarray(column.to_numpy(), np.int64)


def _dataset_of(run: Prepared, plan: SetPlan) -> Dataset:
    return run.datasets[int(plan_table(run.context, plan.name).column("dataset")[0].as_py())]


def _set_of(
    run: Prepared,
    plan: SetPlan,
    results: Sequence[TaskResult],
    old: ShardSet | None,
    root: Path,
) -> ShardSet:
    tars = [as_listed(result.tar) for result in results if result.tar is not None]
    counts = {camera.name: CameraCounts() for camera in plan.cameras}
    for result in results:
        for name, count in result.cameras.items():
            counts[name].add(count)
    before = {camera.name: camera for camera in (old.cameras if old else ())}
    cameras = [
        add_camera(
            ShardCamera(
                name=camera.name,
                member=camera.member,
                codec=camera.codec,
                height=camera.height,
                width=camera.width,
                untouched=counts[camera.name].untouched,
                encoded=counts[camera.name].encoded,
                psnr_db=counts[camera.name].psnr_db,
                depth_of=camera.depth_of or UNSET,
            ),
            before.get(camera.name),
        )
        for camera in plan.cameras
    ]
    dataset = _dataset_of(run, plan)
    features = dataset.features(plan.part)
    return ShardSet(
        name=plan.name,
        source=plan.source,
        part=plan.part,
        tier=plan.tier,
        side=plan.side,
        embodiment=plan.embodiment,
        space=plan.space,
        fps=plan.fps,
        licences=sorted({*plan.licences, *(old.licences if old else ())}),
        members=list(suffixes(plan, run.context.settings)),
        cameras=cameras,
        features=[
            _shard_feature(name, features[name]) for name in frame_columns(dataset, plan.part)
        ],
        episodes=plan.first_episode + plan.episodes,
        frames=int(_lengths(run, plan).sum()) + (old.frames if old else 0),
        samples=plan.samples + (old.samples if old else 0),
        tars=[*(old.tars if old else ()), *tars],
        episodes_file=file_digest(root, episodes_path(root, plan.name)),
        frames_file=file_digest(root, frames_path(root, plan.name)),
    )


def _shard_feature(name: str, feature: Feature) -> ShardFeature:
    """A column as readers see it: all numbers of a row beside each other, the last axis fastest."""
    width = math.prod(feature.shape)
    # Of several axes LeRobot's names are those of the axes, not of the numbers.
    names = list(feature.names or ()) if len(feature.shape) == 1 else []
    return ShardFeature(name=name, width=width, names=names)


def as_listed(tar: TarResult) -> Shard:
    """A tar as `shards.json` lists it."""
    return Shard(
        name=tar.name,
        bytes=tar.bytes,
        sha256=tar.sha256,
        samples=tar.samples,
        index_sha256=tar.index_sha256,
    )


def add_camera(new: ShardCamera, old: ShardCamera | None) -> ShardCamera:
    """A camera of an appended set: counts add up, and so do mean squared errors."""
    if old is None:
        return new
    told = [one for one in (old, new) if one.psnr_db is not None]
    weight = sum(one.encoded for one in told)
    error = sum(one.encoded * 10 ** (-(one.psnr_db or 0) / 10) for one in told)
    return ShardCamera(
        name=new.name,
        member=new.member,
        codec=new.codec,
        height=new.height,
        width=new.width,
        untouched=old.untouched + new.untouched,
        encoded=old.encoded + new.encoded,
        psnr_db=round(-10 * float(np.log10(error / weight)), 2) if weight else None,
        depth_of=new.depth_of,
    )


def write_energon_folder(root: Path, one: ShardSet) -> None:
    """`.nv-meta`, with which megatron-energon opens a set without preparing it.

    `.info.json`, `split.yaml` and `dataset.yaml` as its `prepare` writes them; samples are given
    as they are ("crude"), for the user's own cooker.
    """
    folder = tar_folder(root, one.name) / ".nv-meta"
    counts = ",\n".join(f'    "{tar.name}": {tar.samples}' for tar in one.tars)
    info = f'{{\n  "energon_version": "7.4.1",\n  "shard_counts": {{\n{counts}\n  }}\n}}\n'
    mine = {"train": "train", "heldout": "test"}[one.side]
    parts: list[str] = []
    for part in ("train", "val", "test"):
        names = "".join(f"\n  - {tar.name}" for tar in one.tars) if part == mine else " []"
        parts.append(f"  {part}:{names}\n")
    write_atomic(folder / ".info.json", info)
    write_atomic(folder / "split.yaml", f"split_parts:\n{''.join(parts)}exclude: []\n")
    flavours = "".join(
        f"  {name}: {value}\n"
        for name, value in (
            ("set", one.name),
            ("source", one.source),
            ("embodiment", one.embodiment),
            ("tier", one.tier),
        )
    )
    write_atomic(
        folder / "dataset.yaml",
        "__module__: megatron.energon\n__class__: CrudeWebdataset\nsubflavors:\n" + flavours,
    )
