"""A benchmark cut from the demo corpus, with truth from its own generator, answered four ways."""

from __future__ import annotations

import csv
import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from bench import small
from corpora.corpus import write_bridge_corpus
from corpora.ways import TASKS, Task
from shard.curation import curate
from teachers.loopback import Loopback, serving
from typer.testing import CliRunner

import finedata
from finedata.annotate.run import annotate_kinematic
from finedata.annotate.selection import Choice
from finedata.bench.answerers import own_answerer, read_facts
from finedata.bench.benchmark import Benchmark
from finedata.bench.make import MakeSummary, make_benchmark
from finedata.bench.profile import profile_benchmark
from finedata.bench.reading import read_benchmark
from finedata.bench.report import html_of, markdown_of, write_report
from finedata.bench.result import read_result
from finedata.bench.run import run_benchmark
from finedata.bench.scores.agreement import agree_judges, agree_ranks, cohen_kappa
from finedata.bench.scores.compare import Compared, compare_results
from finedata.bench.settings import BenchSettings, Judge
from finedata.cli.app import app
from finedata.convert.run import convert
from finedata.errors import SourceError, UsageError
from finedata.schema.dimension import SLOT_DIMENSION
from finedata.schema.identity import hash16
from finedata.shard.describe import find_leaks
from finedata.shard.shards import Shards
from finedata.store.tables.table import append_rows
from finedata.teachers.asker import AskOptions
from finedata.teachers.openai import OpenAITeacher

if TYPE_CHECKING:
    from corpora.corpus import EpisodeTruth

EVERY = Choice(everything=True)
# of gripper_state nothing is asked: where it is told of, it both opens and closes
MOTION_SLOTS = {
    "approach_direction", "primitive_action", "rotation_direction", "translation_direction",
}  # fmt: skip


def directions(position_m: np.ndarray) -> list[str]:
    """Where the tool moved by 6 cm at some time: x forward, y left, z up, as it was drawn."""
    names = {(0, 1): "forward", (0, -1): "backward", (1, 1): "left", (1, -1): "right",
             (2, 1): "up", (2, -1): "down"}  # fmt: skip
    found = []
    for (axis, sign), name in names.items():
        along = sign * position_m[:, axis]
        if np.nanmax(along - np.fmin.accumulate(along)) > 0.06:
            found.append(name)
    return found


def turns(task: Task, way: str) -> list[str]:
    """Which way the hand is turned about the vertical, from the waypoints that were drawn."""
    [waypoints] = [one.waypoints for one in task.ways if one.name == way]
    yaws = [one.rpy[2] for one in waypoints]
    steps = [after - before for before, after in pairwise(yaws)]
    found = ["counter-clockwise as seen from above"] if max(steps) > 0.25 else []
    return found + (["clockwise as seen from above"] if min(steps) < -0.25 else [])


def commanded(truth: EpisodeTruth) -> list[str]:
    """What the gripper was told to do."""
    closed = truth.target_gripper_open < 0.5
    found = ["closes"] if (closed[1:] & ~closed[:-1]).any() else []
    return found + (["opens"] if (~closed[1:] & closed[:-1]).any() else [])


def true_facts(truth: EpisodeTruth) -> list[tuple[str, str, str | None]]:
    """(slot, value, object) of an episode, from what its generator was told to draw.

    Verbs are those of the waypoints of `corpora.ways`: reach, lower, grasp, lift, transport, lower,
    release, retract; or reach, push, retract.
    """
    task = next(one for one in TASKS if one.instruction == truth.task_instruction)
    thing = task.shape
    if task.kind == "push":
        verbs, approach = ("reach", "push", "retract"), "from behind"
    else:
        verbs = ("reach", "lower", "grasp", "lift", "transport", "lower", "release", "retract")
        approach = "from above"
    found: list[tuple[str, str, str | None]] = [
        ("category", thing, thing),
        ("approach_direction", approach, thing),
        *(("primitive_action", verb, None) for verb in verbs),
        *(("gripper_state", state, None) for state in commanded(truth)),
        *(("translation_direction", way, None) for way in directions(truth.position_m)),
        *(("rotation_direction", way, None) for way in turns(task, truth.way)),
    ]
    if thing == "cup":
        found.append(("color", "blue", thing))
    if thing == "carrot":
        found.append(("color", "orange", thing))
    return found


