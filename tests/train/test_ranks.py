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

from finedata.train.log import read_log  # noqa: E402

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


@pytest.mark.parametrize("sharding", ["fsdp", "ddp"])
def test_two_evaluate_as_one_does(trained: Path, sharding: str) -> None:
    """Six samples in batches of four: the last batch is not a whole one of both ranks."""
    one, two = (
        [entry for entry in read_log(trained / run) if "heldout" in entry]
        for run in ("one/ddp", sharding)
    )
    assert [entry["step"] for entry in one] == [entry["step"] for entry in two] == [0, 3]
    for mine, theirs in zip(one, two, strict=True):
        assert mine["heldout"].keys() == theirs["heldout"].keys() == {"fg", "raw"}
        for view, errors in mine["heldout"].items():
            assert errors["samples"] == 6
            # degrees and metres of values that agree to 1e-6
            assert theirs["heldout"][view] == pytest.approx(errors, rel=1e-4, abs=1e-5)
