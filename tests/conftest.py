"""Shared by all tests: where the real bytes are, and a tiny corpus in Bridge's own format."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from corpora.corpus import EpisodeTruth, write_bridge_corpus
from hypothesis import HealthCheck, settings

from finedata.convert.run import convert

# A busy machine is no reason to fail; in CI the same examples are drawn every time.
settings.register_profile(
    "house",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("house")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real bytes, or a skip with the reason."""
    folder = os.environ.get("FINEDATA_REAL_DATA")
    if not folder:
        pytest.skip("FINEDATA_REAL_DATA is not set: no real bytes on this machine")
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def real_bridge(real_data: Path) -> Path:
    """BridgeData-V2 in RLDS: 25 real episodes of 10 steps."""
    return real_data / "bridge_v2_rlds" / "1.0.0"


@dataclass(frozen=True)
class Corpus:
    """A demo corpus on disk and what is true of each record."""

    folder: Path
    truths: list[EpisodeTruth]

    def of_kind(self, *kinds: str) -> list[EpisodeTruth]:
        return [truth for truth in self.truths if truth.kind in kinds]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Twelve whole episodes and ten broken ones in four shards, small pictures."""
    folder = tmp_path_factory.mktemp("corpus")
    truths = write_bridge_corpus(folder, episodes=12, image_size=48, mean_length=20)
    return Corpus(folder / "bridge_dataset" / "1.0.0", truths)


@pytest.fixture(scope="session")
def converted(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus, converted in this process."""
    out = tmp_path_factory.mktemp("converted") / "bridge"
    convert("bridge_v2", input=corpus.folder, out=out)
    return out
