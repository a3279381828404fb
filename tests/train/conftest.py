"""Tests of training: one thread, for the bits and for the neighbours."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

if find_spec("torch"):
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def one_seed() -> None:
    torch.manual_seed(0)
