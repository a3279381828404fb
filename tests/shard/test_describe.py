"""Shards on one page, and the lists of ids that must not be in training files."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest
from shard.curation import curate, tree
from typer.testing import CliRunner

from finedata.cli.app import app
from finedata.errors import UsageError
from finedata.shard.describe import find_leaks
from finedata.shard.shards import Shards

RUN = CliRunner()


@pytest.fixture(scope="module")
def shards(curated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "shards"
    done = RUN.invoke(
        app,
        [
            "shard",
            str(curated),
            "--out",
            str(out),
            "--held-out",
            "0.25",
            "--resize",
            "24x32",
            "--workers=1",
        ],
    )
    assert done.exit_code == 0, done.output
    assert "pictures encoded (" in done.output
    assert "left out: " in done.output
    return out


def test_one_page(shards: Path) -> None:
    done = RUN.invoke(app, ["info", str(shards)])
    assert done.exit_code == 0
    opened = Shards.open(shards)
    for one in opened.sets.values():
        assert f"{one.name}: {one.episodes} episodes, {one.samples} samples" in done.output
    assert "24x32, 0 untouched" in done.output
    assert "encoded at quality 90 (" in done.output
    assert "held out  1/4, by episode" in done.output
    as_json = RUN.invoke(app, ["info", str(shards), "--json"])
    assert msgspec.json.decode(as_json.output)["identity"] == opened.identity


def test_leaks(shards: Path, tmp_path: Path) -> None:
    opened = Shards.open(shards)
    of_side: dict[str, list[dict[str, object]]] = {"train": [], "heldout": []}
    for one in opened.sets.values():
        of_side[one.side] += opened.episodes(one.name).rows(0, one.episodes).to_pylist()
    held = [str(row["episode_id"]) for row in of_side["heldout"]]
    assert held
    assert find_leaks(opened, held) == []
    row = of_side["train"][0]
    assert find_leaks(opened, [str(row["episode_id"])]) == [row["episode_id"]]
    of_task = sorted(one["episode_id"] for one in of_side["train"] if one["task"] == row["task"])
    assert find_leaks(opened, [str(row["task"])]) == of_task
    assert find_leaks(opened, [str(row["task_id"])]) == of_task
    (tmp_path / "ids").write_text("\n".join(held))
    clean = RUN.invoke(app, ["shard", str(shards), "--check-leaks", str(tmp_path / "ids")])
    assert clean.exit_code == 0
    (tmp_path / "ids").write_text(f"{row['episode_id']}\n")
    leak = RUN.invoke(app, ["shard", str(shards), "--check-leaks", str(tmp_path / "ids"), "--json"])
    assert leak.exit_code == 1
    assert msgspec.json.decode(leak.output) == {"leaks": [row["episode_id"]]}


@pytest.mark.parametrize(
    "wrong",
    [
        ["--resize", "big"],
        ["--shard-size", "many"],
        ["--held-out", "nowhere.txt"],
        ["--check-leaks", "nowhere.txt"],
        ["--bake", "poems"],
        ["--shard-index", "0"],
    ],
)
def test_wrong_words(wrong: list[str], curated: Path, tmp_path: Path) -> None:
    done = RUN.invoke(app, ["shard", str(curated), "--out", str(tmp_path / "out"), *wrong])
    assert done.exit_code != 0
    assert not (tmp_path / "out").exists()
    refused = done.exception
    assert isinstance(refused, UsageError)
    # What the library refuses has its own spelling; the command line's end adds the dashes.
    assert wrong[0] in str(refused) or f"--{refused.parameter}" == wrong[0]


def test_text_is_taken_up_without_a_pixel(curated: Path, shards: Path, tmp_path: Path) -> None:
    copy = tmp_path / "shards"
    shutil.copytree(shards, copy)
    before = tree(copy)
    again = RUN.invoke(app, ["shard", str(copy), "--text", str(curated), "--json"])
    assert again.exit_code == 0, again.output
    made = msgspec.json.decode(again.output)
    assert made["revision"] == Shards.open(copy).document.texts[-1].revision
    assert tree(copy) == before
    wrong = RUN.invoke(app, ["shard", str(curated), "--text", str(curated)])
    assert "finished shards in the place of DIR" in str(wrong.exception)


def test_compaction_at_the_command_line(curated: Path, shards: Path, tmp_path: Path) -> None:
    again, out = tmp_path / "again", tmp_path / "shards"
    shutil.copytree(curated, again)
    shutil.copytree(shards, out)
    curate(again, every=2)
    result = RUN.invoke(app, ["shard", str(out), "--compact", str(again)])
    assert result.exit_code == 0, result.output
    assert "episodes moved" in result.output
    assert "takes the place of" in result.output
    result = RUN.invoke(app, ["shard", str(out), "--compact", str(again)])
    assert "no episode has become a representative" in result.output
    result = RUN.invoke(app, ["shard", str(again), "--compact", str(out)])
    assert isinstance(result.exception, UsageError)
    assert "finedata shard SHARDS --compact DIR" in str(result.exception)
