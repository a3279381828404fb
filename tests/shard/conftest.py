"""A small curated dataset, shared by the tests of shards."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from shard.curation import curate

from finedata.convert.context import ConvertOptions
from finedata.convert.run import convert


@pytest.fixture(scope="session")
def curated(converted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo corpus with a verdict for every episode and every third one chosen."""
    root = tmp_path_factory.mktemp("curated") / "bridge"
    shutil.copytree(converted, root)
    curate(root)
    return root


@pytest.fixture(scope="session")
def two_parts(corpus, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two datasets of the same source, four records and the rest of them."""
    folder = tmp_path_factory.mktemp("two")
    # One set is enough to begin with, and fewer events to be killed at.
    for name, episodes, every in (("first", ("0-3",), 1), ("second", ("4-30",), 3)):
        convert(
            "bridge_v2",
            input=corpus.folder,
            out=folder / name,
            options=ConvertOptions(episodes=episodes),
        )
        curate(folder / name, every=every)
    return folder / "first", folder / "second"
