"""What decisions change: pure rules, from rows and a decision to the rows after it.

A decision holds the whole rows before and after it, and every row after has the next revision. So
decisions that wait in the journal are laid over the stored rows by one rule, a row takes the place
of the one revision before it, and nothing is applied twice however often files and journal are
read. An opinion that was asked for blind changes nothing: it is a row of `reviews` alone.

Steps change together: where one is split or merged those behind it are numbered anew. A step that
became part of another is told from `merged_into`, and is rejected besides, so that no reader of
steps takes it for one; a fact keeps its step, and its frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec
import pyarrow as pa

from finedata.errors import UsageError
from finedata.schema.conform import conform
from finedata.schema.dimension import SLOT_DIMENSION
from finedata.schema.makers import make_fact, make_step, provenance, revised
from finedata.schema.tables.all import arrow_schema
from finedata.store.tables.table import REVISED, compact_reviews

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from finedata.store.dataset import Dataset
    from finedata.store.tables.table import TableWriter

CHANGING = {"accept": "accepted", "edit": "edited", "reject": "rejected"}
"""Decisions about a fact that write it anew, and its `review_status` then."""
EDITABLE = ("text", "value", "start_frame", "end_frame")
"""What a reviewer may change of a fact."""
STEP_CHANGES = ("split", "merge", "move")
"""Decisions about steps."""

Row = dict[str, Any]


def rows_after(decision: Mapping[str, Any]) -> list[Row]:
    """The rows that a decision wrote."""
    return _rows(decision, decision["after"])


def rows_before(decision: Mapping[str, Any]) -> list[Row]:
    """Those rows as they were, as far as they were there."""
    return _rows(decision, decision["before"])


def _rows(decision: Mapping[str, Any], text: str | None) -> list[Row]:
    key = REVISED.get(decision["target_table"])
    if key is None or text is None:
        return []
    held: Any = msgspec.json.decode(text)
    rows: list[Any] = cast("list[Any]", held) if isinstance(held, list) else [held]
    return [row for row in rows if key in row]


def touched(decision: Mapping[str, Any]) -> list[str]:
    """Ids of the rows that a decision is about; of a blind opinion a name of its own."""
    if decision["blind"]:
        return [f"blind {decision['target_id']} {decision['reviewer']}"]
    key = REVISED[decision["target_table"]]
    ids = [row[key] for row in (*rows_before(decision), *rows_after(decision))]
    return list(dict.fromkeys([decision["target_id"], *ids]))


def over(
    rows: Iterable[Mapping[str, Any]],
    decisions: Iterable[Mapping[str, Any]],
    *,
    table: str = "facts",
    anywhere: bool = False,
) -> list[Any]:
    """Rows as they are after decisions that are not in files yet.

    Args:
        rows: Rows of one table, the newest revisions, of some episodes.
        decisions: Rows of `reviews` in their order, of any episodes.
        table: The table.
        anywhere: Take rows that people added to any episode, not to these alone.

    Returns:
        The rows in their order, those that people added last.
    """
    key = REVISED[table]
    now = {row[key]: dict(row) for row in rows}
    episodes = {row["episode_id"] for row in now.values()}
    for decision in decisions:
        if decision["target_table"] != table or decision["blind"]:
            continue
        if decision["target_id"] not in now and decision["decision"] not in ("add", "undo"):
            continue
        for after in rows_after(decision):
            known = now.get(after[key])
            if (anywhere or after["episode_id"] in episodes) and (
                known is None or known["revision"] + 1 == after["revision"]
            ):
                now[after[key]] = after
    return list(now.values())


def settle(dataset: Dataset) -> int:
    """Move the decisions of the journal into files: rows get their revisions, ids stay.

    Killed at any moment and called again, it loses and doubles nothing.

    Returns:
        How many decisions were moved.
    """

    def apply(writer: TableWriter, decisions: list[Row]) -> None:
        made: set[str] = set()
        revisions: dict[str, list[Row]] = {}
        for decision in decisions:
            if decision["blind"]:
                continue
            table = decision["target_table"]
            for row in rows_after(decision):
                name = row[REVISED[table]]
                if row["revision"] == 0 or name in made:
                    made.add(name)
                    writer.add(table, [row])
                else:
                    revisions.setdefault(table, []).append(row)
        for table, rows in revisions.items():
            writer.revise(table, rows)

    return compact_reviews(dataset.root, apply=apply)


def edits_of(changes: Mapping[str, Any], row: Mapping[str, Any], fps: float, length: int) -> Row:
    """Changed columns of a fact; times follow frames, and a verdict on other words is none.

    Raises:
        UsageError: A change of what may not be changed, of nothing, or to what cannot be.
    """
    if unknown := [name for name in changes if name not in EDITABLE]:
        raise UsageError(
            place="an edit", found=f"{unknown[0]!r}", wanted=f"changes of {', '.join(EDITABLE)}"
        )
    edits = {name: value for name, value in changes.items() if value != row[name]}
    if not edits:
        raise UsageError(place="an edit", found="nothing changed", wanted="a change, or accept")
    for name in ("text", "value"):
        if name in edits:
            _check_words(f"an edit of {name}", edits[name])
    start = edits.get("start_frame", row["start_frame"])
    end = edits.get("end_frame", row["end_frame"])
    _check_frames("an edit of frames", start, end, length)
    if "value" in edits:
        edits |= {"value_number": None, "unit": None}
    return edits | {
        "start_s": start / fps,
        "end_s": end / fps,
        "kinematic_verdict": "untestable",
        "measurement": None,
    }


def added_fact(
    like: Mapping[str, Any],
    *,
    slot: str,
    value: str,
    text: str,
    start_frame: int,
    end_frame: int,
    reviewer: str,
    fps: float,
    length: int,
    steps: Sequence[Mapping[str, Any]],
    known: Sequence[Mapping[str, Any]],
) -> Row:
    """A fact that a person adds, of the run of another fact, so that readers take both.

    Args:
        like: A fact of that run.
        slot: Which slot; it names the dimension.
        value: In words.
        text: A sentence that stands for itself.
        start_frame: First frame that it is about.
        end_frame: One past the last.
        reviewer: Who.
        fps: Of the episode.
        length: Frames of the episode.
        steps: Steps of the episode; a fact inside one of its run is anchored to it.
        known: Facts of the episode, whose names are taken.

    Raises:
        UsageError: It has no words, no such slot, or frames that cannot be.
    """
    if slot not in SLOT_DIMENSION:
        raise UsageError(
            place="a fact to add",
            found=f"slot {slot!r}",
            wanted=f"one of {', '.join(SLOT_DIMENSION)}",
        )
    for name, words in (("text", text), ("value", value)):
        _check_words(f"{name} of a fact to add", words)
    _check_frames("frames of a fact to add", start_frame, end_frame, length)
    inside = [
        step
        for step in steps
        if step["run_id"] == like["run_id"]
        and step["merged_into"] is None
        and step["start_frame"] <= start_frame
        and end_frame <= step["end_frame"]
    ]
    taken = {row["fact_id"] for row in known}
    nth = 0
    while True:
        row = make_fact(
            provenance("human", annotator=reviewer, run_id=like["run_id"]),
            episode_id=like["episode_id"],
            dimension=SLOT_DIMENSION[slot],
            slot=slot,
            value=value.strip(),
            text=text.strip(),
            anchor="step" if inside else "episode",
            step=inside[0] if inside else None,
            start_frame=start_frame,
            end_frame=end_frame,
            fps=fps,
            nth=nth,
        )
        if row["fact_id"] not in taken:
            return row | {"review_status": "accepted"}
        nth += 1


def step_change(
    decision: str,
    steps: Sequence[Row],
    step_id: str,
    *,
    frame: int,
    edge: str,
    reviewer: str,
    fps: float,
    length: int,
) -> tuple[list[Row], list[Row]]:
    """Split, merge or move steps of one run.

    Args:
        decision: `split` at a frame, `merge` with the next, or `move` an edge to a frame; an edge
            that the step shares with its neighbour moves with it.
        steps: All steps of the episode as they are now.
        step_id: The step.
        frame: Where it is split, or its edge goes.
        edge: Of `move`: `start` or `end`.
        reviewer: Who.
        fps: Of the episode.
        length: Frames of the episode.

    Returns:
        The rows before, and those rows after it; of a split one more, which is new.

    Raises:
        UsageError: There is no such step, or it cannot be changed in that way.
    """
    target = next((row for row in steps if row["step_id"] == step_id), None)
    if target is None or target["merged_into"] is not None or decision not in STEP_CHANGES:
        raise UsageError(
            place=f"step {step_id!r}",
            found="no such step" if decision in STEP_CHANGES else f"{decision!r}",
            wanted=f"a step of this episode, to {', '.join(STEP_CHANGES)}",
        )
    run = [row for row in steps if row["run_id"] == target["run_id"]]
    standing = sorted(
        (row for row in run if row["merged_into"] is None),
        key=lambda row: (row["step_index"], row["start_frame"]),
    )
    at = standing.index(target)
    if decision == "move":
        changed = _moved(standing, at, frame=frame, edge=edge, length=length)
        return [old for old, _ in changed], [
            _step_of(old, fps, **new, review_status="edited") for old, new in changed
        ]
    if decision == "split":
        if not target["start_frame"] < frame < target["end_frame"]:
            raise UsageError(
                place=f"a split at frame {frame}",
                found=f"a step of {target['start_frame']} to {target['end_frame']}",
                wanted="a frame inside the step",
            )
        second = make_step(
            provenance("human", annotator=reviewer, run_id=target["run_id"]),
            episode_id=target["episode_id"],
            place=len(run),
            step_index=target["step_index"] + 1,
            start_frame=frame,
            end_frame=target["end_frame"],
            fps=fps,
            **{
                name: target[name]
                for name in ("text", "kind", "language", "arm", "primitive_action", "object")
            },
        )
        first = _step_of(target, fps, end_frame=frame, review_status="edited")
        more = [second | {"review_status": "accepted"}]
        by = 1
        before, after = [target], [first]
    else:
        if at + 1 == len(standing):
            raise UsageError(
                place="a merge", found="the last step", wanted="a step with one after it"
            )
        other = standing[at + 1]
        same = target["text"] == other["text"]
        joined = target["text"] if same else f"{target['text'].rstrip(' .;')}; {other['text']}"
        first = _step_of(
            target,
            fps,
            text=joined,
            start_frame=min(target["start_frame"], other["start_frame"]),
            end_frame=max(target["end_frame"], other["end_frame"]),
            review_status="edited",
        )
        gone = revised("steps", other, merged_into=step_id, review_status="rejected")
        more, by = [], -1
        before, after = [target, other], [first, gone]
    behind = [row for row in standing[at + 1 :] if row not in before]
    before += behind
    after += [revised("steps", row, step_index=row["step_index"] + by) for row in behind]
    return before, [*after, *more]


def _moved(
    standing: list[Row], at: int, *, frame: int, edge: str, length: int
) -> list[tuple[Row, dict[str, int]]]:
    target = standing[at]
    if edge not in ("start", "end"):
        raise UsageError(place="an edge to move", found=f"{edge!r}", wanted="start or end")
    near = standing[at - 1] if edge == "start" and at else None
    if edge == "end" and at + 1 < len(standing):
        near = standing[at + 1]
    own, others = ("start_frame", "end_frame") if edge == "start" else ("end_frame", "start_frame")
    changed = [(target, {own: frame})]
    if near is not None and near[others] == target[own]:
        changed.append((near, {others: frame}))
    for row, new in changed:
        moved = row | new
        _check_frames("a move of an edge", moved["start_frame"], moved["end_frame"], length)
    if frame == target[own]:
        raise UsageError(place="a move of an edge", found="the frame where it is", wanted="another")
    return changed


def taken_back(decision: Mapping[str, Any], newest: Mapping[str, Row]) -> list[Row]:
    """The rows that take a decision back: what was there, as a revision of what is there now.

    A row that the decision made stays, rejected; nothing is ever deleted.

    Args:
        decision: The decision.
        newest: Ids of its rows to what they are now.
    """
    table = decision["target_table"]
    key = REVISED[table]
    before = {row[key]: row for row in rows_before(decision)}
    rows: list[Row] = []
    for after in rows_after(decision):
        now = newest[after[key]]
        old = before.get(after[key])
        if old is not None:
            rows.append(old | {"revision": now["revision"] + 1})
        else:
            gone = {"merged_into": decision["target_id"]} if table == "steps" else {}
            rows.append(revised(table, now, **gone, review_status="rejected"))
    return rows


def check_conforms(table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Refuse rows that the table would not take.

    Raises:
        ConformError: One does not conform.
    """
    conform(pa.Table.from_pylist([dict(row) for row in rows], schema=arrow_schema(table)), table)


def _step_of(row: Row, fps: float, **changes: Any) -> Row:
    start = changes.get("start_frame", row["start_frame"])
    end = changes.get("end_frame", row["end_frame"])
    return revised("steps", row, **changes, start_s=start / fps, end_s=end / fps)


def _check_words(place: str, words: object) -> None:
    if not (isinstance(words, str) and words.strip()):
        raise UsageError(place=place, found="nothing", wanted="words")


def _check_frames(place: str, start: object, end: object, length: int) -> None:
    whole = all(isinstance(one, int) and not isinstance(one, bool) for one in (start, end))
    if not whole or not 0 <= cast("int", start) < cast("int", end) <= length:
        raise UsageError(
            place=place, found=f"{start} to {end}", wanted=f"frames in order, from 0 to {length}"
        )
