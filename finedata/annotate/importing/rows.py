"""What a released annotation becomes: rows of steps, traces and instructions, by format.

    finevla           a fine-grained instruction, with its steps
    human-review      the same, written by a person
    refinevla         traces of frames; one that failed or lacks a part is counted, never a row
    lerobot-language  steps with frames, wordings, a fine-grained instruction, traces

Neither of FineVLA's files has times, so their steps are no rows of `steps`.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finedata.annotate.asking.answers import AnswerError, words
from finedata.annotate.importing.ids import Key
from finedata.annotate.importing.released import (
    FineGrained,
    HumanReview,
    LanguageRows,
    Reasoning,
    read_fine_grained,
    read_human_review,
    read_language,
    read_reasoning,
)
from finedata.annotate.trace_text import read_trace
from finedata.errors import ConformError, UsageError
from finedata.schema.makers import make_instruction, make_step, make_trace, provenance
from finedata.store.lerobot.layout import picture_column

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_FINE_GRAINED = "FineGrainedInstruction.jsonl"
_LANGUAGE = "en"
# Times are float32 in LeRobot's files.
_TOLERANCE_S = 1e-4
# (1) reach (2) grasp; 1. reach 2. grasp
_NUMBERED = re.compile(r"(?:^|\s)(?:\((\d+)\)|(\d+)\.)\s")
_NEXT = re.compile(r"\sNext:\s")
_VQA = {
    "what do you see": "observation",
    "what does the situation mean": "situation_analysis",
    "where are the objects": "spatial_reasoning",
}


class Taken:
    """Rows of a run, as they are made.

    Args:
        run_id: Of the run.
        origin: Who made what the files say.
        annotator: By name.
    """

    def __init__(self, *, run_id: str, origin: Any, annotator: str) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {
            name: [] for name in ("steps", "traces", "instructions")
        }
        self.counts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self._said_by = provenance(origin, annotator=annotator, run_id=run_id)

    def add(self, row: Mapping[str, Any], given: Any) -> None:
        """Make the rows of an episode.

        Args:
            row: Of the table `episodes`.
            given: What the file says of it.

        Raises:
            ConformError: It is about more frames than the episode has.
        """
        if isinstance(given, FineGrained | HumanReview):
            self._fine_grained(row, given.steps)
        elif isinstance(given, Reasoning):
            self._traces(row, given.traces, given.place)
        elif isinstance(given, LanguageRows):
            self._language(row, given)

    def _fine_grained(self, row: Mapping[str, Any], steps: list[str]) -> None:
        self._instruction(
            row,
            "fine_grained",
            " ".join(f"({number}) {text}" for number, text in enumerate(steps, start=1)),
            steps=steps,
        )

    def _instruction(
        self, row: Mapping[str, Any], kind: str, text: str, *, order: int = 0, steps: Any = None
    ) -> None:
        made = make_instruction(
            self._said_by,
            episode_id=row["episode_id"],
            kind=kind,
            order=order,
            text=text,
            language=_LANGUAGE,
            steps=steps,
        )
        self.rows["instructions"].append(made)

    def _traces(
        self,
        row: Mapping[str, Any],
        traces: Mapping[int, str],
        place: str,
        *,
        cameras: tuple[str, ...] = (),
    ) -> None:
        if traces and max(traces) >= row["length"]:
            raise ConformError(
                place=place,
                found=f"a trace of frame {max(traces)}",
                wanted=f"frames below {row['length']}, as episode {row['episode_id']} has: "
                "it is about another episode, or another cut of it",
            )
        for frame, text in sorted(traces.items()):
            if not text.strip():
                self.counts["empty_traces"] += 1
                continue
            try:
                trace = read_trace(text)
            except AnswerError as error:
                self.counts["unreadable_traces"] += 1
                self.reasons[f"{error.place}: nothing under its tag"] += 1
                continue
            made = make_trace(
                self._said_by,
                episode_id=row["episode_id"],
                frame_index=frame,
                fps=row["fps"],
                observation=trace.observation,
                situation_analysis=trace.situation_analysis,
                spatial_reasoning=trace.spatial_reasoning,
                task_planning=trace.task_planning,
                logical_steps=trace.logical_steps,
                sub_action=trace.sub_action,
                raw_text=text,
                cameras=cameras,
            )
            self.rows["traces"].append(made)

    def _language(self, row: Mapping[str, Any], given: LanguageRows) -> None:
        if len(given.times_s) != row["length"]:
            raise ConformError(
                place=f"{given.place}, episode {given.episode}",
                found=f"{len(given.times_s)} frames",
                wanted=f"{row['length']}, as episode {row['episode_id']} has",
            )
        styles: dict[str, list[tuple[int, str]]] = {}
        for said in given.persistent:
            text = words(said.get("content") or "")
            frame = bisect_left(given.times_s, float(said["timestamp"] or 0.0) - _TOLERANCE_S)
            if text and frame < row["length"]:
                styles.setdefault(str(said.get("style")), []).append((frame, text))
        self._steps(row, styles.pop("subtask", []))
        for order, (_, text) in enumerate(styles.pop("task_aug", [])):
            self._instruction(row, "alternative", text, order=order)
        self._plans(row, styles.pop("plan", []), given)
        for style, texts in styles.items():
            self.counts[f"rows_{style}_left_out"] += len(texts)

    def _steps(self, row: Mapping[str, Any], texts: list[tuple[int, str]]) -> None:
        """Each lasts until the next one that begins later, the last ones to the end."""
        starts = sorted({frame for frame, _ in texts})
        ends = dict(zip(starts, [*starts[1:], row["length"]], strict=True))
        for place, (frame, text) in enumerate(texts):
            made = make_step(
                self._said_by,
                episode_id=row["episode_id"],
                place=place,
                start_frame=frame,
                end_frame=ends[frame],
                fps=row["fps"],
                text=text,
                kind="subtask",
                language=_LANGUAGE,
            )
            self.rows["steps"].append(made)

    def _plans(
        self, row: Mapping[str, Any], plans: list[tuple[int, str]], given: LanguageRows
    ) -> None:
        """A plan with the three answers beside it is a trace; one in steps at 0 an instruction."""
        traces: dict[int, str] = {}
        cameras: tuple[str, ...] = ()
        whole = False
        for frame, text in plans:
            parts, seen = _answers(given.events.get(frame, []))
            plan, *behind = _NEXT.split(text)
            if len(parts) == len(_VQA) and behind:
                traces[frame] = _as_trace(parts, plan, behind[-1])
                cameras = cameras or seen
            elif frame == 0 and not whole and (steps := _listed(plan)):
                whole = True
                self._fine_grained(row, steps)
            else:
                self.counts["rows_plan_left_out"] += 1
        self._traces(row, traces, given.place, cameras=cameras)
        events = sum(map(len, given.events.values()))
        self.counts["events_left_out"] += events - 2 * len(_VQA) * len(traces)


def _answers(events: Iterable[Mapping[str, Any]]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The three parts of a trace among questions and answers of a frame, and the camera."""
    parts: dict[str, str] = {}
    cameras: tuple[str, ...] = ()
    asked = ""
    for event in events:
        text = words(event.get("content") or "")
        if event.get("style") != "vqa":
            continue
        if event.get("role") == "user":
            asked = text.casefold()
            continue
        name = next((name for begin, name in _VQA.items() if asked.startswith(begin)), None)
        if name is not None and text:
            parts[name] = text
            camera = str(event.get("camera") or "").removeprefix(picture_column(""))
            cameras = (camera,) if camera else ()
    return parts, cameras


