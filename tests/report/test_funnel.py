from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from report.conftest import Curated
from report.fabricated import fabricate, write_table

from finedata.report.funnel import Funnel, FunnelRow, read_funnel
from finedata.report.sections.funnel import funnel_steps
from finedata.store.dataset import open_dataset


def check_sums(row: FunnelRow) -> None:
    assert row.found == sum(row.failed.values()) + row.written
    assert row.written == sum(row.gate_failed.values()) + row.unjudged + row.through
    assert row.through == row.without_instruction + row.with_instruction
    assert row.with_instruction == row.unclustered + row.clustered
    assert row.clustered == row.represented + row.representatives


def recount(root: Path) -> FunnelRow:
    """The same, episode by episode in plain Python."""
    dataset = open_dataset(root)
    receipts = dataset.receipts.collect().to_dicts()
    episodes = {r["episode_id"]: r for r in dataset.episodes.collect().to_dicts()}
    gate = {r["episode_id"]: r for r in dataset.verdicts.collect().to_dicts()}
    clusters = set(dataset.clusters.collect()["episode_id"].to_list())
    chosen = set(dataset.representatives.collect()["episode_id"].to_list())
    failed: dict[str, int] = {}
    for row in receipts:
        if row["status"] == "failed":
            failed[row["reason"]] = failed.get(row["reason"], 0) + 1
    refused: dict[str, int] = {}
    through = []
    for name in episodes:
        verdict = gate.get(name)
        if verdict is not None and verdict["verdict"] == "fail":
            refused[verdict["reason"]] = refused.get(verdict["reason"], 0) + 1
        elif verdict is not None or not gate:
            through.append(name)
    language = [name for name in through if episodes[name]["task"].strip()]
    clustered = [name for name in language if name in clusters]
    kept = [name for name in clustered if name in chosen]
    return FunnelRow(
        source="",
        found=len(receipts),
        failed=failed,
        written=len(episodes),
        gate_failed=refused,
        unjudged=len(episodes) - len(through) - sum(refused.values()),
        through=len(through),
        not_applicable=sum(r["verdict"] == "not_applicable" for r in gate.values()),
        without_instruction=len(through) - len(language),
        with_instruction=len(language),
        unclustered=len(language) - len(clustered),
        clustered=len(clustered),
        represented=len(clustered) - len(kept),
        representatives=len(kept),
    )


def test_counts_are_those_of_plain_python(curated: Curated) -> None:
    funnel = read_funnel(open_dataset(curated.root))
    assert funnel.total == recount(curated.root)
    check_sums(funnel.total)
    assert funnel.total.failed
    assert funnel.total.gate_failed
    assert 0 < funnel.total.representatives < funnel.total.clustered
    assert (funnel.gate_ran, funnel.cluster_ran, funnel.select_ran) == (True, True, True)
    assert (funnel.stray_clusters, funnel.stray_representatives) == (0, 0)


def test_sources_add_up_to_all(curated: Curated) -> None:
    funnel = read_funnel(open_dataset(curated.root))
    for row in funnel.sources:
        check_sums(row)
    for name in ("found", "written", "through", "clustered", "representatives"):
        assert getattr(funnel.total, name) == sum(getattr(row, name) for row in funnel.sources)


def test_what_has_not_run_sets_nothing_aside(converted: Path) -> None:
    funnel = read_funnel(open_dataset(converted))
    check_sums(funnel.total)
    assert not (funnel.gate_ran)
    assert not (funnel.cluster_ran)
    assert not (funnel.select_ran)
    assert funnel.total.through == funnel.total.written
    assert [name for name, *_ in funnel_steps(funnel)] == [
        "found",
        "written",
        "with an instruction",
    ]


@pytest.fixture
def copy(converted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(converted, tmp_path / "copy"))


def regate(root: Path, verdicts: dict[str, str]) -> Funnel:
    rows = open_dataset(root).verdicts.collect().to_dicts()
    for row in rows:
        row["verdict"] = verdicts.get(row["episode_id"], row["verdict"])
        row["reason"] = "jump" if row["verdict"] == "fail" else None
    write_table(root, "gate", rows)
    return read_funnel(open_dataset(root))


def test_a_gate_that_ran_again_leaves_strays(copy: Path) -> None:
    fabricate(copy)
    chosen = open_dataset(copy).representatives.collect()["episode_id"][0]
    before = read_funnel(open_dataset(copy)).total
    after = regate(copy, {chosen: "fail"})
    check_sums(after.total)
    assert (after.stray_clusters, after.stray_representatives) == (1, 1)
    assert after.total.representatives == before.representatives - 1


def test_an_episode_that_the_gate_never_saw_is_not_judged(copy: Path) -> None:
    fabricate(copy, clusters=False)
    rows = open_dataset(copy).verdicts.collect().to_dicts()
    write_table(copy, "gate", rows[1:])
    total = read_funnel(open_dataset(copy)).total
    check_sums(total)
    assert total.unjudged == 1
    assert total == recount(copy)
