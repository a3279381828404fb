"""A draft speaks for a sample of all episodes: which of them comes first changes nothing."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from faults.plain import Plain, still, swinging, write_plain
from sources import robomind_v2

import finedata
from finedata.convert.draft.look import look_at, spread
from finedata.convert.draft.propose import draft_converter
from finedata.convert.run import convert
from finedata.convert.verify.run import verify
from finedata.schema.converter_file import decode_converter

_ARM = tuple(f"right_joint_{k}" for k in range(6))


def _swapped(source: Path, one: int, other: int) -> None:
    """Exchange the rows of two episodes of equal length, and their numbers."""
    paths = [source / f"data/chunk-000/episode_{k:06d}.parquet" for k in (one, other)]
    tables = [pq.read_table(path) for path in paths]
    for path, table, own in zip(paths, tables[::-1], tables, strict=True):
        for name in ("episode_index", "index"):
            place = table.schema.get_field_index(name)
            table = table.set_column(place, name, own[name])
        pq.write_table(table, path)


def _odd(episode: int, frames: int, width: int) -> np.ndarray:
    return still(0, frames, width) if episode == 0 else swinging(episode, frames, width)


@pytest.mark.parametrize("other", [1, 3, 4])
def test_an_episode_at_rest_says_the_same_wherever_it_stands(other: int, tmp_path: Path) -> None:
    plain = Plain(episodes=5, motion=_odd, names=_ARM)
    source = write_plain(tmp_path / "source", plain)
    before = draft_converter(str(source), name="mine")
    _swapped(source, 0, other)

    assert draft_converter(str(source), name="mine") == before
    assert "# Looked at 5 episodes, spread over 5 files." in before
    (variant,) = decode_converter(before, origin="draft").converter.variants
    assert len(variant.arms) == 1


@pytest.mark.parametrize("odd", [0, 2, 4])
def test_an_episode_of_another_width_is_a_doubt_and_a_part(odd: int, tmp_path: Path) -> None:
    source = write_plain(tmp_path / "source", Plain(episodes=5, names=_ARM))
    wide = write_plain(tmp_path / "wide", Plain(episodes=5, width=8))
    name = f"data/chunk-000/episode_{odd:06d}.parquet"
    (source / name).write_bytes((wide / name).read_bytes())

    text = draft_converter(str(source), name="mine")

    assert "observation.state is 6 numbers wide in 4 of 5 episodes" in text
    drafted, others = decode_converter(text, origin="draft").converter.variants
    assert (drafted.space, len(drafted.arms)) == ("joint", 1)
    assert (others.space, others.keep) == ("undeclared", ("*",))


@pytest.mark.parametrize("absent", [0, 1, 2])
def test_a_unit_is_that_of_all_arms(absent: int, tmp_path: Path) -> None:
    """An arm that rests near zero shares the degrees of the other one."""
    names = tuple(f"{side}_joint_{k}" for side in ("left", "right") for k in range(6))

    def motion(episode: int, frames: int, width: int) -> np.ndarray:
        scale = 0.1 if episode == absent else 60.0
        moving = scale * swinging(episode, frames, 6)
        return np.hstack([0.5 + 0.01 * swinging(episode, frames, 6), moving])

    source = write_plain(tmp_path / "source", Plain(width=12, names=names, motion=motion))
    (variant,) = decode_converter(
        draft_converter(str(source), name="mine"), origin="draft"
    ).converter.variants

    units = {side.joints.unit for arm in variant.arms for side in (arm.state, arm.action)}
    assert units == {"deg"}


def test_a_sample_is_spread_whatever_its_size() -> None:
    for count in (1, 2, 5, 16, 17, 1000):
        numbers = spread(count, 16)
        assert len(set(numbers)) == len(numbers) == min(count, 16)
        assert {0, count - 1} <= set(numbers)


def test_a_file_of_many_episodes_gives_more_than_one(tmp_path: Path) -> None:
    source = write_plain(tmp_path / "source", Plain(episodes=2, names=_ARM))
    assert look_at(str(source)).sample == "2 episodes, spread over 2 files"


@pytest.mark.parametrize("which", [0, 2])
def test_a_camera_that_only_other_files_have(which: int, tmp_path: Path) -> None:
    """HDF5 has no description: the others of its robot say which cameras an episode lacks."""
    source = tmp_path / "source"
    robomind_v2.write(source, episodes=3, frames=4, depth=False, robots=("franka",))
    files = sorted(source.rglob("trajectory.hdf5"))
    with h5py.File(files[which], "a") as file:
        cameras = sorted(file["camera_observations/color_images"])
        del file[f"camera_observations/color_images/{cameras[-1]}"]
    convert("robomind_v2", input=source, out=tmp_path / "out")
    rows = (
        finedata.open(tmp_path / "out")
        .sql(
            "select e.cameras, e.cameras_missing, r.flags from episodes e join receipts r"
            " using (episode_id) order by r.source_file"
        )
        .rows()
    )
    for number, (there, missing, flags) in enumerate(rows):
        gone = cameras[-1:] if number == which else []
        assert (missing, there) == (gone, [name for name in cameras if name not in gone])
        assert ("camera_missing" in flags) == bool(gone)
    assert not verify(tmp_path / "out", input=source).problems
