"""Faults while publishing: rights, names, limits, a broken server or network, a kill."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hub.conftest import TOKEN
from hub.loopback import Fault, Hub
from hub.publishing import REPO, assert_holds, publish
from hub.repositories import lfs_entry

from finedata.errors import FinedataError, OutputError, UsageError

# The client's own use of its library for HTTP.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


# Rights, names, and whose repository it is.


def no_token_in(caught: pytest.ExceptionInfo[FinedataError], *more: str) -> None:
    said = [str(caught.value), repr(caught.value), *more]
    error: BaseException | None = caught.value
    while error is not None:
        said.append(str(error))
        error = error.__cause__ if error.__suppress_context__ else error.__context__
    assert not [text for text in said if TOKEN in text]


def test_no_token(hub: Hub, bridge: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(UsageError, match="no token"):
        publish(bridge)
    assert hub.seen == []


@pytest.mark.parametrize(
    ("rights", "message"), [({}, r"\(401\)"), ({TOKEN: "read"}, r"\(403\)")], ids=["401", "403"]
)
def test_a_token_without_the_right(
    hub: Hub,
    bridge: Path,
    caplog: pytest.LogCaptureFixture,
    rights: dict[str, str],
    message: str,
) -> None:
    hub.tokens = rights
    with caplog.at_level(logging.DEBUG), pytest.raises(UsageError, match=message) as caught:
        publish(bridge)
    no_token_in(caught, caplog.text)
    assert "hf auth login" in caught.value.next_command


def test_a_server_that_echoes_the_token(hub: Hub, bridge: Path) -> None:
    hub.faults.append(
        Fault("status", "POST /api/repos/create", status=400, message=f"bad token {TOKEN}")
    )
    with pytest.raises(OutputError) as caught:
        publish(bridge)
    no_token_in(caught)


@pytest.mark.parametrize("name", ["bridge", "org/bri dge", "org/a/b", "org/bridge..", "-/x"])
def test_a_refused_name(hub: Hub, bridge: Path, name: str) -> None:
    with pytest.raises(UsageError, match="org/name"):
        publish(bridge, repo_id=name)
    assert hub.count("create") == 0


def test_a_repository_that_holds_something_else(hub: Hub, bridge: Path, shards: Path) -> None:
    repository = hub.make(REPO)
    line = {"content": "aGk=", "path": "model.safetensors"}
    repository.commit(
        "main",
        [{"key": "header", "value": {"summary": "a model"}}, {"key": "file", "value": line}],
    )
    with pytest.raises(UsageError, match=r"something else: model\.safetensors"):
        publish(bridge)
    assert hub.count("PUT") == 0
    publish(shards, repo_id="org/shards")
    with pytest.raises(UsageError, match=r"something else: shards\.json"):
        publish(bridge, repo_id="org/shards")


# Faults of the server and of the network.


def test_a_storm_of_429_is_waited_for(hub: Hub, bridge: Path, waits: list[float]) -> None:
    limited = {
        "RateLimit": '"api";r=0;t=7',
        "RateLimit-Policy": '"fixed window";"api";q=1000;w=300',
    }
    hub.faults += [
        Fault("status", pattern, times=2, status=429, headers=limited)
        for pattern in ("/refs", "/preupload/", "/commit/", "/create", "/tag/")
    ]
    publish(bridge)
    assert_holds(hub, bridge)
    # Ours wait as long as they are told; the client's own add a second.
    assert {7.0, 8.0} >= set(waits)
    assert len(waits) == 10


def test_requests_are_held_back_before_the_limit(
    hub: Hub, bridge: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[int] = []
    monkeypatch.setattr(
        "time.sleep", lambda _: refused.append([one.status for one in hub.seen].count(429))
    )
    hub.limits = {"api": (4, 300.0)}
    with pytest.raises(OutputError, match="429"):
        publish(bridge)
    # The answer said that nothing is left: the next request waited although none was refused yet.
    assert refused[0] == 0


def test_a_wait_that_is_too_long_is_an_error(hub: Hub, bridge: Path, waits: list[float]) -> None:
    limited = {"RateLimit": '"commits";r=0;t=7200'}
    hub.faults.append(Fault("status", "/commit/", status=429, headers=limited))
    with pytest.raises(OutputError, match="7,200 s"):
        publish(bridge)
    assert 7200 not in waits


def test_500_at_the_commit(hub: Hub, bridge: Path, waits: list[float]) -> None:
    hub.faults.append(Fault("status", "/commit/", times=3, status=500))
    publish(bridge)
    assert_holds(hub, bridge)
    assert waits == [1.0, 2.0, 4.0]
    # No byte went up twice.
    assert set(hub.stored.values()) == {1}


def test_a_server_that_stays_broken_is_given_up(hub: Hub, bridge: Path, waits: list[float]) -> None:
    hub.faults.append(Fault("status", "/commit/", times=100, status=503))
    with pytest.raises(OutputError, match=r"503") as caught:
        publish(bridge)
    assert "same command" in caught.value.next_command
    assert len(waits) == 5
    hub.faults.clear()
    publish(bridge)
    assert_holds(hub, bridge)
    assert set(hub.stored.values()) == {1}


@pytest.mark.parametrize(("kind", "status"), [("lost", 0), ("late", 504), ("late", 500)])
def test_a_commit_whose_answer_was_lost_is_looked_up(
    hub: Hub, bridge: Path, waits: list[float], kind: str, status: int
) -> None:
    hub.faults.append(Fault(kind, "POST .*/commit/", times=2, status=status))
    found = publish(bridge)
    assert_holds(hub, bridge)
    assert hub.count("POST .*/commit/") == found.commits == 1
    assert waits == []


def test_an_upload_that_was_cut_in_the_middle(hub: Hub, bridge: Path, waits: list[float]) -> None:
    hub.faults += [Fault("cut", "PUT /lfs/"), Fault("lost", "POST /lfs/.*/verify")]
    publish(bridge)
    assert_holds(hub, bridge)


def test_commits_that_time_out_are_made_smaller(
    hub: Hub, bridge: Path, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    monkeypatch.setattr("finedata.hub.send.FEWEST_PER_COMMIT", 2)
    monkeypatch.setattr("finedata.hub.send.first_lot", lambda _: 8)
    hub.most_per_commit = 4
    publish(bridge)
    assert_holds(hub, bridge)
    assert waits == []


def test_a_branch_that_moved_under_us(hub: Hub, bridge: Path) -> None:
    def move(_: int, request: str) -> None:
        if "/commit/main" in request:
            hub.on_request = None
            line = {"content": "aGk=", "path": "other.txt"}
            hub.repository(REPO).commit(
                "main",
                [{"key": "header", "value": {"summary": "else"}}, {"key": "file", "value": line}],
            )

    hub.on_request = move
    with pytest.raises(OutputError, match="by somebody else"):
        publish(bridge)
    assert hub.repository(REPO).tags == {}


def test_a_tag_that_moved_under_us(hub: Hub, bridge: Path) -> None:
    def move(_: int, request: str) -> None:
        repository = hub.repositories.get(REPO)
        if "POST" in request and "/tag/" in request and repository is not None:
            repository.tags["v3.0"] = next(iter(repository.commits))

    hub.on_request = move
    with pytest.raises(OutputError, match="somebody else moved it"):
        publish(bridge)


@pytest.mark.parametrize("what", ["size", "oid"])
def test_a_wrong_remote_size_or_oid_leaves_the_tag(hub: Hub, bridge: Path, what: str) -> None:
    def spoil(_: int, request: str) -> None:
        repository = hub.repositories.get(REPO)
        if repository is None or "GET" not in request or "/tree/" not in request:
            return
        tree = hub.tree(REPO)
        path = "curation/receipts.parquet"
        if path in tree and "README.md" in tree:
            known = tree[path]
            size = known.size + (what == "size")
            sha256 = known.sha256 if what == "size" else hashlib.sha256(b"x").hexdigest()
            tree[path] = lfs_entry(sha256, size)

    hub.on_request = spoil
    with pytest.raises(OutputError, match=r"curation/receipts\.parquet"):
        publish(bridge)
    assert hub.repository(REPO).tags == {}


def test_a_file_that_changes_meanwhile(hub: Hub, bridge: Path, tmp_path: Path) -> None:
    root = tmp_path / "bridge"
    shutil.copytree(bridge, root)
    gate = root / "curation" / "gate.parquet"

    def touch(_: int, request: str) -> None:
        if "preupload" in request:
            gate.write_bytes(b"PAR1 something else PAR1")

    hub.on_request = touch
    with pytest.raises(OutputError, match="changed while"):
        publish(root)
    assert hub.repository(REPO).tags == {}


def test_a_machine_without_a_network(
    bridge: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match="offline mode"):
        publish(bridge)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(OutputError, match="no connection"):
        publish(bridge)
    assert waits == []


@pytest.mark.parametrize(
    "killed_at",
    [
        pytest.param([r"POST .*/commit/"], id="before_a_commit"),
        # In the middle of the uploads, before a commit, and between commit and tag.
        pytest.param(
            [r"PUT /lfs/", r"POST .*/commit/", r"POST .*/tag/"],
            id="one_after_the_other",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_killed_anywhere_nothing_goes_up_twice(
    hub: Hub, bridge: Path, tmp_path: Path, killed_at: list[str]
) -> None:
    publish(bridge, repo_id="org/whole")
    requests = len(hub.seen)
    command = [
        sys.executable,
        "-c",
        "from finedata.cli import main; main()",
        "publish",
        str(bridge),
    ]
    command += ["--repo-id", REPO]
    environment = os.environ | {"HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path)}
    shutil.rmtree(hub.store / "lfs")
    hub.stored.clear()
    for pattern in killed_at:
        process: list[subprocess.Popen[bytes]] = []

        def kill(_: int, request: str, pattern: str = pattern, running: Any = process) -> None:
            if re.search(pattern, request) and running:
                running[0].send_signal(signal.SIGKILL)
                hub.on_request = None

        hub.on_request = kill
        process.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE))
        _, said = process[0].communicate(timeout=60)
        assert process[0].returncode == -signal.SIGKILL, said.decode()
    found = publish(bridge)
    assert_holds(hub, bridge)
    card, whole = hub.content(REPO, "README.md"), hub.content("org/whole", "README.md")
    assert card == whole.replace(b"org/whole", REPO.encode())
    assert hub.repository(REPO).tags == {"v3.0": found.commit}
    assert set(hub.stored.values()) == {1}
    assert requests < len(hub.seen)
