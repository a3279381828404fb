"""Few samples with fine-grained text that came later, and streams that go on at other commits."""

from __future__ import annotations

import json
import logging
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hub.loopback import Fault, Hub
from hub.test_remote_shards import drawn, opened, tar_requests
from hypothesis import given
from hypothesis import strategies as st
from shard.curation import curate
from typer.testing import CliRunner

import finedata
from finedata.cli.app import app
from finedata.errors import SourceError, UsageError
from finedata.shard.ranges import Ranges
from finedata.shard.shards import Shards
from finedata.store.tables.table import append_rows

REPO = "org/shards"
ADDRESS = f"hf://datasets/{REPO}"
FINE: dict[str, Any] = {"mix": "fg=1", "words": "fg=numbered"}
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture(scope="module")
def few(converted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of some large tars, and words of one short episode that came later."""
    folder = tmp_path_factory.mktemp("few")
    root, out = folder / "bridge", folder / "shards"
    shutil.copytree(converted, root)
    curate(root, every=1)
    dataset = finedata.open(root)
    with_task = dataset.episodes.filter(pl.col("task") != "").sort("length", "episode_id")
    chosen = with_task.collect()["episode_id"][0]
    dataset.shard(out, shard_bytes=1_000_000, horizon=4)
    with append_rows(root, ("instructions",)) as writer:
        fine = {
            "instruction_id": f"{chosen}-fine", "episode_id": chosen, "kind": "fine_grained",
            "is_primary": False, "order": 0, "text": "grasp it from the left",
            "text_original": None, "language": "en", "steps": ["grasp it"], "fact_ids": None,
            "origin": "teacher", "annotator": "t", "run_id": "0" * 16, "prompt_sha256": None,
            "call_id": None, "revision": 0, "review_status": "unreviewed",
        }  # fmt: skip
        writer.add("instructions", [fine])
    finedata.shards(out).take_up_text([root])
    return out


@pytest.fixture
def published(hub: Hub, few: Path) -> Hub:
    finedata.publish([few], repo_id=REPO)
    hub.seen.clear()
    return hub


def fine_samples(shards: Path) -> tuple[int, int]:
    """How many samples have fine-grained text, and in how many tars they are."""
    counts = [
        count
        for one in Shards.open(shards).text_revision().sets
        for count in one.not_contradicted
        if count
    ]
    return sum(counts), len(counts)


def test_few_samples_of_a_tar_come_by_ranges(
    published: Hub, few: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    samples, tars = fine_samples(few)
    here = drawn(few, stop=3 * samples, **FINE)
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        there = drawn(opened(tmp_path / "cache"), stop=3 * samples, **FINE)
    assert there == here
    # Said once, with the count.
    (said,) = caplog.messages
    assert said.startswith(f"{samples} samples of {tars} tars were annotated after")
    asked = [one for one in published.seen if one.path.endswith(".tar")]
    sizes = {path.name: path.stat().st_size for path in few.rglob("*.tar")}
    assert len(asked) < samples
    for name in {Path(one.path).name for one in asked}:
        moved = sum(one.sent for one in asked if Path(one.path).name == name)
        assert 0 < moved <= sizes[name] / 4, name
    # Three epochs, once fetched; so for another stream, and for workers.
    published.seen.clear()
    assert drawn(opened(tmp_path / "cache"), stop=samples, workers=1, **FINE)[0] == [
        *drawn(few, stop=samples, **FINE)[0]
    ]
    assert not tar_requests(published)
    kept = list((tmp_path / "cache").rglob("*.tar"))
    assert len(kept) == tars
    assert sum(path.stat().st_size for path in kept) <= sum(sizes.values()) / 4


def test_a_tar_that_another_view_reads_comes_whole(
    published: Hub, few: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = {"mix": "fg=1,raw=1", "words": "fg=numbered"}
    with caplog.at_level(logging.WARNING):
        assert drawn(opened(tmp_path / "cache"), stop=64, **asked) == drawn(few, stop=64, **asked)
    assert set(tar_requests(published).values()) == {1}
    assert not caplog.records


def test_ranges_with_other_bytes(published: Hub, few: Path, tmp_path: Path) -> None:
    published.faults.append(Fault("wrong", r"GET .*\.tar$", times=1))
    assert drawn(opened(tmp_path / "one"), stop=16, **FINE) == drawn(few, stop=16, **FINE)
    published.faults.append(Fault("wrong", r"GET .*\.tar$", times=1000))
    with pytest.raises(SourceError, match="other bytes than were written"):
        drawn(opened(tmp_path / "two"), stop=16, **FINE)
    assert not list((tmp_path / "two").rglob("*.tar"))


def test_the_command_line_counts_requests(published: Hub, tmp_path: Path) -> None:
    command = ["stream", ADDRESS, "--mix", "fg=1", "--batch", "8", "--batches", "2", "--json"]
    told = CliRunner().invoke(app, [*command, "--cache", str(tmp_path)])
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout)
    assert found["requests"] >= published.count(r"\.tar$") > 0
    assert found["received_bytes"] > 0
    commit = published.repository(REPO).branches["main"]
    assert found["address"] == f"{ADDRESS}@{commit}"
    told = CliRunner().invoke(app, [*command, "--cache", str(tmp_path), "--explain", "0:2"])
    assert {one["address"] for one in json.loads(told.stdout)} == {f"{ADDRESS}@{commit}"}


@given(
    st.lists(st.tuples(st.integers(1, 40), st.booleans()), min_size=1, max_size=60).filter(
        lambda samples: any(wanted for _, wanted in samples)
    )
)
def test_ranges_hold_every_sample_and_at_most_as_much_again(
    samples: list[tuple[int, bool]],
) -> None:
    tar = bytes(range(256)) * (sum(size for size, _ in samples) // 256 + 1)
    size = np.array([size for size, _ in samples], np.int64)
    offset = np.cumsum(size) - size
    places = np.flatnonzero([wanted for _, wanted in samples])
    found = Ranges.of(offset[places], size[places], places, name="")
    file = b"".join(tar[a:b] for a, b in zip(found.begin.tolist(), found.end.tolist(), strict=True))
    assert len(file) == found.total_bytes <= 2 * size[places].sum()
    for place in places.tolist():
        at = found.inside(int(offset[place]))
        assert file[at : at + size[place]] == tar[offset[place] : offset[place] + size[place]]
    # Neighbours are one request.
    assert (found.begin[1:] > found.end[:-1]).all()


def test_a_resume_at_another_commit_is_said(
    published: Hub, few: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options: dict[str, Any] = {"batch": 8, "horizon": 4, "stop": 24, **FINE}

    def begun(**more: Any) -> Any:
        return finedata.stream(opened(tmp_path / "cache"), **(options | more))

    with begun(stop=8) as stream:
        list(stream)
        state, receipt = stream.state_dict(), stream.receipt()
    old = published.repository(REPO).branches["main"]
    assert re.fullmatch("[0-9a-f]{40}", old)
    assert receipt.address == f"{ADDRESS}@{old}"
    assert state["commit"] == old[:16]
    assert len(json.dumps(state | {"n": 10**12})) < 300
    with finedata.stream(few, **options) as stream:
        assert stream.receipt().address == ""
        assert stream.state_dict()["commit"] == ""
        caplog.clear()
        stream.load_state_dict(state)
        assert not caplog.records

    line = {"content": "aGk=", "path": "notes/mine.txt"}
    published.repository(REPO).commit(
        "main",
        [{"key": "header", "value": {"summary": "by hand"}}, {"key": "file", "value": line}],
    )
    new = published.repository(REPO).branches["main"]
    assert new != old
    with begun() as stream:
        caplog.clear()
        stream.load_state_dict(state)
        (said,) = caplog.messages
        assert old[:16] in said
        assert new[:16] in said
        assert [batch.n.tolist()[0] for batch in stream] == [8, 16]
        assert stream.receipt().address == f"{ADDRESS}@{new}"
        assert stream.receipt().chain == _whole(few, options)
    with begun(words="fg=goal") as stream, pytest.raises(UsageError, match="content of the state"):
        stream.load_state_dict(state)


def _whole(shards: Path, options: dict[str, Any]) -> Any:
    with finedata.stream(shards, **options) as stream:
        list(stream)
        return stream.receipt().chain
