"""What the README shows is what happens."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Corpus

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture(scope="module")
def folder(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the README's names lead to the test corpus."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "bridge_dataset").symlink_to(corpus.folder.parent)
    return folder


def test_the_first_thing_is_the_two_commands() -> None:
    assert BLOCKS[0][1].split()[:2] == ["make", "demo"]
    assert "\nmake test" in BLOCKS[0][1]


def test_shell_block_runs(folder: Path) -> None:
    (block,) = [text for _, text in BLOCKS if text.startswith("finedata convert")]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for line in block.splitlines():
        subprocess.run(
            shlex.split(line), cwd=folder, check=True, capture_output=True, env={"PATH": path}
        )
    assert (folder / "bridge/finedata.json").is_file()


def test_python_runs(corpus: Corpus, tmp_path: Path) -> None:
    """All of it, word for word, one after the other."""
    (tmp_path / "bridge_dataset").symlink_to(corpus.folder.parent)
    program = "\n".join(text for kind, text in BLOCKS if kind == "python")
    program += (
        "\nassert episode.state.shape[1] == 8 and len(episode.pictures) == 4"
        "\nassert ds.facts.collect().height and fd.open('bridge').root == ds.root\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "ConvertSummary" in done.stdout
