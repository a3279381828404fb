"""Step annotations in the four shapes that sources have, as half-open ranges of frames.

Steps keep the source's order, and its errors are named and kept. Numbers of frames count from 0
here. What a source means by the end of a range is decided range by range: the last frame of the
step or, where another step begins there, that step's first.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from finedata.convert.language.text import Formed, find_record, form_text
from finedata.schema.language_spec import (
    FrameNameRangesSpec,
    LabelRangesSpec,
    RunsSpec,
    SlotsSpec,
    Step,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.convert.language.text import Episode
    from finedata.schema.language_spec import Actor, Problem, StepsSpec, TextForm

_FRAME_NUMBER = re.compile(r"([0-9]+)(?:\.[A-Za-z0-9]+)?$")
# Frame numbers are int32 in the tables; no episode is near it.
_LARGEST_FRAME = 2**31 - 2
_Range = tuple[int, int, Formed]


class _NamedFrames(msgspec.Struct):
    step_description: str
    start_frame: str
    end_frame: str


class _Response(msgspec.Struct):
    steps: list[msgspec.Raw]
    task_summary: str | None = None


class _Answer(msgspec.Struct):
    response: _Response


class _LabelRange(msgspec.Struct):
    start: int
    end: int


class _Label(msgspec.Struct):
    ranges: list[_LabelRange]
    timelinelabels: list[str]


class _Annotation(msgspec.Struct):
    labels: list[msgspec.Raw] = msgspec.field(name="videoLabels", default_factory=list[msgspec.Raw])


class _Labelled(msgspec.Struct):
    annotation: _Annotation | None = None


def read_steps(
    episode: Episode, spec: StepsSpec, *, goal: str | None
) -> tuple[list[Step], Formed | None]:
    """Read the steps of one kind.

    Args:
        episode: The episode; its flags grow by `annotation_missing`, `annotation_unreadable`
            and `step_problems`.
        spec: The shape in which the steps are, and where.
        goal: The goal as far as it is known: one run that only repeats it is no step.

    Returns:
        The steps, and one more wording of the goal where the annotation has one.

    Raises:
        FeatureError: A feature of the record itself does not decode.
        OSError: A sidecar cannot be read for now.
    """
    if isinstance(spec, SlotsSpec):
        return _slots(episode, spec), None
    summary = None
    if isinstance(spec, RunsSpec):
        ranges = _runs(episode, spec)
        if len(ranges) == 1 and ranges[0][:2] == (0, episode.frames) and ranges[0][2].text == goal:
            ranges = []
    elif isinstance(spec, FrameNameRangesSpec):
        ranges, summary = _frame_name_ranges(episode, spec)
    else:
        ranges = _label_ranges(episode, spec)
    problems = _problems(ranges, frames=episode.frames)
    if not {"overlap", "reversed", "out_of_range"}.isdisjoint(problems):
        episode.flags.add("step_problems")
    steps = [
        _step(found, kind=spec.kind, arm=spec.arm, problem=problem)
        for found, problem in zip(ranges, problems, strict=True)
    ]
    return steps, summary


def _step(found: _Range, *, kind: Any, arm: Actor | None, problem: Problem | None = None) -> Step:
    start, end, formed = found
    return Step(
        start_frame=start,
        end_frame=end,
        text=formed.text,
        original=formed.original,
        language=formed.language,
        kind=kind,
        arm=arm,
        problem=problem,
    )


def _problems(ranges: Sequence[_Range], *, frames: int) -> list[Problem | None]:
    """Name what is wrong with each range: the first that holds of those below.

    A range overlaps if it begins before the end of the one right before it, as the publisher of
    such annotations counts; a step of one frame may share that frame with the next one, which
    begins where it ends. A range leaves a gap if it begins after the end of all before it.
    """
    problems: list[Problem | None] = []
    last_start, last_end, covered = 0, 0, 0
    for start, end, _ in ranges:
        problem: Problem | None = None
        if end <= start:
            problem = "reversed"
        elif start < 0 or end > frames:
            problem = "out_of_range"
        elif start < last_end and not (start == last_start == last_end - 1):
            problem = "overlap"
        elif start > covered:
            problem = "gap"
        problems.append(problem)
        last_start, last_end, covered = start, end, max(covered, end)
    return problems


def _runs(episode: Episode, spec: RunsSpec) -> list[_Range]:
    if not episode.raw.has(spec.feature):
        return []
    texts = episode.raw.texts(spec.feature)
    if len(texts) == 1:
        texts = texts * episode.frames
    formed = {text: form_text(text, spec) for text in dict.fromkeys(texts)}
    ranges: list[_Range] = []
    running: Formed | None = None
    for frame, text in enumerate(texts[: episode.frames]):
        now = formed[text]
        if now is not None and now == running:
            ranges[-1] = (ranges[-1][0], frame + 1, now)
        elif now is not None:
            ranges.append((frame, frame + 1, now))
        running = now
    return ranges


def _slots(episode: Episode, spec: SlotsSpec) -> list[Step]:
    """Steps of slots may run side by side, so they have no overlaps or gaps to speak of."""
    if not (episode.raw.has(spec.feature) and episode.raw.has(spec.vocabulary)):
        episode.flags.add("annotation_missing")
        return []
    vocabulary = episode.raw.texts(spec.vocabulary)
    indices = np.atleast_1d(np.asarray(episode.raw.numbers(spec.feature)))
    if indices.dtype.kind not in "iu" or not indices.size:
        episode.flags.add("annotation_unreadable")
        return []
    indices = indices.reshape(len(indices), -1)[: episode.frames]
    if np.any(indices >= len(vocabulary)) or (spec.arms and indices.shape[1] != len(spec.arms)):
        episode.flags.add("annotation_unreadable")
    if spec.arms:
        columns = indices.T[: len(spec.arms), :, None]
        groups = list(zip(spec.arms, columns, strict=False))
    else:
        groups = [(None, indices)]
    return [
        _step(found, kind=spec.kind, arm=arm)
        for arm, active in groups
        for found in _active_runs(active, vocabulary, spec)
    ]


def _active_runs(indices: np.ndarray, vocabulary: list[str], form: TextForm) -> list[_Range]:
    """Ranges over which a text is in any slot of `indices` (T, slots), by start, end, index."""
    frames_of: dict[Formed, np.ndarray] = {}
    different: list[int] = np.unique(indices).tolist()
    for index in different:
        formed = form_text(vocabulary[index], form) if 0 <= index < len(vocabulary) else None
        if formed is not None:
            active = np.any(indices == index, axis=1)
            frames_of[formed] = active | frames_of.get(formed, np.zeros_like(active))
    ranges: list[_Range] = []
    for formed, active in frames_of.items():
        edges = np.flatnonzero(np.diff(np.concatenate([[False], active, [False]]).astype(np.int8)))
        pairs = edges.reshape(-1, 2).tolist()
        ranges += [(int(start), int(end), formed) for start, end in pairs]
    return sorted(ranges, key=lambda found: found[:2])


def _frame_name_ranges(
    episode: Episode, spec: FrameNameRangesSpec
) -> tuple[list[_Range], Formed | None]:
    record = find_record(episode, spec.files, key=spec.key, key_field="id")
    if record is None:
        return [], None
    inclusive: list[tuple[int, int, str]] = []
    try:
        response = msgspec.json.decode(record, type=_Answer).response
        for part in response.steps:
            step = msgspec.json.decode(part, type=_NamedFrames)
            first, last = _frame_number(step.start_frame), _frame_number(step.end_frame)
            if first is None or last is None:
                episode.flags.add("annotation_unreadable")
            else:
                inclusive.append((first, last, step.step_description))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        episode.flags.add("annotation_unreadable")
        return [], None
    summary = form_text(response.task_summary or "", spec)
    return _half_open(inclusive, spec), summary


def _frame_number(name: str) -> int | None:
    """The last digits of a picture's name: 23 of `camera_top_0023.jpg`."""
    found = _FRAME_NUMBER.search(name)
    number = int(found.group(1)) if found else _LARGEST_FRAME + 1
    return number if number <= _LARGEST_FRAME else None


