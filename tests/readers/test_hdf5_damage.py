"""HDF5 files that are refused, broken, no episode, or unreadable for now."""

from __future__ import annotations

import errno
import pickle
import random
import shutil
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest
from readers.hdf5_files import JPEGS, only, write
from sources import encode

from finedata.errors import (
    CorruptRecordError,
    FeatureError,
    MissingFeatureError,
    SourceError,
    UsageError,
)
from finedata.readers.episode import Found
from finedata.readers.files import SourceFile
from finedata.readers.hdf5.episode import Hdf5Episode
from finedata.readers.hdf5.file import Hdf5File
from finedata.readers.hdf5.pictures import Hdf5Pictures
from finedata.readers.hdf5.source import Hdf5Source, open_hdf5, recognises

# What is refused


def test_nothing_reaches_another_file(tmp_path):
    outside = tmp_path / "outside"
    inside = tmp_path / "inside"
    file = write(outside, "secret.bin", q=np.ones(3))
    (outside / "raw.bin").write_bytes(np.ones(3).tobytes())
    write(inside, q=np.zeros(3), g__q=np.arange(3.0))
    with h5py.File(inside / "a.hdf5", "a") as h5:
        h5["ext"] = h5py.ExternalLink(str(file), "/q")
        h5["up"] = h5py.ExternalLink(str(file), "/")
        h5["through"] = h5py.SoftLink("/up/q")
        h5["fine"] = h5py.SoftLink("g/q")
        h5["loop"] = h5py.SoftLink("/loop")
        h5["g/back"] = h5["/"]
        layout = h5py.VirtualLayout(shape=(3,), dtype="f8")
        layout[:] = h5py.VirtualSource(str(file), "q", shape=(3,))
        h5.create_virtual_dataset("virtual", layout)
        raw = [(str(outside / "raw.bin").encode(), 0, 24)]
        h5.create_dataset("external", (3,), "f8", external=raw)
    episode = only(inside)
    for name in ("ext", "up/q", "through", "loop", "up@x"):
        assert not episode.has(name)
        with pytest.raises(MissingFeatureError):
            episode.numbers(name)
    for name in ("virtual", "external"):
        with pytest.raises(FeatureError, match="other files"):
            episode.numbers(name)
    assert episode.numbers("fine").tolist() == [0.0, 1.0, 2.0]
    assert episode.numbers("g/back/g/q").tolist() == [0.0, 1.0, 2.0]
    assert "ext" not in episode.feature_names()
    assert "g/q" in episode.feature_names()
    episode.close()


def test_objects_are_refused_and_never_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return pytest.fail, ("it was unpickled",)

    file = write(tmp_path, q=np.zeros(3))
    with h5py.File(file, "a") as h5:
        h5.create_dataset("refs", data=[h5["q"].ref], dtype=h5py.ref_dtype)
        ragged = h5.create_dataset("ragged", (1,), dtype=h5py.vlen_dtype(np.float64))
        ragged[0] = np.ones(3)
        h5["pickle"] = np.void(pickle.dumps(Bomb()))
        h5["pair"] = np.zeros(2, [("a", "f4"), ("b", "i4")])
        h5.attrs.create("ref", h5["q"].ref, dtype=h5py.ref_dtype)
    episode = only(tmp_path)
    for name in ("refs", "ragged", "@ref"):
        with pytest.raises(FeatureError, match="refused"):
            episode.numbers(name)
    for name in ("refs", "ragged", "pickle", "pair", "@ref"):
        assert episode.has(name)
        for read in (episode.numbers, episode.texts, episode.pictures):
            with pytest.raises(FeatureError):
                read(name)
    assert len(episode.digest({})) == 64
    episode.close()


def test_a_shape_that_the_bytes_cannot_have(tmp_path):
    file = write(tmp_path, q=np.zeros((123456, 3)))
    raw = file.read_bytes()
    at = raw.index(struct.pack("<Q", 123456))
    file.write_bytes(raw[:at] + struct.pack("<Q", 1 << 40) + raw[at + 8 :])
    episode = only(tmp_path)
    with pytest.raises(CorruptRecordError, match="wanted"):
        episode.numbers("q")
    episode.close()


