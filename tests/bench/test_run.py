"""Whole runs against servers on this machine: through faults, killed, again for nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from bench import small
from teachers.loopback import Loopback, read_count, serving, serving_process

import finedata as fd
from finedata.bench.answerers import own_answerer
from finedata.bench.benchmark import Benchmark
from finedata.bench.film import VQA_FRAMES, shown_frames
from finedata.bench.reading import read_benchmark
from finedata.bench.result import read_result, score_again
from finedata.bench.run import run_benchmark
from finedata.bench.settings import BenchSettings, Judge
from finedata.errors import SourceError, UsageError
from finedata.teachers.asker import AskOptions
from finedata.teachers.openai import OpenAITeacher

OPTIONS = AskOptions(concurrency=4, timeout_s=5.0, backoff_s=0.05, attempts=8)


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.write_released(tmp_path_factory.mktemp("released") / "EvalData")


@pytest.fixture(scope="module")
def benchmark(released: Path) -> Benchmark:
    return read_benchmark(released)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")


def teacher(url: str) -> OpenAITeacher:
    return OpenAITeacher(base_url=f"{url}/v1")


def score(
    summary: object, metric: str, mode: str, by: str = "all", group: str = "", **more
) -> float:
    average = more.get("average", "micro")
    [found] = [
        one
        for one in summary.scores
        if (one.metric, one.mode, one.by, one.group, one.average)
        == (metric, mode, by, group, average)
    ]
    return found.value


def test_released_files_are_read_with_their_oddities(benchmark: Benchmark) -> None:
    assert len(benchmark.samples) == small.VIDEOS
    assert [s["usable"] for s in benchmark.samples].count(False) == 1
    by_id = {sample["sample_id"]: sample for sample in benchmark.samples}
    assert by_id["bridgedatav2-0"]["instruction"] == ["do task 0"]
    assert by_id["bc-z-1"]["instruction"] == ["grasp thing 1", "lift it"]
    [view] = by_id["bc-z-1"]["views"]
    assert view["path"] == "Videos/BC_Z/bc-z-1/view1.mp4"
    assert (view["name"], len(view["sha256"])) == ("main", 64)
    assert len(benchmark.asked("vqa")) == small.VIDEOS - 1
    errors = {item["error_type"] for item in benchmark.items}
    assert errors == {"contradiction", "omission", "conflict", None}
    assert benchmark.pinned() == read_benchmark(benchmark.root).pinned()


def test_frames_are_decoded_av1_too(benchmark: Benchmark) -> None:
    [first, *_] = [s for s in benchmark.samples if s["sample_id"] == "bridgedatav2-0"]
    pictures = shown_frames(benchmark.root, first, VQA_FRAMES)
    assert len(pictures) == 4  # 1.4 s from the first to the last at 2 a second, and the last
    assert [p.label for p in pictures] == ["[View: main]", "", "", ""]
    gone = first | {"views": [{"name": "main", "path": "nowhere.mp4", "sha256": None}]}
    with pytest.raises(SourceError, match=r"no file nowhere\.mp4"):
        shown_frames(benchmark.root, gone, VQA_FRAMES)


def test_an_unknown_dimension_is_refused(tmp_path: Path) -> None:
    root = small.write_released(tmp_path / "b", films=False)
    text = (root / "GT_AtomicFacts.jsonl").read_text().replace("target_object", "colours")
    (root / "GT_AtomicFacts.jsonl").write_text(text)
    with pytest.raises(SourceError, match="capability 'colours'"):
        read_benchmark(root)


def test_questions_through_faults(benchmark: Benchmark, tmp_path: Path) -> None:
    server = Loopback(answer=small.answer, faults={"500": 0.2, "empty": 0.1, "fenced": 0.2})
    server.keep_seen = True
    settings = BenchSettings(track="vqa", model="m", max_output_tokens=500, setting="easy")
    with serving(server) as url:
        first = run_benchmark(
            benchmark, out=tmp_path / "r", teacher=teacher(url), settings=settings, options=OPTIONS
        )
        asked = server.stats.requests
        again = run_benchmark(
            benchmark,
            out=tmp_path / "other",
            store=tmp_path / "r",
            teacher=teacher(url),
            settings=settings,
            options=OPTIONS,
        )
        assert server.stats.requests == asked, "a repeated run asks nothing"
    assert first.scores == again.scores
    assert "Task instruction: " in server.seen[0].prompt
    assert all(len(seen.pictures) == 4 for seen in server.seen)
    # "none" is a no as published: right for every second video; strict takes it for nothing
    assert score(first, "accuracy", "released", "answer_type", "yes_no") == pytest.approx(4 / 7)
    assert score(first, "accuracy", "strict", "answer_type", "yes_no") == 0
    assert score(first, "accuracy", "strict", "error_type", "conflict") == 0
    assert first.statuses == {"ok": 7}
    assert first.judge is None
    rows = pq.read_table(tmp_path / "r/results.parquet").to_pylist()
    assert len(rows) == 21
    yes_no = [row for row in rows if row["response"] == "none"]
    assert {(row["parsed"], row["parsed_released"]) for row in yes_no} == {(None, "no")}
    answers = pq.read_table(tmp_path / "r/answers.parquet").to_pylist()
    assert all(row["latency_s"] is not None and row["input_tokens"] > 0 for row in answers)
    # pinned: prompts, settings, versions, frames
    assert len(first.answerer.prompts["vqa.v1"]) == 64
    assert first.answerer.settings["frames.fps"] == "2.0"
    assert "numpy" in first.libraries


def test_captions_are_judged_and_scored_again(benchmark: Benchmark, tmp_path: Path) -> None:
    server = Loopback(answer=small.answer)
    settings = BenchSettings(
        track="caption", model="m", max_output_tokens=500, judge_trials=3, judge_videos=4
    )
    with serving(server) as url:
        found = run_benchmark(
            benchmark,
            out=tmp_path / "r",
            teacher=teacher(url),
            judge=Judge(teacher=teacher(url), model="j"),
            settings=settings,
            options=OPTIONS,
        )
    assert server.stats.requests == 7 + 7 + 2 * 4
    # action_sequence (1 + 1/2) / 2, target_object 1/2; nothing hallucinated
    for mode in ("strict", "released"):
        assert score(found, "coverage", mode) == pytest.approx(0.625)
        assert score(found, "overall", mode) == pytest.approx((0.625 + 0.625 + 1) / 3)
    assert score(found, "coverage", "strict", average="macro") == pytest.approx(0.625)
    assert score(found, "coverage", "strict", "axis", "grounding") == pytest.approx(0.5)
    assert {(one.of, one.trials, one.videos, one.within_sd) for one in found.noise} == {
        ("judge", 3, 4, 0.0)
    }
    rescored = score_again(tmp_path / "r", out=tmp_path / "again")
    assert rescored == found
    for name in ("results", "answers", "items"):
        path = f"{name}.parquet"
        assert (tmp_path / "again" / path).read_bytes() == (tmp_path / "r" / path).read_bytes()
    assert not list((tmp_path / "r").rglob("*.pkl"))


def test_the_judges_noise_is_told_apart_on_the_face(
    released: Path, benchmark: Benchmark, tmp_path: Path
) -> None:
    """A judge that takes back one of three judgements, of every second video only."""
    asked: Counter[str] = Counter()
    names = sorted(sample["sample_id"] for sample in benchmark.asked("caption"))
    wavering = set(names[::2])

    def wavers(seen) -> str:
        if "gt_evaluations" not in seen.prompt:
            return small.answer(seen)
        told = re.findall(r'"fact_id": "([^"]+)", "capability": "([^"]+)"', seen.prompt)[:-1]
        [video] = set(re.findall(r"thing (\d) is", seen.prompt))
        asked[video] += 1
        own = next(name for name in names if name.endswith(f"-{video}"))
        label = "omission" if own in wavering and asked[video] == 2 else "match"
        lines = [{"fact_id": f, "capability": c, "label": label} for f, c in told]
        return json.dumps({"gt_evaluations": lines, "hallucinated_actions": []})

    bench = fd.benchmark(released)
    server = Loopback(answer=wavers)
    with serving(server) as url:
        judge = fd.teacher("openai", model="j", base_url=f"{url}/v1", max_tokens=500)

        def judged(out: str):
            return bench.caption(
                "perfect", judge=judge, out=tmp_path / out, judge_trials=3, judge_videos=7,
                workers=1, store=tmp_path / "store",
            )  # fmt: skip

        found = judged("r")
        assert server.stats.requests == 3 * 7
        assert judged("again").scores == found.scores
        assert server.stats.requests == 3 * 7, "judgements are free, too, the second time"
    [noise] = [n for n in found.noise if (n.metric, n.mode) == ("coverage", "strict")]
    assert (noise.of, noise.trials, noise.videos) == ("judge", 3, 7)
    # by hand: of a wavering video 1, 1, 0 in some order: a variance of 1/3 about 2/3
    within = len(wavering) / 7 / 3
    means = np.where([name in wavering for name in names], 2 / 3, 1)
    assert noise.within_sd == pytest.approx(within**0.5)
    assert noise.between_sd == pytest.approx(max(0, means.var(ddof=1) - within / 3) ** 0.5)
    agreed = fd.bench_agree([tmp_path / "r", tmp_path / "again"])
    assert (agreed.share, agreed.captions) == (1, 7)
    text = fd.api.bench_markdown(fd.bench_report([tmp_path / "r"])[0])
    assert f"coverage (strict): {100 * noise.within_sd:.1f} points between trials" in text


def test_results_of_two_revisions_are_not_compared(tmp_path: Path) -> None:
    """A revision is what its rows say; the same rows under another name are the same."""
    root = small.write_released(tmp_path / "b", films=False)

    def asked(out: str, revision: str = "") -> Path:
        fd.benchmark(root, revision=revision).vqa("perfect", out=tmp_path / out)
        return tmp_path / out

    first, renamed = asked("first"), asked("renamed", "v1")
    assert fd.bench_report([first, renamed])[0]
    truth = root / "QAEvalSets.json"
    truth.write_text(
        truth.read_text().replace('"answer": "from above"', '"answer": "from below"', 1)
    )
    corrected = asked("corrected")
    revisions = [json.loads((one / "summary.json").read_text())["benchmark"]["revision"]
                 for one in (first, corrected)]  # fmt: skip
    with pytest.raises(UsageError, match="revision {} and {}; items".format(*revisions)) as refused:
        fd.bench_report([first, corrected])
    assert "--force" in str(refused.value)
    with pytest.raises(UsageError, match="choose another --out"):
        asked("first")
    sections, _ = fd.bench_report([first, corrected], force=True)
    assert "revision {} and {}".format(*revisions) in fd.api.bench_markdown(sections)


def test_no_judge_no_score(benchmark: Benchmark, tmp_path: Path) -> None:
    settings = BenchSettings(track="caption", model="m")
    with pytest.raises(UsageError, match="without one a caption has no score"):
        run_benchmark(
            benchmark,
            out=tmp_path / "r",
            teacher=own_answerer("perfect", benchmark),
            settings=settings,
        )
    assert not (tmp_path / "r").exists()


def test_a_judge_that_drops_facts_is_asked_once_more_and_then_counted(
    benchmark: Benchmark, tmp_path: Path
) -> None:
    def drops(seen) -> str:
        value = json.loads(small.answer(seen))
        if "gt_evaluations" in value:
            value["gt_evaluations"] = value["gt_evaluations"][:1]
        return json.dumps(value)

    server = Loopback(answer=drops)
    with serving(server) as url:
        found = run_benchmark(
            benchmark,
            out=tmp_path / "r",
            teacher=teacher(url),
            judge=Judge(teacher=teacher(url), model="j"),
            settings=BenchSettings(track="caption", model="m", max_output_tokens=500),
            options=OPTIONS,
        )
    assert server.stats.requests == 7 + 2 * 7
    assert found.judge_statuses == {"ok": 7}
    assert score(found, "coverage", "released") == 1  # the denominator shrank to what came back
    assert score(found, "coverage", "strict") == pytest.approx((0.5 + 0) / 2)
    assert any("7 of 7 judgements" in note for note in found.notes)


def test_a_judge_that_never_answers_is_no_success(benchmark: Benchmark, tmp_path: Path) -> None:
    def silent(seen) -> str:
        return "?" if "gt_evaluations" in seen.prompt else small.answer(seen)

    with serving(Loopback(answer=silent)) as url:
        found = run_benchmark(
            benchmark,
            out=tmp_path / "r",
            teacher=teacher(url),
            judge=Judge(teacher=teacher(url), model="j"),
            settings=BenchSettings(track="caption", model="m", max_output_tokens=500),
            options=AskOptions(attempts=2, backoff_s=0.01),
        )
    assert found.judge_statuses == {"failed": 7}
    assert score(found, "overall", "strict") == 0
    assert score(found, "overall", "released") is None
    assert any("7 of 7 captions were not judged" in note for note in found.notes)


def test_another_question_does_not_overwrite_a_result(benchmark: Benchmark, tmp_path: Path) -> None:
    def once(model: str, setting: str) -> None:
        run_benchmark(
            benchmark,
            out=tmp_path / "r",
            teacher=own_answerer("perfect", benchmark),
            settings=BenchSettings(track="vqa", model=model, setting=setting),
        )

    once("perfect", "hard")
    before = (tmp_path / "r/summary.json").read_bytes()
    once("perfect", "hard")
    assert (tmp_path / "r/summary.json").read_bytes() == before
    with pytest.raises(UsageError, match="choose another --out"):
        once("perfect", "easy")
    with pytest.raises(UsageError, match="choose another --out"):
        once("other", "hard")
    assert (tmp_path / "r/summary.json").read_bytes() == before


@pytest.mark.parametrize("track", ["caption"])
def test_killed_and_resumed(released: Path, tmp_path: Path, track: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(small.__file__).parents[1])}

    def start(url: str, out: Path) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, small.__file__, str(released), url, str(out), track], env=environment
        )

    options = ("--latency", "0.1", "--answer", "bench.small:answer")
    os.environ["PYTHONPATH"] = environment["PYTHONPATH"]
    with serving_process(*options, "--faults", "0.2", "--seed", "4", "--drip", "1") as url:
        process = start(url, tmp_path / "r")
        while read_count(url) < 6:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "r/summary.json").exists()
        assert start(url, tmp_path / "r").wait(120) == 0
        paid = read_count(url)
        summary = (tmp_path / "r/summary.json").read_bytes()
        assert start(url, tmp_path / "r").wait(120) == 0
        assert read_count(url) == paid, "a process that finds all answers asks nothing"
        assert (tmp_path / "r/summary.json").read_bytes() == summary
    with serving_process(*options) as url:
        assert start(url, tmp_path / "whole").wait(120) == 0
    resumed, whole = read_result(tmp_path / "r"), read_result(tmp_path / "whole")
    refused = [row for row in resumed.answers if "refused" in (row["status"], row["judge_status"])]
    if not refused:  # a refusal is an answer of the server's, and counts
        assert resumed.summary.scores == whole.summary.scores
    assert sum(resumed.summary.statuses.values()) == 7
    assert {row["status"] for row in resumed.answers} <= {"ok", "refused"}


def test_an_unfinished_result_is_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="found nothing"):
        read_result(tmp_path / "r")
    (tmp_path / "r").mkdir()
    with pytest.raises(UsageError, match=r"no summary\.json"):
        read_result(tmp_path / "r")


def test_perfect_random_and_blind(tmp_path: Path) -> None:
    root = small.write_released(tmp_path / "b", videos=60, films=False)
    benchmark = read_benchmark(root)
    found = {
        name: run_benchmark(
            benchmark,
            out=tmp_path / name,
            teacher=own_answerer(name, benchmark),
            settings=BenchSettings(track="vqa", model=name),
        )
        for name in ("perfect", "random", "blind")
    }
    assert score(found["perfect"], "accuracy", "strict") == 1
    assert score(found["random"], "accuracy", "strict", "answer_type", "yes_no") < 0.75
    # these questions leak: two of the three have one answer everywhere
    assert score(found["blind"], "accuracy", "strict", "answer_type", "number") == 1
    shutil.rmtree(root)
    assert read_result(tmp_path / "perfect").summary.benchmark.items == 60 * 6 // 2
