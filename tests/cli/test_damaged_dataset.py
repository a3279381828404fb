"""A dataset whose files were cut, lost or changed: each verb works or says what is wrong.

Nobody reads a traceback: what a verb cannot do ends in one error of ours, with its place.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from finedata.cli.app import app, main
from finedata.errors import ConformError, FinedataError

VERBS = [
    ["info"],
    ["episodes"],
    ["gate"],
    ["summary"],
    ["annotate", "status"],
    ["annotate", "kinematic", "--all"],
    ["annotate", "export", "--format", "finevla", "--out", "OUT"],
    ["query", "select count(*) from facts"],
    ["query", "select sum(length) from episodes"],
]
FILES = [
    "finedata.json",
    "meta/info.json",
    "meta/stats.json",
    "meta/tasks.parquet",
    "meta/episodes/chunk-000/file-000.parquet",
    "data/chunk-000/file-000.parquet",
    "curation/receipts.parquet",
    "curation/gate.parquet",
    "annotations/facts",
    "annotations/steps",
]


@pytest.fixture(scope="module")
def whole(converted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole") / "bridge"
    shutil.copytree(converted, root)
    for verb in (["gate"], ["annotate", "kinematic", "--all"]):
        assert run(verb, root, root.parent / "out") is None
    return root


def run(verb: list[str], root: Path, out: Path) -> BaseException | None:
    """What a verb ended with, other than an exit."""
    words = 2 if verb[0] == "annotate" else 1
    filled = [str(out) if word == "OUT" else word for word in verb]
    result = CliRunner().invoke(app, [*filled[:words], str(root), *filled[words:]])
    return None if isinstance(result.exception, SystemExit) else result.exception


def linked(whole: Path, root: Path) -> Path:
    """The dataset once more, its files being links: what changes one has to replace it."""
    shutil.copytree(whole, root, copy_function=os.link)
    return root


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    table = pq.read_table(path) if how == "changed" and path.suffix == ".parquet" else None
    path.unlink()
    if how == "gone":
        return
    if how == "cut":
        path.write_bytes(data[: len(data) * 2 // 3])
    elif how == "zeros":
        path.write_bytes(bytes(len(data)))
    elif table is not None:
        pq.write_table(table.drop_columns(table.column_names[0]), path)
    else:
        path.write_bytes(data.replace(b":", b"\xf7", 1))


@pytest.mark.parametrize("how", ["cut", "gone", "zeros", "changed"])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file(whole: Path, tmp_path: Path, name: str, how: str) -> None:
    for number, verb in enumerate(VERBS):
        root = linked(whole, tmp_path / str(number))
        path = root / name
        if path.is_dir():
            path = next(iter(sorted(path.glob("*.parquet"))))
        damage(path, how)
        ended = run(verb, root, tmp_path / f"{number}-out")
        assert ended is None or isinstance(ended, FinedataError), f"{verb}: {ended!r}"


def test_lost_episodes_are_an_error_and_not_none(whole: Path, tmp_path: Path) -> None:
    root = tmp_path / "bridge"
    shutil.copytree(whole, root)
    damage(root / "meta/episodes/chunk-000/file-000.parquet", "gone")
    ended = run(["episodes"], root, tmp_path)
    assert isinstance(ended, FinedataError)
    assert "meta/episodes" in ended.place


@pytest.mark.parametrize("name", ["curation/receipts.parquet", "meta/episodes"])
def test_a_damaged_page_is_found(
    whole: Path,
    tmp_path: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The file opens, its rows do not: whoever meets it, the file is named."""
    root = tmp_path / "bridge"
    shutil.copytree(whole, root)
    path = root / name if name.endswith("parquet") else next((root / name).rglob("*.parquet"))
    data = bytearray(path.read_bytes())
    data[4:400] = bytes(396)
    path.write_bytes(bytes(data))
    monkeypatch.setattr(sys, "argv", ["finedata", "gate", str(root)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == ConformError.exit_code
    said = capsys.readouterr().err
    assert said.startswith(f"error: {path}: found ")
    assert "next: fetch it again" in said


def test_a_mistake_of_ours_stays_one(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        msg = "no_such_column"
        raise pl.exceptions.ColumnNotFoundError(msg)

    monkeypatch.setattr("finedata.quality.gate.gate", fail)
    monkeypatch.setattr(sys, "argv", ["finedata", "gate", str(whole)])
    with pytest.raises(pl.exceptions.ColumnNotFoundError):
        main()
