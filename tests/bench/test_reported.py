"""What people reported of benchmarks' scoring, each built small: what finedata makes of it.

Each test names the report. `released` stays as published, with its holes; see `test_vqa_match`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from bench import small
from teachers.loopback import Loopback, serving

from finedata.bench.prompting import read_caption, read_judgement
from finedata.bench.reading import read_benchmark
from finedata.bench.run import run_benchmark
from finedata.bench.scores.vqa_match import answers_of, parse_strict, right_strict
from finedata.bench.settings import BenchSettings
from finedata.errors import SourceError
from finedata.teachers.asker import AskOptions
from finedata.teachers.openai import OpenAITeacher
from finedata.teachers.protocol import UnusableAnswerError

OPTIONS = ["from above", "from the left", "from behind", "from the right"]


def choice(response: str) -> str | None:
    return parse_strict("multiple_choice", response, OPTIONS)


def number(response: str) -> str | None:
    return parse_strict("number", response, [])


def test_the_word_answer_is_no_letter_a() -> None:
    """https://github.com/aniri15/OPD-V/issues/2"""
    assert choice("Answer: **D**") == "from the right"
    assert choice("The correct answer is d.") == "from the right"
    assert choice("I considered (A), but it is incorrect. Final answer: D.") is None


def test_letters_after_the_answer_do_not_replace_it() -> None:
    """https://github.com/jundot/omlx/pull/3668"""
    assert choice("The answer is B. Note that A is a common distractor.") == "from the left"
    assert choice("ANSWER IS D. A is incorrect.") == "from the right"
    assert choice("The answer is C because I computed the integral.") == "from behind"
    assert choice("The answer is B. From above.") is None, "it says two things"


def test_an_answer_may_be_explained() -> None:
    """https://github.com/open-compass/VLMEvalKit/pull/1552"""
    said = "The correct answer is B. Here's why... option B is correct because..."
    assert choice(said) == "from the left"
    assert choice("Option B") == choice(r"\boxed{B}") == "from the left"
    assert choice("B. It comes from above") is None, "no option, and nothing declared"


def test_a_letter_in_brackets() -> None:
    """https://github.com/EvolvingLMMs-Lab/lmms-eval/pull/671"""
    assert choice("(A)") == choice("(A) from above") == "from above"


def test_a_choice_that_is_no_option() -> None:
    """https://github.com/Future-House/paper-qa/issues/693"""
    assert choice("14") is None
    assert choice("E") is None
    assert not right_strict("multiple_choice", "E", "from above", OPTIONS)


def test_thoughts_are_not_graded() -> None:
    """https://github.com/huggingface/lighteval/issues/869: an answer in thoughts is none."""
    thought = '{"answers": {"q1": "yes", "q2": "from above"}}'
    answer = '{"answers": {"q1": "no"}}'
    for text in (f"<think>First {thought}.</think>\n{answer}", f"So {thought}</think>{answer}"):
        assert answers_of(text, ["q1", "q2"]) == {"q1": "no"}
    with pytest.raises(UnusableAnswerError, match="thoughts without an end"):
        answers_of(f"<think>{thought} But wait", ["q1", "q2"])
    steps = '<think>{"steps": ["a", "b", "c"]}</think>{"steps": ["grasp the cup"]}'
    assert read_caption(steps) == ["grasp the cup"]
    whole = '{"steps": ["the display says </think>"]}'
    assert read_caption(whole) == ["the display says </think>"]


def test_numbers_are_no_text() -> None:
    """https://github.com/UKGovernmentBEIS/inspect_ai/pull/3916"""
    assert not right_strict("number", "The answer is 25", "5", [])
    assert not right_strict("number", "50 is the answer", "5", [])
    assert not right_strict("number", "5", "-5", [])
    assert right_strict("number", "the result is -5 exactly", "-5", [])
    assert not right_strict("number", "33.14", "3.14", [])
    assert number("\N{MINUS SIGN}5") == "-5"
    assert number("two hundred") is None


def test_commas_and_numbers() -> None:
    """https://github.com/stanford-crfm/helm/issues/4337"""
    assert number("The answer is 72, in total, so the farmer earns that much.") == "72"
    assert number("1,000") == "1000"
    assert number("1, 000") is None


