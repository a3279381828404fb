"""From datasets and settings to the plan of every set, and to the key that names the run.

The plan is made anew by every process, because it costs seconds and follows from the same files;
the key proves that they are the same.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
import polars as pl

import finedata
from finedata.errors import UsageError
from finedata.schema.shards_file import Lineage
from finedata.shard.depth import device_kind
from finedata.shard.making.baked import prepare_baked
from finedata.shard.making.plan import (
    SetPlan,
    ShardContext,
    forget_plans,
    plan_cameras,
    plan_path,
    plan_tars,
    write_plan_rows,
)
from finedata.shard.making.sets import SetKey, Sorted, leaks, set_names, sort_episodes
from finedata.shard.making.tasks import measure_sample_bytes
from finedata.store.dataset import Dataset, open_dataset
from finedata.store.dataset_file import DATASET_FILE
from finedata.store.episode import Episode
from finedata.store.lerobot.layout import picture_column
from finedata.store.tables.table import REVISED, annotation_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.schema.shards_file import ShardsFile
    from finedata.shard.making.settings import ShardSettings

_LIBRARIES = ("av", "numpy", "pillow", "pyarrow", "simplejpeg")
_OF_DEPTH = ("torch", "transformers")
_CURATION = ("receipts", "gate", "clusters", "representatives")


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a run is going to do.

    Attributes:
        context: What its tasks are told.
        datasets: The datasets.
        sorted: Their episodes.
        plans: What is added to each set, by name.
    """

    context: ShardContext
    datasets: list[Dataset]
    sorted: Sorted
    plans: list[SetPlan]


def prepare(
    roots: Sequence[str | Path],
    settings: ShardSettings,
    *,
    out: Path,
    work: Path,
    plans: Path,
    allow_mixed_licences: bool = False,
    check_leaks: Sequence[str] = (),
    known: ShardsFile | None = None,
    known_sides: dict[str, str] | None = None,
) -> Prepared:
    """Sort the episodes into sets and plan every set.

    Args:
        roots: Folders of finished datasets.
        settings: What was asked for.
        out: The shards' folder.
        work: Folder of spills.
        plans: Folder of this process's copy of the plan.
        allow_mixed_licences: Whether to put together what `licence_conflicts` would refuse.
        check_leaks: Held-out ids of which no training file may have one.
        known: Shards that are appended to.
        known_sides: Episodes that are in them, and their sides.

    Raises:
        UsageError: See `sort_episodes`; or a leak, or a camera that no part has.
    """
    settings.check()
    folders = [str(Path(root).resolve()) for root in roots]
    if not folders or len(set(folders)) < len(folders):
        raise UsageError(
            place="datasets to shard",
            found=", ".join(map(str, roots)) or "none",
            wanted="one or more, each once",
            next_command="finedata shard DIR --out SHARDS",
        )
    forget_plans()
    datasets = [open_dataset(root) for root in roots]
    found = sort_episodes(
        datasets,
        settings,
        allow_mixed_licences=allow_mixed_licences,
        known_licences=[
            (one.source, licence)
            for one in (known.sets if known else ())
            for licence in one.licences
        ],
        known_sides=known_sides,
    )
    _refuse_leaks(found.rows, check_leaks)
    _check_cameras(datasets, settings)
    rows = found.rows
    if known_sides:
        rows = rows.filter(~pl.col("episode_id").is_in(list(known_sides)))
    context = ShardContext(tuple(folders), str(out), str(work), str(plans), settings)
    planned = _plan_sets(context, datasets, rows, known)
    return Prepared(context, datasets, found, planned)


def _refuse_leaks(rows: pl.DataFrame, ids: Sequence[str]) -> None:
    leaked = leaks(rows, ids) if ids else []
    if leaked:
        more = f", and {len(leaked) - 5} more" if len(leaked) > 5 else ""
        raise UsageError(
            place="training files",
            found=f"{len(leaked)} held-out episodes: {', '.join(leaked[:5])}{more}",
            wanted="none of the list, nor a copy of one",
            next_command="--held-out with the same list",
        )


def _check_cameras(datasets: Sequence[Dataset], settings: ShardSettings) -> None:
    features = {
        name for dataset in datasets for one in dataset.parts for name in dataset.features(one.name)
    }
    for camera in settings.cameras:
        if picture_column(camera) not in features:
            raise UsageError(
                place="cameras",
                found=f"{camera!r}, which no part has",
                wanted="cameras of the datasets, by the names that they have there",
                next_command=f"finedata info {datasets[0].root}",
            )


def _plan_sets(
    context: ShardContext,
    datasets: Sequence[Dataset],
    rows: pl.DataFrame,
    known: ShardsFile | None,
) -> list[SetPlan]:
    there = {
        SetKey(one.source, one.part, one.tier, one.side): one
        for one in (known.sets if known else ())
    }
    groups = {
        SetKey(*cast("tuple[str, str, str, str]", key)): group
        for key, group in rows.partition_by(
            "source", "part", "tier", "side", as_dict=True, include_key=True
        ).items()
    }
    names = set_names(groups, known={key: one.name for key, one in there.items()})
    ordered = {key: groups[key].drop("flags", "group").sort("episode_id") for key in sorted(groups)}
    if context.settings.bake:
        ids = {names[key]: group["episode_id"].to_list() for key, group in ordered.items()}
        prepare_baked(context, datasets, ids)
    plans: list[SetPlan] = []
    bits: dict[tuple[int, str], dict[str, int]] = {}
    for key, group in ordered.items():
        plan = _set_plan(context, datasets, names[key], key, group, bits)
        old = there.get(key)
        if old is not None:
            plan = msgspec.structs.replace(
                plan, first_episode=old.episodes, first_tar=len(old.tars)
            )
        write_plan_rows(plan_path(context, plan.name), group)
        plans.append(
            plan_tars(
                plan,
                group["length"].to_numpy(),
                context.settings,
                sample_bytes=measure_sample_bytes(context, plan),
            )
        )
    return plans


