"""Tests of training: one thread, for the bits and for the neighbours."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from shard.curation import curate
from train.shards import make_64, make_both, make_traced

from finedata.annotate.run import annotate_kinematic
from finedata.annotate.selection import Choice

if find_spec("torch"):
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def bridge_64(real_bridge: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of 64 samples of real Bridge."""
    return make_64(real_bridge, tmp_path_factory.mktemp("bridge_64"))


@pytest.fixture(scope="session")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of 64 samples with traces."""
    return make_traced(tmp_path_factory.mktemp("traced"))


@pytest.fixture(scope="session")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards with views fg and raw, and held-out sides."""
    return make_both(tmp_path_factory.mktemp("both"))


@pytest.fixture(scope="session")
def taught(converted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A curated dataset with the facts of its motion: lessons of an annotator."""
    root = tmp_path_factory.mktemp("taught") / "bridge"
    shutil.copytree(converted, root)
    curate(root)
    annotate_kinematic(root, choice=Choice(everything=True))
    return root
