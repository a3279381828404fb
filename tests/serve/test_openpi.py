"""openpi's own client, from the package that robots install, asks a policy that we serve."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serve.conftest import picture

pytest.importorskip("torch", reason="torch is not installed")

CLIENT = Path(__file__).parent.parent.parent / ".venv-openpi"
PROGRAM = """
import json, sys
import numpy as np
from openpi_client.websocket_client_policy import WebsocketClientPolicy

port, key = int(sys.argv[1]), sys.argv[2]
client = WebsocketClientPolicy("127.0.0.1", port, api_key=key)
front = np.load(sys.argv[3])
state = np.array([0.1, 0.2, 0.3, 0, 0, 0, 1, 0.5], np.float32)
asked = {"observation/front": front, "observation/state": state, "prompt": "do 1"}
first, second = client.infer(asked), client.infer(asked)
try:
    client.infer(asked | {"observation/front": front.transpose(2, 0, 1)})
    refused = ""
except RuntimeError as error:
    refused = str(error)
try:
    client.infer(asked)
    closed = ""
except Exception as error:
    closed = type(error).__name__ + " " + str(error)
print(json.dumps({
    "metadata": client.get_server_metadata(), "actions": first["actions"].tolist(),
    "dtype": first["actions"].dtype.str, "timing": second["server_timing"], "refused": refused,
    "closed": closed,
}))
"""


def test_it_is_told_what_the_policy_says(tiny_policy: Any, tmp_path: Path) -> None:
    if not (CLIENT / "openpi_client").is_dir():
        pytest.skip("openpi-client is not installed: bash tests/openpi_client/install.sh")
    np.save(tmp_path / "front.npy", picture())
    with tiny_policy.serving(api_key="secret") as listening:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, listening.address.rsplit(":", 1)[1], "secret",
             tmp_path / "front.npy"],
            env=os.environ | {"PYTHONPATH": str(CLIENT)}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    wanted = tiny_policy.predict({"front": picture(), "prompt": "do 1"})
    assert told["dtype"] == "<f4"
    assert np.array_equal(np.array(told["actions"], np.float32), wanted.actions)
    assert np.array(told["actions"]).shape == (4, 8)
    rotations = np.array(told["actions"])[:, 3:7]
    assert np.allclose(np.linalg.norm(rotations, axis=1), 1, atol=1e-6)
    assert told["metadata"]["action_chunk_size"] == 4
    assert told["metadata"]["finedata"]["cameras"] == ["front"]
    timing = told["timing"]
    assert 0 < timing["model_ms"] < timing["infer_ms"]
    assert timing["prev_total_ms"] > 0
    assert "uint8 of shape (3, 48, 64)" in told["refused"]
    assert "wanted uint8 (height, width, 3), RGB" in told["refused"]
    assert "Traceback" not in told["refused"]
    assert "1011" in told["closed"]
