"""What is asked, and what an answer must look like to be one.

A published prompt file never changes; its SHA-256 stands in every result. The benchmark's own
wording is not copied: what is asked of an answerer and a judge, and the shape of the answers, is as
published (all questions of a video in one prompt, short answers by question id, steps of one
movement, one label for each fact).
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, cast

import msgspec

from finedata.bench.scores.caption import JudgedLine
from finedata.bench.scores.vqa_match import shown_options
from finedata.schema.json_schema import json_schema
from finedata.teachers.parsing import parse_answer, parse_json
from finedata.teachers.protocol import Request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from finedata.bench.benchmark import Row
    from finedata.teachers.protocol import Picture

PROMPTS = {"vqa": "vqa.v1", "caption": "caption.v1", "judge": "judge.v1"}
"""Stage -> the version of its prompt that is used now."""


class _Caption(msgspec.Struct):
    steps: list[str]


class Evaluation(msgspec.Struct):
    """One line of a judge's answer; every field is as it came."""

    fact_id: str
    label: str
    capability: str = ""
    caption_evidence: str | None = None


class Hallucination(msgspec.Struct):
    """An action that the judge found in no fact."""

    description: str = ""


class JudgeAnswer(msgspec.Struct):
    """A judge's answer; further fields, as its own counts, are not looked at."""

    gt_evaluations: list[Evaluation]
    hallucinated_actions: list[Hallucination | str] = msgspec.field(
        default_factory=list[Hallucination | str]
    )


class _Asked(msgspec.Struct):
    """The shape that a judge is asked for: a server that keeps to schemas gives nothing else."""

    gt_evaluations: list[_AskedLine]
    hallucinated_actions: list[_AskedAction]


class _AskedLine(msgspec.Struct):
    fact_id: str
    capability: str
    label: str
    caption_evidence: str


class _AskedAction(msgspec.Struct):
    description: str
    caption_step: int


def answer_request(
    sample: Row,
    items: Sequence[Row],
    *,
    track: str,
    model: str,
    pictures: Sequence[Picture],
    fps: float,
    easy: bool,
    settings: Mapping[str, Any],
    trial: int,
) -> Request:
    """The question to an answerer about one video.

    Args:
        sample: Row of `bench_samples`.
        items: Its items of the track.
        track: `vqa` or `caption`.
        model: As the teacher names it.
        pictures: What is shown.
        fps: Frames a second, said in the prompt.
        easy: Whether the instruction is told beforehand.
        settings: See `Request`.
        trial: Which repetition; each is a call of its own.
    """
    told = ""
    if easy and sample["instruction"]:
        told = f"Task instruction: {'; '.join(sample['instruction'])}\n\n"
    values = {"fps": f"{fps:g}", "told": told}
    if track == "vqa":
        values["questions"] = "\n".join(_question(n, item) for n, item in enumerate(items, start=1))
    return Request(
        episode_id=sample["sample_id"],
        stage=f"bench/{track}" + (f"/{trial}" if trial else ""),
        model=model,
        prompt=_filled(track, values),
        pictures=tuple(pictures),
        schema=json_schema(_Caption) if track == "caption" else None,
        settings=settings,
        prompt_sha256=prompt_sha256(track),
    )


def judge_request(
    sample_id: str,
    items: Sequence[Row],
    caption: Sequence[str],
    *,
    model: str,
    settings: Mapping[str, Any],
    trial: int,
) -> Request:
    """The question to a judge about one caption."""
    facts = [
        {
            "fact_id": item["name"],
            "capability": item["dimension"],
            "slot": item["slot"],
            "value": item["answer"],
            "fact_text": item["fact_text"],
        }
        for item in items
    ]
    steps = "\n".join(f"{number}. {step}" for number, step in enumerate(caption, start=1))
    text = "\n".join(json.dumps(fact, ensure_ascii=False) for fact in facts)
    return Request(
        episode_id=sample_id,
        stage="bench/judge" + (f"/{trial}" if trial else ""),
        model=model,
        prompt=_filled("judge", {"facts": text, "caption": steps}),
        schema=json_schema(_Asked),
        settings=settings,
        prompt_sha256=prompt_sha256("judge"),
    )


def read_caption(text: str) -> list[str]:
    """The steps of a caption: `{"steps": [...]}`, or `{"Step1": ..., "Step2": ...}`; none empty.

    Raises:
        UnusableAnswerError: It is neither.
    """
    value: Any = parse_json(text, place="caption")
    if isinstance(value, dict) and "steps" not in value:
        entries = cast("dict[str, Any]", value)
        numbered = [step for name, step in entries.items() if name.lower().startswith("step")]
        value = {"steps": numbered} if numbered else entries
    elif isinstance(value, list):
        value = {"steps": cast("list[Any]", value)}
    found = parse_answer(json.dumps(value), _Caption, place="caption")
    return [step.strip() for step in found.steps if step.strip()]


def read_judgement(text: str) -> JudgeAnswer:
    """A judge's answer.

    Raises:
        UnusableAnswerError: It is none.
    """
    return parse_answer(text, JudgeAnswer, place="judge")


def judged_lines(answer: JudgeAnswer) -> list[JudgedLine]:
    """The lines of a judge's answer; a dimension in words is the one of the ten that it means."""
    return [
        JudgedLine(
            line.fact_id,
            line.capability.strip(),
            line.label.strip().lower(),
            line.caption_evidence or "",
        )
        for line in answer.gt_evaluations
    ]


@cache
def prompt_sha256(stage: str) -> str:
    """SHA-256 of a stage's prompt file."""
    return hashlib.sha256(_text(stage).encode()).hexdigest()


@cache
def _text(stage: str) -> str:
    return (files("finedata.bench") / "prompts" / f"{PROMPTS[stage]}.md").read_text("utf-8")


def _filled(stage: str, values: Mapping[str, str]) -> str:
    # from the left, so that braces inside a value are text and never a place
    rest, done = _text(stage), ""
    while "{{" in rest:
        before, _, after = rest.partition("{{")
        name, _, rest = after.partition("}}")
        done += before + values[name]
    return (done + rest).strip()


def _question(number: int, item: Row) -> str:
    head = f"Q{number}. [{item['name']}] ({item['answer_type']}) {item['question']}"
    if item["answer_type"] != "multiple_choice":
        return head
    options = shown_options(item["name"], item["options"])
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return head + " Options: " + " ".join(f"{letters[n]}. {o}" for n, o in enumerate(options))
