"""The loopback Hub, and a user of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub.loopback import Hub
from shard.curation import curate

import finedata

TOKEN = "hf_loopback_write"


@pytest.fixture(scope="session")
def bridge(converted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo corpus with verdicts, representatives and facts that the motion tells."""
    root = tmp_path_factory.mktemp("published") / "bridge"
    shutil.copytree(converted, root)
    curate(root)
    finedata.open(root).annotate_kinematic()
    return root


@pytest.fixture(scope="session")
def shards(bridge: Path) -> Path:
    """Its shards, several tars a set."""
    out = bridge.parent / "shards"
    finedata.open(bridge).shard(out, shard_bytes=60_000, horizon=4)
    return out


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub of this test's own, which the real client takes for the public one."""
    import huggingface_hub
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with Hub(tmp_path / "hub") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        yield server
        huggingface_hub.close_session()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long would have been waited; nobody waits."""
    found: list[float] = []
    monkeypatch.setattr("time.sleep", found.append)
    return found
