"""FineVLA's `Human_Review`: what people have reviewed, in the form that its tools read, and back.

    [{"sample_id": "...", "Human_Review": ["...", ...], "meta": {"instruction_raw", "robot_type"}}]

A record is what a person stands for. Where a person accepted, edited or wrote the fine-grained
instruction of an episode, its steps are that. Else the steps of the run with reviewed rows are,
each with the facts that a person accepted, edited or added, by where they begin; what holds before
all or after all goes to the first or last step. An episode of which no person said anything has no
record.

Back, a record says how that instruction has to be: one that is the same is accepted, another one
edited, a missing one added, each by a decision of its own in `reviews`, so that the same file twice
changes nothing. Released files are read by `annotate.released`, and their ids by
`annotate.import_ids`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from finedata.annotate.export.choose import chosen_rows
from finedata.annotate.importing.ids import Episodes, Key
from finedata.annotate.importing.released import read_human_review
from finedata.errors import UsageError
from finedata.review.changes import settle
from finedata.schema.identity import hash16
from finedata.schema.makers import make_instruction, provenance, revised
from finedata.store.atomic import write_atomic
from finedata.store.tables.table import append_rows, undo_unfinished

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from finedata.annotate.importing.ids import By, Unmatched
    from finedata.store.dataset import Dataset

__all__ = ["ReviewExport", "ReviewImport", "export_human_review", "import_human_review"]

_BY_PEOPLE = ("accepted", "edited")
_FIRST, _LAST = ("episode_start",), ("episode_end", "episode")
_TOLD = 10


class ReviewExport(msgspec.Struct, frozen=True):
    """What was exported.

    Attributes:
        out: The file.
        records: Episodes in it.
        steps: Their steps.
        facts: Reviewed facts in these.
        unreviewed: Episodes of which no person said anything.
    """

    out: str
    records: int
    steps: int
    facts: int
    unreviewed: int


class ReviewImport(msgspec.Struct, frozen=True):
    """What was taken over.

    Attributes:
        records: Records of the file.
        accepted: Instructions that were the same, and nobody had accepted.
        edited: Instructions that are as the file says now.
        added: Instructions that were missing.
        unchanged: Instructions that were so already.
        unmatched: Ids that mean no episode of the dataset.
    """

    records: int
    accepted: int
    edited: int
    added: int
    unchanged: int
    unmatched: int


def export_human_review(dataset: Dataset, out: Path) -> ReviewExport:
    """Write what people reviewed as `Human_Review` records.

    Args:
        dataset: The dataset; decisions that wait in its journal go into files before.
        out: The file, JSON; an old one is replaced.

    Raises:
        OutputError: It cannot be written.
    """
    settle(dataset)
    columns = ("episode_id", "task", "embodiment")
    episodes = dataset.episodes.select(columns).collect().to_dicts()
    ids = [row["episode_id"] for row in episodes]
    wordings = _wordings(dataset)
    stepwise, facts_of = _stepwise(dataset, ids)
    records: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()
    for row in episodes:
        one = wordings.get(row["episode_id"])
        if one is not None and _of_people(one):
            steps = _steps_of(one)
        elif row["episode_id"] in stepwise:
            steps = stepwise[row["episode_id"]]
            counts["facts"] += facts_of[row["episode_id"]]
        else:
            counts["unreviewed"] += 1
            continue
        counts["steps"] += len(steps)
        records.append(
            {
                "sample_id": row["episode_id"],
                "Human_Review": steps,
                "meta": {"instruction_raw": row["task"], "robot_type": row["embodiment"]},
            }
        )
    write_atomic(out, msgspec.json.format(msgspec.json.encode(records), indent=2) + b"\n")
    return ReviewExport(
        str(out), len(records), counts["steps"], counts["facts"], counts["unreviewed"]
    )


def import_human_review(
    dataset: Dataset,
    released: Path,
    *,
    reviewer: str,
    by: By = "source",
    ids: Path | None = None,
    unmatched: Unmatched = "refuse",
) -> ReviewImport:
    """Take decisions over out of a file of `Human_Review` records.

    Args:
        dataset: The dataset; decisions that wait in its journal go into files before.
        released: The file: finedata's own, edited or not, or FineVLA's.
        reviewer: Who decided.
        by: As for `annotate.run_import.import_annotations`.
        ids: The same.
        unmatched: The same.

    Raises:
        UsageError: There is no such file, or ids mean no episode, with counts; nothing was
            written.
        ConformError: A record has no steps, or two mean one episode.
        OutputError: It cannot be written.
    """
    undo_unfinished(dataset.root)
    settle(dataset)
    matched = Episodes(dataset, by=by, ids=ids)
    records = read_human_review(released)
    found = [matched.of(Key(name=one.sample_id, given=one, text=one.sample_id)) for one in records]
    if matched.missing and not (unmatched == "skip" and any(found)):
        told = ", ".join(name for name, _ in matched.missing[:_TOLD])
        raise UsageError(
            place=str(released),
            found=f"{len(matched.missing)} of {len(records)} ids mean no episode of "
            f"{dataset.root}: {told}",
            wanted="ids of this dataset's episodes; nothing was written",
            next_command="--unmatched skip takes the others" if any(found) else matched.advice(),
        )
    wordings = _wordings(dataset)
    runs = _runs(dataset)
    counts: Counter[str] = Counter()
    with append_rows(dataset.root, ("instructions", "reviews")) as writer:
        for one in found:
            if one is None:
                continue
            steps: list[str] = one.given.steps
            old = wordings.get(one.episode_id)
            if old is None:
                run_id = runs.get(one.episode_id, hash16("human review"))
                made = make_instruction(
                    provenance("human", annotator=reviewer, run_id=run_id),
                    episode_id=one.episode_id,
                    kind="fine_grained",
                    order=0,
                    text=_joined(steps),
                    language="en",
                    steps=steps,
                )
                new, decision = made | {"review_status": "accepted"}, "add"
                writer.add("instructions", [new])
            else:
                same = _steps_of(old) == steps
                if same and _of_people(old):
                    counts["unchanged"] += 1
                    continue
                decision = "accept" if same else "edit"
                changes = {} if same else {"steps": steps, "text": _joined(steps)}
                status = "accepted" if same else "edited"
                new = revised("instructions", old, **changes, review_status=status)
                writer.revise("instructions", [new])
            counts[decision] += 1
            writer.add("reviews", [_decision(old, new, decision, reviewer)])
    return ReviewImport(
        records=len(records),
        accepted=counts["accept"],
        edited=counts["edit"],
        added=counts["add"],
        unchanged=counts["unchanged"],
        unmatched=len(matched.missing),
    )


def _wordings(dataset: Dataset) -> dict[str, dict[str, Any]]:
    """The fine-grained instruction of each episode that has one that nobody rejected.

    Of several, one that a person stands for, then the lower order, then the lower id: what
    exports choose too.
    """
    rows = dataset.instructions.filter(
        (pl.col("kind") == "fine_grained") & (pl.col("review_status") != "rejected")
    ).collect()
    found: dict[str, dict[str, Any]] = {}
    ordered = sorted(
        rows.to_dicts(),
        key=lambda row: (not _of_people(row), row["order"], row["instruction_id"]),
    )
    for row in ordered:
        found.setdefault(row["episode_id"], row)
    return found


def _of_people(row: Mapping[str, Any]) -> bool:
    return row["review_status"] in _BY_PEOPLE or row["origin"] == "human"


def _steps_of(row: Mapping[str, Any]) -> list[str]:
    steps: list[str] = row["steps"] or []
    said = [step for step in steps if step.strip()]
    return said or [row["text"]]


def _joined(steps: Sequence[str]) -> str:
    """The text of an instruction in steps, as `annotate` writes it."""
    return " ".join(f"({number}) {text}" for number, text in enumerate(steps, start=1))


def _stepwise(dataset: Dataset, ids: Sequence[str]) -> tuple[dict[str, list[str]], dict[str, int]]:
    """Steps with reviewed facts, of episodes of which a person said something; facts in each."""
    order = ("start_frame", "dimension", "slot", "fact_id")
    facts = {
        episode_id: [row for row in rows if _of_people(row)]
        for episode_id, rows in chosen_rows(dataset, "facts", episode_ids=ids, order=order).items()
    }
    steps = chosen_rows(
        dataset, "steps", episode_ids=ids, order=("start_frame", "step_index", "step_id")
    )
    found: dict[str, list[str]] = {}
    for episode_id in ids:
        reviewed, own = facts.get(episode_id, []), steps.get(episode_id, [])
        if not reviewed and not any(map(_of_people, own)):
            continue
        if not own:
            found[episode_id] = [row["text"] for row in reviewed]
            continue
        said: dict[int, list[str]] = defaultdict(list)
        for row in reviewed:
            said[_place(row, own)].append(row["text"])
        found[episode_id] = [
            _sentence([step["text"], *said[place]]) for place, step in enumerate(own)
        ]
    return found, {episode_id: len(rows) for episode_id, rows in facts.items()}


def _place(fact: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> int:
    if fact["anchor"] in _FIRST:
        return 0
    if fact["anchor"] in _LAST:
        return len(steps) - 1
    begun = [k for k, step in enumerate(steps) if step["start_frame"] <= fact["start_frame"]]
    return begun[-1] if begun else 0


def _sentence(texts: Sequence[str]) -> str:
    """Texts as sentences one after the other, each once."""
    kept = list(dict.fromkeys(" ".join(text.split()) for text in texts if text.strip()))
    return " ".join(text if text[-1] in ".!?" else f"{text}." for text in kept)


def _runs(dataset: Dataset) -> dict[str, str]:
    """The run of each episode's steps or facts: what is added belongs to it."""
    ids = dataset.episodes.select("episode_id").collect()["episode_id"].to_list()
    found: dict[str, str] = {}
    for table in ("facts", "steps"):
        order = ("start_frame",)
        for episode_id, rows in chosen_rows(dataset, table, episode_ids=ids, order=order).items():
            found[episode_id] = rows[0]["run_id"]
    return found


def _decision(
    old: Mapping[str, Any] | None, new: Mapping[str, Any], decision: str, reviewer: str
) -> dict[str, Any]:
    name = f"human review {new['instruction_id']} {new['revision']}"
    return {
        "review_id": f"imported-{hash16(name)}",
        "target_table": "instructions",
        "target_id": new["instruction_id"],
        "target_revision": 0 if old is None else old["revision"],
        "decision": decision,
        "before": None if old is None else msgspec.json.encode(old).decode(),
        "after": msgspec.json.encode(new).decode(),
        "reviewer": reviewer,
        "decided_at": datetime.now(UTC),
        "seconds": None,
        "blind": False,
    }
