"""Datasets on disk, opened, joined and finished."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finedata.api.dataset import Dataset, root_of
from finedata.store import dataset as store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from finedata.store.merge.run import MergeSummary


def open(root: str | Path) -> Dataset:
    """Open a dataset.

    Raises:
        UsageError: There is none, or it is not finished.
        ConformError: It was written by a newer finedata.

    Example:
        >>> ds = open("bridge")  # doctest: +SKIP
        >>> ds.sql("select task, count(*) as n from episodes group by task")  # doctest: +SKIP
    """
    found = store.open_dataset(root)
    return Dataset(found.root, found.info)


def located(root: str | Path) -> Path:
    """A folder by its path, or by its address (`hf://datasets/org/name`), which answers as one."""
    from finedata.store.remote.path import open_root

    return open_root(root)


def merge(
    datasets: Sequence[str | Path | Dataset],
    *,
    out: str | Path,
    concatenate: bool = False,
    allow_mixed_licences: bool = False,
) -> MergeSummary:
    """Merge finished datasets into a new one; see `finedata.store.merge.run.merge_datasets`.

    Args:
        datasets: At least two; their order decides names and numbers.
        out: The new folder.
        concatenate: Join parts that differ in nothing.
        allow_mixed_licences: Go on although licences do not go together.
    """
    from finedata.store.merge.run import merge_datasets

    return merge_datasets(
        [root_of(one) for one in datasets],
        out=out,
        concatenate=concatenate,
        allow_mixed_licences=allow_mixed_licences,
    )


def finish_shares(out: str | Path) -> Dataset:
    """Finish a conversion that `Source.convert_share` did in shares, when all are done."""
    from finedata.convert.sharded import merge_shards

    merge_shards(out)
    return open(out)
