"""The `configs` of a card: what the Hub's viewer and `datasets.load_dataset` find, by name.

Without them the file names decide, and a repository with Parquet files of ten tables, or with
tables and tars, is guessed wrong. A table is a configuration; tars are one for all sets whose
samples look alike, because readers fix the types of all by the first five samples.

`datasets` (to 5.2) takes the format of the first configuration for that of all: Parquet and tars of
one repository cannot both be configurations. Where both are there, the tables are, and the card
says how to load the tars by their names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from finedata.store.damaged import reading
from finedata.store.tables.table_file import count_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.hub.files import Publication, Upload
    from finedata.schema.shards_file import ShardSet

_TABLES = ("annotations", "curation")
_SPLITS = {"train": ("train", "train"), "heldout": ("test", "test")}


def read_configs(found: Publication, uploads: Sequence[Upload]) -> list[dict[str, Any]]:
    """The configurations of what is published; the first is the default.

    Returns:
        As the card spells them: config_name, data_files (a list of split and path), default.
    """
    configs = [*_of_frames(found, uploads), *_of_tables(found, uploads), *_of_tars(found)]
    if configs:
        configs[0] = {**configs[0], "default": True}
    return configs


def _config(name: str, splits: dict[str, list[str]]) -> dict[str, Any]:
    files = [{"split": split, "path": paths} for split, paths in splits.items()]
    return {"config_name": name, "data_files": files}


def _of_frames(found: Publication, uploads: Sequence[Upload]) -> list[dict[str, Any]]:
    """The rows that LeRobot reads, a part each: their columns differ."""
    if found.dataset is None or not any(one.kind == "data" for one in uploads):
        return []
    parts = found.dataset.parts
    return [
        _config(
            "frames" if len(parts) == 1 else f"frames-{part.name}",
            {"train": [f"{_inside(part.path)}data/*/*.parquet"]},
        )
        for part in parts
        if part.frames
    ]


def _of_tables(found: Publication, uploads: Sequence[Upload]) -> list[dict[str, Any]]:
    if found.dataset is None:
        return []
    # `datasets` fails on a file without rows.
    there = {one.path for one in uploads if one.kind in _TABLES and _rows(one)}
    configs: list[dict[str, Any]] = []
    parts = found.dataset.parts
    for part in parts:
        if part.episodes:
            name = "episodes" if len(parts) == 1 else f"episodes-{part.name}"
            path = f"{_inside(part.path)}meta/episodes/*/*.parquet"
            configs.append(_config(name, {"train": [path]}))
    for path in sorted(there):
        if path.startswith("curation/"):
            name = path.removeprefix("curation/").removesuffix(".parquet")
            configs.append(_config(name, {"train": [path]}))
    tables: dict[str, list[str]] = {}
    for path in sorted(there):
        if path.startswith("annotations/"):
            tables.setdefault(path.split("/")[1], []).append(path)
    empty = [one.path for one in uploads if one.kind == "annotations" and one.path not in there]
    for table, paths in tables.items():
        folder = f"annotations/{table}/"
        some_are_empty = any(path.startswith(folder) for path in empty)
        configs.append(
            _config(table, {"train": paths if some_are_empty else [f"{folder}*.parquet"]})
        )
    return configs


def _of_tars(found: Publication) -> list[dict[str, Any]]:
    if found.shards is None or found.tables_only or found.dataset is not None:
        return []
    alike: dict[tuple[Any, ...], list[ShardSet]] = {}
    for one in found.shards.document.sets:
        if one.tars:
            alike.setdefault(_looks(one), []).append(one)
    configs: list[dict[str, Any]] = []
    for number, sets in enumerate(alike.values()):
        splits: dict[str, list[str]] = {}
        for one in sets:
            split, word = _SPLITS[one.side]
            path = f"{found.shards_prefix}tars/{one.name}/{word}-*.tar"
            splits.setdefault(split, []).append(path)
        # A name must not change when sets are added: it is that of the first, which never moves.
        name = "shards" if number == 0 else f"shards-{sets[0].part}-{number}"
        configs.append(_config(name, dict(sorted(splits.items(), reverse=True))))
    return configs


def _looks(one: ShardSet) -> tuple[Any, ...]:
    """What decides the types that readers find in a sample."""
    widths = tuple((feature.name, feature.width) for feature in one.features)
    cameras = tuple((camera.member, camera.codec) for camera in one.cameras)
    return tuple(one.members), cameras, widths


def _rows(upload: Upload) -> int:
    """Rows of a table, by its footer."""
    if upload.local is None:
        return 0
    with reading(upload.local):
        return count_rows(upload.local)


def _inside(path: str) -> str:
    return "" if path == "." else f"{path}/"