def _as_trace(parts: Mapping[str, str], plan: str, after: str) -> str:
    """The tagged form, which has one reader."""
    steps = "".join(f"<{number}> {text} " for number, text in enumerate(_listed(plan), start=1))
    planning = _NUMBERED.split(plan)[0].strip()
    return (
        f"<Observation> {parts['observation']}\n"
        f"<Situation Analysis> {parts['situation_analysis']}\n"
        f"<Spatial Reasoning> {parts['spatial_reasoning']}\n"
        f"<Task Planning> {planning}\n<logical_steps> {steps}\n<sub_action> {after}"
    )


def _listed(text: str) -> list[str]:
    """The steps of a numbered text; none where it is not numbered from 1."""
    pieces = _NUMBERED.split(text)
    numbers = [int(one or other) for one, other in zip(pieces[1::3], pieces[2::3], strict=True)]
    steps = [words(piece) for piece in pieces[3::3]]
    return steps if steps and numbers == list(range(1, len(steps) + 1)) and all(steps) else []


@dataclass(frozen=True)
class Format:
    """A released form.

    Attributes:
        read: (place, files by name, rows) to the ids of the files and what these say of each.
        pattern: Of its files below a folder.
        origin: Who made what it says.
        annotator: By name.
    """

    read: Callable[[Path, Mapping[str, Path], Taken], Iterable[Key]]
    pattern: str
    origin: Any
    annotator: str


