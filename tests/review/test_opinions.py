"""Second opinions and known answers: asked without the first answer, and changing nothing."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from finedata.errors import UsageError
from finedata.review.changes import settle
from finedata.review.guard import Guard
from finedata.review.opinions import known_answers, read_gold, standing_opinions
from finedata.review.queue import in_second_share
from finedata.review.reviewing import make_review_app
from finedata.store.dataset import Dataset, open_dataset

HOST = "http://127.0.0.1:8400"
NUMBERS = itertools.count()


@pytest.fixture
def dataset(looked_at: Path, tmp_path: Path) -> Dataset:
    shutil.copytree(looked_at, tmp_path / "bridge")
    return open_dataset(tmp_path / "bridge")


class People:
    """One server, and who asks it."""

    def __init__(self, dataset: Dataset, gold: dict[str, str] | None = None) -> None:
        guard = Guard(host="127.0.0.1", port=8400)
        app, self.pages = make_review_app(dataset, guard, reviewer="ana", gold=gold or {})
        self.client = TestClient(app, base_url=HOST, follow_redirects=False)
        self.headers = {"origin": HOST, "x-finedata": guard.csrf}

    def as_(self, who: str) -> dict[str, str]:
        return self.headers | {"cookie": f"finedata_reviewer={who.encode().hex()}"}

    def page(self, who: str, fact_id: str) -> bytes:
        return self.client.get(f"/review/{fact_id}", headers=self.as_(who)).content

    def decide(self, who: str, fact_id: str, decision: str, **given: Any) -> Any:
        body = {"review_id": f"r{next(NUMBERS)}", "revision": 0, "decision": decision} | given
        url = f"/review/{fact_id}/decide"
        return self.client.post(url, json=body, headers=self.as_(who))


def shared_fact(dataset: Dataset) -> str:
    ids = dataset.facts.filter(review_status="unreviewed").collect()["fact_id"].to_list()
    return next(one for one in ids if in_second_share(one))


def test_the_first_verdict_is_not_in_the_page_of_a_second_opinion(dataset: Dataset) -> None:
    fact_id = shared_fact(dataset)
    people = People(dataset)
    marked = "Only Ana wrote these words."
    edit = {"changes": {"text": marked, "value": "anas-value"}}
    assert people.decide("ana", fact_id, "edit", **edit).status_code == 200
    assert marked.encode() in people.page("ana", fact_id)
    for settled in (False, True):
        if settled:
            people.pages.close()
            settle(dataset)
            people = People(dataset)
        blind = people.page("ben", fact_id)
        assert b"second opinion" in blind
        for told in (marked.encode(), b"anas-value", b"edited", b"accepted", b'"ana"', b">ana<"):
            assert told not in blind
        assert people.decide("ben", fact_id, "accept").status_code == 409  # not as an ordinary one
    before = dataset.facts.filter(fact_id=fact_id).collect().to_dicts()
    assert people.decide("ben", fact_id, "reject", blind=True).status_code == 200
    assert marked.encode() in people.page("ben", fact_id)  # now it may be seen
    assert people.decide("cy", fact_id, "accept", blind=True).status_code == 409  # two are enough
    people.pages.close()
    settle(dataset)
    assert dataset.facts.filter(fact_id=fact_id).collect().to_dicts() == before
    found = dataset.table("reviews").filter(target_id=fact_id).collect()
    assert sorted(zip(found["reviewer"], found["decision"], found["blind"], strict=True)) == [
        ("ana", "edit", False),
        ("ben", "reject", True),
    ]


def test_a_second_opinion_is_offered_and_can_be_taken_back(dataset: Dataset) -> None:
    fact_id = shared_fact(dataset)
    people = People(dataset)
    people.decide("ana", fact_id, "accept")
    journal = people.pages._decisions.standing
    assert people.pages._opinions.for_second("ben", journal()) == [fact_id]
    assert people.pages._opinions.for_second("ana", journal()) == []
    served: list[str] = []
    for _ in range(8):
        url = people.client.get("/review", headers=people.as_("ben")).headers["location"]
        served.append(url.removeprefix("/review/"))
        blind = b"second opinion" in people.page("ben", served[-1])
        people.decide("ben", served[-1], "accept", blind=blind)
    assert served.index(fact_id) == 7  # the eighth
    undo = people.client.post("/undo", json={"review_id": "u"}, headers=people.as_("ben"))
    assert undo.json() == {"decision": "accept", "fact_id": fact_id}
    assert people.pages._opinions.for_second("ben", journal()) == [fact_id]
    # what the first said can still be taken back: nobody decided over it
    undo = people.client.post("/undo", json={"review_id": "v"}, headers=people.as_("ana"))
    assert undo.json()["fact_id"] == fact_id
    assert people.pages._opinions.for_second("ben", journal()) == []


def test_one_in_twenty_has_a_known_answer(dataset: Dataset) -> None:
    ids = sorted(dataset.facts.collect()["fact_id"].to_list())
    gold = {ids[3]: "reject", ids[7]: "accept"}
    people = People(dataset, gold)
    served: list[str] = []
    for _ in range(40):
        url = people.client.get("/review", headers=people.as_("ben")).headers["location"]
        served.append(url.removeprefix("/review/"))
        blind = b"second opinion" in people.page("ben", served[-1])
        assert blind == (served[-1] in gold)
        assert people.decide("ben", served[-1], "accept", blind=blind).status_code == 200
    assert [n for n, one in enumerate(served, 1) if one in gold] == [20, 40]
    rows = dataset.facts.filter(fact_id=ids[3]).collect()
    assert rows["review_status"].to_list() == ["unreviewed"]


def test_what_two_people_agree_on_is_known() -> None:
    def said(who: str, decision: str, fact: str, *, blind: bool) -> dict[str, Any]:
        return {
            "review_id": f"{who}-{fact}-{decision}", "target_table": "facts", "target_id": fact,
            "decision": decision, "reviewer": who, "blind": blind,
        }  # fmt: skip

    rows = [
        said("ana", "accept", "a", blind=False), said("ben", "accept", "a", blind=True),
        said("ana", "accept", "b", blind=False), said("ben", "reject", "b", blind=True),
        said("ana", "edit", "c", blind=False), said("ben", "edit", "c", blind=True),
        said("ana", "reject", "d", blind=False), said("ben", "reject", "d", blind=True),
        said("ana", "undo", "d", blind=False),
        said("ana", "reject", "e", blind=False), said("ana", "reject", "e", blind=True),
    ]  # fmt: skip
    assert known_answers(standing_opinions(rows), {"g": "reject"}) == {"a": "accept", "g": "reject"}


def test_a_file_of_known_answers_is_read_strictly(tmp_path: Path) -> None:
    path = tmp_path / "gold.jsonl"
    path.write_text(json.dumps({"fact_id": "a", "decision": "accept"}) + "\n\n")
    assert read_gold(path) == {"a": "accept"}
    for wrong in ('{"fact_id": "a"}', '{"fact_id": "a", "decision": "edit"}', "[]", "{"):
        path.write_text(wrong)
        with pytest.raises(UsageError, match="line 1"):
            read_gold(path)
