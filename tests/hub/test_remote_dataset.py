"""Reading back: pinned, by our own ranges, the same as the local dataset, and what faults do."""

from __future__ import annotations

import filecmp
import json
import pickle
import shutil
from pathlib import Path

import fsspec
import polars as pl
import pytest
from hub.loopback import Fault, Hub
from typer.testing import CliRunner

import finedata
from finedata.cli.app import app
from finedata.errors import ConformError, OutputError, SourceError, UsageError
from finedata.store.remote.path import RemotePath, open_root, remote_store
from finedata.store.remote.stores import open_store

REPO = "org/bridge"
ADDRESS = f"hf://datasets/{REPO}"
TABLES = (
    "episodes", "frames", "images", "receipts", "gate", "clusters", "representatives", "steps",
    "facts", "traces", "instructions", "reviews", "calls",
)  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def same_files(first: Path, second: Path) -> bool:
    names = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    others = sorted(path.relative_to(second) for path in second.rglob("*") if path.is_file())
    matched, _, _ = filecmp.cmpfiles(first, second, map(str, names), shallow=False)
    return names == others and len(matched) == len(names)


@pytest.fixture
def published(hub: Hub, bridge: Path) -> Hub:
    hub.cdn = True
    finedata.publish([bridge], repo_id=REPO)
    hub.seen.clear()
    return hub


def test_every_table_is_that_of_the_local_dataset(published: Hub, bridge: Path) -> None:
    here, there = finedata.open(bridge), finedata.open(ADDRESS)
    commit = published.repository(REPO).branches["main"]
    assert str(there.root) == f"{ADDRESS}@{commit}"
    for name in TABLES:
        assert there.table(name).collect().equals(here.table(name).collect()), name
    query = "select dimension, count(*) as n from facts group by dimension order by dimension"
    assert there.sql(query).equals(here.sql(query))
    assert there.count("facts", by="dimension") == here.count("facts", by="dimension")
    where = "length > 18 and episode_id in (select episode_id from representatives)"
    assert there.episode_ids_where(where) == here.episode_ids_where(where)
    assert there.description().splitlines()[1:] == here.description().splitlines()[1:]


def test_no_token_follows_to_another_host(published: Hub) -> None:
    finedata.open(ADDRESS).receipts.collect()
    elsewhere = [one for one in published.seen if one.path.startswith("/cdn/")]
    assert elsewhere
    assert not [one for one in elsewhere if one.authorised]
    assert all(one.status in (200, 206) for one in elsewhere)
    assert [one for one in published.seen if one.authorised]


def test_a_query_reads_its_columns_only(published: Hub, bridge: Path) -> None:
    there = finedata.open(ADDRESS)
    there.sql("select count(*) as n from images where camera = 'no such camera'")
    there.count("facts", by="dimension")
    total = sum(path.stat().st_size for path in bridge.rglob("*.parquet"))
    sent = sum(one.sent for one in published.seen)
    store = remote_store(there.root)
    assert store is not None
    # Small files are read whole: a footer's request brings 64 KiB.
    assert sent < total / 2
    assert store.traffic.received_bytes <= sent
    counted = [one for one in published.seen if "/resolve/" in one.path or "/cdn/" in one.path]
    assert store.traffic.requests == len(counted) + published.count("/tree/")


def test_an_episode_is_that_of_the_local_dataset(published: Hub, bridge: Path) -> None:
    here, there = finedata.open(bridge), finedata.open(ADDRESS)
    one, two = next(here.iter_episodes()), next(there.iter_episodes())
    assert one.episode_id == two.episode_id
    assert (one.state == two.state).all()
    assert one.frames("image_0", [0, 3], encoded=True) == two.frames(
        "image_0", [0, 3], encoded=True
    )


def test_a_selection_is_exported_from_ranges(published: Hub, bridge: Path, tmp_path: Path) -> None:
    where = "episode_index < 2"
    finedata.open(bridge).write(tmp_path / "here", where=where)
    finedata.open(ADDRESS).write(tmp_path / "there", where=where)
    assert same_files(tmp_path / "here", tmp_path / "there")
    data = next(bridge.glob("data/*/*.parquet")).stat().st_size
    oid = published.tree(REPO)["data/chunk-000/file-000.parquet"].sha256
    assert sum(one.sent for one in published.seen if oid in one.path) < data / 2


def test_what_is_published_later_is_another_commit(
    published: Hub, bridge: Path, tmp_path: Path
) -> None:
    root = tmp_path / "bridge"
    shutil.copytree(bridge, root)
    there = finedata.open(ADDRESS)
    old = there.verdicts.collect()
    finedata.open(root).gate(threshold=1e9)
    finedata.publish([root], repo_id=REPO)
    pinned = pickle.loads(pickle.dumps(there))
    assert str(pinned.root) == str(there.root)
    assert pinned.verdicts.collect().equals(old)
    new = finedata.open(ADDRESS)
    assert str(new.root) != str(there.root)
    assert not new.verdicts.collect().equals(old)
    assert str(finedata.open(f"{ADDRESS}@v3.0").root) == str(new.root)


