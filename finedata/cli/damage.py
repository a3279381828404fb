"""What Polars or Arrow say of a damaged table, as an error of ours that names the file.

Tables are read lazily, so a page that is damaged is met wherever its rows are wanted, and neither
library says in which file. The command's arguments come in; the first table of their datasets that
cannot be read goes out.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from finedata.store.damaged import damaged_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from finedata.errors import ConformError

__all__ = ["error_of_damage"]


def error_of_damage(error: BaseException, *, arguments: Iterable[str]) -> ConformError | None:
    """The damage behind an error of Polars or Arrow; None where no table is damaged.

    Args:
        error: What ended the command.
        arguments: Its words; those that are folders of datasets are looked at. Data files are
            not read: their readers name them.
    """
    import polars as pl
    import pyarrow as pa

    kinds = (pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowException)
    if not isinstance(error, kinds):
        return None
    for path in _tables(arguments):
        try:
            pl.read_parquet(path)
        except (*kinds, OSError) as unreadable:
            return damaged_file(path, found=unreadable, wanted="a file as finedata wrote it")
    return None


def _tables(arguments: Iterable[str]) -> Iterator[Path]:
    for argument in arguments:
        root = Path(argument)
        if (root / "finedata.json").is_file():
            yield from sorted({*root.glob("curation/*.parquet"), *root.rglob("meta/**/*.parquet")})
            yield from sorted(root.glob("annotations/*/*.parquet"))
