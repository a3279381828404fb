"""What people reported of other writers and readers of tars, tried on ours.

Each test names the report that it was made after: a repository and a number.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import simplejpeg
from shard.curation import curate
from shard.stock import webdataset_samples

from finedata.shard.making.compact import compact_shards
from finedata.shard.making.plan import plan_cameras
from finedata.shard.making.run import shard_datasets
from finedata.shard.making.settings import ShardSettings
from finedata.shard.making.tar import Sample, write_tar
from finedata.shard.shards import Shards
from finedata.shard.verify import verify_shards
from finedata.store.dataset import open_dataset

PICTURE = simplejpeg.encode_jpeg(np.zeros((8, 8, 3), np.uint8))
CAMERAS = ("Front.Top RGB", "front.top_rgb", "WRIST", "wrist", "a" * 120, "a" * 119, "目", "1.5")


@pytest.fixture(scope="module")
def shards(curated: Path, tmp_path_factory: pytest.TempPathFactory) -> Shards:
    out = tmp_path_factory.mktemp("reports") / "shards"
    shard_datasets(
        [curated], out=out, settings=ShardSettings(shard_bytes=60_000, every=3, held_out="1/4")
    )
    return Shards.open(out)


def tars_of(shards: Shards) -> list[Path]:
    return [
        shards.tar_path(one.name, number)
        for one in shards.sets.values()
        for number in range(len(one.tars))
    ]


def members_of(cameras: tuple[str, ...]) -> tuple[str, ...]:
    features = {
        f"observation.images.{name}": SimpleNamespace(dtype="image", shape=(8, 8, 3))
        for name in cameras
    }
    part = SimpleNamespace(features=lambda _: features, root="d")
    planned = plan_cameras(part, "p", ShardSettings(), bits={})  # type: ignore[arg-type]
    assert sorted(camera.name for camera in planned) == sorted(cameras)
    return tuple(camera.member for camera in planned)


@pytest.fixture(scope="module")
def oddly_named(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[str, ...]]:
    """A tar of cameras with dots, capitals, long names, and names that differ in case only."""
    members = members_of(CAMERAS)
    path = tmp_path_factory.mktemp("odd") / "train-000000.tar"
    key = "bridge_v2_with_a_long_name-0123456789abcdef"
    written = [Sample(f"{key}-{k:06d}", (PICTURE,) * len(members)) for k in range(3)]
    write_tar(path, written, suffixes=members)
    return path, members


def test_dots_and_capitals_in_names_of_cameras(oddly_named: tuple[Path, tuple[str, ...]]) -> None:
    # webdataset/webdataset 237 and 288: a period in a name began the suffix; 428: names too long
    # were cut, and collided.
    path, members = oddly_named
    assert len(set(members)) == len(CAMERAS)
    for sample in webdataset_samples([path]):
        assert {name for name in sample if not name.startswith("__")} == set(members)
        assert all(sample[member] == PICTURE for member in members)


def test_capitals_in_datasets(
    oddly_named: tuple[Path, tuple[str, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # huggingface/datasets 7732 (capitals), 6880 and 7144 (dots): KeyError.
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    path, members = oddly_named
    found = datasets.load_dataset(
        "webdataset", data_files={"train": [str(path)]}, split="train", cache_dir=str(tmp_path)
    )
    assert set(members) <= set(found.column_names)
    assert len(found) == 3
    assert found[2][members[0]].size == (8, 8)


def test_members_of_a_sample_are_adjacent_and_complete(shards: Shards) -> None:
    # ray-project/ray 44068, webdataset/webdataset 407: a sample in pieces lost its fields unsaid.
    for one in shards.sets.values():
        for number in range(len(one.tars)):
            with tarfile.open(shards.tar_path(one.name, number)) as tar:
                names = [name.split(".", 1) for name in tar.getnames()]
            keys = [key for key, _ in names[:: len(one.members)]]
            wanted = [[key, member] for key in keys for member in one.members]
            assert names == wanted


def test_keys_are_unique_over_all_tars(shards: Shards) -> None:
    # webdataset/webdataset 157 and 327: names that repeat over shards collide once they meet.
    tars = tars_of(shards)
    assert len(tars) > 4
    keys = [sample["__key__"] for sample in webdataset_samples(tars)]
    assert len(keys) == len(set(keys)) == sum(one.samples for one in shards.sets.values())


def test_no_tar_is_empty_after_a_compaction_either(curated: Path, tmp_path: Path) -> None:
    # webdataset/webdataset 376: a writer that began with an empty archive.
    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(curated, first)
    ids = curate(first, every=3)
    shutil.copytree(first, second)
    curate(second, chosen=ids)
    out = tmp_path / "shards"
    settings = ShardSettings(shard_bytes=60_000, every=3)
    shard_datasets([first], out=out, settings=settings)
    assert {one.tier for one in Shards.open(out).document.sets} == {"rep", "rest"}
    compact_shards(out, [open_dataset(second)])
    now = Shards.open(out)
    # All represent now, so the set that they left is gone.
    assert {one.tier for one in now.document.sets} == {"rep"}
    assert all(tar.samples for one in now.document.sets for tar in one.tars)
    assert verify_shards(out, [open_dataset(second)]).problems == []
    assert len(webdataset_samples(tars_of(now))) == sum(one.samples for one in now.document.sets)


def test_a_cut_tar_is_named(shards: Shards, tmp_path: Path) -> None:
    # webdataset/webdataset 142: "unexpected end of data" in the midst of a training.
    copy = tmp_path / "shards"
    shutil.copytree(shards.root, copy)
    for cut in (513, 10_240, 1024):
        path = tars_of(Shards.open(copy))[0]
        whole = path.read_bytes()
        path.write_bytes(whole[:-cut])
        places = [problem.place for problem in verify_shards(copy).problems]
        assert path.relative_to(copy).as_posix() in places
        path.write_bytes(whole)
    assert verify_shards(copy).problems == []


def test_splits_of_datasets_are_those_of_the_files(
    shards: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # huggingface/datasets takes splits from words in paths: those of our files' names are right.
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    name = max(shards.sets.values(), key=lambda one: one.samples * (one.side == "train")).name
    mine = shards.sets[name].tars
    heldout = [one.name for one in shards.sets.values() if one.side == "heldout"]
    assert heldout
    found = datasets.load_dataset(
        "webdataset",
        data_files={
            "train": str(shards.root / "tars" / name / "train-*.tar"),
            "test": str(shards.root / "tars" / heldout[0] / "test-*.tar"),
        },
        cache_dir=str(tmp_path),
    )
    assert len(found["train"]) == sum(tar.samples for tar in mine)
    assert len(found["test"]) == shards.sets[heldout[0]].samples
    assert not set(found["train"]["__key__"]) & set(found["test"]["__key__"])


@pytest.mark.skipif(shutil.which("tar") is None, reason="no tar here")
def test_the_systems_own_tar_reads_them(shards: Shards, tmp_path: Path) -> None:
    # webdataset/webdataset 2: "This does not look like a tar archive".
    path = tars_of(shards)[0]
    listed = subprocess.run(
        ["tar", "-tf", str(path)], capture_output=True, text=True, check=True
    ).stdout.split()
    with tarfile.open(path) as tar:
        assert listed == tar.getnames()
    subprocess.run(["tar", "-xf", str(path), "-C", str(tmp_path)], check=True)
    with tarfile.open(path) as tar:
        for entry in tar:
            opened = tar.extractfile(entry)
            assert opened is not None
            assert (tmp_path / entry.name).read_bytes() == opened.read()


def test_read_as_a_stream_without_seeking(shards: Shards) -> None:
    # webdataset/webdataset: shards are read from pipes (`pipe:curl …`), where nobody can seek.
    path = tars_of(shards)[0]

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self._file = path.open("rb", buffering=0)

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: object) -> int:
            return self._file.readinto(memoryview(buffer)[:7_001])  # type: ignore[arg-type]

        def close(self) -> None:
            self._file.close()
            super().close()

    with Pipe() as pipe, tarfile.open(fileobj=io.BufferedReader(pipe), mode="r|") as tar:
        streamed = [entry.name for entry in tar]
    with tarfile.open(path) as tar:
        assert streamed == tar.getnames()