def test_verbs_that_write_say_to_pull_first(published: Hub) -> None:
    there = finedata.open(ADDRESS)
    with pytest.raises(UsageError, match="lies elsewhere") as caught:
        there.gate()
    assert f"finedata pull {there.root}" in caught.value.next_command
    assert not Path("hf:").exists()


def test_the_command_line_tells_requests_and_bytes(published: Hub, tmp_path: Path) -> None:
    runner = CliRunner()
    told = runner.invoke(app, ["info", ADDRESS, "--json"])
    traffic = json.loads(told.stdout)["traffic"]
    assert traffic["requests"] > 2
    assert traffic["received_bytes"] > 10_000
    told = runner.invoke(app, ["query", ADDRESS, "select count(*) as n from receipts", "--json"])
    assert json.loads(told.stdout) == [{"n": 22}]
    assert "requests" in told.stderr
    out = str(tmp_path / "out")
    told = runner.invoke(
        app, ["export", ADDRESS, "--where", "episode_index = 0", "--out", out, "--json"]
    )
    assert json.loads(told.stdout)["traffic"]["requests"] > 2


# Pulling.


def test_a_whole_dataset_is_pulled_and_verifies(
    published: Hub, bridge: Path, tmp_path: Path
) -> None:
    found = finedata.pull(ADDRESS, out=tmp_path / "pulled")
    for path in bridge.rglob("*"):
        inside = path.relative_to(bridge)
        if path.is_file() and inside.parts[0] != ".finedata":
            assert (tmp_path / "pulled" / inside).read_bytes() == path.read_bytes()
    assert found.fetched == found.files
    again = finedata.pull(ADDRESS, out=tmp_path / "pulled")
    assert again.fetched == 0


def test_a_selection_is_pulled(published: Hub, bridge: Path, tmp_path: Path) -> None:
    where = "length > 18"
    found = finedata.pull(ADDRESS, out=tmp_path / "some", where=where)
    assert found.episodes == len(finedata.open(bridge).episode_ids_where(where))
    assert len(finedata.open(tmp_path / "some")) == found.episodes


def test_shards_are_pulled_and_verify(hub: Hub, bridge: Path, shards: Path, tmp_path: Path) -> None:
    finedata.publish([bridge, shards], repo_id=REPO)
    finedata.pull(f"{ADDRESS}/shards", out=tmp_path / "shards")
    for path in shards.rglob("*"):
        inside = path.relative_to(shards)
        if path.is_file() and inside.parts[0] != ".finedata":
            assert (tmp_path / "shards" / inside).read_bytes() == path.read_bytes(), inside
    with pytest.raises(UsageError, match="where"):
        finedata.pull(f"{ADDRESS}/shards", out=tmp_path / "x", where="length > 1")


def test_a_pull_that_was_interrupted_goes_on(
    published: Hub, tmp_path: Path, waits: list[float]
) -> None:
    published.faults.append(Fault("status", "/cdn/", times=7, status=503))
    with pytest.raises(SourceError, match="503"):
        finedata.pull(ADDRESS, out=tmp_path / "pulled")
    assert not (tmp_path / "pulled" / "finedata.json").exists()
    published.faults.clear()
    found = finedata.pull(ADDRESS, out=tmp_path / "pulled")
    assert 0 < found.fetched < found.files


def test_other_bytes_than_were_published_are_refused(published: Hub, tmp_path: Path) -> None:
    published.faults.append(Fault("wrong", "GET /cdn/"))
    with pytest.raises(SourceError, match="sha256"):
        finedata.pull(ADDRESS, out=tmp_path / "pulled")
    assert not (tmp_path / "pulled" / "finedata.json").exists()


