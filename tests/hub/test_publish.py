"""Publishing, spoken with the real client: what goes up, in which order, what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest
from hub.loopback import Hub
from hub.publishing import REPO, assert_holds, publish

import finedata
from finedata.errors import ConformError, UsageError
from finedata.hub import plan as limits
from finedata.hub.send import PublishSummary

# The client's own use of its library for HTTP.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


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
