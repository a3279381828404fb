"""A dataset on the Hub is looked at where it lies, and the pages are those of the local one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hub.conftest import hub as _hub
from hub.loopback import Hub
from starlette.testclient import TestClient

import finedata
from finedata.errors import UsageError
from finedata.review.app import make_app
from finedata.review.guard import Guard
from finedata.review.serve import serve
from finedata.store.dataset import open_dataset

hub = _hub
ADDRESS = "hf://datasets/org/looked-at"
HOST = "http://127.0.0.1:8400"
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def client(root: Path | str) -> TestClient:
    app = make_app(open_dataset(root), Guard(host="127.0.0.1", port=8400))
    return TestClient(app, base_url=HOST, follow_redirects=False)


def test_pages_of_an_address_are_those_of_the_folder(hub: Hub, looked_at: Path) -> None:
    finedata.publish([looked_at], repo_id="org/looked-at")
    here, there = client(looked_at), client(ADDRESS)
    ids = open_dataset(looked_at).episodes.collect()["episode_id"].to_list()
    first = f"/episode/{ids[0]}"
    for path in (f"{first}/camera/0/0", f"{first}/thumbnail", f"/episode/{ids[-1]}/camera/0/1"):
        mine, theirs = here.get(path), there.get(path)
        assert (mine.status_code, theirs.status_code) == (200, 200)
        assert mine.content == theirs.content
    for path in ("/episodes", "/episodes?q=cup&verdict=pass", first, "/tasks", "/quality"):
        mine, theirs = here.get(path), there.get(path)
        assert theirs.status_code == 200, theirs.text
        # nothing but the dataset's name and the token of writes is another
        assert _plain(mine.text) == _plain(theirs.text)
    assert hub.seen
    hub.seen.clear()
    there.get("/episodes")
    there.get(f"{first}/camera/0/0")
    assert hub.seen == []  # a list and pictures that were seen ask nothing again
    assert there.get("/episode/none").status_code == 404
    with pytest.raises(UsageError, match="read where it lies"):
        serve(open_dataset(ADDRESS), reviewer="ana")


def _plain(page: str) -> list[str]:
    dropped = ('name="csrf"', "<title>", 'class="brand"')
    return [line for line in page.splitlines() if not any(one in line for one in dropped)]
