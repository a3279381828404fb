"""Shared by all tests: where the real bytes are, and a tiny corpus in Bridge's own format."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


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
