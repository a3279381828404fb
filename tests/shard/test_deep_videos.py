"""A video of depth in shards: millimetres of 16 bits, and metres as a stream gives them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("av")

from convert.test_names_of_features import converted
from shard.curation import curate
from shard.members import members
from sources import lerobot_depth
from sources.lerobot_depth import distances_m

from finedata.shard.making.run import shard_datasets
from finedata.shard.making.settings import ShardSettings
from finedata.shard.shards import Shards
from finedata.shard.stream.opening import stream
from finedata.shard.verify import verify_shards


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deep")
    lerobot_depth.write(folder / "in")
    out = converted(folder / "in")
    curate(out, every=1)
    shard_datasets([out], out=folder / "shards", settings=ShardSettings())
    return folder / "shards"


def test_members_are_millimetres(deep: Path) -> None:
    found = members(deep)
    names = [name for name in found if name.endswith(".front_depth.png")]
    assert len(names) == 60
    seen = [np.asarray(Image.open(io.BytesIO(found[name]))) for name in names]
    # Which frame it is, its own distances tell: one centimetre more in each.
    for mm in seen:
        assert mm.dtype == np.uint16
        number = round((int(mm[-1, -1]) - distances_m(0)[-1, -1] * 1000) / 10)
        assert np.abs(mm - distances_m(number) * 1000).max() < 3
        assert not mm[:4, :4].any()
    assert len({int(mm[-1, -1]) for mm in seen}) >= 16
    assert verify_shards(deep).problems == []


def test_a_stream_gives_metres(deep: Path) -> None:
    roles = (deep / "roles.toml").read_text()
    assert 'camera = "front_depth"\nunit_m = 0.001' in roles
    with stream(Shards.open(deep), mix="raw=1", batch=4, depth=True, workers=0, size=(64, 96)) as s:
        batch = next(iter(s))
    assert batch.pictures["front"].shape == (4, 64, 96, 3)
    for metres in batch.depth["front"]:
        number = round(float(metres[-1, -1] - distances_m(0)[-1, -1]) / 0.01)
        assert np.abs(metres - distances_m(number)).max() < 0.003


def test_what_is_not_called_depth_is_told_by_its_pixels(tmp_path: Path) -> None:
    """Undeclared codes stay codes: 16 bits of them, in no picture's place."""
    name = "observation.images.range"
    lerobot_depth.write(tmp_path / "in", name=name, is_depth_map=None)
    out = converted(tmp_path / "in")
    curate(out, every=1)
    shard_datasets([out], out=tmp_path / "shards", settings=ShardSettings())
    found = members(tmp_path / "shards")
    codes = [data for member, data in found.items() if member.endswith(".range.png")]
    assert len(codes) == 60
    pixels = np.asarray(Image.open(io.BytesIO(codes[0])))
    assert pixels.dtype == np.uint16
    assert pixels.max() < 4096
    assert "range" not in (tmp_path / "shards/roles.toml").read_text().split("[[parts]]")[0]


def test_clips_have_no_room_for_it(tmp_path: Path) -> None:
    lerobot_depth.write(tmp_path / "in")
    out = converted(tmp_path / "in")
    curate(out, every=1)
    shard_datasets([out], out=tmp_path / "clips", settings=ShardSettings(sample="episode"))
    suffixes = {name.split(".", 1)[1] for name in members(tmp_path / "clips")}
    assert "front.mp4" in suffixes
    assert not any("depth" in one for one in suffixes)


@pytest.mark.parametrize("unit", ["m", "mm"])
def test_depth_of_rows_becomes_millimetres(unit: str, tmp_path: Path) -> None:
    lerobot_depth.write_rows(tmp_path / "in", unit=unit)
    out = converted(tmp_path / "in")
    curate(out, every=1)
    shard_datasets([out], out=tmp_path / "shards", settings=ShardSettings())
    found = members(tmp_path / "shards")
    deep = [data for member, data in found.items() if member.endswith(".front_depth.png")]
    assert len(deep) == 60
    for data in deep:
        mm = np.asarray(Image.open(io.BytesIO(data)))
        number = round((int(mm[-1, -1]) - distances_m(0)[-1, -1] * 1000) / 10)
        assert np.abs(mm - distances_m(number) * 1000).max() <= 0.51
    assert verify_shards(tmp_path / "shards").problems == []
