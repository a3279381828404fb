"""Decisions: none that was acknowledged is lost, or applied twice, or overruled unseen."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finedata.errors import StaleRowError, UsageError
from finedata.review.changes import over, settle
from finedata.review.decisions import Decisions
from finedata.review.queue import LEASE_S, Leases, Queue, in_audit
from finedata.review.status import review_status
from finedata.store.dataset import Dataset, open_dataset

NUMBERS = itertools.count()


@pytest.fixture
def dataset(looked_at: Path, tmp_path: Path) -> Dataset:
    shutil.copytree(looked_at, tmp_path / "bridge")
    return open_dataset(tmp_path / "bridge")


def facts(dataset: Dataset) -> list[dict[str, Any]]:
    return dataset.facts.sort("fact_id").head(6).collect().to_dicts()


def decide(decisions: Decisions, fact: dict[str, Any], decision: str, **given: Any) -> Any:
    options = {"reviewer": "ana", "revision": fact["revision"], "fps": 5.0, "length": 10**6}
    options |= {"review_id": f"r{next(NUMBERS)}"} | given
    return decisions.decide(fact, decision, **options)


def test_a_decision_becomes_a_revision_with_the_same_id(dataset: Dataset) -> None:
    first, second, third, fourth, *_ = facts(dataset)
    before = dataset.facts.collect().height
    decisions = Decisions(dataset)
    decide(decisions, first, "accept")
    changes = {"text": "It is said better.", "start_frame": 1, "end_frame": 3}
    decide(decisions, second, "edit", changes=changes)
    decide(decisions, third, "reject")
    decide(decisions, fourth, "skip", reason="too dark")
    shown = over(facts(dataset), decisions.waiting)
    assert review_status(dataset).in_journal == 4
    status = review_status(dataset).by_status
    decisions.close()
    assert settle(dataset) == 4
    assert settle(dataset) == 0
    rows = facts(dataset)
    assert rows == shown
    assert over(rows, dataset.table("reviews").collect().to_dicts()) == rows
    assert [row["review_status"] for row in rows[:4]] == [
        "accepted", "edited", "rejected", "unreviewed",
    ]  # fmt: skip
    assert [row["revision"] for row in rows[:4]] == [1, 1, 1, 0]
    assert rows[1]["text"] == "It is said better."
    assert (rows[1]["start_s"], rows[1]["end_s"]) == (0.2, 0.6)
    assert rows[1]["kinematic_verdict"] == "untestable"  # it was about other words
    assert rows[1]["measurement"] is None
    assert dataset.facts.collect().height == before
    assert review_status(dataset).by_status == status
    assert review_status(dataset).reviewers == {"ana": 4}


def test_of_two_who_decide_at_once_the_second_is_told(dataset: Dataset) -> None:
    [fact, *_] = facts(dataset)
    ana, ben = Decisions(dataset), Decisions(dataset)  # two servers
    decide(ana, fact, "accept", reviewer="ana")
    with pytest.raises(StaleRowError, match="revision 1 of it, accepted"):
        decide(ben, fact, "reject", reviewer="ben")
    decide(ben, fact, "reject", reviewer="ben", revision=1)
    assert [row["reviewer"] for row in ana.waiting] == ["ana", "ben"]
    with pytest.raises(StaleRowError, match="another reviewer"):
        ana.undo(review_id="u", reviewer="ana")


def test_the_same_request_again_is_one_decision(dataset: Dataset) -> None:
    [fact, *_] = facts(dataset)
    decisions = Decisions(dataset)
    for _ in range(2):
        assert decide(decisions, fact, "accept", review_id="once")["revision"] == 1
    assert len(decisions.waiting) == 1


@pytest.mark.parametrize(
    ("decision", "given"),
    [
        ("praise", {}),
        ("skip", {"reason": " "}),
        ("edit", {"changes": {}}),
        ("edit", {"changes": {"text": "  "}}),
        ("edit", {"changes": {"episode_id": "another"}}),
        ("edit", {"changes": {"start_frame": -1}}),
        ("edit", {"changes": {"start_frame": 5, "end_frame": 5}}),
        ("edit", {"changes": {"end_frame": 10**7}}),
        ("edit", {"changes": {"end_frame": 2.5}}),
    ],
)
def test_what_cannot_be_is_refused_and_not_written(
    dataset: Dataset, decision: str, given: dict[str, Any]
) -> None:
    decisions = Decisions(dataset)
    with pytest.raises(UsageError):
        decide(decisions, facts(dataset)[0], decision, **given)
    assert decisions.waiting == []


ACTS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["accept", "reject", "edit", "skip", "undo"])),
    max_size=12,
)


@settings(max_examples=15)
@given(acts=ACTS)
def test_undo_gives_back_what_was_there(
    looked_at: Path, tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[int, str]]
) -> None:
    """A model of three facts, each a stack of texts and states, against journal and files."""
    root = tmp_path_factory.mktemp("undo") / "bridge"
    shutil.copytree(looked_at / "annotations", root / "annotations")
    for name in ("finedata.json", "meta"):
        (root / name).symlink_to(looked_at / name)
    dataset = open_dataset(root)
    rows = facts(dataset)[:3]
    model = [[(row["text"], row["review_status"])] for row in rows]
    done: list[int] = []
    decisions = Decisions(dataset)
    for number, (at, act) in enumerate(acts):
        if act == "undo":
            taken = decisions.undo(review_id=f"u{number}", reviewer="ana")
            assert (taken and taken["target_id"]) == (rows[done[-1]]["fact_id"] if done else None)
            if done:
                model[done.pop()].pop()
            continue
        [now] = over([rows[at]], decisions.waiting)
        text, state = model[at][-1]
        given: dict[str, Any] = {"revision": now["revision"]}
        if act == "edit":
            given["changes"] = {"text": f"text {number}"}
            text, state = f"text {number}", "edited"
        elif act == "skip":
            given["reason"] = "dark"
        else:
            state = {"accept": "accepted", "reject": "rejected"}[act]
        decide(decisions, rows[at], act, **given)
        model[at].append((text, state))
        done.append(at)
    decisions.close()
    settle(dataset)
    found = [(row["text"], row["review_status"]) for row in facts(dataset)[:3]]
    assert found == [stack[-1] for stack in model]


def test_two_people_never_hold_one_fact(dataset: Dataset) -> None:
    clock = [0.0]
    here, there = (Leases(dataset, now=lambda: clock[0]) for _ in range(2))
    assert here.take("f", "ana")
    assert not there.take("f", "ben")
    assert there.take("f", "ana")
    clock[0] = LEASE_S + 1
    assert there.take("f", "ben")
    assert not here.take("f", "ana")
    there.give_back("f", "ben")
    assert here.take("f", "ana")


def test_the_queue_begins_with_doubt_and_holds_each_fact_once(dataset: Dataset) -> None:
    queue = Queue(dataset)
    order = [fact_id for fact_id, _ in queue.waiting(lambda _: False)]
    rows = dataset.facts.collect()
    assert sorted(order) == sorted(rows["fact_id"].to_list())
    verdicts = dict(rows.select("fact_id", "kinematic_verdict").iter_rows())
    doubtful = [one for one in order if not in_audit(one)]
    contradicted = rows.filter(pl.col("kinematic_verdict") == "contradicted")["fact_id"].to_list()
    first = [one for one in contradicted if not in_audit(one)]
    assert sorted(doubtful[: len(first)]) == sorted(first)
    assert verdicts[order[0]] == "contradicted"
    audited = [one for one in order if in_audit(one)]
    if audited:
        assert order.index(audited[0]) == 9  # the tenth
    left = [one for one, _ in queue.waiting(lambda one: one in order[:5])]
    assert left[0] == order[5]


def test_an_audit_share_is_a_twentieth() -> None:
    drawn = sum(in_audit(f"{number:016x}") for number in range(20_000))
    assert 900 < drawn < 1_200  # a byte modulo 20: 13 of 256
