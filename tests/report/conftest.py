"""A converted demo corpus with curation tables written by schema, and its report."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from corpora.corpus import write_bridge_corpus
from report.fabricated import Fabricated, fabricate

from finedata.convert.run import convert
from finedata.report.report import ReportSummary, render_report


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Larger than the shared one: clusters need episodes."""
    folder = tmp_path_factory.mktemp("report_corpus")
    write_bridge_corpus(folder, episodes=40, image_size=160, mean_length=12)
    out = folder / "bridge"
    convert("bridge_v2", input=folder / "bridge_dataset" / "1.0.0", out=out)
    return out


@dataclass(frozen=True)
class Curated:
    root: Path
    truth: Fabricated
    html: str
    summary: ReportSummary


@pytest.fixture(scope="session")
def curated(converted: Path, tmp_path_factory: pytest.TempPathFactory) -> Curated:
    root = tmp_path_factory.mktemp("curated") / "bridge"
    shutil.copytree(converted, root)
    truth = fabricate(root)
    html, summary = render_report(root, distances=truth.source)
    return Curated(root, truth, html, summary)
