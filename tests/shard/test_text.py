"""Words of shards against a slow reading of the published rules, and the bits that follow."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finedata.errors import ConformError, UsageError
from finedata.schema.makers import make_fact, make_instruction, make_trace, provenance, revised
from finedata.schema.tables.all import arrow_schema
from finedata.shard import words
from finedata.shard.making.run import shard_datasets
from finedata.shard.making.settings import ShardSettings
from finedata.shard.making.text import take_up_text
from finedata.shard.mapped import MappedTable
from finedata.shard.shards import Shards
from finedata.shard.words import write_words
from finedata.store.dataset import open_dataset
from finedata.store.lock import locked
from finedata.store.review_journal import ReviewJournal
from finedata.store.tables.table import append_rows
from tests.shard.curation import curate, tree
from tests.store.decisions import decision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.store.dataset import Dataset

TABLES = ("instructions", "facts", "traces")
RUNS = ("a" * 16, "b" * 16, "c" * 16)
STATUSES = ("unreviewed", "unreviewed", "accepted", "edited", "rejected")


@pytest.fixture(scope="module")
def dataset(converted: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A copy of the converted corpus whose annotations tests may replace."""
    root = tmp_path_factory.mktemp("words") / "bridge"
    shutil.copytree(converted, root)
    return open_dataset(root)


def ids_of(dataset: Dataset) -> list[str]:
    return sorted(dataset.episodes.select("episode_id").collect()["episode_id"])


