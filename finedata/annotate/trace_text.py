"""Reasoning traces as text: a teacher's tagged answer into its parts, and parts into one text.

A part that is missing or empty is an `AnswerError`: ReFineVLA's script saves an empty trace when a
call fails, and nobody notices. Teachers vary the tags (`<observation>`, `#1 <Observation>`,
`**Observation:**`, no closing tags, numbers without brackets), so those forms are all read;
`trace_text` writes one.

Source of the form: ReFineVLA (arXiv 2505.19080), appendix B.
"""

from __future__ import annotations

import re

import msgspec

from finedata.annotate.asking.answers import AnswerError

__all__ = ["SECTIONS", "Trace", "read_trace", "trace_text"]

SECTIONS = ("observation", "situation_analysis", "spatial_reasoning", "task_planning")
"""The four parts, in order, by their column."""

_TAGS = dict(
    zip(
        SECTIONS,
        ("Observation", "Situation Analysis", "Spatial Reasoning", "Task Planning"),
        strict=True,
    )
)
_STEPS, _NEXT = "logical_steps", "sub_action"
_NAME = (
    r"observations?|situation[\s_-]*analysis|spatial[\s_-]*reasoning|task[\s_-]*planning|"
    r"logical[\s_-]*steps?|sub[\s_-]*actions?"
)
# <Observation>, </Observation>, <#1 Observation>, #1 <Observation>:, [Observation]
_BRACKETED = (
    r"(?:#\s*\d+[.:)]?\s*)?[<\[]\s*(?P<close>/?)\s*(?:#?\s*\d+[.:)]?\s*)?"
    rf"(?P<a>{_NAME})\s*/?[>\]]\s*:?"
)
# **Observation:**, ## Observation, 1. Observation:, sub_action: at the beginning of a line
_HEADED = (
    rf"^[ \t]*(?:[#*\d.()]+[ \t]*)*(?P<b>{_NAME})[ \t]*(?:(?::[ \t]*\**|\*\*[ \t]*:?)|[ \t]*$)"
)
_MARK = re.compile(rf"{_BRACKETED}|{_HEADED}", re.IGNORECASE | re.MULTILINE)
_NUMBER_TAG = re.compile(r"<\s*(/?)\s*(\d+|n)\s*>", re.IGNORECASE)
_NUMBER_LINE = re.compile(r"^[ \t]*(?:\(?\d+[.):]|[-*•])[ \t]+", re.MULTILINE)


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """A trace's parts; no text is empty, and there is at least one logical step."""

    observation: str
    situation_analysis: str
    spatial_reasoning: str
    task_planning: str
    logical_steps: list[str]
    sub_action: str


def read_trace(text: str) -> Trace:
    """Take an answer apart.

    Args:
        text: The answer as it came.

    Returns:
        The parts. Of a part that occurs twice, the later one that is not empty counts. Planning
        without words of its own is its logical steps in a row.

    Raises:
        AnswerError: A part, the logical steps or the next movement is missing or empty.

    Example:
        >>> read_trace(
        ...     "<Observation> a cup <Situation Analysis> not yet held <Spatial Reasoning> left "
        ...     "<Task Planning> <logical_steps><1> reach <2> grasp <sub_action> move left"
        ... ).logical_steps
        ['reach', 'grasp']
    """
    parts = _parts(text)
    steps = _steps(parts.get(_STEPS, ""))
    if not parts.get("task_planning") and steps:
        parts["task_planning"] = _in_a_row(steps)
    for name in SECTIONS:
        if not parts.get(name):
            raise _missing(name, text)
    if not steps:
        raise _missing(_STEPS, text)
    sub_action = _plain(parts.get(_NEXT, ""))
    if not sub_action:
        raise _missing(_NEXT, text)
    return Trace(
        observation=_plain(parts["observation"]),
        situation_analysis=_plain(parts["situation_analysis"]),
        spatial_reasoning=_plain(parts["spatial_reasoning"]),
        task_planning=_plain(parts["task_planning"]),
        logical_steps=steps,
        sub_action=sub_action,
    )


def trace_text(trace: Trace) -> str:
    """The trace in ReFineVLA's own form, all tags in order."""
    parts = [f"<{_TAGS[name]}> {getattr(trace, name)}" for name in SECTIONS]
    steps = " ".join(f"<{number}> {step}" for number, step in enumerate(trace.logical_steps, 1))
    return "\n".join(parts) + f"\n<logical_steps> {steps}\n<sub_action> {trace.sub_action}"


def _parts(text: str) -> dict[str, str]:
    """The text of each part: from its mark to the next mark."""
    marks = list(_MARK.finditer(text))
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    parts: dict[str, str] = {}
    for mark, end in zip(marks, ends[: len(marks)], strict=True):
        if mark["close"]:
            continue
        found = text[mark.end() : end]
        name = _column(mark["a"] or mark["b"])
        if _plain(found):
            parts[name] = found
        else:
            parts.setdefault(name, "")
    return parts


def _column(tag: str) -> str:
    folded = re.sub(r"[\s_-]+", "_", tag).casefold()
    known = (*SECTIONS, _STEPS, _NEXT)
    return next(name for name in known if name.rstrip("s") == folded.rstrip("s"))


def _steps(text: str) -> list[str]:
    """Logical steps: by their tags, else by numbered lines, else one step a line."""
    if _NUMBER_TAG.search(text):
        pieces = _NUMBER_TAG.split(text)[3::3]
    elif _NUMBER_LINE.search(text):
        pieces = _NUMBER_LINE.split(text)[1:]
    else:
        pieces = text.splitlines()
    return [plain for plain in map(_plain, pieces) if plain]


def _in_a_row(steps: list[str]) -> str:
    return " ".join(f"({number}) {step}" for number, step in enumerate(steps, start=1))


def _plain(text: str) -> str:
    """White space collapsed, number tags and a dangling fence or heading mark gone."""
    without = _NUMBER_TAG.sub(" ", text)
    return " ".join(without.split()).strip("`#* ").strip()


def _missing(name: str, text: str) -> AnswerError:
    shown = " ".join(text.split())[:80]
    return AnswerError(
        place=name, found=f"nothing under its tag in {shown!r}", wanted=f"a text under <{name}>"
    )
