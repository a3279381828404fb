"""Publishing, spoken with the real client: what goes up, in which order, and what faults do."""

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

import polars as pl
import pytest
from hub.conftest import TOKEN
from hub.loopback import Fault, Hub
from hub.repositories import lfs_entry

import finedata
from finedata.errors import ConformError, FinedataError, OutputError, UsageError
from finedata.hub import plan as limits
from finedata.hub.files import read_roots
from finedata.hub.send import PublishSummary

REPO = "org/bridge"
# The client's own use of its library for HTTP.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def publish(*roots: Path, repo_id: str = REPO, **options: Any) -> PublishSummary:
    found = finedata.publish(roots, repo_id=repo_id, **options)
    assert isinstance(found, PublishSummary)
    return found


def assert_holds(hub: Hub, *roots: Path, repo_id: str = REPO, revision: str = "main") -> None:
    """Every file is there with its bytes, and nothing else but the card."""
    wanted = {one.path: one.local for one in read_roots(roots).uploads()}
    tree = hub.tree(repo_id, revision)
    made = {".gitattributes", "README.md", "assets/funnel.png"}
    assert set(tree) - made == set(wanted)
    for path, local in wanted.items():
        assert local is not None
        assert hub.content(repo_id, path, revision) == local.read_bytes(), path


def test_a_dataset_goes_up_once_and_its_tag_last(hub: Hub, bridge: Path) -> None:
    found = publish(bridge)
    assert_holds(hub, bridge)
    repository = hub.repository(REPO)
    assert repository.tags == {"v3.0": found.commit}
    assert repository.branches["main"] == found.commit
    assert found.address == f"hf://datasets/{REPO}@{found.commit}"
    # The tag came after the commit.
    order = [f"{one.method} {one.path}" for one in hub.seen]
    commit = next(at for at, one in enumerate(order) if "/commit/" in one)
    assert commit < next(at for at, one in enumerate(order) if "/tag/" in one)

    before = len(hub.seen)
    again = publish(bridge)
    assert (again.sent_files, again.sent_bytes, again.commits) == (0, 0, 0)
    assert again.commit == found.commit
    assert not [one for one in hub.seen[before:] if one.method == "PUT"]


def test_what_is_no_longer_there_is_removed_and_what_is_a_persons_stays(
    hub: Hub, bridge: Path, tmp_path: Path
) -> None:
    root = tmp_path / "bridge"
    shutil.copytree(bridge, root)
    old = publish(root)
    repository = hub.repository(REPO)
    line = {"content": "aGk=", "path": "notes/mine.txt"}
    repository.commit(
        "main",
        [{"key": "header", "value": {"summary": "by hand"}}, {"key": "file", "value": line}],
    )
    (root / "curation" / "gate.parquet").unlink()
    receipts = root / "curation" / "receipts.parquet"
    pl.read_parquet(receipts).head(0)  # readable before and after
    found = publish(root)
    assert found.removed == 1
    assert "curation/gate.parquet" not in hub.tree(REPO)
    assert hub.content(REPO, "notes/mine.txt") == b"hi"
    # The old tag was deleted and made again at the new commit: no reader is left behind.
    assert repository.tags == {"v3.0": found.commit}
    assert found.commit != old.commit


def test_a_changed_file_is_one_commit(hub: Hub, bridge: Path, tmp_path: Path) -> None:
    root = tmp_path / "bridge"
    shutil.copytree(bridge, root)
    publish(root)
    finedata.open(root).gate(threshold=1e9)
    before = hub.count("/commit/")
    found = publish(root)
    assert hub.count("/commit/") == before + 1
    assert_holds(hub, root)
    # The gate's table, and the card that counts it.
    assert found.sent_files <= 3


def test_shards_and_a_dataset_share_a_repository(hub: Hub, bridge: Path, shards: Path) -> None:
    found = publish(bridge, shards)
    tree = hub.tree(REPO)
    assert {"finedata.json", "shards/shards.json", "shards/roles.toml"} <= set(tree)
    for path in sorted(shards.rglob("*")):
        inside = path.relative_to(shards)
        if path.is_file() and inside.parts[0] != ".finedata":
            assert hub.content(REPO, f"shards/{inside}") == path.read_bytes()
    repository = hub.repository(REPO)
    assert repository.tags == {"v3.0": found.commit}
    # Readers take a marker for all: markers and the card came in the last of several commits.
    last = {"finedata.json", "shards/shards.json", "README.md"}
    before = repository.commits[repository.commits[found.commit].parent].tree
    assert found.commits > 2
    assert last <= set(tree)
    assert not last & set(before)


