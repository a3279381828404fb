"""The command line as its users meet it: JSON on stdout, words on stderr, the right exit code."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import polars as pl
import pytest
from conftest import Corpus
from typer.testing import CliRunner

from finedata.cli.app import app, as_typed, main

FINEDATA = Path(sys.executable).parent / "finedata"


@dataclass
class Ended:
    """What a command said and how it ended."""

    returncode: int
    stdout: str
    stderr: str


def run(*arguments: object, code: int = 0) -> Ended:
    """The command in this process: its program, without the half second that its start takes."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["finedata", *map(str, arguments)]),
        redirect_stdout(stdout),
        redirect_stderr(stderr),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    done = Ended(int(ended.value.code or 0), stdout.getvalue(), stderr.getvalue())
    assert done.returncode == code, done.stdout + done.stderr
    return done


def start(*arguments: object, code: int = 0) -> Ended:
    """The installed command, in a process of its own."""
    ran = subprocess.run(
        [str(FINEDATA), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr
    return Ended(ran.returncode, ran.stdout, ran.stderr)


@pytest.fixture(scope="module")
def out(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "bridge"
    start("convert", "bridge_v2", "--input", corpus.folder, "--out", folder, "--num-workers", 2)
    return folder


def test_convert_prints_one_json_object(corpus: Corpus, tmp_path: Path) -> None:
    done = run("convert", "bridge_v2", "--input", corpus.folder, "--out", tmp_path / "o", "--json")
    summary = json.loads(done.stdout)
    assert {"episodes", "frames", "found", "failed", "dropped_frames", "parts", "out"} <= set(
        summary
    )
    assert (summary["episodes"], summary["failed"], summary["found"]) == (18, 4, 22)
    assert summary["parts"] == ["widowx_250"]
    # Said loudly, and with the command that tells more.
    assert "4 of 22 episodes could not be converted" in done.stderr
    assert "finedata query" in done.stderr


def test_the_command_that_it_names_works(out: Path) -> None:
    sql = "select reason, source_file, source_record, message from receipts where status = 'failed'"
    rows = json.loads(start("query", out, sql, "--json").stdout)
    assert {row["reason"] for row in rows} == {
        "checksum_mismatch", "missing_feature", "unequal_lengths", "zero_steps",
    }  # fmt: skip


def test_strict_exits_with_1(corpus: Corpus, tmp_path: Path) -> None:
    where = ("--input", corpus.folder, "--out", tmp_path / "o", "--strict")
    run("convert", "bridge_v2", *where, code=1)


def test_query_as_json_csv_and_parquet(out: Path, tmp_path: Path) -> None:
    sql = "select count(*) as n, sum(length) as frames from episodes"
    (row,) = json.loads(run("query", out, sql, "--json").stdout)
    assert run("query", out, sql, "--csv").stdout == f"n,frames\n{row['n']},{row['frames']}\n"
    target = tmp_path / "rows.parquet"
    assert run("query", out, sql, "--parquet", target).stdout == ""
    assert pl.read_parquet(target).to_dicts() == [row]
    assert f"| {row['n']}" in run("query", out, sql).stdout
    run("query", out, sql, "--json", "--csv", code=2)


def test_pictures_print_as_digests(out: Path) -> None:
    sql = "select camera, bytes from images where camera = 'image_0' limit 1"
    (row,) = json.loads(run("query", out, sql, "--json").stdout)
    assert set(row["bytes"]) == {"bytes", "sha256"}


def test_frames_join_on_episode_id(out: Path) -> None:
    sql = (
        "select e.episode_id, max(f.frame_index) + 1 as n, max(e.length) as length from frames f "
        "join episodes e on e.episode_id = f.episode_id group by e.episode_id"
    )
    rows = json.loads(run("query", out, sql, "--json").stdout)
    assert len(rows) == 18
    assert all(row["n"] == row["length"] for row in rows)


@pytest.mark.parametrize(
    "name", ["gate", "clusters", "representatives", "steps", "facts", "traces"]
)
def test_tables_to_come_are_empty_and_have_columns(out: Path, name: str) -> None:
    assert json.loads(run("query", out, f"select * from {name}", "--json").stdout) == []
    run("query", out, f"select episode_id from {name}", "--json")


def test_instructions_come_with_the_source(corpus: Corpus, out: Path) -> None:
    """One goal for each episode that has one; who said it, and that nobody changed it."""
    rows = json.loads(run("query", out, "select * from instructions", "--json").stdout)
    spoken = [t.instruction for t in corpus.truths if t.kind != "failed" and t.instruction]
    assert [row["text"] for row in rows] == spoken
    assert len(spoken) == 17
    keys = ("kind", "is_primary", "language", "text_original", "origin", "review_status")
    assert {tuple(row[key] for key in keys) for row in rows} == {
        ("goal", True, "en", None, "source", "unreviewed")
    }
    sql = (
        "select e.task, i.text from episodes e left join instructions i "
        "on e.episode_id = i.episode_id order by e.episode_index"
    )
    joined = json.loads(run("query", out, sql, "--json").stdout)
    assert len(joined) == 18
    assert all(row["task"] == (row["text"] or "") for row in joined)


@pytest.mark.parametrize(
    "sql", ["select nothing from episodes", "select * from nothing", "selct", ""]
)
def test_a_wrong_query_is_wrong_usage(out: Path, sql: str) -> None:
    done = run("query", out, sql, code=2)
    assert "error: the query: found" in done.stderr
    assert done.stdout == ""


def test_info_and_verify(corpus: Corpus, out: Path) -> None:
    page = run("info", out).stdout
    for word in ("18 written, 4 failed of 22", "CC-BY-4.0", "5 Hz", "right_qw", "image_1"):
        assert word in page
    found = json.loads(run("info", out, "--json").stdout)
    assert found["counts"]["found"] == 22
    assert found["flags"]["undecodable_picture"] == 2
    report = json.loads(run("verify", out, "--input", corpus.folder, "--json").stdout)
    assert report["problems"] == []
    assert report["episodes"] == 18


def test_sources_and_copy(corpus: Corpus, tmp_path: Path) -> None:
    assert "bridge_v2" in run("sources").stdout
    rows = json.loads(run("sources", "--json").stdout)
    (row,) = [row for row in rows if row["name"] == "bridge_v2"]
    assert (row["name"], row["licence"], row["fps"]) == ("bridge_v2", "CC-BY-4.0", ["5"])
    mine = tmp_path / "mine.toml"
    run("sources", "copy", "bridge_v2", mine)
    run("sources", "copy", "bridge_v2", mine, code=2)
    mine.write_text(mine.read_text().replace('name = "bridge_v2"', 'name = "mine"', 1))
    where = ("--input", corpus.folder, "--out", tmp_path / "out", "--max-episodes", 1)
    run("convert", mine, *where)
    rows = json.loads(
        run("query", tmp_path / "out", "select source from episodes", "--json").stdout
    )
    assert rows == [{"source": "mine"}]


def test_dry_run_writes_nothing(corpus: Corpus, tmp_path: Path) -> None:
    where = ("--input", corpus.folder, "--out", tmp_path / "o", "--dry-run")
    assert "about 22 episodes" in run("convert", "bridge_v2", *where).stdout
    assert json.loads(run("convert", "bridge_v2", *where, "--json").stdout)["episodes"] == 22
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("convert", "brigde", "--input", ".", "--out", "o"), 2, "wanted one of bc_z, bridge_v2, "),
        (("convert", "no.toml", "--input", ".", "--out", "o"), 2, "no file there"),
        (("convert", "bridge_v2", "--input", "nowhere", "--out", "o"), 2, "nothing there"),
        (("convert", "bridge_v2", "--input", ".", "--out", "o"), 1, "no features.json"),
        (("query", "nowhere", "select 1"), 2, "no finedata.json"),
        (("info", "nowhere"), 2, "no finedata.json"),
        (("frobnicate",), 2, "frobnicate"),
    ],
)
def test_errors_say_what_and_exit_right(
    arguments: tuple[str, ...],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*arguments, code=code)
    assert message in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_says_how_to_go_on(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("finedata.convert.run.convert_many", interrupted)
    arguments = [
        "convert",
        "bridge_v2",
        "--input",
        str(corpus.folder),
        "--out",
        str(tmp_path / "o"),
    ]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 130
    assert "the same command continues" in done.stderr


def test_version_and_help() -> None:
    assert start("--version").stdout.startswith("finedata 0.")
    assert "convert" in start("--help").stdout


def test_the_demo_walks(tmp_path: Path) -> None:
    done = start("demo", "--out", tmp_path / "demo")
    assert "0 problems" in done.stdout
    assert "finedata query" in done.stdout
    # A second demo replaces the first, and nothing that is not a demo's.
    start("demo", "--out", tmp_path / "demo")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "source").touch()
    assert "not a demo" in run("demo", "--out", tmp_path / "mine", code=2).stderr
    assert (tmp_path / "mine" / "source").exists()


def test_a_wrong_argument_is_named_as_it_is_typed(converted: Path) -> None:
    shown = run("gate", converted, "--threshold", "1", "--percentile", "5", code=2).stderr
    assert shown.startswith("error: --threshold and percentile: found both")


@pytest.mark.parametrize(
    ("words", "parameter", "typed"),
    [
        ("--verbose gate DIR --min-frames 0", "min_frames", "--min-frames"),
        ("train RECIPE --shards DIR", "states", "--set states"),
        ("train RECIPE --shards DIR", "micro_batch", "--set micro_batch"),
        ("train run RECIPE --shards DIR", "mix", "--mix"),
        ("train RECIPE --shards DIR", "recipe", "recipe"),
        ("review DIR", "port", "--port"),
        ("sim record --out DIR", "episodes", "--episodes"),
        ("nothing of ours", "min_frames", "--min-frames"),
    ],
)
def test_a_parameter_is_told_as_this_command_takes_it(
    words: str, parameter: str, typed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recipe's key is no option, and an argument has no name to type."""
    monkeypatch.setattr("sys.argv", ["finedata", *words.split()])
    assert as_typed(parameter) == typed