def fact_row(episode_id: str, slot: str, value: str, thing: str | None, number: int) -> dict:
    return {
        "fact_id": hash16(f"{episode_id}/{slot}/{value}/{number}"), "episode_id": episode_id,
        "dimension": SLOT_DIMENSION[slot], "slot": slot, "value": value, "value_number": None,
        "unit": None, "object": thing, "actor": None,
        "text": f"The {slot.replace('_', ' ')} is {value}.", "anchor": "episode",
        "step_id": None, "step_index": None, "next_step_id": None, "next_step_index": None,
        "start_frame": 0, "end_frame": 1, "start_s": 0.0, "end_s": 0.1,
        "kinematic_verdict": "untestable", "measurement": None, "confidence": None,
        "origin": "human", "annotator": "generator", "run_id": hash16("truth"),
        "prompt_sha256": None, "call_id": None, "revision": 0, "review_status": "accepted",
    }  # fmt: skip


@pytest.fixture(scope="module")
def annotated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """72 demo episodes with their generator's truth and the facts of the kinematic annotator.

    So many that intervals of videos rank; pictures of 16 pixels, which nobody looks at.
    """
    folder = tmp_path_factory.mktemp("annotated")
    truths = write_bridge_corpus(
        folder, episodes=72, image_size=16, cameras=1, real_cameras=1, with_defects=False
    )
    root = folder / "bridge"
    convert("bridge_v2", input=folder / "bridge_dataset" / "1.0.0", out=root)
    annotate_kinematic(root, choice=EVERY)
    truth_of = {(truth.shard_file, truth.record_in_shard): truth for truth in truths}
    receipts = finedata.open(root).receipts.collect()
    rows = []
    for row in receipts.iter_rows(named=True):
        truth = truth_of[Path(row["source_file"]).name, row["source_record"]]
        rows += [
            fact_row(row["episode_id"], *fact, number)
            for number, fact in enumerate(true_facts(truth))
        ]
    with append_rows(root, ("facts",)) as writer:
        writer.add("facts", rows)
    return root


