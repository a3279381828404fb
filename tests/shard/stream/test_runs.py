"""Lineage of samples, comparison of runs, and the command line of both."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import Result
from shard.stream.tiny_shards import TinySet, make_shards, picture
from typer.testing import CliRunner

from finedata.cli.app import app
from finedata.errors import UsageError
from finedata.schema.stream_receipt import StreamReceipt
from finedata.shard.shards import Shards
from finedata.shard.stream import diff
from finedata.shard.stream.diff import compare
from finedata.shard.stream.explain import explain
from finedata.shard.stream.measure import measure
from finedata.shard.stream.opening import stream

SETS = [
    TinySet("a", "rep", [5, 9, 6], fine=frozenset({0, 1})),
    TinySet("b", "rep", [12, 3], fine=frozenset({0, 1})),
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("shards") / "tiny", SETS)


def receipt(root: Path, stop: int = 90, **more: object) -> StreamReceipt:
    opened = stream(root, **{"mix": "fg=1,raw=1", "batch": 9, "stop": stop, "horizon": 1, **more})
    for _ in opened:
        pass
    return opened.receipt()


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["stream", *map(str, arguments)])


def test_a_sample_is_explained_down_to_the_bytes(tiny: Path):
    opened = stream(tiny, mix="fg=1,raw=1", batch=8, stop=40, traces="hold")
    rows = explain(opened, 0, 40)
    batches = list(opened)
    given = [
        (n, view, episode, frame, text)
        for batch in batches
        for n, view, episode, frame, text in zip(
            batch.n.tolist(), batch.view, batch.episode_id, batch.frame_index.tolist(), batch.text,
            strict=True,
        )
    ]  # fmt: skip
    names = ("n", "view", "episode_id", "frame_index", "words")
    assert [tuple(row[name] for name in names) for row in rows] == given
    for row in rows:
        number = int(row["episode_id"][-4:])
        assert row["source_file"] == f"file-{number}"
        assert (row["byte_offset"], row["byte_length"]) == (100 * number, 100)
        assert row["verdict"] == "pass"
        place = row["members"]["front.jpg"]
        content = (tiny / row["tar"]).read_bytes()[place["offset"] :][: place["bytes"]]
        assert content == picture(row["set"], "front", number, row["frame_index"], (16, 24))
        fine = row["fine_grained"]
        assert (fine is not None) == (row["view"] == "fg" or number in (0, 1))
        if fine:
            assert fine["run_id"] == "r1"
            assert [fact["fact_id"] for fact in fine["facts"]] == [
                f"t{number}.{k}" for k in range(3)
            ]
    traced = {row["n"] for row in rows if row["trace_id"]}
    assert traced == {
        n for batch in batches for n, trace in zip(batch.n, batch.trace, strict=True) if trace
    }


def test_runs_are_compared_by_their_chains(tiny: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("finedata.shard.stream.record.CHAIN_STEP", 20)
    monkeypatch.setattr(diff, "CHAIN_STEP", 20)
    a = receipt(tiny)
    same = compare(a, receipt(tiny, batch=6))
    assert (same.same_sequence, same.same_content) == (True, True)
    assert (same.differ_by, same.settings) == (None, [])
    assert same.equal_until == 90
    words = compare(a, receipt(tiny, words={"raw": "none"}))
    assert (words.same_sequence, words.same_content, words.settings) == (True, False, ["words"])
    # A weight that tells late: the two runs begin alike.
    other = receipt(tiny, mix={"fg": 10, "raw": 11})
    found = compare(a, other, shards=Shards.open(tiny))
    alone = compare(a, other)
    assert alone.first is None
    assert alone.differ_by == found.differ_by is not None
    assert found.equal_until <= found.first < found.differ_by
    rows = [
        [(v, e, f) for _, v, e, f in s.names(s.samples(0, 90))]
        for s in (diff._again(one, Shards.open(tiny)) for one in (a, other))
    ]
    first = next(n for n in range(90) if rows[0][n] != rows[1][n])
    assert found.first == first
    assert (found.sample_a, found.sample_b) == (rows[0][first], rows[1][first])
    with pytest.raises(UsageError, match="those of"):
        compare(a, msgspec.structs.replace(other, shards="f" * 64), shards=Shards.open(tiny))


def test_the_command_line_streams_explains_and_compares(tiny: Path, tmp_path: Path):
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    done = run(tiny, "--batches", 3, "--batch", 8, "--receipt", a)
    assert done.exit_code == 0, done.output
    assert "fg         asked       1/2  drawn         12  0.5000" in done.stdout
    assert run(tiny, "--batches", 3, "--batch", 8, "--receipt", b).exit_code == 0
    assert a.read_bytes() == b.read_bytes()
    done = run(tiny, "--diff", a, b)
    assert (done.exit_code, "samples: the same" in done.stdout) == (0, True)
    assert run(tiny, "--batches", 2, "--seed", 1, "--receipt", b, "--json").exit_code == 0
    done = run(tiny, "--diff", a, b, "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["settings"] == ["seed"]
    done = run(tiny, "--explain", "3:5", "--json")
    assert [row["n"] for row in json.loads(done.stdout)] == [3, 4]
    assert "episode" in run(tiny, "--explain", "0").stdout
    done = run(tiny, "--words", "fg=numbered,raw=none", "--size", "8x6", "--batches", 1, "--json")
    assert json.loads(done.stdout)["words"]["form of fg"] == "numbered"
    assert json.loads(done.stdout)["numbers"]["size"] == "8x6"
    for wrong in (["--size", "big"], ["--explain", "a:b"], ["--mix", "fg"], ["--text", "none"]):
        assert isinstance(run(tiny, *wrong).exception, UsageError)
    assert isinstance(run(tiny, "--diff", a, tmp_path / "gone").exception, UsageError)


def test_measuring_gives_figures_of_every_layer(tiny: Path):
    with stream(tiny, mix="fg=1,raw=1", batch=4) as opened:
        speed = measure(opened, batches=2, runs=3)
    assert len(speed.samples_per_s) == 3
    assert min(speed.median_samples_per_s, speed.draw_us, speed.join_us) > 0
    assert speed.peak_bytes is None or speed.peak_bytes > 1e7
    assert opened.n == 4 * (1 + 2 * 3)
