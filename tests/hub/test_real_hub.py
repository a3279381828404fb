"""Bridge's and GR00T's real bytes: published, opened, counted, streamed as they are here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hub.loopback import Hub
from shard.curation import curate

import finedata
from finedata.convert.run import convert
from finedata.shard.shards import Shards

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
QUERY = "select task, count(*) as n, sum(length) as rows from episodes group by task order by task"


@pytest.mark.parametrize(
    ("source", "folder", "options"),
    [
        ("bridge_v2", "bridge_v2_rlds/1.0.0", {}),
        pytest.param(
            "lerobot",
            "gr00t_lerobot_v20",
            {"resize": (64, 64), "every": 8},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_published_opened_counted_streamed(
    hub: Hub, real_data: Path, tmp_path: Path, source: str, folder: str, options: dict[str, object]
) -> None:
    root, out = tmp_path / "data", tmp_path / "shards"
    convert(source, input=real_data / folder, out=root)
    curate(root)
    here = finedata.open(root)
    here.shard(out, horizon=4, shard_bytes=500_000, **options)
    published = finedata.publish([root, out], repo_id="org/real")
    assert published.tag == "v3.0"
    there = finedata.open("hf://datasets/org/real@v3.0")
    assert there.sql(QUERY).equals(here.sql(QUERY))
    assert len(there) == len(here)
    camera = next(iter(here.iter_episodes())).cameras[0]
    one, two = next(here.iter_episodes()), next(there.iter_episodes())
    assert np.array_equal(one.frames(camera, [0, 5]), two.frames(camera, [0, 5]))
    remote = Shards.open("hf://datasets/org/real/shards", cache=tmp_path / "cache")
    found = []
    for shards in (out, remote):
        with finedata.stream(shards, mix="raw=1", batch=20, horizon=4, stop=200) as batches:
            sums = [int(sum(one.sum() for one in b.pictures.values())) for b in batches]
            found.append((sums, batches.state_dict() | {"commit": ""}))
    assert found[0] == found[1]
