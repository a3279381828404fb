"""Choosing episodes and cameras while converting, and estimating before it."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Corpus

from finedata.convert.context import ConvertOptions
from finedata.convert.planning.estimate import estimate
from finedata.convert.planning.selection import parse_selection
from finedata.convert.run import convert
from finedata.convert.verify.run import verify
from finedata.errors import SourceError, UsageError
from finedata.store.dataset import open_dataset


def ids(out: Path) -> list[str]:
    return open_dataset(out).receipts.collect()["episode_id"].to_list()


def test_positions_and_ranges(corpus: Corpus, converted: Path, tmp_path: Path) -> None:
    everything = ids(converted)
    options = ConvertOptions(episodes=("0", "2-4", "20"))
    summary = convert("bridge_v2", input=corpus.folder, out=tmp_path / "out", options=options)
    assert ids(tmp_path / "out") == [everything[i] for i in (0, 2, 3, 4, 20)]
    failed = sum(corpus.truths[i].kind == "failed" for i in (0, 2, 3, 4, 20))
    assert (summary.found, summary.failed) == (5, failed)
    assert verify(tmp_path / "out", input=corpus.folder).problems == []


def test_ids(corpus: Corpus, converted: Path, tmp_path: Path) -> None:
    chosen = ids(converted)[9]
    options = ConvertOptions(episodes=(chosen,))
    convert("bridge_v2", input=corpus.folder, out=tmp_path / "out", options=options)
    assert ids(tmp_path / "out") == [chosen]


def test_nothing_chosen_is_an_error(corpus: Corpus, tmp_path: Path) -> None:
    options = ConvertOptions(episodes=("bridge_v2-0000000000000000",))
    with pytest.raises(SourceError, match="no episode"):
        convert("bridge_v2", input=corpus.folder, out=tmp_path / "out", options=options)


def test_max_episodes_counts_written_ones(corpus: Corpus, tmp_path: Path) -> None:
    options = ConvertOptions(max_episodes=6)
    summary = convert("bridge_v2", input=corpus.folder, out=tmp_path / "out", options=options)
    assert summary.episodes == 6
    assert summary.found == 6 + summary.failed


def test_cameras(corpus: Corpus, tmp_path: Path) -> None:
    options = ConvertOptions(cameras=("image_1",))
    convert("bridge_v2", input=corpus.folder, out=tmp_path / "out", options=options)
    dataset = open_dataset(tmp_path / "out")
    assert dataset.images.select("camera").unique().collect().item() == "image_1"
    assert dataset.episodes.collect()["cameras"][0].to_list() == ["image_1"]
    assert verify(tmp_path / "out", input=corpus.folder).problems == []


def test_without_image_stats(corpus: Corpus, tmp_path: Path) -> None:
    options = ConvertOptions(image_stats=False)
    convert("bridge_v2", input=corpus.folder, out=tmp_path / "out", options=options)
    names = open_dataset(tmp_path / "out").episodes.collect_schema().names()
    assert "stats/action/mean" in names
    assert not [name for name in names if name.startswith("stats/observation.images")]


def test_estimate_writes_nothing(corpus: Corpus, tmp_path: Path) -> None:
    found = estimate(
        [("bridge_v2", str(corpus.folder))],
        out=tmp_path / "out",
        options=ConvertOptions(),
        workers=2,
    )
    assert found.episodes == 22
    assert found.source_bytes == sum(file.stat().st_size for file in corpus.folder.glob("*.tf*"))
    assert 0 < found.output_bytes < found.source_bytes
    assert found.seconds > 0
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "episodes"),
    [
        (ConvertOptions(max_episodes=5), 5),
        (ConvertOptions(episodes=("0", "2-4")), 4),
        (ConvertOptions(episodes=("20-99",)), 2),
        (ConvertOptions(episodes=("0-9",), max_episodes=3), 3),
    ],
)
def test_estimate_knows_the_selection(
    corpus: Corpus, tmp_path: Path, options: ConvertOptions, episodes: int
) -> None:
    found = estimate(
        [("bridge_v2", str(corpus.folder))], out=tmp_path / "o", options=options, workers=1
    )
    assert found.episodes == episodes


@pytest.mark.parametrize("text", ["a", "1-", "-1", "1-b", "bridge_v2-123", "1,2"])
def test_what_is_no_selection(text: str) -> None:
    with pytest.raises(UsageError, match=r"^episodes"):
        parse_selection(ConvertOptions(episodes=(text,)))


def test_what_is_one() -> None:
    chosen = parse_selection(
        ConvertOptions(episodes=("7", "10-19", "x-" + "0" * 16), max_episodes=3)
    )
    assert chosen.ranges == ((7, 7), (10, 19))
    assert chosen.ids == {"x-" + "0" * 16}
    assert chosen.most == 3
