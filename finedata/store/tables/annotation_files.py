"""Facts about an annotation table that its footers or one column tell, without reading its rows.

Whether any row was written again, and how often each value of a text column occurs. Counting
takes the column's own dictionary pages: a million rows are a million small integers, and no text
is hashed.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from finedata.store.damaged import reading
from finedata.store.remote.path import readable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def never_revised(paths: Iterable[Path]) -> bool:
    """Whether every row has revision 0, as the footers say; false where they do not say.

    Raises:
        ConformError: A file is damaged.
    """
    for path in paths:
        with reading(path):
            metadata: Any = pq.read_metadata(readable(path))  # pyright: ignore[reportUnknownMemberType]  (its stub is partly untyped)
        leaves = [metadata.schema.column(i).path for i in range(metadata.num_columns)]
        leaf = leaves.index("revision")
        for group in range(metadata.num_row_groups):
            statistics = metadata.row_group(group).column(leaf).statistics
            if statistics is None or not statistics.has_min_max or statistics.max > 0:
                return False
    return True


def count_values(paths: Iterable[Path], column: str) -> Counter[str | None]:
    """How often each value of a text column occurs; nulls count as None."""
    counts: Counter[str | None] = Counter()
    for path in paths:
        with (
            reading(path),
            pq.ParquetFile(readable(path), read_dictionary=[column], pre_buffer=True) as file,
        ):
            read: Any = file.read(columns=[column])  # pyright: ignore[reportUnknownMemberType]  (its stub is partly untyped)
        for chunk in read[column].chunks:
            encoded = chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode()
            values: list[str | None] = [*encoded.dictionary.to_pylist(), None]
            indices = encoded.indices.fill_null(len(values) - 1).to_numpy(zero_copy_only=False)
            found = np.bincount(indices, minlength=len(values))
            counts.update({value: int(n) for value, n in zip(values, found, strict=True) if n})
    return counts