def test_tables_only_leave_pictures_here(hub: Hub, bridge: Path, shards: Path) -> None:
    publish(bridge, shards, tables_only=True)
    tree = hub.tree(REPO)
    assert not [path for path in tree if path.startswith(("data/", "videos/", "shards/tars/"))]
    assert {"meta/info.json", "shards/shards.json"} <= set(tree)
    assert hub.repository(REPO).tags == {}


def test_a_branch_of_its_own_moves_no_tag(hub: Hub, bridge: Path) -> None:
    publish(bridge, revision="try")
    assert_holds(hub, bridge, revision="try")
    assert set(hub.tree(REPO)) == {".gitattributes"}
    assert hub.repository(REPO).tags == {}


def test_a_private_repository(hub: Hub, bridge: Path) -> None:
    publish(bridge, private=True)
    assert hub.repository(REPO).private


def test_dry_run_asks_nobody(hub: Hub, bridge: Path, shards: Path) -> None:
    found = finedata.publish([bridge, shards], repo_id=REPO, dry_run=True)
    assert not isinstance(found, PublishSummary)
    assert hub.seen == []
    assert found.kinds["tars"][0] > 2
    assert found.tag == "v3.0"
    assert "the source: it was not given" in found.not_checked
    sent = publish(bridge, shards)
    assert found.files == sent.files
    assert 1 < sent.commits <= found.commits
    assert found.bytes == sent.sent_bytes
    # Small indexes are often alike, and go up once.
    assert sent.requests <= found.api_requests + found.uploads + 8
    assert found.api_requests + found.uploads < 2 * sent.requests


def test_large_files_go_in_numbered_parts(
    hub: Hub, bridge: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finedata.hub.send._LARGE_BYTES", 20_000)
    hub.chunk_bytes = 30_000
    publish(bridge)
    assert hub.count(r"PUT /lfs/\w+/part/1") >= 1
    assert_holds(hub, bridge)


# What does not verify, and what the Hub would refuse after hours.


def test_what_does_not_verify_is_refused(hub: Hub, bridge: Path, tmp_path: Path) -> None:
    root = tmp_path / "bridge"
    shutil.copytree(bridge, root)
    data = next(root.glob("data/*/*.parquet"))
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 0x10
    data.write_bytes(content[: len(content) // 2] + content[len(content) // 2 + 100 :])
    with pytest.raises(ConformError, match="not published"):
        publish(root)
    assert hub.seen == []


def test_shards_that_do_not_verify_are_refused(hub: Hub, shards: Path, tmp_path: Path) -> None:
    root = tmp_path / "shards"
    shutil.copytree(shards, root)
    tar = next(root.glob("tars/*/*.tar"))
    content = bytearray(tar.read_bytes())
    content[700] ^= 1
    tar.write_bytes(content)
    with pytest.raises(ConformError, match="not published"):
        publish(root)
    assert hub.seen == []


def test_the_source_is_held_against_it_where_it_is_given(hub: Hub, bridge: Path, corpus) -> None:
    found = finedata.publish([bridge], repo_id=REPO, source=[str(corpus.folder)], dry_run=True)
    assert "the source: it was not given" not in found.not_checked
    assert hub.seen == []


@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [
        ("FILE_BYTES", 1000, "limit for a file"),
        ("REPOSITORY_FILES", 3, "files of the repository"),
        ("FOLDER_FILES", 1, "folder"),
    ],
)
def test_limits_of_the_hub(
    hub: Hub,
    bridge: Path,
    shards: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    value: int,
    message: str,
) -> None:
    monkeypatch.setattr(limits, limit, value)
    with pytest.raises(UsageError, match=message):
        publish(bridge, shards)
    assert hub.seen == []


def test_nothing_to_publish_and_two_of_a_kind(hub: Hub, bridge: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no finedata\.json"):
        publish(tmp_path)
    with pytest.raises(UsageError, match="at most one of each"):
        publish(bridge, bridge)
    assert hub.seen == []


def test_a_link_is_not_followed(hub: Hub, bridge: Path, tmp_path: Path) -> None:
    root = tmp_path / "bridge"
    shutil.copytree(bridge, root)
    gate = root / "curation" / "gate.parquet"
    gate.rename(tmp_path / "elsewhere.parquet")
    gate.symlink_to(tmp_path / "elsewhere.parquet")
    with pytest.raises(UsageError, match="symbolic link"):
        publish(root)


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


def test_killed_anywhere_nothing_goes_up_twice(hub: Hub, bridge: Path, tmp_path: Path) -> None:
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
    # In the middle of the uploads, before a commit, and between commit and tag.
    for pattern in (r"PUT /lfs/", r"POST .*/commit/", r"POST .*/tag/"):
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
