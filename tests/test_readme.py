"""What the README and the page of the library show is what happens."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Corpus

ROOT = Path(__file__).parent.parent
LIBRARY = "docs/library.md"


def blocks(document: str) -> list[tuple[str, str]]:
    text = (ROOT / document).read_text()
    return re.findall(r"```(\w*)\n(.*?)```", text, flags=re.DOTALL)


BLOCKS = blocks("README.md")


_WALK = """
import shlex, sys
from finedata.cli import main
for line in sys.argv[1:]:
    sys.argv = shlex.split(line)
    try:
        main()
    except SystemExit as end:
        assert not end.code, (line, end.code)
"""


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
    first, *others = [shlex.split(line, comments=True) for line in block.splitlines()]
    first[0] = str(Path(sys.executable).parent / first[0])
    # The others in one process, which starts once: nine starts are half a minute.
    walk = [sys.executable, "-c", _WALK, *(shlex.join(line) for line in others)]
    for command in (first, walk):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert (folder / "bridge/finedata.json").is_file()
    assert (folder / "bridge/report.html").is_file()
    assert (folder / "shards/shards.json").is_file()


@pytest.mark.parametrize("document", ["README.md", LIBRARY])
def test_python_runs(document: str, corpus: Corpus, tmp_path: Path) -> None:
    """All of it, word for word, one after the other; but for what has to be trained first."""
    (tmp_path / "bridge_dataset").symlink_to(corpus.folder.parent)
    shown = [text for kind, text in blocks(document) if kind == "python"]
    program = "\n".join(text for text in shown if "runs/a" not in text)
    program += (
        "\nassert episode.state.shape[1] == 8 and len(episode.pictures) == 4"
        "\nassert ds.facts.collect().height and fd.open('bridge').root == ds.root\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "ConvertSummary" in done.stdout