def test_a_length_that_its_heap_does_not_bear_out(tmp_path):
    file = write(tmp_path, cam=encode.vlen(JPEGS), words=["left", "right"])
    raw = bytearray(file.read_bytes())
    for length in (len(JPEGS[3]), len("right")):
        at = next(
            at
            for at in range(len(raw) - 15)
            if raw[at : at + 4] == struct.pack("<I", length)
            and raw[(heap := struct.unpack_from("<Q", raw, at + 4)[0]) : heap + 4] == b"GCOL"
        )
        raw[at : at + 4] = struct.pack("<I", 0xFFFFFFF0)
    file.write_bytes(raw)
    episode = only(tmp_path)
    with pytest.raises(CorruptRecordError, match="element 3"):
        episode.pictures("cam")
    with pytest.raises(CorruptRecordError, match="element 1"):
        episode.texts("words")
    episode.close()


def test_a_heap_that_would_make_hdf5_loop_for_ever(tmp_path):
    with h5py.File(tmp_path / "a.hdf5", "w") as h5:
        h5.attrs["note"] = "pick up the cup"
    raw = bytearray((tmp_path / "a.hdf5").read_bytes())
    heap = raw.index(b"GCOL")
    raw[heap + 24 : heap + 32] = struct.pack("<Q", 2**64 - 16)
    (tmp_path / "a.hdf5").write_bytes(raw)
    episode = only(tmp_path)
    with pytest.raises(CorruptRecordError, match="global heap"):
        episode.texts("@note")
    episode.close()


# Files that are no episode


def scanned(source: Hdf5Source, shard: int = 0) -> Found:
    ((found, episode),) = source.scan(shard)
    assert episode is None
    with pytest.raises(SourceError):
        source.open_shard(shard).episode(found)
    return found


