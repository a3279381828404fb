"""The error of a file of a dataset that is not as finedata wrote it, with the way to get it back.

A table that a verb writes whole comes back by running that verb again; any other file from where
the dataset was published, or by converting again.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa

from finedata.errors import ConformError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

__all__ = ["damaged_file", "first_damage", "reading"]

# Tables that a verb writes whole, so that running it again mends a damaged file.
_WRITTEN_BY = {"gate": "gate", "clusters": "cluster", "representatives": "cluster"}


def damaged_file(path: Path, *, found: object, wanted: str) -> ConformError:
    """The error to raise for a damaged or missing file.

    Args:
        path: The file, below the root of a dataset.
        found: What is wrong with it; of several lines the first is said.
        wanted: What it should be.

    Example:
        >>> from pathlib import Path
        >>> damaged_file(Path("d/curation/gate.parquet"), found="x", wanted="y").next_command
        'finedata gate d'
    """
    next_command = (
        "fetch it again from where the dataset was published, or convert again into another folder"
    )
    if path.parent.name == "curation" and path.stem in _WRITTEN_BY:
        next_command = f"finedata {_WRITTEN_BY[path.stem]} {path.parent.parent}"
    said = f"{found}".strip().splitlines() or [repr(found)]
    return ConformError(place=str(path), found=said[0], wanted=wanted, next_command=next_command)


@contextmanager
def reading(path: Path) -> Generator[None]:
    """Turn what Arrow or the system says about a file of a dataset into a `ConformError`."""
    try:
        yield
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise damaged_file(path, found=error, wanted="a file as finedata wrote it") from error


def first_damage(root: Path) -> ConformError | None:
    """The error of the first table of a dataset that cannot be read; None where all can.

    Data files are not read: who reads them names them.
    """
    import polars as pl

    tables = sorted({*root.glob("curation/*.parquet"), *root.rglob("meta/**/*.parquet")})
    for path in [*tables, *sorted(root.glob("annotations/*/*.parquet"))]:
        try:
            pl.read_parquet(path)
        except (
            pl.exceptions.PolarsError,
            pl.exceptions.PanicException,
            pa.ArrowException,
            OSError,
        ) as error:
            return damaged_file(path, found=error, wanted="a file as finedata wrote it")
    return None
