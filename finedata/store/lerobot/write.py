"""Writing the files of a LeRobot v3.0 dataset, each whole or not there.

Data files hold about 100 MB, an episode in row groups of its own and pictures byte for byte;
beside them `meta/tasks.parquet`, `meta/episodes/` and `meta/stats.json`. Where an episode goes is
decided by the caller, never here and never by timing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from finedata.errors import OutputError
from finedata.schema.tables.all import frames_schema, undeclared_frames_schema
from finedata.store.atomic import atomic_path, output_errors, write_atomic
from finedata.store.direct import DirectFile
from finedata.store.lerobot.layout import (
    STATS_PATH,
    TASKS_PATH,
    Feature,
    picture_column,
    standard_features,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from finedata.store.lerobot.stats import FeatureStats

__all__ = [
    "DataFileWriter",
    "arrow_column",
    "data_schema",
    "picture_array",
    "stats_columns",
    "write_stats",
    "write_tasks",
]


# Columns that are made here whatever the source has; all others are a part's own.
_MADE = (*standard_features(), "source_time_s", "is_intervention", "action_valid")


def data_schema(features: Mapping[str, Feature], *, canonical: bool = True) -> pa.Schema:
    """The schema of a part's data files: the published `frames` table with its vectors.

    No field is nullable: torch cannot batch nulls.

    Args:
        features: Every stored column.
        canonical: Whether state and action have our conventions; a part of undeclared ones keeps
            its source's features, whatever their names and types.
    """
    cameras = [
        name.removeprefix(picture_column(""))
        for name, feature in features.items()
        if feature.dtype == "image"
    ]
    kept = {
        name: (feature.dtype, feature.shape)
        for name, feature in features.items()
        if feature.dtype not in ("image", "video") and name not in _MADE
    }
    optional = {
        "has_source_time": "source_time_s" in features,
        "has_intervention": "is_intervention" in features,
    }
    if canonical:
        vectors = {name: shape[0] for name, (_, shape) in kept.items()}
        return frames_schema(features=vectors, cameras=cameras, **optional)
    return undeclared_frames_schema(features=kept, cameras=cameras, **optional)


def arrow_column(values: np.ndarray, field: pa.Field[pa.DataType]) -> pa.Array[Any]:
    """An array (T,), (T, n) or (T, n, m, ...) as the column that `field` describes."""
    if pa.types.is_list(field.type):
        return _nested_lists(np.ascontiguousarray(values), field.type)
    if pa.types.is_fixed_size_list(field.type):
        value_type: pa.DataType = field.type.value_type
        flat = pa.array(np.ascontiguousarray(values).reshape(-1), type=value_type)
        # Its stub forgets `type`.
        return cast("Any", pa.FixedSizeListArray).from_arrays(flat, type=field.type)
    return pa.array(np.ascontiguousarray(values), type=field.type)


def _nested_lists(values: np.ndarray, kind: Any) -> pa.Array[Any]:
    """Lists of lists, as LeRobot's library of tables stores what has several dimensions."""
    kinds: list[Any] = []
    while pa.types.is_list(kind):
        kinds.append(kind)
        kind = kind.value_type
    array = cast("Any", pa.array(values.reshape(-1), type=kind))
    lists = cast("Any", pa.ListArray)
    for width, list_kind in zip(reversed(values.shape[1:]), reversed(kinds), strict=True):
        offsets = np.arange(len(array) // width + 1, dtype=np.int32) * width
        array = lists.from_arrays(pa.array(offsets), array, type=list_kind)
    return array


def picture_array(data: bytes, lengths: np.ndarray) -> pa.Array[Any]:
    """Pictures that lie one after the other in `data` as a column, without another copy.

    Args:
        data: All encoded pictures, joined.
        lengths: Bytes of each, (T,).
    """
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]  # pyright: ignore[reportArgumentType]  (an array is a buffer: typed from Python 3.12 on)
    pictures = pa.Array.from_buffers(pa.binary(), len(lengths), buffers)
    paths = pa.nulls(len(lengths), pa.string())
    picture = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
    return pa.StructArray.from_arrays(  # pyright: ignore[reportUnknownMemberType]  (its stub is partly untyped)
        [pictures, paths], fields=list(picture)
    )


