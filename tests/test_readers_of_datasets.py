"""Only `store/` knows how a dataset lies on disk: nobody else opens its Parquet files or counts
its chunks. A test over the package's text, as an import contract cannot see calls."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import finedata

PACKAGE = Path(finedata.__file__).parent
# `readers/` reads sources, among them LeRobot datasets of others; it never reads ours.
# `convert/account/` is verify's other way: it shares no code with what it proves, on purpose.
FREE = ("store/", "readers/", "convert/account/")
# What these read is no dataset's, or none yet.
OTHER_FILES = {
    "bench/benchmark.py": "a benchmark's own tables",
    "bench/film.py": "the released videos of a benchmark",
    "convert/videos/stats.py": "videos that are laid down before there is a dataset",
    "annotate/importing/released.py": "LeRobot datasets of others, with columns of language",
    "train/annotator/lesson_shards.py": "clips in the tars of shards",
    "annotate/importing/rows.py": "the same: which of our episodes they name",
}
MODULES = sorted(
    path
    for path in PACKAGE.rglob("*.py")
    if not path.relative_to(PACKAGE).as_posix().startswith(FREE)
    and path.relative_to(PACKAGE).as_posix() not in OTHER_FILES
)
OPENING = {
    "ParquetFile",
    "ParquetDataset",
    "read_table",
    "read_schema",
    "read_metadata",
    "read_pandas",
    "scan_parquet",
    "read_parquet",
    "read_parquet_schema",
    "read_parquet_metadata",
}
# Modules of the store that say where rows lie; the others outside go through `Episode`,
# `scan_episodes` or the tables of `Dataset`.
INNER = {
    "finedata.store.tables.row_groups",
    "finedata.store.videos.opened",
    "finedata.store.videos.frames",
}


def broken_rules(text: str) -> list[str]:
    found: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute | ast.Name):
            name = node.attr if isinstance(node, ast.Attribute) else node.id
            if name in OPENING:
                found.append(f"line {node.lineno}: {name} opens a Parquet file")
            if name == "CHUNK_FILES":
                found.append(f"line {node.lineno}: counts chunks")
        elif isinstance(node, ast.ImportFrom):
            names = {alias.name for alias in node.names}
            if names & OPENING or "CHUNK_FILES" in names or node.module in INNER:
                found.append(f"line {node.lineno}: imports {node.module}: {sorted(names)}")
        elif _reads_chunk_index(node):
            found.append(f"line {node.lineno}: reads {ast.unparse(node)}")
    return found


def _reads_chunk_index(node: ast.AST) -> bool:
    """`row["…/chunk_index"]`, read, or `pl.col("…/chunk_index")`."""
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        inside = list(ast.walk(node.slice))
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("col"):
        inside = list(node.args)
    else:
        return False
    return any(
        isinstance(part, ast.Constant) and str(part.value).endswith("chunk_index")
        for part in inside
    )


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_nobody_but_the_store_opens_a_dataset(path: Path) -> None:
    assert broken_rules(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "with pq.ParquetFile(path) as file: pass",
        "from pyarrow.parquet import read_table",
        "pl.scan_parquet(path).collect()",
        "from finedata.store.lerobot.layout import CHUNK_FILES, data_path",
        "n = row['data/chunk_index'] * 1000 + row['data/file_index']",
        "n = row[f'{name}/chunk_index']",
        "n = pl.col('data/chunk_index') * 1000",
        "from finedata.store.videos.frames import decode_frames",
    ],
)
def test_the_rules_see_what_was_there(text: str) -> None:
    assert len(broken_rules(text)) >= 1


def test_no_exception_is_idle() -> None:
    for name in OTHER_FILES:
        assert broken_rules((PACKAGE / name).read_text(encoding="utf-8")), name


def test_the_package_was_found() -> None:
    assert len(MODULES) > 200
