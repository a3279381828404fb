"""Two processes over gloo, sharded or not, equal one, and write the same checkpoint."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from train.test_loop import tensors  # noqa: E402
from train.two_ranks import main  # noqa: E402

TESTS = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def trained(both: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(2):
        environment = os.environ | {
            "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "PYTHONPATH": str(TESTS),
            "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        command = [sys.executable, "-m", "train.two_ranks", str(both), str(out), "fsdp", "ddp"]
        started.append(
            subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        )
    main(str(both), str(out / "one"), "ddp")
    for process in started:
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said.decode()
    return out


@pytest.mark.parametrize("sharding", ["fsdp", "ddp"])
def test_two_equal_one(trained: Path, sharding: str) -> None:
    one = tensors(trained / "one/ddp/checkpoints/000003")
    two = tensors(trained / sharding / "checkpoints/000003")
    assert one.keys() == two.keys()
    assert any(name.startswith("average") for name in one)
    for name, tensor in one.items():
        assert (tensor - two[name]).abs().max() <= 1e-6, name
