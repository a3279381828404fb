"""What others reported of datasets on the Hub, built small; each test names the report.

Further reports are cases of their own elsewhere: storms of 429 and 504 (huggingface_hub 2587, 3186,
4362; datasets 6257), a commit that happened although 500 was answered (datasets 7708), a commit by
somebody else (dataset-viewer 2206), a resume under a stale parent (huggingface_hub 4331) in
test_publish_faults; a missing or stale version tag (physical-ai-studio 696, lerobot 4017) in
test_stock_readers and test_publish.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hub.loopback import Hub

import finedata
from finedata.hub.configs import read_configs
from finedata.hub.files import Publication, read_roots
from finedata.shard.shards import Shards

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def test_pictures_of_two_kinds_are_two_configurations(shards: Path) -> None:
    """Mobile-O 8, datasets 7055: members that differ between tars become nulls, silently."""
    found = Shards.open(shards)
    one = found.document.sets[0]
    members = ["image_0.png", *one.members[1:]]
    cameras = [msgspec.structs.replace(one.cameras[0], member="image_0.png", codec="png")]
    other = msgspec.structs.replace(one, name="other", members=members, cameras=cameras)
    document = msgspec.structs.replace(found.document, sets=[*found.document.sets, other])
    mixed = Publication(None, Shards(shards, document))
    configs = read_configs(mixed, mixed.uploads())
    assert len(configs) == 2
    assert configs[1]["data_files"][0]["path"] == ["tars/other/train-*.tar"]
    assert "tars/other/train-*.tar" not in configs[0]["data_files"][0]["path"]


def test_a_held_out_side_is_a_split_of_its_own(bridge: Path, tmp_path: Path) -> None:
    """datasets 7473: splits whose files are guessed from names are guessed apart."""
    out = tmp_path / "shards"
    finedata.open(bridge).shard(out, held_out=0.3, horizon=4)
    found = read_roots([out])
    (config,) = read_configs(found, found.uploads())
    splits = {one["split"]: one["path"] for one in config["data_files"]}
    assert set(splits) == {"train", "test"}
    paths = [one.path for one in found.uploads() if one.path.endswith(".tar")]
    for path in paths:
        homes = [
            split
            for split, patterns in splits.items()
            if any(Path(path).match(pattern) for pattern in patterns)
        ]
        assert homes == ["test" if "heldout" in path else "train"], path


def test_a_name_with_upper_case_and_spaces_below_the_repository(
    hub: Hub, bridge: Path, tmp_path: Path
) -> None:
    """huggingface_hub 2612: names that need escapes fail at the end of a long upload."""
    import shutil

    root = tmp_path / "My data (v2) + more"
    shutil.copytree(bridge, root)
    part = root / "annotations" / "facts"
    first = next(part.glob("*.parquet"))
    first.rename(part / "part-00007.parquet")
    finedata.publish([root], repo_id="org/Bridge.v2")
    there = finedata.open("hf://datasets/org/Bridge.v2")
    assert there.facts.collect().height == finedata.open(root).facts.collect().height
