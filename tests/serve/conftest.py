"""A tiny trained policy, served; and clients as others write them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from train.shards import make_both

if find_spec("torch"):
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def served_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards with views fg and raw, and held-out sides; see `train.shards.make_both`."""
    return make_both(tmp_path_factory.mktemp("served") / "shards")


@pytest.fixture(scope="session")
def tiny_run(served_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps of action queries; absolute actions, no state."""
    return make_run(served_shards, tmp_path_factory.mktemp("tiny_run"))


def make_run(shards: Path, folder: Path, *, name: str = "tiny_oft", **changes: Any) -> Path:
    """A run of two steps."""
    pytest.importorskip("torch", reason="torch is not installed")
    from train.test_loop import trainer

    trainer(shards, folder / "run", name=name, **changes).train(stop=2)
    return folder / "run"


@pytest.fixture(scope="session")
def tiny_policy(tiny_run: Path) -> Any:
    import finedata as fd

    return fd.policy(tiny_run, device="cpu")


def picture(seed: int = 0, *, height: int = 48, width: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3)).astype(np.uint8)


def seen(seed: int = 0, **more: Any) -> dict[str, Any]:
    """An observation as openpi's clients send it."""
    return {"observation/front": picture(seed), "prompt": "do 1", "observation/state": STATE} | more


STATE = np.array([0.1, 0.2, 0.3, 0, 0, 0, 1, 0.5], np.float32)