def test_broken_files_are_found_with_their_reason(tmp_path):
    raw = write(tmp_path, "d.hdf5", q=np.arange(9.0)).read_bytes()
    (tmp_path / "a.h5").write_bytes(raw[: len(raw) * 2 // 3])
    (tmp_path / "b.HDF5").write_bytes(b"this is no HDF5 file at all" * 99)
    (tmp_path / "c.h5").write_bytes(b"")
    (tmp_path / "._d.hdf5").write_bytes(b"a shadow from a Mac")
    (tmp_path / "e.hdf5").symlink_to("d.hdf5")
    source = open_hdf5(tmp_path)
    assert [shard.file for shard in source.shards] == ["a.h5", "b.HDF5", "c.h5", "d.hdf5", "e.hdf5"]
    (tmp_path / "e.hdf5").unlink()
    assert [scanned(source, k).reason for k in (0, 1, 2, 4)] == [
        "truncated",
        "unparsable",
        "truncated",
        "unreadable_file",
    ]
    assert str(tmp_path) not in scanned(source, 4).message
    ((found, episode),) = ((f, e and e.numbers("q").sum()) for f, e in source.scan(3))
    assert (found.reason, episode) == (None, 36.0)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    write(tmp_path, q=np.zeros(3))
    source = open_hdf5(tmp_path)

    def refuse(self, name):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(type(source.folder), "open", refuse)
    assert scanned(source).reason == "unreadable_file"


class FailingReader:
    """A network that goes away after some reads."""

    def __init__(self, data: bytes, *, good: int) -> None:
        self.data, self.size, self.good = data, len(data), good
        self.closed = False

    def read(self, offset: int, length: int) -> bytes:
        self.good -= 1
        if self.good < 0:
            raise OSError(errno.ENETDOWN, "Network is down")
        return self.data[offset : offset + length]

    def close(self) -> None:
        self.closed = True


def test_a_network_that_fails_is_no_damage(tmp_path):
    data = write(tmp_path, q=np.zeros((3, 2)), g__cam=encode.vlen(JPEGS)).read_bytes()
    outcomes: Counter[str] = Counter()
    for good in range(60):
        reader = FailingReader(data, good=good)
        try:
            episode = Hdf5Episode(Hdf5File(reader, name="a.hdf5"))
            episode.feature_names()
            episode.digest({})
        except OSError as error:
            outcomes[f"failed with {error.errno}"] += 1
            if not reader.closed:  # it opened
                with pytest.raises(OSError, match="down"):
                    episode.feature_names()
                episode.close()
        else:
            episode.close()
            outcomes["read"] += 1
        assert reader.closed
    assert set(outcomes) == {f"failed with {errno.ENETDOWN}", "read"}
    assert min(outcomes.values()) > 5


def test_an_error_that_outlives_python_does_not_crash_it(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"this is no HDF5 file at all" * 99)
    script = (
        "from finedata.readers.hdf5.file import Hdf5File\n"
        "from finedata.readers.files import open_folder\n"
        f"Hdf5File(open_folder({str(tmp_path)!r}).open('a.h5'), name='a.h5')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert "CorruptRecordError: a.h5" in ended.stderr
    assert ended.returncode == 1


def test_missing_features_say_so(tmp_path):
    write(tmp_path, "one.hdf5", q=np.zeros(3))
    episode = only(tmp_path)
    assert not episode.has("puppet/joint_position")
    for read in (episode.numbers, episode.texts, episode.pictures, episode.picture_shape):
        for name in ("puppet/joint_position", "q/deeper", "q@unit", "@", "", "@x@y"):
            with pytest.raises(MissingFeatureError, match=r"one\.hdf5"):
                read(name)
    episode.close()


def test_folders_without_recordings(tmp_path):
    with pytest.raises(SourceError, match="no HDF5 file"):
        open_hdf5(tmp_path)
    with pytest.raises(UsageError):
        open_hdf5(tmp_path / "nowhere")
    assert recognises([SourceFile("x/a.h5", 1)])
    assert not recognises([SourceFile("x/a.mp4", 1)])
    assert not recognises([SourceFile("x/._a.h5", 1)])
    assert not recognises([SourceFile("x/a.h5", 1), SourceFile("meta/info.json", 1)])
    assert not recognises([SourceFile("x/a.h5", 1), SourceFile("1.0.0/features.json", 1)])


# Damage of every kind


def whole(folder: Path) -> str:
    """Everything that a conversion may ask for; the first error of ours ends it."""
    source = open_hdf5(folder)
    outcome = "read"
    for found, episode in source.scan(0):
        if episode is None:
            return str(found.reason)
        try:
            names = episode.feature_names()
            episode.digest({})
        except CorruptRecordError:
            outcome, names = "damaged", []
        for name in (*names, "puppet/q", "img/cam", "img/padded", "@n", "img@words"):
            for read in (episode.has, episode.numbers, episode.texts, episode.pictures):
                try:
                    got = read(name)
                    if isinstance(got, Hdf5Pictures):
                        got.joined()
                except CorruptRecordError:
                    outcome = "damaged"
                except FeatureError:
                    pass
    return outcome


def mutated(raw: bytes, chance: random.Random) -> bytes:
    if chance.random() < 0.15:
        return raw[: chance.randrange(len(raw))]
    data = bytearray(raw)
    for _ in range(chance.choice([1, 1, 2, 8, 30])):
        at = chance.randrange(len(data) if chance.random() < 0.6 else 4096)
        kind = chance.randrange(4)
        if kind == 0:
            data[at] = chance.randrange(256)
        elif kind == 1:
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 2:
            data[at : at + 8] = b"\xff" * 8
        else:
            other = chance.randrange(len(data))
            data[at : at + 8] = data[other : other + 8]
    return bytes(data)


@pytest.mark.parametrize("format_", ["earliest", "latest"])
def test_mutations_end_in_words_or_in_results(tmp_path, format_):
    rng = np.random.default_rng(0)
    base = tmp_path / "base"
    with h5py.File(base, "w", libver=format_) as h5:
        h5["puppet/q"] = rng.normal(size=(12, 8))
        h5.create_dataset("gz", data=rng.normal(size=(12, 8)), compression="gzip", shuffle=True)
        h5["img/cam"] = encode.vlen(JPEGS[:4])
        h5["img/padded"] = encode.padded(JPEGS[:3])
        h5["words"] = ["pick", "place"]
        h5.attrs["n"] = np.arange(3)
        h5["img"].attrs["words"] = "x y"
    raw = base.read_bytes()
    folder = tmp_path / "mutated"
    folder.mkdir()
    shutil.copy(base, folder / "a.h5")
    assert whole(folder) == "read"
    outcomes: Counter[str] = Counter()
    for seed in range(200):
        (folder / "a.h5").write_bytes(mutated(raw, random.Random(seed)))
        outcomes[whole(folder)] += 1
    assert sum(outcomes.values()) == 200
    assert set(outcomes) <= {"read", "damaged", "truncated", "unparsable"}
    assert min(outcomes["read"], outcomes["damaged"]) >= 10
