"""Every table of finedata, by name, and the Arrow schema of each.

A schema is that of the table's files: columns in declared order, nulls refused where declared, and
the tag `finedata.schema`, `finedata.version` in the metadata; `frames` also depends on what a part
stores. The declarations stand in `tables_dataset`, `tables_curation`, `tables_annotation`,
`tables_shards` and `tables_bench`; `schemas/v1/*.json` is generated from them.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from finedata.errors import ConformError
from finedata.schema.arrow_types import parse_type
from finedata.schema.tables import annotation as tables_annotation
from finedata.schema.tables import bench as tables_bench
from finedata.schema.tables import curation as tables_curation
from finedata.schema.tables import dataset as tables_dataset
from finedata.schema.tables import shards as tables_shards
from finedata.schema.tables.dataset import IMAGE_PREFIX

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from finedata.schema.columns import Column, Table

__all__ = [
    "SCHEMA_KEY",
    "TABLES",
    "VERSION_KEY",
    "arrow_schema",
    "build_schema",
    "column_type",
    "declared_table",
    "frames_schema",
    "schema_tag",
    "shard_frames_schema",
    "shard_index_schema",
    "undeclared_frames_schema",
]

SCHEMA_KEY = b"finedata.schema"
VERSION_KEY = b"finedata.version"

TABLES: Mapping[str, Table] = MappingProxyType(
    {
        table.name: table
        for table in (
            tables_dataset.EPISODES,
            tables_dataset.FRAMES,
            tables_dataset.IMAGES,
            tables_curation.RECEIPTS,
            tables_curation.GATE,
            tables_curation.CLUSTERS,
            tables_curation.REPRESENTATIVES,
            tables_annotation.STEPS,
            tables_annotation.FACTS,
            tables_annotation.TRACES,
            tables_annotation.INSTRUCTIONS,
            tables_annotation.REVIEWS,
            tables_annotation.CALLS,
            tables_shards.SHARD_EPISODES,
            tables_shards.SHARD_FRAMES,
            tables_shards.SHARD_INDEX,
            tables_shards.TEXT_EPISODES,
            tables_shards.TEXT_INSTRUCTIONS,
            tables_shards.TEXT_FACTS,
            tables_shards.TEXT_TRACES,
            tables_shards.TEXT_STEPS,
            tables_bench.BENCH_SAMPLES,
            tables_bench.BENCH_ITEMS,
            tables_bench.BENCH_ANSWERS,
            tables_bench.BENCH_RESULTS,
        )
    }
)
"""Table name -> its declaration."""


def declared_table(name: str) -> Table:
    """Find a declaration.

    Args:
        name: Name of the table.

    Returns:
        Its declaration.

    Raises:
        ConformError: There is no such table.
    """
    table = TABLES.get(name)
    if table is None:
        raise ConformError(place="table name", found=repr(name), wanted=", ".join(TABLES))
    return table


def schema_tag(name: str) -> dict[bytes | str, bytes | str]:
    """Make the metadata that every file of a table carries.

    Args:
        name: Name of the table.

    Returns:
        `{b"finedata.schema": name, b"finedata.version": version}`.

    Raises:
        ConformError: There is no such table.
    """
    return _tag(declared_table(name))


def arrow_schema(name: str) -> pa.Schema:
    """Build the schema of a table's files.

    Args:
        name: Name of the table. For `frames` this is the fixed part only, without the vectors and
            pictures whose widths and names a part decides: see `frames_schema`.

    Returns:
        The schema, with nullability and metadata.

    Raises:
        ConformError: There is no such table.
    """
    return build_schema(declared_table(name))


def frames_schema(
    *,
    features: Mapping[str, int],
    cameras: Sequence[str],
    has_source_time: bool,
    has_intervention: bool = False,
) -> pa.Schema:
    """Build the schema of the frames files of one part.

    Args:
        features: Vector feature -> its width. `observation.state` and `action` must be there, with
            one width; the others are of the closed list that the declaration of `frames` gives.
        cameras: Names of the cameras stored as pictures in the frames, in column order; cameras
            stored as video have no column.
        has_source_time: Whether the part stores `source_time_s`.
        has_intervention: Whether the part stores `is_intervention`.

    Returns:
        The schema: the declared columns in declared order, then one per camera.

    Raises:
        ConformError: A feature is unknown, missing or not at least 1 wide, state and action have
            different widths, or a camera is named twice or not at all.

    Example:
        >>> schema = frames_schema(
        ...     features={"observation.state": 8, "action": 8},
        ...     cameras=["front"],
        ...     has_source_time=False,
        ... )
        >>> schema.names[-1]
        'observation.images.front'
    """
    optional = (["source_time_s"] if has_source_time else []) + (
        ["is_intervention"] if has_intervention else []
    )
    return build_schema(
        tables_dataset.FRAMES, features=features, cameras=cameras, optional=optional
    )


def shard_frames_schema(
    *, features: Mapping[str, int], has_source_time: bool, has_intervention: bool = False
) -> pa.Schema:
    """Build the schema of `frames/<set>.arrow` of a set of shards.

    Args:
        features: Vector feature -> its width, as for `frames_schema`.
        has_source_time: Whether the part stores `source_time_s`.
        has_intervention: Whether the part stores `is_intervention`.

    Returns:
        The schema, declared columns in declared order.

    Raises:
        ConformError: See `frames_schema`.
    """
    optional = (["source_time_s"] if has_source_time else []) + (
        ["is_intervention"] if has_intervention else []
    )
    return build_schema(tables_shards.SHARD_FRAMES, features=features, optional=optional)


def shard_index_schema(members: int) -> pa.Schema:
    """Build the schema of the index beside each tar of a set.

    Args:
        members: How many members each sample of the set has, at least 1.

    Returns:
        The schema; the three lists are `members` wide, in the order of the set's `members`.

    Raises:
        ConformError: `members` is less than 1.
    """
    index = tables_shards.SHARD_INDEX
    widths = {column.name: members for column in index.columns if column.symbolic}
    return build_schema(index, features=widths)


def undeclared_frames_schema(
    *,
    features: Mapping[str, tuple[str, tuple[int, ...]]],
    cameras: Sequence[str],
    has_source_time: bool,
    has_intervention: bool = False,
) -> pa.Schema:
    """Build the schema of the frames files of a part whose conventions are undeclared.

    Args:
        features: Feature of the source -> (dtype, shape); stored under its own name. Shape (1,)
            is a plain column, (n,) a list of n, (n, m, ...) lists of lists, as LeRobot has them.
        cameras: See `frames_schema`.
        has_source_time: Whether the part stores `source_time_s`.
        has_intervention: Whether the part stores `is_intervention`.

    Returns:
        The declared columns but state and action, then the features, then one per camera.

    Raises:
        ConformError: A camera is named twice or not at all.
    """
    optional = (["source_time_s"] if has_source_time else []) + (
        ["is_intervention"] if has_intervention else []
    )
    base = build_schema(tables_dataset.FRAMES, cameras=cameras, optional=optional)
    declared: list[pa.Field[Any]] = list(base)
    numbers = [field for field in declared if not field.name.startswith(IMAGE_PREFIX)]
    pictures = [field for field in declared if field.name.startswith(IMAGE_PREFIX)]
    kept = [
        pa.field(name, column_type(dtype, shape), nullable=False)
        for name, (dtype, shape) in features.items()
    ]
    return pa.schema([*numbers, *kept, *pictures], metadata=schema_tag("frames"))


def column_type(dtype: str, shape: tuple[int, ...]) -> pa.DataType:
    """The type of a column that holds a feature of undeclared conventions.

    Args:
        dtype: NumPy's name of its numbers, or `string`.
        shape: Of one row: (1,) is a plain column, (n,) a list of n, (n, m, ...) lists of lists.
    """
    kind: pa.DataType = (
        pa.string() if dtype == "string" else cast("Any", pa).from_numpy_dtype(dtype)
    )
    if shape == (1,):
        return kind
    if len(shape) == 1:
        return pa.list_(kind, shape[0])
    for _ in shape:
        kind = pa.list_(kind)
    return kind


def build_schema(
    table: Table,
    *,
    features: Mapping[str, int] | None = None,
    cameras: Sequence[str] = (),
    optional: Collection[str] = (),
) -> pa.Schema:
    """Build a schema from a declaration, be it of the code or read from JSON.

    Args:
        table: The declaration.
        features: Widths of the columns of type `fixed_size_list<float32>[n]`; None leaves all of
            them out.
        cameras: Cameras that get a picture column.
        optional: Columns of fixed type and presence `optional` that are to be there.

    Returns:
        The schema. Columns of presence `joined` are never in it: no file has them.

    Raises:
        ConformError: See `frames_schema`.
    """
    if features is not None:
        _check_features(table, features)
    _check_cameras(table, cameras)
    fields: list[pa.Field[pa.DataType]] = []
    for column in table.columns:
        if _is_stored(column, features=features, optional=optional):
            width = (features or {}).get(column.name)
            arrow_type = parse_type(column.type, n=width)
            fields.append(pa.field(column.name, arrow_type, nullable=column.nullable))
    for opened in table.open:
        if opened.prefix == IMAGE_PREFIX:
            picture = parse_type(opened.type)
            fields += [
                pa.field(IMAGE_PREFIX + camera, picture, nullable=opened.nullable)
                for camera in cameras
            ]
    return pa.schema(fields, metadata=_tag(table))


def _tag(table: Table) -> dict[bytes | str, bytes | str]:
    return {SCHEMA_KEY: table.name.encode(), VERSION_KEY: str(table.version).encode()}


def _is_stored(
    column: Column, *, features: Mapping[str, int] | None, optional: Collection[str]
) -> bool:
    if column.presence == "joined":
        return False
    if column.symbolic:
        return features is not None and column.name in features
    return column.presence == "required" or column.name in optional


def _check_features(table: Table, features: Mapping[str, int]) -> None:
    vectors = [column for column in table.columns if column.symbolic]
    for name, width in features.items():
        if all(column.name != name for column in vectors):
            raise ConformError(
                place=f"table {table.name!r}, column {name!r}",
                found="a vector feature of that name",
                wanted=f"one of {', '.join(column.name for column in vectors)}",
            )
        if width < 1:
            raise ConformError(
                place=f"table {table.name!r}, column {name!r}",
                found=f"width {width}",
                wanted="a width of at least 1",
            )
    for column in vectors:
        if column.presence == "required" and column.name not in features:
            raise ConformError(
                place=f"table {table.name!r}, column {column.name!r}",
                found="no such feature",
                wanted=f"a width for it, as for {', '.join(features) or 'every vector'}",
            )
    if features.get("observation.state") != features.get("action"):
        raise ConformError(
            place=f"table {table.name!r}, column 'action'",
            found=f"width {features.get('action')}",
            wanted=f"the width of observation.state, {features.get('observation.state')}",
        )


def _check_cameras(table: Table, cameras: Sequence[str]) -> None:
    for position, camera in enumerate(cameras):
        # LeRobot refuses feature names with a slash
        if not camera or "/" in camera or camera in cameras[:position]:
            raise ConformError(
                place=f"table {table.name!r}, camera {position}",
                found=repr(camera),
                wanted="camera names without `/`, none empty, none twice",
            )
