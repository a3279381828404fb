"""What Polars or Arrow say of a damaged table, as an error of ours that names the file.

Tables are read lazily, so a page that is damaged is met wherever its rows are wanted, and neither
library says in which file. So the tables of the datasets among the command's arguments are read
again, and the first that cannot be read is named.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from finedata.store.damaged import first_damage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from finedata.errors import ConformError


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
    roots = [Path(argument) for argument in arguments]
    found = (first_damage(root) for root in roots if (root / "finedata.json").is_file())
    return next((damage for damage in found if damage is not None), None)
