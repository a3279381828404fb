"""Several finished datasets made into one.

Folders of datasets come in, a new dataset goes out. Parts stand side by side, their files
linked, unless those of equal robot, features, rate and source are to be joined; every other
table is that of all of them; finedata.json lists all sources and what was merged. Nothing is
written before licences and episode ids are known to go together, and the new folder takes its
name when it is complete.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

import finedata
from finedata.errors import UsageError
from finedata.store.atomic import output_errors, sync_folder, write_atomic
from finedata.store.dataset import open_dataset
from finedata.store.dataset_file import (
    DATASET_FILE,
    DatasetFile,
    DerivedFrom,
    PartEntry,
    SourceEntry,
)
from finedata.store.lerobot.layout import INFO_PATH
from finedata.store.licence import check_licences
from finedata.store.part_copy import PartSlice, copy_part, link_part
from finedata.store.part_files import reading
from finedata.store.subset import dataset_file_text, origin_entry
from finedata.store.table_copy import (
    TableOrigin,
    copy_annotations,
    copy_curation,
    copy_receipts,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from finedata.store.dataset import Dataset

__all__ = ["MergeSummary", "merge_datasets"]

# Which episodes were converted, not how: halves of a source differ in nothing else.
_SELECTING_OPTIONS = ("episodes", "max_episodes")


class MergeSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a merge wrote.

    Attributes:
        out: The folder, as it was given.
        parts: Names of the parts.
        episodes: Episodes written.
        frames: Frames written.
        failed: Records of the sources that could not be converted; their receipts are kept.
        licences: Licence to its sources.
        left_out: Rows of clusters and representatives of parts that were joined: the joined
            part has to be clustered anew.
    """

    out: str
    parts: list[str]
    episodes: int
    frames: int
    failed: int
    licences: dict[str, list[str]]
    left_out: dict[str, int]


@dataclass
class _NewPart:
    """A part of the merged dataset: parts of datasets by their number, in order."""

    name: str
    members: list[tuple[int, PartEntry]] = field(default_factory=list[tuple[int, PartEntry]])


def merge_datasets(
    roots: Sequence[str | Path],
    *,
    out: str | Path,
    concatenate: bool = False,
    allow_mixed_licences: bool = False,
) -> MergeSummary:
    """Merge finished datasets into a new one.

    Args:
        roots: Their folders, at least two; the order decides names and numbers.
        out: The new folder; it must not exist, or be empty.
        concatenate: Whether parts of equal embodiment, features, rate, source, converter file
            and options become one part; otherwise every part stays as it is, its files linked.
        allow_mixed_licences: Whether to merge what `licence_conflicts` would refuse.

    Returns:
        What was written.

    Raises:
        UsageError: Fewer than two datasets, an output that is not empty, licences that do not
            go together, or an episode that is in two of them.
        ConformError: The files of a dataset are not as its tables say.
        OutputError: The output cannot be written; nothing is left under its name.

    Example:
        >>> merge_datasets(["bridge", "droid"], out="both")  # doctest: +SKIP
    """
    datasets = _opened(roots)
    target = Path(out)
    licences = sorted({pair for dataset in datasets for pair in _licences(dataset)})
    if not allow_mixed_licences:
        check_licences(licences)
    _check_ids(datasets)
    with _new_folder(target) as folder:
        parts = _named_parts(_grouped(datasets, concatenate=concatenate), datasets)
        entries = [_write_part(datasets, part, folder, alone=len(parts) == 1) for part in parts]
        origins = _table_origins(datasets, parts)
        counts = copy_receipts(origins, folder)
        left_out = copy_curation(origins, folder)
        copy_annotations(origins, folder)
        marker = _marker(datasets, entries, counts)
        write_atomic(folder / DATASET_FILE, dataset_file_text(marker))
    return MergeSummary(
        out=str(out),
        parts=[entry.name for entry in entries],
        episodes=counts["written"],
        frames=counts["frames_written"],
        failed=counts["failed"],
        licences={
            licence: sorted(source for source, other in licences if other == licence)
            for licence in sorted({licence for _, licence in licences})
        },
        left_out=left_out,
    )