@st.composite
def annotations(draw: st.DrawFn, ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Rows of all three tables, of up to three runs, in any state."""
    rows: dict[str, list[dict[str, Any]]] = {table: [] for table in TABLES}
    for episode in draw(st.lists(st.sampled_from(ids), unique=True, max_size=5)):
        for run in draw(st.lists(st.sampled_from(RUNS), unique=True, max_size=3)):
            origin = draw(st.sampled_from(["teacher", "kinematic", "human", "source"]))
            said_by = provenance(origin, annotator="t", run_id=run)
            facts = [
                make_fact(
                    said_by, episode_id=episode, dimension="failure_and_recovery", slot="failure",
                    value="no", text=f"fact {n}", anchor="episode", nth=n,
                    start_frame=draw(st.integers(0, 2)), end_frame=5, fps=5.0,
                )
                | {
                    "kinematic_verdict": draw(
                        st.sampled_from(["untestable", "confirmed", "contradicted"])
                    ),
                    "review_status": draw(st.sampled_from(STATUSES)),
                }
                for n in range(draw(st.integers(0, 3)))
            ]  # fmt: skip
            rows["facts"] += facts
            named = [fact["fact_id"] for fact in facts]
            for order in range(draw(st.integers(0, 3))):
                rows["instructions"].append(
                    make_instruction(
                        provenance("assembled", annotator="t", run_id=run), episode_id=episode,
                        kind=draw(st.sampled_from(["fine_grained", "alternative"])), order=order,
                        text=f"{run[0]} {order}", language="en",
                        fact_ids=draw(st.sampled_from([None, [], named, named[:1]])),
                    )
                    | {"review_status": draw(st.sampled_from(STATUSES))}
                )  # fmt: skip
            rows["traces"] += [
                make_trace(
                    said_by, episode_id=episode, frame_index=frame, fps=5.0, observation="o",
                    situation_analysis="s", spatial_reasoning="r", task_planning="p",
                    logical_steps=["x"], sub_action="y", raw_text="", cameras=["image_0"],
                )
                | {"review_status": draw(st.sampled_from(STATUSES))}
                for frame in draw(st.lists(st.integers(0, 9), unique=True, max_size=3))
            ]  # fmt: skip
    return rows


def replace_annotations(dataset: Dataset, rows: dict[str, list[dict[str, Any]]]) -> None:
    for table, found in rows.items():
        folder = dataset.root / "annotations" / table
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        written = pa.Table.from_pylist(found, schema=arrow_schema(table))
        pq.write_table(written, folder / "part-00000.parquet")


def seen(row: dict[str, Any]) -> bool:
    return row["review_status"] in ("accepted", "edited") or row["origin"] == "human"


def best_run(rows: list[dict[str, Any]]) -> str | None:
    """The run that goes first, as schemas/README.md has it."""

    def rank(run: str) -> tuple[bool, bool, str]:
        of_run = [row for row in rows if row["run_id"] == run]
        measured = all(row["origin"] in ("kinematic", "source") for row in of_run)
        return not any(map(seen, of_run)), measured, run

    return min({row["run_id"] for row in rows}, key=rank, default=None)


def plainly(rows: dict[str, list[dict[str, Any]]], episode: str) -> dict[str, Any]:
    """What a snapshot shows of an episode, one rule after the other."""
    mine = {t: [r for r in rows[t] if r["episode_id"] == episode] for t in TABLES}
    bad = {
        fact["fact_id"]
        for fact in mine["facts"]
        if fact["review_status"] == "rejected" or fact["kinematic_verdict"] == "contradicted"
    }
    facts = [fact for fact in mine["facts"] if fact["fact_id"] not in bad]
    wordings = [
        row
        for row in mine["instructions"]
        if row["review_status"] != "rejected" and not bad & set(row["fact_ids"] or ())
    ]
    traces = [row for row in mine["traces"] if row["review_status"] != "rejected"]
    fine = [row for row in wordings if row["kind"] == "fine_grained"]
    with_text = {row["run_id"] for row in fine}
    run = best_run([r for r in fine + facts if not with_text or r["run_id"] in with_text])
    fine = [row for row in fine if row["run_id"] == run]
    shown = min(
        fine, key=lambda row: (not seen(row), row["order"], row["instruction_id"]), default=None
    )
    trace_run = best_run(traces)
    others = [row for row in wordings if row["kind"] != "fine_grained"]
    return {
        "instructions": sorted(row["instruction_id"] for row in fine + others),
        "facts": [
            row["fact_id"]
            for row in sorted(facts, key=lambda row: (row["start_frame"], row["fact_id"]))
            if row["run_id"] == run
        ],
        "traces": [
            row["trace_id"]
            for row in sorted(traces, key=lambda row: row["frame_index"])
            if row["run_id"] == trace_run
        ],
        "shown": shown and shown["instruction_id"],
        "policy": shown and ("reviewed" if seen(shown) else "not_contradicted"),
        "run_id": run,
        "trace_run_id": trace_run,
    }


def read_words(folder: Path) -> list[dict[str, Any]]:
    """The same of every episode of a set, out of the files."""
    tables = {t: MappedTable(folder / f"{t}.arrow", name=f"text_{t}") for t in TABLES}
    episodes = MappedTable(folder / "episodes.arrow", name="text_episodes")
    found = []
    for row in episodes.rows(0, len(episodes)).to_pylist():
        of_row: dict[str, Any] = {"episode_id": row["episode_id"]}
        for table, key in (
            ("instructions", "instruction_id"),
            ("facts", "fact_id"),
            ("traces", "trace_id"),
        ):
            first = row[f"first_{table.removesuffix('s')}"]
            some = tables[table].rows(first, first + row[table])
            assert set(some.column("episode").to_pylist()) <= {len(found)}
            of_row[table] = some.column(key).to_pylist()
        of_row["instructions"] = sorted(of_row["instructions"])
        place = row["fine_grained"]
        of_row["shown"] = (
            None if place is None else tables["instructions"].value("instruction_id", place)
        )
        found.append(of_row | {k: row[k] for k in ("policy", "run_id", "trace_run_id")})
    return found


@settings(max_examples=40)
@given(data=st.data())
def test_as_the_published_rules_say(
    dataset: Dataset, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
):
    ids = ids_of(dataset)
    rows = data.draw(annotations(ids))
    replace_annotations(dataset, rows)
    sets = {"a": ids[:3], "b": ids[3:4], "c": ids[4:]}
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(words, "_ROWS_AT_ONCE", data.draw(st.sampled_from([1, 5, 1000])))
        patch.setattr(words, "_PIECE_ROWS", data.draw(st.sampled_from([1, 3, 1000])))
        made = write_words(folder, [dataset], sets)
    for name, members in sets.items():
        wanted = [{"episode_id": one} | plainly(rows, one) for one in members]
        assert read_words(folder / name) == wanted
    for table in TABLES:
        left = sum(n for reason, n in made.left_out.items() if reason.startswith(f"{table}: "))
        assert made.rows[f"text_{table}"] + left == len(rows[table])


def facts_and_text(episode: str, run: str, *, status: str = "unreviewed") -> dict[str, list]:
    """A fact of an episode and the fine-grained text made of it."""
    said_by = provenance("teacher", annotator="t", run_id=run)
    fact = make_fact(
        said_by, episode_id=episode, dimension="failure_and_recovery", slot="failure", value="no",
        text="it does not slip", anchor="episode", start_frame=0, end_frame=5, fps=5.0,
    )  # fmt: skip
    fine = make_instruction(
        said_by, episode_id=episode, kind="fine_grained", order=0, text="grasp it from the left",
        language="en", fact_ids=[fact["fact_id"]],
    )  # fmt: skip
    return {"facts": [fact], "instructions": [fine | {"review_status": status}], "traces": []}


@pytest.fixture(scope="module")
def written(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of all sets, two held out; of two representatives there is text, one reviewed."""
    ids = told(dataset)
    curate(dataset.root, chosen=[*ids[:4], *ids[6:8]])
    give_text(dataset)
    root = tmp_path_factory.mktemp("shards") / "shards"
    settings = ShardSettings(held_out_ids=tuple(ids[6:8]), shard_bytes=100_000, with_failed=True)
    shard_datasets([dataset.root], out=root, settings=settings)
    return root


@pytest.fixture
def shards(dataset: Dataset, written: Path, tmp_path: Path) -> Path:
    """A copy of the shards that a test may change, and annotations as they were."""
    give_text(dataset)
    shutil.rmtree(dataset.root / "annotations" / "reviews", ignore_errors=True)
    shutil.copytree(written, tmp_path / "shards")
    return tmp_path / "shards"


def told(dataset: Dataset) -> list[str]:
    """Ids of episodes with an instruction that are in a set."""
    flagged = dataset.receipts.filter(pl.col("flags").list.contains("undecodable_picture"))
    rows = dataset.episodes.filter(pl.col("task") != "").join(flagged, on="episode_id", how="anti")
    return sorted(rows.select("episode_id").collect()["episode_id"])


def give_text(dataset: Dataset) -> None:
    ids = told(dataset)
    one, two = facts_and_text(ids[0], RUNS[0]), facts_and_text(ids[2], RUNS[0], status="accepted")
    replace_annotations(dataset, {table: one[table] + two[table] for table in TABLES})


def test_each_sample_has_its_bit(dataset: Dataset, shards: Path):
    made = take_up_text(shards, [dataset])
    found = Shards.open(shards)
    assert found.text_revision() == made
    for one, counts in zip(found.document.sets, made.sets, strict=True):
        words = found.text(one.name, "episodes")
        bits = {
            name: np.unpackbits(
                np.fromfile(shards / "text" / made.revision / one.name / name, np.uint8),
                bitorder="little",
            )
            for name in ("fg.bits", "fg_reviewed.bits")
        }
        at = 0
        for number, tar in enumerate(one.tars):
            index = found.index(one.name, number)
            policies = [words.value("policy", e) for e in index.numbers("episode", 0, len(index))]
            for name, wanted in (
                ("fg.bits", [policy is not None for policy in policies]),
                ("fg_reviewed.bits", [policy == "reviewed" for policy in policies]),
            ):
                assert bits[name][at : at + tar.samples].tolist() == wanted
            assert counts.not_contradicted[number] == sum(p is not None for p in policies)
            assert counts.reviewed[number] == policies.count("reviewed")
            at += tar.samples
        assert {len(found) for found in bits.values()} == {-(-at // 8) * 8}
        assert not any(found[at:].any() for found in bits.values())


def test_views_count_what_they_show(dataset: Dataset, shards: Path):
    made = take_up_text(shards, [dataset])
    length = {one: len(dataset.episode(one)) for one in told(dataset)}
    ids = list(length)
    train = [one for one in ids if one not in ids[6:8]]
    name = "bridge_v2-widowx_250-{}-{}".format
    rep, rest, held = name("rep", "train"), name("rest", "train"), name("rep", "heldout")
    found = [(v.view, v.side, v.policy, v.sets, v.episodes, v.samples) for v in made.views]
    assert found == [
        ("fg", "train", "not_contradicted", [rep], 2, length[ids[0]] + length[ids[2]]),
        ("fg", "train", "reviewed", [rep], 1, length[ids[2]]),
        ("raw", "train", None, [rep, rest], len(train), sum(length[one] for one in train)),
        ("fg", "heldout", "not_contradicted", [held], 0, 0),
        ("fg", "heldout", "reviewed", [held], 0, 0),
        ("raw", "heldout", None, [held], 2, sum(length[one] for one in ids[6:8])),
    ]
    # A set of another tier has its bits too, and is in no view.
    assert name("unlabelled", "train") in [one.name for one in made.sets]


def test_a_review_makes_a_revision_and_moves_no_picture(dataset: Dataset, shards: Path):
    first = Shards.open(shards).text_revision()
    before = tree(shards)
    assert take_up_text(shards, [dataset]) == first
    assert tree(shards) == before
    row = dataset.instructions.filter(episode_id=told(dataset)[0], kind="fine_grained").collect()
    old = row.row(0, named=True)
    with append_rows(dataset.root, ("instructions",)) as writer:
        writer.revise("instructions", [revised("instructions", old, review_status="rejected")])
    second = take_up_text(shards, [open_dataset(dataset.root)])
    assert second.left_out == {"instructions: rejected": 1}
    assert [view.episodes for view in second.views if view.view == "fg"] == [1, 1, 0, 0]
    found = Shards.open(shards)
    assert [text.revision for text in found.document.texts] == [first.revision, second.revision]
    after = tree(shards)
    same = {name for name in before if after[name] == before[name]}
    assert set(before) - same == {"shards.json"}
    assert all(name.startswith(f"text/{second.revision}/") for name in set(after) - set(before))


def test_the_last_reviewer_stands_beside_the_row(dataset: Dataset, shards: Path):
    fact = dataset.facts.filter(episode_id=told(dataset)[2]).collect().row(0, named=True)
    with ReviewJournal(dataset.root) as journal:
        for number, reviewer in enumerate(["eva", "ana", "ben"]):
            journal.append(
                decision(
                    number, target_id=fact["fact_id"], reviewer=reviewer,
                    decided_at=datetime(2026, 1, 1 + number % 2, tzinfo=UTC),
                )
            )  # fmt: skip
    take_up_text(shards, [open_dataset(dataset.root)])
    facts = Shards.open(shards).text("bridge_v2-widowx_250-rep-train", "facts")
    assert facts.rows(0, len(facts)).column("reviewer").to_pylist() == [None, "ana"]


def test_words_of_a_dataset_that_is_not_given_stay(dataset: Dataset, shards: Path):
    first = Shards.open(shards).text_revision()
    less = open_dataset(dataset.root)
    ids = told(dataset)
    less.__dict__["episodes"] = dataset.episodes.filter(pl.col("episode_id") != ids[2])
    assert take_up_text(shards, [less]) == first
    none = {table: [] for table in TABLES}
    replace_annotations(dataset, none)
    made = take_up_text(shards, [less])
    rep = Shards.open(shards).text("bridge_v2-widowx_250-rep-train", "episodes")
    rows = rep.rows(0, len(rep)).to_pylist()
    assert [row["episode_id"] for row in rows if row["facts"]] == [ids[2]]
    assert made.rows["text_facts"] == made.rows["text_instructions"] == 1


def test_datasets_of_the_shards_are_needed(dataset: Dataset, shards: Path):
    before = tree(shards)
    with pytest.raises(UsageError, match="it in two datasets"):
        take_up_text(shards, [dataset, dataset])
    other = open_dataset(dataset.root)
    other.__dict__["episodes"] = dataset.episodes.filter(pl.lit(value=False))
    with pytest.raises(UsageError, match="no episode of the shards"):
        take_up_text(shards, [other])
    other.__dict__["episodes"] = dataset.episodes.filter(pl.col("episode_id") == told(dataset)[1])
    with pytest.raises(UsageError, match="words of theirs are in no revision yet"):
        write_words(shards / "words", [other], {"a": ids_of(dataset)})
    assert tree(shards) == before


def test_another_run_in_the_folder_is_left_alone(dataset: Dataset, shards: Path):
    running = locked(shards / ".finedata" / "append-1.lock")
    with running, pytest.raises(UsageError, match="another run"):
        take_up_text(shards, [dataset])
    take_up_text(shards, [dataset])


def test_a_damaged_revision_is_written_again(dataset: Dataset, shards: Path):
    made = take_up_text(shards, [dataset])
    path = shards / made.files[0].path
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    take_up_text(shards, [dataset])
    assert path.read_bytes() == whole


def test_an_index_of_another_tar_is_named(dataset: Dataset, shards: Path):
    name = "bridge_v2-widowx_250-rep-train"
    first, *_, last = sorted((shards / "tars" / name).glob("*.index.arrow"))
    shutil.copy(last, first)
    with pytest.raises(ConformError, match=first.name):
        take_up_text(shards, [dataset])
    assert len(list((shards / "text").glob("[!.]*"))) == 1