def test_what_is_no_one_number() -> None:
    """https://github.com/stanford-crfm/helm/pull/4317"""
    assert number("the meeting is at 7:30") is None
    assert number("the grid is 2x3") is None


def test_zeros_at_the_end_count() -> None:
    """https://github.com/NVIDIA-NeMo/Evaluator/pull/1113"""
    assert not right_strict("number", "10", "100", [])
    assert right_strict("number", "150", "150.0", [])


@pytest.mark.parametrize("said", ["I know this", "bypass the check", "noted", "cannot tell"])
def test_yes_and_no_are_words(said: str) -> None:
    """https://github.com/HKUDS/OpenSpace/issues/9"""
    assert parse_strict("yes_no", said, []) is None


def test_neither_yes_nor_no_stays_in_the_denominator() -> None:
    """https://github.com/AoiDragon/POPE/issues/19"""
    for said in ("maybe", "not sure", "yes and no"):
        assert parse_strict("yes_no", said, []) is None
        assert not right_strict("yes_no", said, "no", [])
    assert parse_strict("yes_no", "No (it stays open)", []) == "no"


def test_a_judgement_that_is_cut_off_is_none() -> None:
    """https://github.com/eren23/openflipbook/pull/142: it became a score of 0."""
    line = '{"fact_id": "a", "capability": "action_sequence", "label": "match"}'
    for text in ('thought\n{"gt_evaluations":', f'{{"gt_evaluations": [{line}'):
        with pytest.raises(UnusableAnswerError, match="ends early"):
            read_judgement(text)


def test_answers_under_no_question_are_none() -> None:
    """https://github.com/llm-jp/llm-jp-eval-mm/issues/139: what cannot be read is wrong."""
    with pytest.raises(UnusableAnswerError, match="none of the questions"):
        answers_of('{"answers": ["yes", "no"]}', ["q1", "q2"])


def test_ids_that_come_twice(tmp_path: Path) -> None:
    """https://github.com/sgl-project/sgl-eval/pull/39: two examples became one, scored twice."""
    root = small.write_released(tmp_path / "b", films=False)
    before = read_benchmark(root)
    asked = json.loads((root / "QAEvalSets.json").read_text())
    twice = json.loads(json.dumps(asked[0]))
    twice["qas"][0]["answer"] = "Yes"  # the first says No
    (root / "QAEvalSets.json").write_text(json.dumps([*asked, twice]))
    found = read_benchmark(root)
    assert len(found.items) == len(before.items) + 3
    assert len({item["item_id"] for item in found.items}) == len(found.items)
    mine = [i for i in found.items_of(twice["sample_id"], "vqa") if i["answer_type"] == "yes_no"]
    assert sorted(item["answer"] for item in mine) == ["No", "Yes"]
    samples = json.loads((root / "EvalSets.json").read_text())
    (root / "EvalSets.json").write_text(json.dumps([*samples, samples[0]]))
    with pytest.raises(SourceError, match="it twice"):
        read_benchmark(root)


def test_failed_calls_stay_in_the_denominator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """https://github.com/UKGovernmentBEIS/inspect_ai/issues/3707: 80 of 100 became 80 of 90."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    benchmark = read_benchmark(small.write_released(tmp_path / "b", videos=5))
    broken = benchmark.asked("vqa")[0]["sample_id"]

    def answer(seen) -> str:
        return "?" if broken in seen.prompt else small.answer(seen)

    with serving(Loopback(answer=answer)) as url:
        found = run_benchmark(
            benchmark,
            out=tmp_path / "r",
            teacher=OpenAITeacher(base_url=f"{url}/v1"),
            settings=BenchSettings(track="vqa", model="m", max_output_tokens=500),
            options=AskOptions(attempts=2, backoff_s=0.01),
        )
    assert found.statuses == {"failed": 1, "ok": 3}
    for mode in ("strict", "released"):
        [total] = [
            one for one in found.scores if (one.mode, one.by, one.average) == (mode, "all", "micro")
        ]
        assert total.items == 12
        rows = pq.read_table(tmp_path / "r/results.parquet").to_pylist()
        right = sum(row["score" if mode == "strict" else "score_released"] for row in rows)
        assert total.value == pytest.approx(right / 12)
        assert 0 < right <= 9