def _opened(roots: Sequence[str | Path]) -> list[Dataset]:
    folders = [Path(root).resolve() for root in roots]
    if len(set(folders)) < 2 or len(set(folders)) < len(folders):
        raise UsageError(
            place="datasets to merge",
            found=", ".join(str(root) for root in roots) or "none",
            wanted="two or more, each once",
            next_command="finedata merge DIR DIR --out DIR",
        )
    return [open_dataset(root) for root in roots]


def _licences(dataset: Dataset) -> list[tuple[str, str]]:
    """(source, licence) of everything in a dataset."""
    named = {(source.name, source.licence) for source in dataset.info.sources}
    stored = dataset.episodes.select("source", "licence").unique().collect().iter_rows()
    return sorted(named | {(str(source), str(licence)) for source, licence in stored})


def _check_ids(datasets: Sequence[Dataset]) -> None:
    """Refuse an episode that is in two datasets."""
    seen: dict[str, int] = {}
    doubled: list[tuple[str, int, int]] = []
    for number, dataset in enumerate(datasets):
        for episode_id in dataset.episodes.select("episode_id").collect()["episode_id"]:
            first = seen.setdefault(episode_id, number)
            if first != number:
                doubled.append((episode_id, first, number))
    if not doubled:
        return
    episode_id, first, second = doubled[0]
    places = " and ".join(_place(datasets[number], episode_id) for number in (first, second))
    more = f", and {len(doubled) - 1} more such episodes" if len(doubled) > 1 else ""
    raise UsageError(
        place=f"episode {episode_id}",
        found=f"it in {places}{more}",
        wanted="every episode in one dataset only",
        next_command=f"finedata export {datasets[second].root} --out DIR --where "
        f"\"episode_id not in ('{episode_id}')\"",
    )


def _place(dataset: Dataset, episode_id: str) -> str:
    rows = dataset.episodes.filter(pl.col("episode_id") == episode_id)
    part, episode_index = rows.select("part", "episode_index").collect().row(0)
    return f"{dataset.root} (part {part}, episode_index {episode_index})"


def _grouped(datasets: Sequence[Dataset], *, concatenate: bool) -> list[_NewPart]:
    groups: dict[object, _NewPart] = {}
    for number, dataset in enumerate(datasets):
        for part in dataset.parts:
            key: object = (number, part.name)
            if concatenate:
                key = _kind(dataset, part)
            groups.setdefault(key, _NewPart(part.name)).members.append((number, part))
    return list(groups.values())


def _kind(dataset: Dataset, part: PartEntry) -> str:
    """What two parts must have in common to be one: everything that numbers can mean."""
    root = dataset.root / part.path
    info = msgspec.json.decode((root / INFO_PATH).read_bytes())
    names = dataset.episodes.filter(pl.col("part") == part.name).select("source").unique()
    sources = set(names.collect()["source"].to_list())
    converters = sorted(
        (source.name, source.converter_sha256)
        for source in dataset.info.sources
        if source.name in sources
    )
    options = {k: v for k, v in dataset.info.options.items() if k not in _SELECTING_OPTIONS}
    kind = {
        "embodiment": part.embodiment,
        "fps": part.fps,
        "features": info["features"],
        "sources": converters,
        "options": options,
        "schemas": [_schema_text(root, pattern) for pattern in ("data", "meta/episodes")],
    }
    return msgspec.json.encode(kind, order="sorted").decode()


def _schema_text(root: Path, folder: str) -> str:
    file = min(root.glob(f"{folder}/*/*.parquet"), default=None)
    if file is None:
        return ""
    with reading(file):
        schema: Any = pq.read_schema(file)  # pyright: ignore[reportUnknownMemberType]  (its stub is partly untyped)
    return str(schema.remove_metadata())


