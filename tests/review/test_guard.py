"""Who may ask, and what is never served."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from finedata.errors import UsageError
from finedata.review.app import make_app
from finedata.review.guard import Guard
from finedata.review.sealed import Limits, ids_where
from finedata.store.dataset import open_dataset

HOST = "http://127.0.0.1:8400"


def client(root: Path, *, token: str = "", base: str = HOST) -> TestClient:
    guard = Guard(host="127.0.0.1", port=8400, token=token)
    return TestClient(make_app(open_dataset(root), guard), base_url=base, follow_redirects=False)


def test_another_name_of_this_machine_is_refused(looked_at: Path) -> None:
    for base in ("http://evil.example:8400", "http://127.0.0.1:9999", "http://localhost.evil:8400"):
        assert client(looked_at, base=base).get("/episodes").status_code == 421
    assert client(looked_at, base="http://localhost:8400").get("/episodes").status_code == 200


def test_beyond_the_loopback_a_token_is_shown(looked_at: Path) -> None:
    asked = client(looked_at, token="sesame", base="http://robots.lab:8400")
    assert asked.get("/episodes").status_code == 401
    assert asked.get("/episodes?token=wrong").status_code == 401
    bearer = {"authorization": "Bearer sesame"}
    assert asked.get("/episodes", headers=bearer).status_code == 200
    entered = asked.get("/episodes?q=cup&token=sesame")
    assert (entered.status_code, entered.headers["location"]) == (303, "/episodes?q=cup")
    assert "HttpOnly" in entered.headers["set-cookie"]
    assert asked.get("/episodes").status_code == 200  # by its cookie


def test_every_answer_has_the_policy(looked_at: Path) -> None:
    for path in ("/episodes", "/static/page.css", "/no/such"):
        policy = client(looked_at).get(path).headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'" in policy
        assert "unsafe" not in policy


def test_no_name_leads_out_of_the_dataset(looked_at: Path) -> None:
    episode_id = open_dataset(looked_at).episodes.collect()["episode_id"][0]
    ways = [
        "../finedata.json",
        "..%2ffinedata.json",
        "%2e%2e/finedata.json",
        "....//x",
        "%00",
        "a\\b",
    ]
    ways += ["..%252ffinedata.json", "/etc/passwd", "%2fetc%2fpasswd", "file:///etc/passwd"]
    for way in ways:
        places = ("/static/", "/episode/", f"/episode/{episode_id}/camera/", "/", "/task/")
        for before in (*places, f"/compare?a={episode_id}&b="):
            answer = client(looked_at).get(f"{before}{way}")
            assert answer.status_code in (404, 405), (before, way, answer.status_code)
            assert b"root:" not in answer.content
            assert b'"converter"' not in answer.content
    for camera, chunk in [(99, 0), (0, 99), (0, 10**12)]:
        path = f"/episode/{episode_id}/camera/{camera}/{chunk}"
        assert client(looked_at).get(path).status_code == 404


def test_a_link_out_of_the_dataset_is_not_followed(looked_at: Path, tmp_path: Path) -> None:
    root = tmp_path / "linked"
    shutil.copytree(looked_at, root)
    (data,) = root.glob("data/*/*.parquet")
    outside = tmp_path / "outside.parquet"
    data.rename(outside)
    data.symlink_to(outside)
    episode_id = open_dataset(root).episodes.collect()["episode_id"][0]
    for path in ("thumbnail", "camera/0/0"):
        answer = client(root).get(f"/episode/{episode_id}/{path}")
        assert answer.status_code == 500
        assert "leads out of the dataset" in answer.text


def test_the_sql_box_ends_at_its_limits(looked_at: Path) -> None:
    with pytest.raises(UsageError, match="at most 1"):
        ids_where(looked_at, "length > 0", limits=Limits(rows=1))
    with pytest.raises(UsageError, match="of memory"):
        ids_where(looked_at, "length > 0", limits=Limits(memory_bytes=200 << 20))
    with pytest.raises(UsageError, match=r"stopped at 0\.01 s"):
        ids_where(looked_at, "length > 0", limits=Limits(seconds=0.01))
