"""A selection of episodes made into a dataset of its own.

It opens, queries and trains like any other: indices contiguous again, statistics and tasks those
of the selection, pictures and videos the same bytes, and of every other table the rows of the
chosen episodes. Its finedata.json says of what it is a selection, and by which query.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa

import finedata
from finedata.errors import UsageError
from finedata.store.atomic import write_atomic
from finedata.store.dataset_file import (
    DATASET_FILE,
    DatasetFile,
    DerivedFrom,
    OriginEntry,
    PartEntry,
)
from finedata.store.export.episodes import ExportSummary
from finedata.store.merge.part_copy import PartSlice, copy_part, link_part
from finedata.store.merge.table_copy import (
    TableOrigin,
    copy_annotations,
    copy_curation,
    copy_receipts,
)
from finedata.store.nothing import nothing_to_export

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from finedata.store.dataset import Dataset

__all__ = ["dataset_file_text", "origin_entry", "write_subset"]


def write_subset(
    dataset: Dataset, *, out: Path, episode_ids: Sequence[str], where: str = ""
) -> ExportSummary:
    """Write the chosen episodes as a dataset.

    Rows keep what they said of the whole: a rank, a `cluster_size` or a `duplicate_of` is that of
    the dataset that was curated. Receipts of failed records stay behind.

    Args:
        dataset: The dataset.
        out: An empty folder that is there; see `finedata.store.export.run`.
        episode_ids: Which; the order is the dataset's own, whatever the order here.
        where: The condition that chose them, for finedata.json.

    Returns:
        What was written; `counts` has `parts_linked`, the parts that were taken whole.

    Raises:
        UsageError: There are no ids, or one is not of this dataset.
        ConformError: The dataset's files are not as its tables say.
        OutputError: The output cannot be written.

    Example:
        >>> ds = finedata.open("bridge")  # doctest: +SKIP
        >>> write_subset(ds, out=Path("cups"), episode_ids=ids)  # doctest: +SKIP
    """
    taken = _taken_by_part(dataset, frozenset(episode_ids))
    parts: list[PartEntry] = []
    linked = 0
    for part in dataset.parts:
        ids = taken.get(part.name)
        if ids is None:
            continue
        path = "." if len(taken) == 1 else part.path
        source, target = dataset.root / part.path, out / path
        if len(ids) == part.episodes:
            parts.append(link_part(source, target, name=part.name, entry=part, path=path))
            linked += 1
        else:
            parts.append(copy_part([PartSlice(source, ids)], target, name=part.name, path=path))
    names = {part.name: part.name for part in parts}
    origins = [TableOrigin(dataset.root, frozenset(episode_ids), names)]
    counts = copy_receipts(origins, out)
    copy_curation(origins, out)
    copy_annotations(origins, out)
    info = msgspec.structs.replace(
        dataset.info,
        finedata_version=finedata.__version__,
        libraries=dataset.info.libraries | {"pyarrow": pa.__version__},
        parts=parts,
        counts=counts,
        derived_from=DerivedFrom(
            how="selection", where=where, origins=[origin_entry(dataset.info)]
        ),
    )
    write_atomic(out / DATASET_FILE, dataset_file_text(info))
    return ExportSummary(
        format="finedata",
        out=str(out),
        parts=[part.path for part in parts],
        episodes=sum(part.episodes for part in parts),
        frames=sum(part.frames for part in parts),
        counts={"parts_linked": linked} if linked else {},
    )


def origin_entry(info: DatasetFile) -> OriginEntry:
    """What a dataset that is made of another says of it."""
    return OriginEntry(
        sources=[source.name for source in info.sources],
        finedata_version=info.finedata_version,
        options=info.options,
        counts=info.counts,
        derived_from=info.derived_from,
    )


def dataset_file_text(info: DatasetFile) -> bytes:
    """The text of finedata.json."""
    return msgspec.json.format(msgspec.json.encode(info), indent=2) + b"\n"


def _taken_by_part(dataset: Dataset, wanted: frozenset[str]) -> dict[str, list[str]]:
    """The chosen episodes of each part that has any."""
    if not wanted:
        raise nothing_to_export(dataset)
    taken: dict[str, list[str]] = {}
    for episode_id, part in dataset.episodes.select("episode_id", "part").collect().iter_rows():
        if episode_id in wanted:
            taken.setdefault(part, []).append(episode_id)
    unknown = wanted.difference(*taken.values())
    if unknown:
        raise UsageError(
            place="episodes to export",
            found=f"{min(unknown)!r}",
            wanted="episodes of this dataset",
            next_command=f'finedata query {dataset.root} "select episode_id from episodes"',
        )
    return taken
