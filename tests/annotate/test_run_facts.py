from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from annotate.scripted import Scripted, fact, last_frame

import finedata
from finedata.annotate.asking.limits import AskOptions
from finedata.annotate.run import annotate_facts
from finedata.annotate.selection import Choice
from finedata.errors import UsageError
from finedata.schema.conform import conform
from finedata.schema.dimension import SLOTS
from finedata.schema.tables.all import build_schema, declared_table
from finedata.store.tables.table import write_table
from finedata.teachers.protocol import RefusedAnswerError

ALL = Choice(everything=True)
QUICK = AskOptions(backoff_s=0.0, attempts=3, input_price_usd=1.0, output_price_usd=2.0)


def run(root: Path, settings, change=None, *, choice=ALL, options=QUICK, **more):
    teacher = Scripted(change)
    summary = annotate_facts(
        root, teacher=teacher, settings=settings, choice=choice, options=options, **more
    )
    return teacher, summary


def digests(root: Path) -> dict[str, str]:
    """Every file of annotations but the table of calls, which has clocks."""
    files = (root / "annotations").glob("[!c]*/*.parquet")
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(files)
    }


def read(root: Path, table: str) -> pa.Table:
    paths = sorted((root / "annotations" / table).glob("part-0000[1-9].parquet"))
    return pa.concat_tables([pq.read_table(path) for path in paths])


def test_every_episode_gets_steps_facts_and_an_instruction(root, settings, ids) -> None:
    teacher, summary = run(root, settings)
    assert (summary.done, summary.failed, summary.succeeded) == (len(ids), 0, True)
    assert summary.rows == {
        "steps": 2 * len(ids),
        "facts": 4 * len(ids),
        "instructions": len(ids),
    }
    assert (summary.calls, len(teacher.asked)) == (3 * len(ids), 3 * len(ids))
    assert summary.cost_usd == pytest.approx(3 * len(ids) * 0.0012)
    dataset = finedata.open(root)
    fine = dataset.instructions.filter(pl.col("kind") == "fine_grained").collect()
    assert fine["text"][0] == "(1) Picks up the red cup. (2) Places it on the plate."
    assert set(fine["episode_id"]) == set(ids)
    assert all(len(ids) > 0 for ids in fine["fact_ids"])
    calls = dataset.table("calls").collect()
    assert calls["status"].unique().to_list() == ["ok"]


def test_tables_conform_and_every_fact_is_anchored(root, settings) -> None:
    run(root, settings)
    for table in ("steps", "facts", "instructions"):
        conform(read(root, table), table)
    facts = finedata.open(root).facts.collect()
    lengths = dict(finedata.open(root).episodes.select("episode_id", "length").collect().rows())
    steps = set(finedata.open(root).steps.collect()["step_id"])
    for row in facts.iter_rows(named=True):
        assert row["slot"] in SLOTS[row["dimension"]]
        assert 0 <= row["start_frame"] < row["end_frame"] <= lengths[row["episode_id"]]
        assert (row["anchor"] == "step") == (row["step_id"] in steps)
        assert row["call_id"]
        assert row["prompt_sha256"]


def test_a_complete_run_asks_and_adds_nothing(root, settings) -> None:
    run(root, settings)
    before = digests(root)
    teacher, summary = run(root, settings)
    assert teacher.requests == []
    assert (summary.done, summary.before, summary.succeeded) == (0, summary.episodes, True)
    assert digests(root) == before


def test_another_model_is_another_run_beside_the_first(root, settings, ids) -> None:
    run(root, settings)
    run(root, msgspec.structs.replace(settings, model="other"))
    facts = finedata.open(root).facts.collect()
    assert facts["annotator"].unique().sort().to_list() == ["m", "other"]
    assert facts["fact_id"].n_unique() == facts.height == 8 * len(ids)


def test_a_run_in_which_every_call_fails_is_no_success(root, settings, ids) -> None:
    def refuse(request, value):
        raise RefusedAnswerError(place="model", found="a refusal", wanted="an answer")

    before = digests(root)
    _, summary = run(root, settings, refuse)
    assert (summary.done, summary.failed, summary.succeeded) == (0, len(ids), False)
    assert sum(summary.reasons.values()) == len(ids)
    assert summary.files == []
    assert digests(root) == before
    calls = finedata.open(root).table("calls").collect()
    assert calls["status"].unique().to_list() == ["refused"]


BAD = {
    "prose": lambda request, value: "The robot picks up the cup.",
    "empty object": lambda request, value: {},
    "truncated": lambda request, value: msgspec.json.encode(value).decode()[:-9],
    "raw request": lambda request, value: (
        {"steps": [value["steps"][0] | {"text": instruction(request)}]}
        if request.stage == "facts/steps"
        else value
    ),
    "step past the end": lambda request, value: (
        {"steps": [value["steps"][0] | {"end_frame": last_frame(request) + 90}]}
        if request.stage == "facts/steps"
        else value
    ),
    "unknown slot": lambda request, value: (
        {"facts": [*value["facts"], fact("target_object", "smell", "sweet", "It smells.")]}
        if request.stage == "facts/atoms"
        else value
    ),
    "anchored past the end": lambda request, value: (
        {"facts": [fact("target_object", "color", "red", "It is red.", anchor="step_9")]}
        if request.stage == "facts/atoms"
        else value
    ),
    "empty text": lambda request, value: (
        {"facts": [fact("target_object", "color", "red", "")]}
        if request.stage == "facts/atoms"
        else value
    ),
}


def instruction(request) -> str:
    said = request.prompt.partition("asked to do: ")[2].partition("\n")[0]
    return "" if said.startswith("(") else said