def _set_plan(
    context: ShardContext,
    datasets: Sequence[Dataset],
    name: str,
    key: SetKey,
    rows: pl.DataFrame,
    bits: dict[tuple[int, str], dict[str, int]],
) -> SetPlan:
    first = rows.row(0, named=True)
    number = int(first["dataset"])
    dataset = datasets[number]
    if (number, key.part) not in bits:
        bits[number, key.part] = _bits(dataset, key.part)
    features = dataset.features(key.part)
    numbers = (("state", "observation.state"), ("action", "action"))
    return SetPlan(
        name=name,
        source=key.source,
        part=key.part,
        tier=cast("Any", key.tier),
        side=cast("Any", key.side),
        embodiment=str(first["embodiment"]),
        space=str(first["space"]),
        fps=float(first["fps"]),
        licences=tuple(sorted(set(rows["licence"].to_list()))),
        cameras=plan_cameras(dataset, key.part, context.settings, bits=bits[number, key.part]),
        numbers=tuple(short for short, feature in numbers if feature in features),
        baked=context.settings.bake,
        first_episode=0,
        episodes=rows.height,
    )


def _bits(dataset: Dataset, part: str) -> dict[str, int]:
    """Bits a colour of a part's cameras, by the first picture or video that is really there."""
    cameras = {
        name.removeprefix(picture_column(""))
        for name, feature in dataset.features(part).items()
        if feature.dtype in ("image", "video")
    }
    found: dict[str, int] = {}
    names = [
        name for name in dataset.episodes.collect_schema().names() if not name.startswith("stats/")
    ]
    rows = dataset.episodes.filter(pl.col("part") == part).select(names)
    for camera in sorted(cameras):
        missing = pl.col("cameras_missing").list.contains(camera)
        row = rows.filter(~missing).sort("episode_id").head(1).collect()
        if row.height:
            deep = Episode(dataset, row.row(0, named=True)).is_deep(camera)
            found[camera] = 16 if deep else 8
    return found


def versions(settings: ShardSettings) -> dict[str, str]:
    """Versions of the libraries that shape the output's bytes."""
    found: dict[str, str] = {}
    for name in (*_LIBRARIES, *(_OF_DEPTH if settings.depth else ())):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    if settings.depth:
        found["torch"] += f" on {device_kind()}"
    return found


def run_key(
    roots: Sequence[str | Path], settings: ShardSettings, *, before: str = ""
) -> tuple[str, dict[str, str]]:
    """What a run is: a hash of everything that can change a byte of it, and the same in words.

    Args:
        roots: The datasets' folders; what they are called does not matter.
        settings: What was asked for.
        before: Identity of the shards that are appended to.
    """
    digests: list[str] = []
    for root in roots:
        dataset = open_dataset(root)
        digests.append(_digest(dataset.root / DATASET_FILE))
        digests += [_digest(_curation(dataset, table)) for table in _CURATION]
        if settings.bake:
            tables = sorted(REVISED)
            digests += [_digest(f) for name in tables for f in annotation_files(dataset.root, name)]
    words = {
        "datasets": hashlib.sha256("".join(digests).encode()).hexdigest()[:16],
        "options": msgspec.json.encode(settings.as_options(), order="sorted").decode(),
        "samples": f"{settings.sample} in the order of {settings.tar_order}",
        "shards before": before[:16],
        "finedata": finedata.__version__,
        "libraries": ", ".join(f"{name} {number}" for name, number in versions(settings).items()),
    }
    return hashlib.sha256(msgspec.json.encode(words, order="sorted")).hexdigest(), words


def _curation(dataset: Dataset, table: str) -> Path:
    return dataset.root / "curation" / f"{table}.parquet"


def _digest(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def lineage_of(dataset: Dataset) -> Lineage:
    """What made a dataset's tables, by digests."""

    def settings_of(table: str) -> str:
        column = dataset.table(table).select("settings_sha256").unique().collect()
        return ",".join(sorted(column["settings_sha256"].to_list()))

    receipts = dataset.receipts.select("converter_sha256", "options_sha256").unique().collect()
    return Lineage(
        sources=[source.name for source in dataset.info.sources],
        finedata_version=dataset.info.finedata_version,
        converters_sha256=sorted(set(receipts["converter_sha256"].to_list())),
        options_sha256=sorted(set(receipts["options_sha256"].to_list())),
        receipts_sha256=_digest(_curation(dataset, "receipts")),
        gate_settings_sha256=settings_of("gate"),
        clusters_settings_sha256=settings_of("clusters"),
        representatives_settings_sha256=settings_of("representatives"),
    )