def released_files(place: Path, known: Format) -> dict[str, Path]:
    """The files of a format at a place, by their names below it.

    Raises:
        UsageError: There is none.
    """
    if place.is_file():
        return {place.name: place}
    found = {path.relative_to(place).as_posix(): path for path in sorted(place.glob(known.pattern))}
    if not found:
        raise UsageError(place=str(place), found="no such file", wanted=known.pattern)
    return found


def _of_fine_grained(place: Path, files: Mapping[str, Path], taken: Taken) -> Iterable[Key]:
    del place, taken
    for path in files.values():
        folder = path.resolve().parent
        folder = folder.parent if folder.name == "meta" else folder
        for one in read_fine_grained(path):
            name = f"{folder.name}#{one.episode}"
            mine = one.episode_id
            # Folders are told apart by as much of their path as both sides have.
            yield Key(name=name, given=one, text=mine, folder=folder.as_posix(), number=one.episode)


def _of_review(place: Path, files: Mapping[str, Path], taken: Taken) -> Iterable[Key]:
    del place, taken
    for path in files.values():
        for one in read_human_review(path):
            yield Key(name=one.sample_id, given=one, text=one.sample_id)


def _of_reasoning(place: Path, files: Mapping[str, Path], taken: Taken) -> Iterable[Key]:
    del taken
    folder = place.parent if place.is_file() else place
    for one in read_reasoning(folder):
        if Path(one.place) not in files.values() and not place.is_dir():
            continue
        name = f"{one.file}_{one.record}"
        yield Key(name=name, given=one, text=one.episode_id, shard=one.file, record=one.record)


def _of_language(place: Path, files: Mapping[str, Path], taken: Taken) -> Iterable[Key]:
    del place, taken
    for root in sorted({path.resolve().parents[2] for path in files.values()}):
        ids = _episode_ids(root)
        for one in read_language(root):
            yield Key(
                name=f"{root.name}#{one.episode}",
                given=one,
                text=ids.get(one.episode),
                folder=root.as_posix(),
                number=one.episode,
            )


def _episode_ids(root: Path) -> dict[int, str]:
    """Our own ids, where finedata wrote the LeRobot dataset."""
    import polars as pl

    found: dict[int, str] = {}
    for path in sorted(root.glob("meta/episodes/*/*.parquet")):
        if "episode_id" in pl.read_parquet_schema(path):
            rows = pl.read_parquet(path, columns=["episode_index", "episode_id"])
            found |= dict(rows.iter_rows())
    return found


FORMATS: dict[str, Format] = {
    "finevla": Format(_of_fine_grained, f"**/{_FINE_GRAINED}", "teacher", "FineVLA"),
    "human-review": Format(_of_review, "**/*.json*", "human", "FineVLA Human_Review"),
    "refinevla": Format(_of_reasoning, "**/*_*.json", "teacher", "ReFineVLA"),
    "lerobot-language": Format(
        _of_language, "**/data/*/*.parquet", "teacher", "LeRobot language columns"
    ),
}
"""Every format by its name on the command line."""
