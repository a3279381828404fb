"""Shared by the readers' tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from sources.rh20t import write


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A scene of RH20T."""
    write(tmp_path, episodes=1, cfgs=(3,))
    return next(tmp_path.glob("RH20T_cfg3/task_*"))
