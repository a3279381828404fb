"""Streams as tensors, where torch is installed."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from shard.stream.tiny_shards import TinySet, make_shards

from finedata.errors import MissingExtraError
from finedata.shard import torch as shard_torch
from finedata.shard.stream.opening import stream
from finedata.shard.torch import TensorStream


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sets = [TinySet("a", "rep", [5, 9], fine=frozenset({0, 1}))]
    return make_shards(tmp_path_factory.mktemp("shards") / "tiny", sets)


def test_without_torch_the_extra_is_named(tiny: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("finedata.errors._is_installed", lambda name: name != "torch")
    with pytest.raises(MissingExtraError, match="train"):
        TensorStream(stream(tiny, mix="raw=1", batch=4))


def test_tensors_are_the_arrays(tiny: Path):
    pytest.importorskip("torch", reason="torch is not installed")
    opened = TensorStream(stream(tiny, mix="raw=1", batch=4, stop=12))
    for got, batch in zip(opened, stream(tiny, mix="raw=1", batch=4, stop=12), strict=True):
        for kind in ("pictures", "picture_mask", "vectors", "vector_mask"):
            for name, array in getattr(batch, kind).items():
                assert np.array_equal(getattr(got, kind)[name].numpy(), array)
        assert (got.text, got.episode_id) == (batch.text, batch.episode_id)
        assert got.n.tolist() == batch.n.tolist()
    state = opened.state_dict()
    again = TensorStream(stream(tiny, mix="raw=1", batch=4))
    again.load_state_dict(state)
    assert next(iter(again)).n.tolist() == [12, 13, 14, 15]


@pytest.mark.filterwarnings("ignore")  # torch warns about itself
def test_a_stateful_loader_keeps_the_place(tiny: Path):
    loader = pytest.importorskip("torchdata.stateful_dataloader", reason="no torchdata")

    def opened():
        return loader.StatefulDataLoader(
            TensorStream(stream(tiny, mix="raw=1", batch=4, stop=40)), batch_size=None
        )

    one = opened()
    first = [batch.n.tolist() for batch in islice(one, 3)]
    state = one.state_dict()
    other = opened()
    other.load_state_dict(state)
    rest = [batch.n.tolist() for batch in other]
    assert first + rest == [list(range(k, k + 4)) for k in range(0, 40, 4)]


def test_the_module_needs_no_torch_to_be_imported():
    assert not hasattr(shard_torch, "torch")