@pytest.fixture(scope="module")
def made(annotated: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeSummary:
    out = tmp_path_factory.mktemp("made") / "bench"
    return make_benchmark(annotated, out=out, choice=EVERY, per_video=6.0)


@pytest.fixture(scope="module")
def cut(made: MakeSummary) -> Benchmark:
    return read_benchmark(made.out)


def test_it_is_balanced_and_holds_its_videos_out(made: MakeSummary, cut: Benchmark) -> None:
    assert made.videos == len(cut.samples) == 72
    assert made.annotators == ["human/generator"]
    assert made.questions >= 4 * made.videos
    assert abs(made.answers["yes"] - made.answers["no"]) <= 0.2 * sum(made.answers.values())
    assert set(made.by_answer) == {"yes_no", "multiple_choice", "number"}
    listed = Path(made.held_out).read_text().split()
    assert listed == sorted(sample["episode_id"] for sample in cut.samples)
    assert "a blind answerer scores" in made.notes[-1]
    for item in cut.items:
        if item["answer_type"] == "multiple_choice":
            assert item["answer"] in item["options"]
            assert len(set(item["options"])) == len(item["options"]) in (3, 4)
    profile = profile_benchmark(cut)
    assert profile.files_missing == 0
    assert sum(profile.facts.values()) == made.facts
    assert profile.datasets == {"bridge_v2": made.videos}
    assert profile.facts["object_interaction"] == 0


def test_false_claims_are_false(annotated: Path, cut: Benchmark) -> None:
    truth: dict[tuple[str, str], set[str]] = {}
    for row in finedata.open(annotated).facts.collect().iter_rows(named=True):
        if row["annotator"] == "generator":
            truth.setdefault((row["episode_id"], row["slot"]), set()).add(row["value"])
    for item in cut.items:
        true = truth[item["sample_id"], item["slot"]]
        if item["answer_type"] == "yes_no":
            claim = item["question"].split('"')[1]
            assert (item["answer"] == "yes") == (claim in true)
        if item["answer_type"] == "multiple_choice":
            assert [one for one in item["options"] if one in true] == [item["answer"]]


def test_the_same_cut_is_the_same_bytes(annotated: Path, made: MakeSummary, tmp_path: Path) -> None:
    again = make_benchmark(annotated, out=tmp_path / "bench", choice=EVERY, per_video=6.0)
    assert again.questions == made.questions
    files = sorted(p.relative_to(made.out) for p in Path(made.out).rglob("*") if p.is_file())
    assert len(files) > made.videos
    for file in files:
        assert (tmp_path / "bench" / file).read_bytes() == (Path(made.out) / file).read_bytes()


def accuracy(summary, by: str = "all", group: str = ""):
    [found] = [
        one
        for one in summary.scores
        if (one.mode, one.by, one.group, one.average) == ("strict", by, group, "micro")
    ]
    return found


def test_perfect_random_blind_and_kinematic(
    annotated: Path, cut: Benchmark, tmp_path: Path
) -> None:
    facts = read_facts(annotated, annotator="kinematic")
    found = {}
    for name in ("perfect", "random", "blind", "annotated"):
        found[name] = run_benchmark(
            cut,
            out=tmp_path / name,
            teacher=own_answerer(name, cut, facts=facts if name == "annotated" else ()),
            settings=BenchSettings(track="vqa", model=name),
        )
    asked = [item for item in cut.items if item["track"] == "vqa"]
    numbers = {item["answer"] for item in asked if item["answer_type"] == "number"}
    chance = sum(
        1 / {"yes_no": 2, "number": len(numbers)}.get(i["answer_type"], len(i["options"]) or 1)
        for i in asked
    ) / len(asked)
    perfect, random, blind = (accuracy(found[n]) for n in ("perfect", "random", "blind"))
    assert (perfect.value, perfect.high) == (1, 1)
    assert 0.9 < perfect.low < 1
    assert not perfect.unrankable
    assert random.low <= chance <= random.high
    assert blind.low <= chance <= blind.high
    assert random.high < perfect.low
    # the annotator by motion, on every question, also on those about what no motion tells
    kinematic = accuracy(found["annotated"])
    assert random.value < kinematic.value
    assert chance < kinematic.low
    assert kinematic.high < perfect.low
    results = {name: read_result(tmp_path / name) for name in found}

    def compared(one: str, other: str) -> dict[str, Compared]:
        return {
            c.group or "all": c
            for c in compare_results(results[one], results[other])
            if (c.average, c.mode) == ("micro", "strict")
        }

    # each against the other, paired by video
    gained, missing = compared("annotated", "random"), compared("perfect", "annotated")
    assert gained["all"].low > 0
    assert missing["all"].low > 0
    # it knows motions, contacts and actions, and of objects no more than chance: it draws there,
    # and draws as `random` does
    assert {item["slot"] for item in asked} == {*MOTION_SLOTS, "category", "color"}
    said = {row["slot"] for row in facts}
    assert said >= MOTION_SLOTS
    assert not said & {"category", "color"}
    assert gained["target_object"].value == 0
    assert gained["contact_and_approach"].low > 0
    assert gained["trajectory_and_orientation"].low > 0
    # it knows which verbs there are, and counts too few: it sees no second "lower"
    assert accuracy(found["annotated"], "answer_type", "yes_no").low > 0.5
    assert accuracy(found["annotated"], "answer_type", "number").high < 0.5
    total = compared("perfect", "random")["all"]
    assert total.value == pytest.approx(1 - random.value)
    assert total.low > 0
    assert not total.unrankable
    sections, written = write_report([tmp_path / n for n in found], out=tmp_path / "page")
    assert [Path(one).name for one in written] == ["page.html", "page.md"]
    text = markdown_of(sections)
    assert "perfect minus random" in text
    assert html_of(sections).startswith("<!doctype html>")


def test_an_annotator_is_not_graded_on_its_own_facts(cut: Benchmark, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="made the ground truth"):
        run_benchmark(
            cut,
            out=tmp_path / "r",
            teacher=own_answerer("perfect", cut),
            settings=BenchSettings(track="vqa", model="generator"),
        )


def test_videos_of_a_training_side_are_refused(annotated: Path, tmp_path: Path) -> None:
    root = tmp_path / "bridge"
    shutil.copytree(annotated, root)
    curate(root)
    dataset = finedata.open(root)
    written = dataset.representatives.sort("rank").collect()["episode_id"].to_list()
    held = make_benchmark(root, out=tmp_path / "first", videos=2).held_out
    ids = Path(held).read_text().split()
    dataset.shard(tmp_path / "shards", held_out_ids=tuple(ids))
    out = tmp_path / "second"
    found = make_benchmark(root, out=out, shards=tmp_path / "shards", choice=EVERY)
    cut = read_benchmark(out)
    assert found.held_out == ""
    assert {sample["episode_id"] for sample in cut.samples} >= set(ids)
    trained = find_leaks(Shards.open(tmp_path / "shards"), written)
    assert trained
    with pytest.raises(UsageError, match="training side"):
        make_benchmark(
            root,
            out=tmp_path / "third",
            shards=tmp_path / "shards",
            choice=Choice(episodes=tuple(trained[:1])),
        )
    assert not (tmp_path / "third").exists()


def test_copies_are_where_their_originals_are(annotated: Path, tmp_path: Path) -> None:
    """A copy of a held-out episode is held out, and one of a trained one is refused."""
    root = tmp_path / "bridge"
    shutil.copytree(annotated, root)
    dataset = finedata.open(root)
    told = dataset.facts.filter(pl.col("annotator") == "generator").collect()["episode_id"]
    known = sorted(set(told.to_list()))
    kept, copy, other, trained = known[:4]
    curate(root, chosen=[kept, other, trained], duplicate_of={copy: kept})
    # of the equal ones one is asked about, and both are held out, whoever reads the list
    first = make_benchmark(root, out=tmp_path / "first", choice=Choice(episodes=(copy, kept)))
    assert [s["episode_id"] for s in read_benchmark(first.out).samples] == [kept]
    assert f"{copy}: left out, a copy of {kept}" in first.notes
    assert Path(first.held_out).read_text().split() == sorted([kept, copy])
    dataset.shard(tmp_path / "shards", held_out_ids=(kept,), where=f"episode_id <> '{copy}'")
    second = make_benchmark(
        root, out=tmp_path / "second", shards=tmp_path / "shards", choice=Choice(episodes=(copy,))
    )
    assert [s["episode_id"] for s in read_benchmark(second.out).samples] == [copy]
    condition = Choice(where=f"episode_id = '{copy}'")
    third = make_benchmark(
        root, out=tmp_path / "third", shards=tmp_path / "shards", choice=condition
    )
    assert [s["episode_id"] for s in read_benchmark(third.out).samples] == [copy]
    # found equal after the shards were made: what is held out is trained on by its copy
    curate(root, chosen=[kept, other, trained], duplicate_of={copy: kept, trained: kept})
    for choice in (Choice(), Choice(episodes=(kept,)), Choice(episodes=(trained,))):
        with pytest.raises(UsageError, match=f"or copies of them: {trained}"):
            make_benchmark(root, out=tmp_path / "fourth", shards=tmp_path / "shards", choice=choice)
    assert not (tmp_path / "fourth").exists()


def test_only_accepted_facts_are_taken(converted: Path, tmp_path: Path) -> None:
    root = tmp_path / "bridge"
    shutil.copytree(converted, root)
    annotate_kinematic(root, choice=EVERY)
    with pytest.raises(UsageError, match="no episode with facts that are reviewed"):
        make_benchmark(root, out=tmp_path / "b", choice=EVERY)
    assert not (tmp_path / "b").exists()


def test_rows_that_were_changed_are_refused(made: MakeSummary, tmp_path: Path) -> None:
    root = tmp_path / "bench"
    shutil.copytree(made.out, root)
    text = (root / "bench.json").read_text()
    (root / "bench.json").write_text(text.replace(json.loads(text)["items_sha256"], "0" * 64))
    with pytest.raises(SourceError, match="items_sha256"):
        read_benchmark(root)


def test_captions_of_the_cut_by_a_judge_of_this_machine(
    cut: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Perfect captions, judged by who knows no more than the texts; two judges agree."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")

    def judged(seen, *, harsh: bool) -> str:
        facts, _, description = seen.prompt.partition("Description:")
        lines = []
        for line in facts.splitlines():
            if line.startswith('{"fact_id": ') and '"fact_text"' in line:
                fact = json.loads(line)
                said = fact["fact_text"] in description
                label = "omission" if not said else "partial" if harsh else "match"
                lines.append({
                    "fact_id": fact["fact_id"], "capability": fact["capability"], "label": label,
                    "caption_evidence": "",
                })  # fmt: skip
        return json.dumps({"gt_evaluations": lines, "hallucinated_actions": []})

    found = {}
    for name in ("mild", "harsh"):
        server = Loopback(
            answer=lambda seen, harsh=name == "harsh": judged(seen, harsh=harsh),
            faults={"500": 0.2, "truncated_json": 0.1},
        )
        with serving(server) as url:
            found[name] = run_benchmark(
                cut,
                out=tmp_path / name,
                teacher=own_answerer("perfect", cut),
                judge=Judge(teacher=OpenAITeacher(base_url=f"{url}/v1"), model=name),
                settings=BenchSettings(track="caption", model="perfect"),
                options=AskOptions(backoff_s=0.02, attempts=10),
            )
    overall = {
        name: next(s.value for s in one.scores if (s.metric, s.mode) == ("overall", "strict"))
        for name, one in found.items()
    }
    assert overall == {"mild": 1.0, "harsh": pytest.approx(2 / 3)}
    mild, harsh = read_result(tmp_path / "mild"), read_result(tmp_path / "harsh")
    with pytest.raises(UsageError, match="--force compares"):
        compare_results(mild, harsh)
    assert compare_results(mild, harsh, force=True)
    same = agree_judges(mild, mild)
    assert (same.share, same.captions) == (1, len(cut.samples))
    assert agree_judges(mild, harsh).share == 0


def test_agreement_by_hand() -> None:
    assert cohen_kappa(["a", "a"], ["a", "a"]) is None
    found = agree_ranks({"a": 0.1, "b": 0.5, "c": 0.9}, {"a": 1, "b": 4, "c": 3, "d": 9})
    assert found.models == 3
    assert found.spearman == pytest.approx(0.5)
    assert found.pearson == pytest.approx(0.6546536707)
    with pytest.raises(UsageError, match="three or more"):
        agree_ranks({"a": 1.0}, {"a": 1.0})


def cli(*arguments: str | Path) -> str:
    found = CliRunner().invoke(app, ["bench", *map(str, arguments)])
    if found.exception is not None:
        raise found.exception
    return found.stdout


def test_the_command_line(made: MakeSummary, annotated: Path, tmp_path: Path) -> None:
    text = cli("vqa", "--data", made.out, "--teacher", "blind", "--out", tmp_path / "blind")
    assert "micro, strict" in text
    text = cli(
        "vqa", "--data", made.out, "--teacher", "annotated", "--facts", annotated, "--out",
        tmp_path / "kinematic", "--json",
    )  # fmt: skip
    assert json.loads(text)["answerer"]["model"] == "kinematic"
    with pytest.raises(UsageError, match="without one a caption has no score"):
        cli("caption", "--data", made.out, "--teacher", "perfect", "--out", tmp_path / "c")
    text = cli("report", tmp_path / "blind", tmp_path / "kinematic")
    assert "blind minus kinematic" in text
    human = tmp_path / "human.csv"
    with human.open("w", newline="") as file:
        csv.writer(file).writerows([["model", "score"], ["blind", 1]])
    with pytest.raises(UsageError, match="three or more"):
        cli("agree", tmp_path / "blind", "--human", human)
    released = small.write_released(tmp_path / "released", films=False)
    assert "8 videos, 1 of them broken" in cli("profile", released)
    text = cli(
        "vqa", "--data", made.out, "--teacher", "gemini", "--model", "gemini-2.5-flash", "--dry-run"
    )
    assert "at most" in text
    assert f"{made.videos} calls" in text
    again = cli("score", tmp_path / "blind", "--out", tmp_path / "again", "--json")
    assert json.loads(again) == json.loads((tmp_path / "blind/summary.json").read_text())
