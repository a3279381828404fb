"""Steps split, merged and moved, facts added, and all of it taken back."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finedata.errors import StaleRowError, UsageError
from finedata.review.changes import over, settle
from finedata.review.decisions import Decisions
from finedata.store.dataset import Dataset, open_dataset
from finedata.store.text_policy import passing_rows

NUMBERS = itertools.count()


@pytest.fixture
def dataset(looked_at: Path, tmp_path: Path) -> Dataset:
    return light_copy(looked_at, tmp_path / "bridge")


def light_copy(looked_at: Path, root: Path) -> Dataset:
    """A dataset whose annotations can be written; no picture is copied."""
    shutil.copytree(looked_at / "annotations", root / "annotations")
    for name in ("finedata.json", "meta"):
        (root / name).symlink_to(looked_at / name)
    return open_dataset(root)


def rows_of(dataset: Dataset, table: str, episode_id: str) -> list[dict[str, Any]]:
    return dataset.table(table).filter(episode_id=episode_id).collect().to_dicts()


def standing(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = [row for row in steps if row["merged_into"] is None]
    return sorted(found, key=lambda row: row["step_index"])


def long_episode(dataset: Dataset) -> tuple[str, float, int]:
    counted = dataset.steps.collect().group_by("episode_id").len().sort("len", "episode_id")
    episode_id = str(counted["episode_id"][-1])
    row = dataset.episode(episode_id).row
    return episode_id, float(row["fps"]), int(row["length"])


def change(
    decisions: Decisions, stored: list[dict[str, Any]], decision: str, at: int, **given: Any
) -> list[dict[str, Any]]:
    now = over(stored, decisions.waiting, table="steps")
    options: dict[str, Any] = {"frame": 0, "edge": "", "reviewer": "ana", "fps": 5.0}
    options |= {"review_id": f"s{next(NUMBERS)}", "length": 10_000}
    options |= {"seen": {row["step_id"]: row["revision"] for row in now}} | given
    return decisions.change_steps(stored, decision, step_id=standing(now)[at]["step_id"], **options)


def shape(steps: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [
        (row["text"], row["start_frame"], row["end_frame"], row["start_s"], row["step_index"])
        for row in standing(steps)
    ]


def test_steps_are_split_merged_and_moved_and_their_facts_follow(dataset: Dataset) -> None:
    episode_id, fps, length = long_episode(dataset)
    stored = rows_of(dataset, "steps", episode_id)
    first, second, *rest = shape(stored)
    middle = (first[1] + first[2]) // 2
    decisions = Decisions(dataset)
    given: dict[str, Any] = {"fps": fps, "length": length}
    now = change(decisions, stored, "split", 0, frame=middle, **given)
    assert shape(now)[:3] == [
        (first[0], first[1], middle, first[3], 0),
        (first[0], middle, first[2], middle / fps, 1),
        (*second[:4], 2),
    ]
    now = change(decisions, stored, "move", 1, edge="end", frame=first[2] + 1, **given)
    assert [row[1:3] for row in shape(now)[1:3]] == [
        (middle, first[2] + 1),
        (first[2] + 1, second[2]),
    ]
    now = change(decisions, stored, "merge", 1, **given)
    assert shape(now)[1][:3] == (f"{first[0].rstrip(' .;')}; {second[0]}", middle, second[2])
    assert [row[4] for row in shape(now)] == list(range(len(rest) + 2))
    decisions.close()
    assert settle(dataset) == 3
    assert sorted(rows_of(dataset, "steps", episode_id), key=lambda row: row["step_id"]) == sorted(
        now, key=lambda row: row["step_id"]
    )
    # facts of the step that was merged belong to the one that it became part of
    gone = next(row for row in now if row["merged_into"] is not None)
    moved = [
        row for row in rows_of(dataset, "facts", episode_id) if row["step_id"] == gone["step_id"]
    ]
    assert moved == []
    shown = passing_rows(dataset, "steps").filter(episode_id=episode_id).collect()
    assert gone["step_id"] not in shown["step_id"].to_list()
    assert shown.height == len(standing(now))


STEP_ACTS = st.lists(
    st.tuples(
        st.sampled_from(["split", "merge", "move", "undo", "undo"]),
        st.integers(0, 5),
        st.integers(0, 40),
        st.sampled_from(["start", "end"]),
    ),
    max_size=10,
)


@settings(max_examples=12)
@given(acts=STEP_ACTS)
def test_every_change_of_steps_can_be_taken_back(
    looked_at: Path, tmp_path_factory: pytest.TempPathFactory, acts: list[Any]
) -> None:
    dataset = light_copy(looked_at, tmp_path_factory.mktemp("steps") / "bridge")
    episode_id, fps, length = long_episode(dataset)
    stored = rows_of(dataset, "steps", episode_id)
    past = [shape(stored)]
    decisions = Decisions(dataset)
    for act, at, frame, edge in acts:
        if act == "undo":
            taken = decisions.undo(review_id=f"u{next(NUMBERS)}", reviewer="ana")
            assert (taken is None) == (len(past) == 1)
            past = past[: max(1, len(past) - 1)]
        else:
            options = {"frame": frame, "edge": edge, "fps": fps, "length": length}
            try:
                now = change(decisions, stored, act, at % len(past[-1]), **options)
            except UsageError:
                continue  # and nothing was written
            past.append(shape(now))
        now = over(stored, decisions.waiting, table="steps")
        assert shape(now) == past[-1]
        assert [row[4] for row in shape(now)] == list(range(len(shape(now))))
        assert all(row[1] < row[2] for row in shape(now))
    decisions.close()
    settle(dataset)
    assert shape(rows_of(dataset, "steps", episode_id)) == past[-1]


def test_who_changes_steps_that_another_changed_is_told(dataset: Dataset) -> None:
    episode_id, fps, length = long_episode(dataset)
    stored = rows_of(dataset, "steps", episode_id)
    ana, ben = Decisions(dataset), Decisions(dataset)  # two servers
    seen = {row["step_id"]: row["revision"] for row in stored}
    options: dict[str, Any] = {"fps": fps, "length": length, "seen": seen}
    change(ana, stored, "merge", 0, **options)
    with pytest.raises(StaleRowError, match="revision 1 of it"):
        change(ben, stored, "merge", 0, reviewer="ben", **options)
    options.pop("seen")
    change(ben, stored, "merge", 0, reviewer="ben", **options)
    with pytest.raises(StaleRowError, match="another reviewer"):
        ana.undo(review_id="u", reviewer="ana")
    assert (ben.undo(review_id="v", reviewer="ben") or {})["decision"] == "merge"
    assert (ana.undo(review_id="u", reviewer="ana") or {})["decision"] == "merge"
    assert shape(over(stored, ben.waiting, table="steps")) == shape(stored)


@pytest.mark.parametrize(
    ("decision", "at", "given"),
    [
        ("split", 0, {"frame": 0}),
        ("split", 0, {"frame": 9999}),
        ("merge", -1, {}),
        ("move", 0, {"edge": "middle", "frame": 1}),
        ("move", 0, {"edge": "end", "frame": 9999}),
        ("move", 1, {"edge": "start", "frame": 0}),
        ("move", 0, {"edge": "start", "frame": 0}),
        ("turn", 0, {}),
    ],
)
def test_a_change_of_steps_that_cannot_be_is_refused(
    dataset: Dataset, decision: str, at: int, given: dict[str, Any]
) -> None:
    episode_id, fps, length = long_episode(dataset)
    stored = rows_of(dataset, "steps", episode_id)
    decisions = Decisions(dataset)
    with pytest.raises(UsageError):
        change(decisions, stored, decision, at, fps=fps, length=length, **given)
    assert decisions.waiting == []


def test_a_fact_is_added_edited_and_taken_back_before_it_is_in_files(dataset: Dataset) -> None:
    episode_id, fps, length = long_episode(dataset)
    facts, steps = (rows_of(dataset, name, episode_id) for name in ("facts", "steps"))
    like = next(row for row in facts if row["run_id"] == steps[0]["run_id"])
    inside = standing(steps)[1]
    decisions = Decisions(dataset)
    words: dict[str, Any] = {"slot": "color", "value": "red", "text": "The cup is red.", "fps": fps}
    words |= {"start_frame": inside["start_frame"], "end_frame": inside["end_frame"]}
    words |= {"length": length, "reviewer": "ana", "facts": facts, "steps": steps}
    first = decisions.add(like, review_id="a1", **words)
    assert decisions.add(like, review_id="a1", **words) == first  # a client without an answer
    second = decisions.add(like, review_id="a2", **words | {"text": "It is dark red."})
    assert first["fact_id"] != second["fact_id"]
    assert (first["anchor"], first["step_id"]) == ("step", inside["step_id"])
    assert (first["origin"], first["dimension"]) == ("human", "target_object")
    decisions.decide(
        first, "edit", review_id="e", reviewer="ben", revision=0, changes={"value": "dark red"},
        fps=fps, length=length,
    )  # fmt: skip
    assert (decisions.undo(review_id="u", reviewer="ana") or {})["target_id"] == second["fact_id"]
    for wrong in (
        {"slot": "smell"}, {"value": " "}, {"text": ""}, {"end_frame": length + 1},
        {"start_frame": -1}, {"start_frame": inside["end_frame"]},
    ):  # fmt: skip
        with pytest.raises(UsageError):
            decisions.add(like, review_id="w", **words | wrong)
    decisions.close()
    assert settle(dataset) == 4
    now = {row["fact_id"]: row for row in rows_of(dataset, "facts", episode_id)}
    assert len(now) == len(facts) + 2
    edited = now[first["fact_id"]]
    assert (edited["value"], edited["revision"], edited["review_status"]) == (
        "dark red",
        1,
        "edited",
    )
    assert now[second["fact_id"]]["review_status"] == "rejected"
    passing = passing_rows(dataset, "facts").collect()["fact_id"].to_list()
    assert first["fact_id"] in passing
    assert second["fact_id"] not in passing
