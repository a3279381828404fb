"""The map between LeRobot's indices and ids, held against the stored rows."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from sources import generic_lerobot

from finedata.convert.run import convert
from finedata.errors import UsageError
from finedata.store.dataset import Dataset, open_dataset
from finedata.store.index_map import (
    episode_places,
    places_of_frames,
    places_of_ids,
    places_of_indices,
)
from finedata.store.merge.run import merge_datasets


@pytest.fixture(scope="module")
def both(converted: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Two parts: pictures in rows, and videos."""
    folder = tmp_path_factory.mktemp("both")
    generic_lerobot.write(folder / "source", version="v3.0")
    convert("lerobot", input=folder / "source", out=folder / "filmed")
    roots = [converted, folder / "filmed"]
    merge_datasets(roots, out=folder / "both", allow_mixed_licences=True)
    return open_dataset(folder / "both")


def test_every_place_is_where_the_rows_are(both: Dataset) -> None:
    places = episode_places(both)
    assert [place.episode_id for place in places] == both.episodes.collect()["episode_id"].to_list()
    for place in places:
        rows = pl.read_parquet(both.root / place.data_file, columns=["index", "episode_index"])
        mine = rows.filter(pl.col("episode_index") == place.episode_index)["index"]
        assert (mine.min(), mine.max()) == (place.first_index, place.last_index)
        spans = both.episode(place.episode_id).videos
        found = {
            video.camera: (both.root / video.file, video.from_s, video.to_s)
            for video in place.videos
        }
        assert found == {name: (span.path, span.from_s, span.to_s) for name, span in spans.items()}
    assert sum(bool(place.videos) for place in places) == 3


def test_both_ways_give_the_same(both: Dataset) -> None:
    for place in episode_places(both):
        part, number = place.part, place.episode_index
        assert places_of_ids(both, episode_ids=[place.episode_id]) == [place]
        assert places_of_indices(both, part=part, episode_indices=[number]) == [place]
        ends = [place.first_index, place.last_index]
        assert places_of_frames(both, part=part, indices=ends) == [place, place]


def test_the_order_is_as_asked(both: Dataset) -> None:
    part = both.parts[0].name
    places = places_of_indices(both, part=part, episode_indices=[3, 0, 3])
    assert [place.episode_index for place in places] == [3, 0, 3]
    ids = [place.episode_id for place in places]
    assert places_of_ids(both, episode_ids=ids) == places


def test_a_condition_chooses(both: Dataset) -> None:
    part = both.parts[1].name
    places = episode_places(both, where=f"part = '{part}' and episode_index > 0")
    assert [place.episode_index for place in places] == [1, 2]


def test_what_is_not_there_is_refused(both: Dataset) -> None:
    part = both.parts[1]
    with pytest.raises(UsageError, match="wanted 0 to 2"):
        places_of_indices(both, part=part.name, episode_indices=[1, 3])
    with pytest.raises(UsageError, match=f"wanted 0 to {part.frames - 1}"):
        places_of_frames(both, part=part.name, indices=[part.frames])
    with pytest.raises(UsageError, match="none named"):
        places_of_indices(both, episode_indices=[0])
    with pytest.raises(UsageError, match="'elsewhere'"):
        places_of_frames(both, part="elsewhere", indices=[0])
    with pytest.raises(UsageError, match="an episode of this dataset"):
        places_of_ids(both, episode_ids=["bridge_v2-0000000000000000"])


def test_one_part_needs_no_name(converted: Path) -> None:
    dataset = open_dataset(converted)
    assert places_of_indices(dataset, episode_indices=[2]) == [episode_places(dataset)[2]]
