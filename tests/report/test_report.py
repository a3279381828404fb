"""The page as a whole: what it says, what it may not hold, and that it is always the same."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from report.conftest import Curated
from report.fabricated import fabricate, write_table
from report.reading import drawings, read_page
from typer.testing import CliRunner

from finedata.cli.app import app
from finedata.errors import UsageError
from finedata.report.report import KnownDistances, render_report, write_report
from finedata.report.tasks import TaskLimits
from finedata.schema.enums import GATE_CHECKS, meanings_of
from finedata.store.dataset import open_dataset

NONE = KnownDistances(read=lambda part, task_id: None, units=list)
HOSTILE = (
    '</bdi><script>alert("x")</script>\u202edrowkcab \'"&amp; \u0623\u0647\u0644\u0627 \x00'
    + "é" * 5000
)


@pytest.fixture
def copy(converted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(converted, tmp_path / "copy"))


def rename_tasks(root: Path, name: str) -> None:
    for path in sorted((root / "meta/episodes").rglob("*.parquet")):
        table = pq.read_table(path)
        at = table.column_names.index("task")
        words = pa.array([name] * len(table), table.schema.field("task").type)
        pq.write_table(table.set_column(at, table.schema.field(at), words), path)


def test_the_page_nests_and_every_drawing_is_xml(curated: Curated) -> None:
    page = read_page(curated.html)
    shown = drawings(curated.html)
    # Funnel, lengths twice, score, lag, curve, and a map and a tree for each of three tasks.
    assert sum("plot" in (svg.get("class") or "") for svg in shown) == 6 + 2 * 3
    assert all(svg.get("aria-label") for svg in shown if "plot" in (svg.get("class") or ""))
    assert all(attrs.get("alt") for tag, attrs in page.tags if tag == "img")
    assert all(caption for caption, _ in page.tables)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert sorted(links) == sorted(f"#{name}" for name in ids)


def test_nothing_is_fetched_and_nothing_runs(curated: Curated) -> None:
    page = read_page(curated.html)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    for _, attrs in page.tags:
        assert not [name for name in attrs if name.startswith("on")]
        for name in ("src", "href", "xlink:href"):
            assert re.match(r"data:image/jpeg;base64,|#", attrs.get(name) or "#")
    assert "url(" not in curated.html
    assert "@import" not in curated.html


def test_the_funnel_in_the_page_is_the_one_counted(curated: Curated) -> None:
    page = read_page(curated.html)
    heads, *rows = page.table("Episodes per source")
    total = dict(zip(heads, rows[-1], strict=True))
    funnel = curated.summary.funnel
    assert {name: int(n.replace(",", "")) for name, n in total.items() if name != "source"} == {
        "found": funnel.found,
        "failed": sum(funnel.failed.values()),
        "written": funnel.written,
        "refused": sum(funnel.gate_failed.values()),
        "not judged": funnel.unjudged,
        "passed": funnel.through,
        "no instruction": funnel.without_instruction,
        "instruction": funnel.with_instruction,
        "not clustered": funnel.unclustered,
        "clustered": funnel.clustered,
        "chosen": funnel.representatives,
    }


def test_reasons_tasks_and_clusters_are_those_of_the_tables(curated: Curated) -> None:
    page, dataset = read_page(curated.html), open_dataset(curated.root)
    failed = dataset.verdicts.filter(pl.col("verdict") == "fail")
    gate = failed.sort("episode_id").collect().to_dicts()
    _, *rows = page.table("First: episodes")
    found = {row[1]: (int(row[2]), int(row[3]), row[4]) for row in rows if row[0] == "gate"}
    meanings = meanings_of(GATE_CHECKS)
    for reason in {name for row in gate for name in row["reasons"]}:
        met = [row["episode_id"] for row in gate if reason in row["reasons"]]
        first = sum(row["reason"] == reason for row in gate)
        assert found.pop(reason + meanings[reason]) == (first, len(met), "".join(met[:3]))
    assert found == {}
    _, *rows = page.table("3 tasks.")
    states = dataset.clusters.collect()
    for row in rows:
        task_id = row[0].rsplit("/", 1)[1]
        mine = states.filter(pl.col("task_id") == task_id)
        assert (int(row[3]), int(row[4])) == (mine.height, mine["cluster_id"].n_unique())
    sizes = [
        int(row[1])
        for said, rows in page.tables
        if said.startswith("Clusters.")
        for row in rows[1:]
    ]
    assert sum(sizes) == states.height


def test_every_representative_has_its_strip(curated: Curated) -> None:
    page = read_page(curated.html)
    chosen = open_dataset(curated.root).representatives.collect()["episode_id"].to_list()
    shown = {a["alt"].rsplit(" ", 1)[1] for tag, a in page.tags if tag == "img" and a["alt"]}
    assert shown == set(chosen)
    assert curated.summary.film_strips == len(chosen)
    assert sum(tag == "img" for tag, _ in page.tags) == 6 * len(chosen)


def test_the_map_lays_episodes_where_they_were_put(curated: Curated) -> None:
    ids, places = max(curated.truth.places.values(), key=lambda pair: len(pair[0]))
    by_name = {}
    for svg in drawings(curated.html):
        if "map" not in (svg.get("class") or ""):
            continue
        for mark in svg:
            title = mark.find("{http://www.w3.org/2000/svg}title")
            if title is not None and title.text:
                points = re.findall(r"([-\d.]+),([-\d.]+)", mark.get("points") or "")
                at = (
                    np.array(points, float).mean(axis=0)
                    if points
                    else np.array([float(mark.get("cx", 0)), float(mark.get("cy", 0))])
                )
                by_name[title.text.split(",")[0]] = at
    drawn = np.array([by_name[name] for name in ids])
    true = np.linalg.norm(places[:, None] - places[None], axis=-1)
    seen = np.linalg.norm(drawn[:, None] - drawn[None], axis=-1)
    scale = (true * seen).sum() / np.square(true).sum()
    np.testing.assert_allclose(seen, scale * true, atol=2.5)


def test_the_same_bytes_from_another_folder(curated: Curated, tmp_path: Path) -> None:
    other = Path(shutil.copytree(curated.root, tmp_path / "elsewhere"))
    again, _ = render_report(other, distances=curated.truth.source)
    assert again == curated.html
    assert str(curated.root) not in again
    assert str(tmp_path) not in again
    seeded, _ = render_report(other, distances=curated.truth.source, seed=1)
    assert seeded != curated.html


def test_nothing_has_run_yet(converted: Path, tmp_path: Path) -> None:
    summary = write_report(converted, out=tmp_path / "new" / "r.html")
    html = Path(summary.out).read_text("utf-8")
    page = read_page(html)
    words = "".join(page.text)
    assert "finedata gate DIR" in words
    assert "finedata cluster DIR" in words
    assert summary.not_yet == ["gate", "cluster"]
    assert (summary.tasks_in_detail, summary.tasks) == (0, 3)
    assert summary.bytes == len(html.encode())
    assert all(len(one) for one in drawings(html))


def test_gated_but_not_clustered(copy: Path) -> None:
    fabricate(copy, clusters=False)
    html, summary = render_report(copy)
    assert summary.not_yet == ["cluster"]
    read_page(html)
    assert "threshold 1.5 (percentile)" in html


def test_clustered_but_not_gated_and_without_a_ledger(copy: Path) -> None:
    fabricate(copy, gate=False)
    html, summary = render_report(copy)
    words = "".join(read_page(html).text)
    assert summary.not_yet == ["gate"]
    assert words.count("The distances are not in this folder's ledger") == 3
    assert "No task has all its distances" in words
    assert summary.film_strips == summary.funnel.representatives


def test_landmarks_only_are_said(copy: Path) -> None:
    truth = fabricate(copy)
    rows = open_dataset(copy).clusters.collect().to_dicts()
    write_table(copy, "clusters", [row | {"method": "landmark"} for row in rows])
    some = {}
    for key, (ids, condensed) in truth.distances.items():
        square = np.zeros((len(ids), len(ids)))
        square[np.triu_indices(len(ids), k=1)] = condensed
        some[key] = (ids[:4], square[:4, :4][np.triu_indices(4, k=1)])
    source = KnownDistances(read=lambda part, task_id: some.get((part, task_id)), units=list)
    words = "".join(read_page(render_report(copy, distances=source)[0]).text)
    assert words.count("Only the 4 landmarks, of ") >= 3


def test_distances_that_are_no_numbers_are_said(copy: Path) -> None:
    truth = fabricate(copy)
    bad = {key: (ids, condensed * np.nan) for key, (ids, condensed) in truth.distances.items()}
    source = KnownDistances(
        read=lambda part, task_id: bad.get((part, task_id)), units=lambda: iter(bad.values())
    )
    html, _ = render_report(copy, distances=source)
    assert "Some distances are not numbers." in html
    assert not re.search(r"[\"> ,]nan\b", html)


def test_hostile_instructions_are_text(copy: Path) -> None:
    rename_tasks(copy, HOSTILE)
    truth = fabricate(copy)
    html, _ = render_report(copy, distances=truth.source)
    page = read_page(html)
    assert "script" not in {tag for tag, _ in page.tags}
    assert "<script" not in html
    assert "\u202e" not in html
    assert "\x00" not in html
    words = "".join(page.text)
    assert '</bdi><script>alert("x")</script>\ufffddrowkcab' in words
    assert "\u0623\u0647\u0644\u0627" in words
    assert f"({len(HOSTILE):,} characters)" in words
    assert "é" * 400 not in html
    assert all(svg is not None for svg in drawings(html))


def test_limits_hold_and_say_what_is_not_shown(curated: Curated) -> None:
    limits = TaskLimits(strips=1, frames=2, points=9, clusters=2, leaves=5)
    html, summary = render_report(
        curated.root, tasks=2, distances=curated.truth.source, limits=limits
    )
    words = "".join(read_page(html).text)
    assert (summary.tasks_in_detail, summary.film_strips) == (2, 2)
    assert "1 smaller ones are not shown" in words
    assert "5 more representatives are not shown." in words
    assert "The last 4 of " in words
    assert "episodes are left out, drawn by seed" in words
    assert "1 more are not listed." in words
    maps = [svg for svg in drawings(html) if "map" in (svg.get("class") or "")]
    for svg in maps:
        assert sum(1 for _ in svg.iter("{http://www.w3.org/2000/svg}title")) == 9
    assert len(html) < len(curated.html) / 3
    other, _ = render_report(
        curated.root, tasks=2, distances=curated.truth.source, limits=limits, seed=1
    )
    titles = [
        {e.text for svg in drawings(page) for e in svg.iter("{http://www.w3.org/2000/svg}title")}
        for page in (html, other)
    ]
    assert titles[0] != titles[1]


def test_many_episodes_give_a_small_file(converted: Path, tmp_path: Path) -> None:
    root = tmp_path / "large"
    shutil.copytree(converted, root)
    many, tasks = 100_000, 30_000
    (path,) = (root / "meta/episodes").rglob("*.parquet")
    table = pq.read_table(path)
    schema = table.schema
    kept = table.take([0] * many)
    rng = np.random.default_rng(0)
    task = [f"task {i % tasks}" for i in range(many)]
    new = {
        "episode_id": [f"bridge_v2-{i:016x}" for i in range(many)],
        "task": task,
        "task_id": [f"{i % tasks:016x}" for i in range(many)],
        "length": rng.integers(5, 400, many),
    }
    columns = [name for name in schema.names if not name.startswith("stats/")]
    kept = kept.select(columns)
    for name, values in new.items():
        at = kept.column_names.index(name)
        field = kept.schema.field(at)
        kept = kept.set_column(at, field, pa.array(values, field.type))
    pq.write_table(kept, path)
    write_table(
        root,
        "gate",
        [
            {
                "episode_id": name,
                "verdict": "pass",
                "reasons": [],
                "method": "dtw",
                "score": float(score),
                "threshold_origin": "none",
                "space": "ee",
                "checks": [],
                "settings_sha256": "0" * 64,
            }
            for name, score in zip(new["episode_id"], rng.lognormal(size=many), strict=True)
        ],
    )
    html, summary = render_report(root)
    assert summary.funnel.through == many
    assert summary.tasks == tasks
    assert "30,000 tasks; the 100 largest are listed, 29,900 not" in html
    assert len(html) < 120_000


def test_a_folder_is_no_file(converted: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"found a folder, wanted a file"):
        write_report(converted, out=tmp_path)
    with pytest.raises(UsageError, match=r"^tasks"):
        render_report(converted, tasks=-1)


def test_the_verb_writes_and_prints(converted: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.html"
    run = CliRunner().invoke(app, ["report", str(converted), "--out", str(out), "--json"])
    assert run.exit_code == 0, run.output
    import msgspec

    said = msgspec.json.decode(run.stdout)
    assert said["out"] == str(out)
    assert said["bytes"] == out.stat().st_size
    assert said["funnel"]["written"] == open_dataset(converted).episodes.collect().height
    run = CliRunner().invoke(app, ["report", str(converted), "--out", str(out)])
    assert f"{out}: " in run.stdout
    assert "finedata gate" in run.stderr


def test_the_default_place_is_in_the_dataset(copy: Path) -> None:
    assert Path(write_report(copy).out) == copy / "report.html"
    first = (copy / "report.html").read_bytes()
    write_report(copy)
    assert (copy / "report.html").read_bytes() == first
