"""Small HDF5 files of one episode."""

from __future__ import annotations

from pathlib import Path

from sources import encode

from finedata.readers.episode import Found
from finedata.readers.hdf5.episode import Hdf5Episode
from finedata.readers.hdf5.source import open_hdf5

JPEGS = [encode.jpeg(encode.scene(k), quality=40 + 7 * k) for k in range(7)]


def write(folder: Path, name: str = "a.hdf5", **datasets) -> Path:
    encode.write_hdf5(folder / name, {key.replace("__", "/"): v for key, v in datasets.items()})
    return folder / name


def only(folder: Path) -> Hdf5Episode:
    source = open_hdf5(folder)
    assert len(source.shards) == 1
    return source.open_shard(0).episode(Found(0, 0, source.shards[0].size))
