"""`finedata merge` and `finedata episodes` as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from finedata.cli import episodes, merge
from finedata.convert.context import ConvertOptions
from finedata.convert.sharded import convert_share
from finedata.errors import UsageError
from finedata.store.dataset import Dataset, open_dataset
from finedata.store.merge.subset import write_subset

app = typer.Typer()
app.command("merge", help=merge.HELP)(merge.merge)
app.command("episodes", help=episodes.HELP)(episodes.episodes)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def halves(converted: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("halves")
    dataset = open_dataset(converted)
    ids = dataset.episodes.collect()["episode_id"].to_list()
    for name, some in (("a", ids[:4]), ("b", ids[4:])):
        (folder / name).mkdir()
        write_subset(dataset, out=folder / name, episode_ids=some)
    return [str(folder / "a"), str(folder / "b")]


def test_says_what_it_merged(converted: Path, halves: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    text = run("merge", *halves, "--out", str(out), "--concatenate")
    counts = open_dataset(converted).info.counts
    head = f"{counts['written']} episodes, {counts['frames_written']} frames in {out} (widowx_250)"
    assert text.startswith(head)
    assert len(open_dataset(out).parts) == 1


def test_json_is_one_object(halves: list[str], tmp_path: Path) -> None:
    found = json.loads(run("merge", *halves, "--out", str(tmp_path / "out"), "--json"))
    assert len(found["parts"]) == 2
    assert found["licences"] == {"CC-BY-4.0": ["bridge_v2"]}


def test_without_out_it_finishes_shares(corpus, converted: Path, tmp_path: Path) -> None:
    out = tmp_path / "shared"
    for index in range(2):
        convert_share(
            [("bridge_v2", str(corpus.folder))],
            out=out,
            options=ConvertOptions(),
            shard_index=index,
            num_shards=2,
        )
    wanted = open_dataset(converted).info.counts
    found = json.loads(run("merge", str(out), "--json"))
    assert found["episodes"] == wanted["written"]
    assert open_dataset(out).info.counts == wanted


def test_without_out_anything_else_is_refused(halves: list[str]) -> None:
    for folders in (halves, halves[:1]):
        with pytest.raises(UsageError, match="--out"):
            run("merge", *folders)


@pytest.fixture(scope="module")
def dataset(converted: Path) -> Dataset:
    return open_dataset(converted)


def test_episodes_prints_the_map(dataset: Dataset) -> None:
    lines = run("episodes", str(dataset.root)).splitlines()
    rows = dataset.episodes.collect()
    assert len(lines) == rows.height + 1
    for line, row in zip(lines[1:], rows.iter_rows(named=True), strict=True):
        assert line.split() == [
            row["episode_id"],
            row["part"],
            str(row["episode_index"]),
            str(row["dataset_from_index"]),
            str(row["dataset_to_index"] - 1),
            "data/chunk-000/file-000.parquet",
        ]


def test_episodes_finds_both_ways(dataset: Dataset) -> None:
    rows = dataset.episodes.collect()
    part, third = rows["part"][0], rows["episode_id"][2]
    root = str(dataset.root)
    for arguments in (
        ["--index", f"{part}:2"],
        ["--index", "2"],
        ["--id", third],
        ["--frame", str(rows["dataset_from_index"][2])],
        ["--where", f"episode_id = '{third}'"],
    ):
        (found,) = json.loads(run("episodes", root, "--json", *arguments))
        assert (found["episode_id"], found["episode_index"]) == (third, 2)
    first = rows["episode_id"][0]
    found = json.loads(run("episodes", root, "--json", "--id", third, "--id", first))
    assert [place["episode_id"] for place in found] == [third, first]


@pytest.mark.parametrize(
    "arguments", [["--index", "a:b"], ["--index", "1-2"], ["--index", "1", "--frame", "2"]]
)
def test_episodes_refuses_what_it_does_not_understand(
    dataset: Dataset, arguments: list[str]
) -> None:
    with pytest.raises(UsageError):
        run("episodes", str(dataset.root), *arguments)
