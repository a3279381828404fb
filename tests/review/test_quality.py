"""What the page of quality says is what people decided, of the facts that it says."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from finedata.review.changes import settle
from finedata.review.decisions import Decisions
from finedata.review.quality import ReviewQuality, review_quality
from finedata.review.queue import in_audit
from finedata.store.dataset import Dataset, open_dataset


@pytest.fixture
def dataset(looked_at: Path, tmp_path: Path) -> Dataset:
    shutil.copytree(looked_at / "annotations", tmp_path / "bridge" / "annotations")
    for name in ("finedata.json", "meta"):
        (tmp_path / "bridge" / name).symlink_to(looked_at / name)
    return open_dataset(tmp_path / "bridge")


def test_quality_is_what_people_said(dataset: Dataset) -> None:
    facts = dataset.facts.sort("fact_id").collect().to_dicts()
    audit = [row for row in facts if in_audit(row["fact_id"])]
    others = [row for row in facts if not in_audit(row["fact_id"])]
    assert len(audit) >= 4
    decisions = Decisions(dataset)
    number = 0

    def say(who: str, row: dict[str, Any], decision: str, **given: Any) -> None:
        nonlocal number
        number += 1
        options: dict[str, Any] = {"review_id": f"q{number}", "reviewer": who, "seconds": 9.0}
        options |= {"revision": row["revision"], "fps": 5.0, "length": 10**6} | given
        decisions.decide(row, decision, **options)

    for k, row in enumerate(audit[:4]):
        say("ana", row, ("accept", "accept", "reject", "edit")[k], changes={"text": "Other words."})
    for row in others[:6]:
        say("ana", row, "reject")
    say("ana", others[6], "skip", reason="dark", seconds=9_999.0)
    say("ana", others[7], "accept")
    decisions.undo(review_id="u", reviewer="ana")
    # the first is a known answer for nobody: ben says the same of it, cy another thing
    say("ben", audit[0], "accept", blind=True)
    say("ben", audit[1], "reject", blind=True)
    say("ben", audit[2], "reject", blind=True)
    say("cy", audit[0], "reject", blind=True)
    say("cy", audit[2], "reject", blind=True)
    found = review_quality(dataset)
    check(found, facts)
    every = review_quality(dataset, share="all")
    assert (every.judged, every.precision[0].right.right) == (10, 2)
    decisions.close()
    settle(dataset)
    assert review_quality(dataset) == found
    assert review_quality(dataset, share="all") == every


def check(found: ReviewQuality, facts: list[dict[str, Any]]) -> None:
    whole = found.precision[0].right
    assert (found.judged, whole.right, whole.facts, whole.value) == (4, 2, 4, 0.5)
    assert sum(one.right.facts for one in found.precision[1:]) == 4
    assert sum(one.right.facts for one in found.kinematic) == 4
    assert (found.kappa.facts, found.kappa.same) == (3, 2 / 3)
    assert found.pairs.keys() == {"ana, ben"}
    assert found.alpha.facts == 3
    people = {one.name: one for one in found.reviewers}
    assert people["ana"].decisions == {"accept": 3, "edit": 1, "reject": 7, "skip": 1, "undo": 1}
    # what ana and ben agree on is known, and cy was right in one of two
    assert (people["cy"].gold.right, people["cy"].gold.facts) == (1, 2)
    # of ben only what ana and cy agree on is known: they agree about one
    assert (people["ben"].gold.right, people["ben"].gold.facts) == (1, 1)
    # 11 facts that were judged, one of them taken back, of nine seconds each
    assert people["ana"].facts_per_hour == pytest.approx(400)
    assert sum(found.remaining.values()) == len(facts) - 10
    assert found.hours_left == pytest.approx((len(facts) - 10) / 400)


def test_nothing_judged_is_said_so(looked_at: Path) -> None:
    found = review_quality(open_dataset(looked_at))
    assert (found.judged, found.kappa.facts, found.reviewers) == (0, 0, [])
    assert found.precision[0].right.value is None
    assert found.hours_left is None
