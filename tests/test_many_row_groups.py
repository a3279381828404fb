"""A long episode is several row groups: every verb that reads pictures gives what it gives of one.

The corpus is converted twice, once with slabs of seven rows; then each verb runs on both.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from annotate.scripted import Scripted
from annotate.test_run_facts import QUICK
from conftest import Corpus
from convert.trees import tree_digest

from finedata.annotate.export.run import FORMATS as ANNOTATION_FORMATS
from finedata.annotate.export.run import export_annotations
from finedata.annotate.run import annotate_facts, annotate_traces
from finedata.annotate.run_kinematic import annotate_kinematic
from finedata.annotate.selection import Choice
from finedata.annotate.settings import AnnotateSettings
from finedata.cluster.run import cluster
from finedata.cluster.settings import ClusterSettings
from finedata.convert import pictures
from finedata.convert.run import convert
from finedata.convert.verify.run import verify
from finedata.quality.gate import gate
from finedata.report.report import write_report
from finedata.store.dataset import open_dataset
from finedata.store.export.run import FORMATS, FORMATS_WITH_PICTURES, export_dataset

SETTINGS = AnnotateSettings(teacher="openai", model="m")
ALL = Choice(everything=True)


@pytest.fixture(scope="module")
def both(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same corpus, annotated: an episode one row group, and one of seven rows each."""
    folder = tmp_path_factory.mktemp("groups")
    for name, least in (("one", None), ("many", 7)):
        with pytest.MonkeyPatch.context() as patch:
            if least is not None:
                patch.setattr(pictures, "_SLAB_BYTES", 1)
                patch.setattr(pictures, "_LEAST_ROWS", least)
            convert("bridge_v2", input=corpus.folder, out=folder / name / "bridge")
        root = folder / name / "bridge"
        gate(root)
        cluster(root, settings=ClusterSettings())
        annotate_kinematic(root, choice=ALL)
        summary = annotate_facts(
            root, teacher=Scripted(), settings=SETTINGS, choice=ALL, options=QUICK
        )
        assert summary.failed == 0
        summary = annotate_traces(
            root, teacher=Scripted(), settings=SETTINGS, every=3, choice=ALL, options=QUICK
        )
        assert summary.failed == 0
    return folder / "one" / "bridge", folder / "many" / "bridge"


def test_there_are_many(both: tuple[Path, Path]) -> None:
    one, many = (open_dataset(root) for root in both)
    for episode, split in zip(one.iter_episodes(), many.iter_episodes(), strict=True):
        assert len(list(episode.slabs())) == 1
        assert len(list(split.slabs())) == -(-len(split) // 7)
    assert max(len(episode) for episode in many.iter_episodes()) > 14


def test_annotations_and_curation_are_the_same(both: tuple[Path, Path]) -> None:
    # The table of calls has clocks; ledgers are SQLite.
    one, many = (
        {
            name: digest
            for name, digest in tree_digest(root).items()
            if name.startswith(("annotations/", "curation/")) and "/calls/" not in name
        }
        for root in both
    )
    assert one == many
    for table in ("facts", "traces", "steps", "instructions"):
        assert any(name.startswith(f"annotations/{table}/part-00001") for name in one)


@pytest.mark.parametrize("keep_pictures", [False, True])
@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"finedata"}))
def test_exports_are_the_same(
    both: tuple[Path, Path], tmp_path: Path, name: str, keep_pictures: bool
) -> None:
    if keep_pictures and name not in FORMATS_WITH_PICTURES:
        pytest.skip("has no pictures beside videos")
    found = []
    for root in both:
        out = tmp_path / "out"
        export_dataset(open_dataset(root), out=out, format=name, keep_pictures=keep_pictures)
        found.append(tree_digest(out))
        shutil.rmtree(out)
    assert found[0] == found[1]


@pytest.mark.parametrize("name", sorted(ANNOTATION_FORMATS))
def test_exports_of_annotations_are_the_same(
    both: tuple[Path, Path], tmp_path: Path, name: str
) -> None:
    found = []
    for root in both:
        out = tmp_path / "out"
        export_annotations(open_dataset(root), out=out, format=name)
        digest = tree_digest(out)
        # Rows keep their row groups in a copy of the dataset; the table of calls has clocks.
        differ = ("data/", "annotations/calls/")
        found.append({file: digest[file] for file in digest if not file.startswith(differ)})
        shutil.rmtree(out)
    assert found[0] == found[1]


def test_a_subset_has_the_same_pictures(both: tuple[Path, Path], tmp_path: Path) -> None:
    whole = open_dataset(both[0])
    export_dataset(open_dataset(both[1]), out=tmp_path / "out", format="finedata")
    copied = list(open_dataset(tmp_path / "out").iter_episodes())
    assert len(copied) == whole.info.counts["written"]
    for episode in copied:
        before = whole.episode(episode.episode_id, pictures=True)
        assert len(list(episode.slabs())) == -(-len(episode) // 7)
        assert episode.pictures == before.pictures


def test_reports_are_the_same(both: tuple[Path, Path], tmp_path: Path) -> None:
    pages = []
    for root in both:
        out = tmp_path / "report.html"
        write_report(root, out=out)
        pages.append(out.read_bytes())
    assert pages[0].count(b"data:image/jpeg") > 10
    assert pages[0] == pages[1]


def test_verify_decodes_them(both: tuple[Path, Path], corpus: Corpus) -> None:
    report = verify(both[1], input=corpus.folder, decode=True)
    assert report.problems == []
    assert report.pictures > 0
