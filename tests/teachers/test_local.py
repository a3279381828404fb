"""A model in this process: a tiny random one, in the environment that has transformers."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lerobot_oracle import oracle
from teachers import local_probe

from finedata.errors import MissingExtraError, install_command
from finedata.teachers.opening import open_teacher

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY = Path(local_probe.__file__).resolve().parents[2]


def python_with_transformers() -> Path:
    python = oracle.lerobot_python()
    if python is None:
        pytest.skip("no .venv-lerobot: run `bash tests/lerobot_oracle/install.sh`")
    wanted = "import importlib.util as u; assert u.find_spec('transformers'); import msgspec"
    if subprocess.run([python, "-c", wanted], capture_output=True, check=False).returncode:
        pytest.skip(".venv-lerobot has no transformers: run `bash tests/lerobot_oracle/install.sh`")
    return python


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    python = python_with_transformers()
    folder = tmp_path_factory.mktemp("model")
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [python, local_probe.__file__, str(folder)],
        env=environment | {"HF_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_model_answers(told: dict[str, Any]) -> None:
    text, asked, said = told["greedy"]
    assert text.strip()
    assert said == 9
    # a token for each character and for each of 2 x 2 patches of both pictures
    words = "system: Be brief.user: frontfrontWhat is it?assistant: "
    assert asked == len(words) + 2 * 4
    assert told["greedy again"] == told["greedy"]


def test_a_seed_belongs_to_its_request(told: dict[str, Any]) -> None:
    assert told["seeded"] == told["seeded again"]
    assert told["seeded"] != told["other seed"]


def test_a_cut_answer_is_none(told: dict[str, Any]) -> None:
    assert told["cut"][0].startswith("a cut answer")
    assert told["cut"][2] == 5


def test_without_torch_the_next_step_is_said(block_import: Callable[[str], None]) -> None:
    block_import("transformers")
    block_import("torch")
    with pytest.raises(MissingExtraError, match="pip install"):
        open_teacher("local", model="any/model")


@pytest.mark.parametrize(("name", "module"), [("openai", "openai"), ("gemini", "google.genai")])
def test_without_a_library_the_extra_is_said(
    name: str, module: str, block_import: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("GEMINI_API_KEY", "none")
    block_import(module)
    with pytest.raises(MissingExtraError, match=re.escape(install_command("teachers"))):
        open_teacher(name)


@pytest.fixture
def block_import(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    import sys

    return lambda name: monkeypatch.setitem(sys.modules, name, None)
