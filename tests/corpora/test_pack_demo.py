"""The packed corpus of the demo is what its maker makes."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import pytest
from corpora.pack_demo import PACKED, ROOT, write_demo_corpus

from finedata.demo.walk import unpack


def test_the_packed_corpus_is_the_one_that_is_made(tmp_path: Path) -> None:
    unpack(tmp_path / "packed")
    write_demo_corpus(tmp_path / "made")
    packed, made = _files(tmp_path / "packed"), _files(tmp_path / "made")
    assert packed.keys() == made.keys()
    told = "truth.json"
    assert packed[told].read_bytes() == made[told].read_bytes()
    locked = (ROOT / "constraints.txt").read_text("utf-8")
    for library in ("numpy", "pillow", "simplejpeg"):
        if not re.search(rf"^{library}=={re.escape(version(library))}( |$)", locked, re.MULTILINE):
            pytest.skip(f"another {library} than the lock's draws other pictures")
    for name, file in packed.items():
        assert file.read_bytes() == made[name].read_bytes(), f"{name}: pack_demo.py makes another"


def test_the_packed_corpus_is_small() -> None:
    assert PACKED.stat().st_size < 1_000_000


def _files(folder: Path) -> dict[str, Path]:
    return {str(file.relative_to(folder)): file for file in folder.rglob("*") if file.is_file()}