@pytest.mark.parametrize("name", BAD)
def test_a_bad_answer_is_asked_again_then_failed_with_its_reason(root, settings, name) -> None:
    choice = Choice(where="task != ''", limit=2)
    teacher, summary = run(root, settings, BAD[name], choice=choice)
    assert (summary.done, summary.failed) == (0, 2)
    assert max(teacher.asked.values()) == QUICK.attempts
    assert summary.rows == {"steps": 0, "facts": 0, "instructions": 0}
    calls = finedata.open(root).table("calls").filter(pl.col("status") != "ok").collect()
    assert calls["status"].unique().to_list() == ["failed"]
    assert all(calls["error"])


def test_a_bad_answer_then_a_good_one_is_good_and_both_are_paid(root, settings) -> None:
    seen: set[str] = set()

    def once(request, value):
        first = request.call_id not in seen
        seen.add(request.call_id)
        return "sorry" if first else value

    _, summary = run(root, settings, once, choice=Choice(everything=True, limit=2))
    assert (summary.done, summary.calls) == (2, 12)
    calls = finedata.open(root).table("calls").collect()
    assert calls["cost_usd"].sum() == pytest.approx(summary.cost_usd) == pytest.approx(12 * 0.0012)


def test_duplicates_and_extra_facts_are_repaired_and_counted(root, settings) -> None:
    def doubled(request, value):
        if request.stage != "facts/atoms":
            return value
        return {"facts": value["facts"] * 2 + [fact("target_object", "color", "dark red", "Dark.")]}

    _, summary = run(root, settings, doubled, choice=Choice(everything=True, limit=2))
    assert summary.done == 2
    assert summary.rows["facts"] == 2 * 5
    assert summary.repaired == 2 * 4


def test_only_representatives_unless_told_otherwise(root, settings, ids) -> None:
    with pytest.raises(UsageError, match="--all"):
        run(root, settings, choice=Choice())
    chosen = [ids[5], ids[2]]
    rows = [
        {
            "episode_id": name,
            "task_id": "t",
            "cluster_id": "p/t/1",
            "rank": rank,
            "role": "medoid",
            "represents": 1,
            "score": 1.0,
            "quality": 1.0,
            "coverage_radius": 0.0,
            "settings_sha256": "0" * 64,
        }
        for rank, name in enumerate(chosen)
    ]
    schema = build_schema(declared_table("representatives"))
    write_table(root, "representatives", pa.Table.from_pylist(rows, schema=schema))
    _, summary = run(root, settings, choice=Choice(limit=1))
    assert (summary.episodes, summary.done) == (1, 1)
    _, summary = run(root, settings, choice=Choice())
    assert (summary.episodes, summary.before, summary.done) == (2, 1, 1)
    instructions = finedata.open(root).instructions.filter(pl.col("kind") == "fine_grained")
    assert set(instructions.collect()["episode_id"]) == set(chosen)


def test_the_budget_stops_the_run_and_more_budget_continues_it(root, settings, ids) -> None:
    few = AskOptions(budget_usd=0.05, input_price_usd=1.0, output_price_usd=2.0, concurrency=1)
    _, summary = run(root, settings, options=few)
    assert summary.over_budget > 0
    assert summary.cost_usd <= 0.05
    _, summary = run(root, settings)
    assert summary.over_budget == 0
    assert summary.done + summary.before == len(ids)
    assert finedata.open(root).facts.collect().height == 4 * len(ids)


def add_source_steps(root: Path, ids: list[str]) -> None:
    rows = [
        {
            "step_id": f"{name}#src#{k}",
            "episode_id": name,
            "step_index": k,
            "start_frame": 5 * k,
            "end_frame": 5 * k + 5,
            "start_s": float(k),
            "end_s": k + 1.0,
            "text": f"note {k}",
            "language": "en",
            "kind": "subtask",
            "origin": "source",
            "annotator": "bridge_v2",
            "run_id": "0" * 16,
            "revision": 0,
            "review_status": "unreviewed",
        }
        for name in ids
        for k in range(3)
    ]
    path = root / "annotations" / "steps" / "part-00000.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = build_schema(declared_table("steps"))
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)


def test_the_sources_steps_are_refined_and_their_frames_kept(root, settings, ids) -> None:
    add_source_steps(root, ids[:2])
    choice = Choice(episodes=tuple(ids[:2]))
    teacher, summary = run(root, settings, choice=choice)
    assert summary.done == 2
    assert {request.stage for request in teacher.requests} == {"facts/refine", "facts/atoms"}
    steps = finedata.open(root).steps.filter(pl.col("origin") == "teacher").collect()
    assert steps["start_frame"].to_list() == [0, 5, 10] * 2
    assert steps["text_original"].to_list() == ["note 0", "note 1", "note 2"] * 2
    assert "Does thing 0 exactly." in steps["text"].to_list()


def test_raw_notes_are_never_passed_off_as_refined(root, settings, ids) -> None:
    add_source_steps(root, ids[:1])

    def parrot(request, value):
        if request.stage != "facts/refine":
            return value
        return {"steps": [s | {"text": f"note {k}"} for k, s in enumerate(value["steps"])]}

    _, summary = run(root, settings, parrot, choice=Choice(episodes=(ids[0],)))
    assert (summary.done, summary.failed, summary.succeeded) == (0, 1, False)
    assert "note" in next(iter(summary.reasons))


def test_progress_counts_every_episode(root, settings, ids) -> None:
    seen = []
    run(root, settings, on_progress=seen.append)
    assert (seen[-1].done, seen[-1].total) == (len(ids), len(ids))