def _label_ranges(episode: Episode, spec: LabelRangesSpec) -> list[_Range]:
    record = find_record(episode, spec.files, key=spec.key, key_field="episode_index")
    if record is None:
        return []
    inclusive: list[tuple[int, int, str]] = []
    try:
        annotation = msgspec.json.decode(record, type=_Labelled).annotation or _Annotation()
        for part in annotation.labels:
            label = msgspec.json.decode(part, type=_Label)
            for found in label.ranges:
                if max(abs(found.start), abs(found.end)) > _LARGEST_FRAME:
                    episode.flags.add("annotation_unreadable")
                    continue
                inclusive += [
                    (found.start - 1, found.end - 1, text) for text in label.timelinelabels
                ]
    except (msgspec.MsgspecError, ValueError, RecursionError):
        episode.flags.add("annotation_unreadable")
        return []
    return _half_open(inclusive, spec)


def _half_open(inclusive: Sequence[tuple[int, int, str]], form: TextForm) -> list[_Range]:
    """End each range one past its last frame, or right where another one begins on that frame."""
    starts = {start for start, _, _ in inclusive}
    ranges: list[_Range] = []
    for start, last, text in inclusive:
        formed = form_text(text, form)
        shared = last > start and last in starts
        end = last if shared else last + 1
        if formed is None and end <= start:
            formed = Formed("", None, form.language)  # it says nothing, and says it wrongly
        if formed is not None:
            ranges.append((start, end, formed))
    return ranges