# Addresses and rights.


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hf://datasets/org", "names no dataset"),
        ("hf://models/org/name", "names no dataset"),
        (f"{ADDRESS}@nowhere", "no such revision"),
        ("hf://datasets/org/nothing", "no such repository"),
        ("nonsense://a/b", "nonsense"),
    ],
)
def test_a_wrong_address(published: Hub, address: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        finedata.open(address)


def test_a_repository_without_a_dataset(published: Hub) -> None:
    published.make("org/empty")
    with pytest.raises(UsageError, match=r"no finedata\.json"):
        finedata.open("hf://datasets/org/empty")


def test_a_private_repository_without_a_token(
    published: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.repository(REPO).private = True
    assert len(finedata.open(ADDRESS)) > 0
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(UsageError, match=r"\(401\)") as caught:
        finedata.open(ADDRESS)
    assert "hf_wrong" not in str(caught.value)


def test_a_web_server_lists_nothing(published: Hub) -> None:
    commit = published.repository(REPO).branches["main"]
    there = finedata.open(f"{published.endpoint}/datasets/{REPO}/resolve/{commit}")
    with pytest.raises(UsageError, match="nobody lists"):
        there.episodes.collect()


def test_an_object_store(bridge: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(bridge), "/bucket/bridge", recursive=True)
    try:
        there = finedata.open("memory://bucket/bridge")
        here = finedata.open(bridge)
        assert there.facts.collect().equals(here.facts.collect())
        assert (next(there.iter_episodes()).state == next(here.iter_episodes()).state).all()
        root = open_root("memory://bucket/bridge")
        with pytest.raises(FileNotFoundError):
            (root / "nothing").read_bytes()
    finally:
        memory.rm("/bucket", recursive=True)


# Faults on the way.


def test_half_a_body_is_continued(published: Hub, bridge: Path, waits: list[float]) -> None:
    published.faults += [Fault("half", "GET /cdn/", times=2)]
    there = finedata.open(ADDRESS)
    assert there.receipts.collect().equals(finedata.open(bridge).receipts.collect())


def test_limits_and_faults_are_waited_for(published: Hub, bridge: Path, waits: list[float]) -> None:
    limited = {"RateLimit": '"resolvers";r=0;t=9'}
    published.faults += [
        Fault("status", "GET /datasets/.*/resolve/", times=2, status=429, headers=limited),
        Fault("status", "GET /cdn/", times=1, status=500),
        Fault("status", "GET /api/datasets/", times=1, status=502),
    ]
    there = finedata.open(ADDRESS)
    assert there.receipts.collect().equals(finedata.open(bridge).receipts.collect())
    assert waits.count(9.0) == 2


def test_a_place_that_is_no_longer_good_is_asked_for_anew(published: Hub) -> None:
    there = finedata.open(ADDRESS)
    there.receipts.collect()
    store = remote_store(there.root)
    assert store is not None
    published.faults.append(Fault("status", "GET /cdn/", status=403))
    assert store.read("curation/receipts.parquet", 0, 4) == b"PAR1"


def test_a_server_without_ranges(published: Hub) -> None:
    store, _ = open_store(ADDRESS)
    published.ranges = False
    with pytest.raises(SourceError, match="ranges of bytes"):
        store.read("curation/receipts.parquet", 10, 20)
    # A whole file is what was asked for.
    size = store.size("curation/receipts.parquet")
    assert len(store.read("curation/receipts.parquet", 0, size)) == size


def test_a_machine_without_a_network(
    published: Hub, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SourceError, match="no connection"):
        finedata.open(ADDRESS)
    assert waits == []


def test_a_damaged_table_is_named(published: Hub) -> None:
    repository = published.repository(REPO)
    entry = repository.entry("main", "curation/receipts.parquet")
    path = repository.bytes_of(entry)
    content = bytearray(path.read_bytes())
    content[-6] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ConformError, match=r"curation/receipts\.parquet"):
        finedata.open(ADDRESS).receipts.collect()


def test_a_path_answers_as_a_path_does(published: Hub, bridge: Path) -> None:
    root = open_root(ADDRESS)
    assert isinstance(root, RemotePath)
    for pattern in ("curation/*.parquet", "meta/episodes/*/*.parquet", "nothing/*"):
        here = sorted(path.relative_to(bridge).as_posix() for path in bridge.glob(pattern))
        there = sorted(str(path.relative_to(root)) for path in root.glob(pattern))
        assert there == here
    names = sorted(path.relative_to(bridge).as_posix() for path in bridge.rglob("*.json"))
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*.json")) == names
    assert (root / "meta").is_dir()
    assert not (root / "meta").is_file()
    assert (root / "meta" / "info.json").parent == root / "meta"
    assert (root / "finedata.json").read_bytes() == (bridge / "finedata.json").read_bytes()
    with (root / "finedata.json").open("rb") as file:
        file.seek(-3, 2)
        assert file.read() == (bridge / "finedata.json").read_bytes()[-3:]
    for act in (root.mkdir, root.unlink, root.rename, root.write_bytes):
        with pytest.raises(UsageError, match="lies elsewhere"):
            act("x")
    with pytest.raises(UsageError, match="lies elsewhere"):
        Path(root)
    pl.DataFrame()


def test_a_full_disk_while_pulling(
    published: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    def full(_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("finedata.store.atomic._sync_file", full)
    with pytest.raises(OutputError, match="No space left"):
        finedata.pull(ADDRESS, out=tmp_path / "pulled")
    assert not list((tmp_path / "pulled").rglob("*.parquet"))
