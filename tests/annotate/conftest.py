"""A small converted dataset that each test may write to."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import finedata
from finedata.annotate.settings import AnnotateSettings


@pytest.fixture
def root(converted: Path, tmp_path: Path) -> Path:
    """A dataset of its own: 14 or so episodes of the demo corpus."""
    copy = tmp_path / "bridge"
    shutil.copytree(converted, copy)
    return copy


@pytest.fixture(scope="session")
def settings() -> AnnotateSettings:
    return AnnotateSettings(teacher="openai", model="m")


@pytest.fixture
def ids(root: Path) -> list[str]:
    return finedata.open(root).episodes.collect()["episode_id"].to_list()
