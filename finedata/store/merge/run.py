"""Which finished datasets can be one, and how they are made one.

Parts stand side by side, their files linked, unless those of equal robot, features, rate and
source are to be joined; every other table is that of all of them; finedata.json lists all sources
and what was merged. Nothing is written before licences and episode ids are known to go together,
and the new folder takes its name when it is complete.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl
import pyarrow as pa

import finedata
from finedata.errors import UsageError
from finedata.store.atomic import atomic_folder, check_new_folder, write_atomic
from finedata.store.dataset import open_dataset
from finedata.store.dataset_file import (
    DATASET_FILE,
    DatasetFile,
    DerivedFrom,
    PartEntry,
    SourceEntry,
)
from finedata.store.merge.licence import check_licences
from finedata.store.merge.parts import grouped_parts, named_parts, table_origins, write_part
from finedata.store.merge.subset import dataset_file_text, origin_entry
from finedata.store.merge.table_copy import copy_annotations, copy_curation, copy_receipts
from finedata.store.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from finedata.store.dataset import Dataset

__all__ = ["MergeSummary", "merge_datasets"]


class MergeSummary(Summary, msgspec.Struct, frozen=True, kw_only=True):
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
    check_new_folder(target)
    with atomic_folder(target) as folder:
        parts = named_parts(grouped_parts(datasets, concatenate=concatenate), datasets)
        entries = [write_part(datasets, part, folder, alone=len(parts) == 1) for part in parts]
        origins = table_origins(datasets, parts)
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