class DataFileWriter:
    """One data file, written an episode at a time; it appears when the block ends well.

    Example:
        >>> with DataFileWriter(path, schema) as file:  # doctest: +SKIP
        ...     file.write_rows(columns)
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path = path
        self._schema = schema
        self._atomic: AbstractContextManager[Path] | None = None
        self._sink: DirectFile | None = None
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        self._atomic = atomic_path(self._path)
        with output_errors(self._path):
            self._sink = DirectFile(self._atomic.__enter__())
        fields: list[pa.Field[Any]] = list(self._schema)
        pictures = [field.name for field in fields if pa.types.is_struct(field.type)]
        numbers = [field for field in fields if field.name not in pictures]
        self._writer = pq.ParquetWriter(
            cast("Any", self._sink),  # Arrow asks of a Python file what DirectFile has
            self._schema,
            # Pictures are compressed already, and their minimum and maximum mean nothing.
            compression={  # pyright: ignore[reportArgumentType]  (its stub wants lower case)
                **dict.fromkeys((f"{name}.bytes" for name in pictures), "NONE"),
                **dict.fromkeys((f"{name}.path" for name in pictures), "NONE"),
                **{_leaf(field): "SNAPPY" for field in numbers},
            },
            use_dictionary=["episode_index", "task_index"],  # pyright: ignore[reportArgumentType]  (its stub forgets the list)
            write_statistics=["episode_index", "frame_index", "index", "task_index", "timestamp"],
            store_schema=True,
        )
        return self

    def write_rows(self, columns: Mapping[str, pa.Array[Any]]) -> None:
        """Append an episode, or a slab of a long one, as one row group.

        Args:
            columns: Every column of the schema, all of one length.
        """
        if self._writer is None:
            raise OutputError(place=str(self._path), found="a closed file", wanted="an open one")
        arrays = [columns[name] for name in self._schema.names]
        with output_errors(self._path):
            self._writer.write_table(
                pa.Table.from_arrays(arrays, schema=self._schema), row_group_size=1 << 40
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Close in any case; a close that fails (disk full at the footer) is the file's failure.
        failure: BaseException | None = error
        try:
            with output_errors(self._path):
                self._close_writer()
                if self._sink is not None:
                    self._sink.close()
        except OutputError as found:
            failure = failure or found
        if self._atomic is not None:
            self._atomic.__exit__(type(failure) if failure else None, failure, trace)
        if failure is not None and failure is not error:
            raise failure

    def _close_writer(self) -> None:
        if self._writer is None:
            return
        try:
            self._writer.close()
        finally:
            # Or its finaliser would try again, on a closed file.
            self._writer.is_open = False
            self._writer = None


def _leaf(field: pa.Field[Any]) -> str:
    """The Parquet path of a column's values, by which pyarrow names its options."""
    path, kind = field.name, field.type
    while pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind):
        path, kind = f"{path}.list.element", cast("Any", kind).value_type
    return path


def write_tasks(root: Path, tasks: Sequence[str]) -> None:
    """Write meta/tasks.parquet: task_index, and the task string as the pandas index.

    LeRobot looks tasks up by position in that pandas frame; the metadata below is what pandas
    itself would write.
    """
    columns = [
        ("task_index", "int64", "int64"),
        ("task", "unicode", "object"),
    ]
    described = [
        {
            "name": name,
            "field_name": name,
            "pandas_type": pandas,
            "numpy_type": numpy,
            "metadata": None,
        }
        for name, pandas, numpy in columns
    ]
    metadata = {"index_columns": ["task"], "column_indexes": [], "columns": described}
    table = pa.table(  # pyright: ignore[reportUnknownMemberType]  (its stub is partly untyped)
        {
            "task_index": pa.array(range(len(tasks)), pa.int64()),
            "task": pa.array(tasks, pa.string()),
        }
    ).replace_schema_metadata({b"pandas": json.dumps(metadata).encode()})
    path = root / TASKS_PATH
    with atomic_path(path) as partial, output_errors(path):
        pq.write_table(table, partial)  # pyright: ignore[reportUnknownMemberType]  (its stub is partly untyped)


_STATS_KEYS = ("min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99")


def stats_columns(
    features: Mapping[str, Feature], episodes: Sequence[Mapping[str, FeatureStats]]
) -> list[tuple[pa.Field[Any], pa.Array[Any]]]:
    """The `stats/<feature>/<name>` columns of meta/episodes, in LeRobot's nesting.

    Args:
        features: Features that have statistics; every one gives its columns, so that all files
            have one schema.
        episodes: Feature name to statistics, for each episode; null where one has none.
    """
    columns: list[tuple[pa.Field[Any], pa.Array[Any]]] = []
    for name, feature in features.items():
        for key in _STATS_KEYS:
            inner = pa.list_(pa.int64() if key == "count" else pa.float64())
            shape = _stats_shape(feature, key)
            kind = inner
            for _ in shape[1:]:
                kind = pa.list_(kind)
            values = [_nested(episode.get(name), key, shape) for episode in episodes]
            columns.append((pa.field(f"stats/{name}/{key}", kind), pa.array(values, kind)))
    return columns


def _stats_shape(feature: Feature, key: str) -> tuple[int, ...]:
    """LeRobot's shape of a statistic: the feature's own, (channels, 1, 1) of a camera."""
    if key == "count":
        return (1,)
    return (-1, 1, 1) if feature.dtype in ("image", "video") else feature.shape


def _nested(stats: FeatureStats | None, key: str, shape: tuple[int, ...]) -> list[Any] | None:
    if stats is None:
        return None
    if key == "count":
        return [int(stats[key][0])]
    if len(shape) == 1:
        return stats[key]
    return np.asarray(stats[key], np.float64).reshape(shape).tolist()


def write_stats(
    root: Path, features: Mapping[str, Feature], stats: Mapping[str, FeatureStats]
) -> None:
    """Write meta/stats.json: feature to statistics, cameras as (3, 1, 1).

    Numbers that do not exist (a feature without one finite value) are written as null.
    """
    nested = {
        name: {key: _nested(stats[name], key, _stats_shape(feature, key)) for key in stats[name]}
        for name, feature in features.items()
        if name in stats
    }
    text = msgspec.json.format(msgspec.json.encode(nested), indent=2)
    write_atomic(root / STATS_PATH, text + b"\n")