def _named_parts(parts: list[_NewPart], datasets: Sequence[Dataset]) -> list[_NewPart]:
    """Give every part a name of its own: its old one, then with its source, then a number."""
    names = [part.name for part in parts]
    taken: set[str] = {name for name in names if names.count(name) == 1}
    for part in parts:
        if part.name in taken and names.count(part.name) == 1:
            continue
        number, entry = part.members[0]
        rows = datasets[number].episodes.filter(pl.col("part") == entry.name)
        source = rows.select("source").first().collect().item() if entry.episodes else "part"
        base = part.name if part.name.startswith(source) else f"{source}-{part.name}"
        count, unique = 1, base
        while unique in taken:
            count += 1
            unique = f"{base}_{count}"
        part.name = unique
        taken.add(unique)
    return parts


def _write_part(
    datasets: Sequence[Dataset], part: _NewPart, folder: Path, *, alone: bool
) -> PartEntry:
    path = "." if alone else part.name
    target = folder / path
    if len(part.members) == 1:
        number, entry = part.members[0]
        source = datasets[number].root / entry.path
        return link_part(source, target, name=part.name, entry=entry, path=path)
    # LeRobot knows one stretch of episodes a split: one split of all of them, then the next.
    splits: dict[str, None] = {}
    for number, entry in part.members:
        rows = datasets[number].episodes.filter(pl.col("part") == entry.name)
        ordered = rows.select(pl.col("split").fill_null("train")).collect()["split"]
        splits |= dict.fromkeys(ordered.unique(maintain_order=True).to_list())
    slices = [
        PartSlice(datasets[number].root / entry.path, split=split)
        for split in splits
        for number, entry in part.members
    ]
    return copy_part(slices, target, name=part.name, path=path)


def _table_origins(datasets: Sequence[Dataset], parts: Sequence[_NewPart]) -> list[TableOrigin]:
    names: list[dict[str, str]] = [{} for _ in datasets]
    joined: list[set[str]] = [set() for _ in datasets]
    for part in parts:
        for number, entry in part.members:
            names[number][entry.name] = part.name
            if len(part.members) > 1:
                joined[number].add(entry.name)
    return [
        TableOrigin(dataset.root, None, names[number], frozenset(joined[number]))
        for number, dataset in enumerate(datasets)
    ]


def _marker(
    datasets: Sequence[Dataset], parts: list[PartEntry], counts: dict[str, int]
) -> DatasetFile:
    infos = [dataset.info for dataset in datasets]
    sources: list[SourceEntry] = []
    for info in infos:
        sources += [source for source in info.sources if source not in sources]
    return DatasetFile(
        schema="dataset",
        version=1,
        finedata_version=finedata.__version__,
        libraries=_joined_versions(info.libraries for info in infos),
        sources=sources,
        parts=parts,
        options=_common([info.options for info in infos]),
        counts=counts,
        derived_from=DerivedFrom(
            how="merge", where="", origins=[origin_entry(info) for info in infos]
        ),
    )


def _joined_versions(libraries: Iterable[dict[str, str]]) -> dict[str, str]:
    """Every version that had a hand in it; ours of pyarrow, which wrote the tables."""
    versions: dict[str, set[str]] = {}
    for known in libraries:
        for name, version in known.items():
            versions.setdefault(name, set()).add(version)
    versions.setdefault("pyarrow", set()).add(pa.__version__)
    return {name: ", ".join(sorted(found)) for name, found in versions.items()}


def _common(options: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Options in which all datasets agree; each one's own are in `derived_from`."""
    return {
        name: value
        for name, value in options[0].items()
        if all(name in other and other[name] == value for other in options)
    }


@contextmanager
def _new_folder(target: Path) -> Generator[Path]:
    """Give a hidden folder to write to; on leaving it becomes `target`, or is removed.

    Raises:
        UsageError: There is something at `target` already.
        OutputError: It cannot be written.
    """
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UsageError(
            place=str(target),
            found="something there already",
            wanted="a new folder, or an empty one",
            next_command="choose another --out",
        )
    if target.name in ("", ".."):
        raise UsageError(place=str(target), found="no name for a folder", wanted="a new folder")
    partial = target.with_name(f".{target.name}.partial")
    with output_errors(target):
        # What an earlier merge left behind when it was killed.
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    try:
        yield partial
        with output_errors(target):
            if target.exists():
                target.rmdir()
            partial.rename(target)
            sync_folder(target.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
