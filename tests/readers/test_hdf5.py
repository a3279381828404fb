"""HDF5 recordings: every byte as it is stored, and damage that ends in words, never in a crash."""

from __future__ import annotations

import errno
import hashlib
import pickle
import random
import shutil
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import fsspec
import h5py
import numpy as np
import pytest
from sources import encode, rdt, robomind_v1, robomind_v2
from sources.truth import SourceTruth

from finedata.errors import (
    CorruptRecordError,
    FeatureError,
    MissingFeatureError,
    SourceError,
    UsageError,
)
from finedata.readers.byte_slices import BytesSlices
from finedata.readers.episode import Found
from finedata.readers.files import SourceFile
from finedata.readers.hdf5 import source as hdf5
from finedata.readers.hdf5.episode import Hdf5Episode
from finedata.readers.hdf5.file import Hdf5File
from finedata.readers.hdf5.pictures import Hdf5Pictures
from finedata.readers.hdf5.source import Hdf5Source, open_hdf5, recognises

JPEGS = [encode.jpeg(encode.scene(k), quality=40 + 7 * k) for k in range(7)]


def write(folder: Path, name: str = "a.hdf5", **datasets) -> Path:
    encode.write_hdf5(folder / name, {key.replace("__", "/"): v for key, v in datasets.items()})
    return folder / name


def only(folder: Path) -> Hdf5Episode:
    source = open_hdf5(folder)
    assert len(source.shards) == 1
    return source.open_shard(0).episode(Found(0, 0, source.shards[0].size))


def digests(pictures) -> tuple[str, ...]:
    return tuple(hashlib.sha256(pictures[k]).hexdigest() for k in range(len(pictures)))


# The three sources as they are on disk


@pytest.mark.parametrize(
    ("writer", "count", "knobs"),
    [
        (robomind_v1, 18, {}),
        (robomind_v2, 10, {}),
        (rdt, 3, {"episodes": 3}),
        (rdt, 3, {"episodes": 3, "rows": True}),
    ],
)
def test_every_camera_of_every_fixture_comes_back_byte_for_byte(tmp_path, writer, count, knobs):
    truths = writer.write(tmp_path, **knobs)
    source = open_hdf5(tmp_path)
    assert len(truths) == len(source.shards) == count
    assert recognises(source.folder.files())
    checked = 0
    for index, truth in enumerate(truths):
        assert truth.key in source.shards[index].file
        for found, episode in source.scan(index):
            assert found == Found(0, 0, source.shards[index].size)
            assert episode is not None
            check_cameras(episode, truth)
            checked += len(truth.cameras)
    assert checked > count - 1


def check_cameras(episode: Hdf5Episode, truth: SourceTruth) -> None:
    stored = [name for name in episode.feature_names() if episode.camera_kind(name)]
    assert {name for name in stored if "depth" not in name} == set(truth.cameras)
    for name, wanted in truth.cameras.items():
        pictures = episode.pictures(name)
        assert digests(pictures) == wanted
        assert pictures.lengths.dtype == np.int64
        assert pictures.lengths.tolist() == [len(pictures[k]) for k in range(len(pictures))]
        joined = b"".join(pictures[k] for k in range(2, 5))
        assert pictures.slab(2, 5).joined() == joined
        assert pictures.slab(1, 6).slab(1, 4).joined() == joined
        assert episode.picture_shape(name) is None
        with pytest.raises(IndexError):
            pictures[len(pictures)]


def test_numbers_of_robomind_v1_are_the_motion(tmp_path):
    truths = {t.key: t for t in robomind_v1.write(tmp_path, episodes=1)}
    source = open_hdf5(tmp_path)
    for index, shard in enumerate(source.shards):
        if "h5_franka_1rgb" not in shard.file:
            continue
        truth = next(t for key, t in truths.items() if key in shard.file)
        arm = truth.arms["right"]
        for _, episode in source.scan(index):
            state = episode.numbers("puppet/joint_position")
            assert state.dtype == np.float64
            np.testing.assert_array_equal(state[:, :7], arm.joint_position)
            np.testing.assert_allclose(1 - state[:, 7], arm.gripper_open, atol=1e-12)
            lengths = episode.pictures("observations/rgb_images/camera_top").lengths
            assert lengths[1] == 32 * 48 * 3  # a raw frame keeps its black last rows
            assert lengths[0] != lengths[1]
            return
    pytest.fail("no Franka among the shards")


def test_metadata_of_robomind_v2_as_attributes_and_as_datasets(tmp_path):
    robomind_v2.write(tmp_path, episodes=1, robots=("franka", "ur"))
    source = open_hdf5(tmp_path)
    for index, feature in (
        (0, "metadata@language_instruction"),
        (1, "metadata/language_instruction"),
    ):
        for _, episode in source.scan(index):
            robot = ("franka", "ur")[index]
            assert episode.has(feature)
            assert feature in episode.feature_names()
            assert episode.texts(feature) == [robomind_v2.ROBOTS[robot].instruction]
            length = feature.replace("language_instruction", "trajectory_length")
            assert int(episode.numbers(length)) == 33
            stamps = episode.numbers("camera_observations/timestamp")
            assert stamps.dtype == np.int64
            assert stamps[0] == robomind_v2.START_S
            assert episode.numbers("camera_observations/is_intervene").dtype == bool


def test_split_is_the_folder_on_the_way(tmp_path):
    robomind_v1.write(tmp_path, embodiments=("franka_fr3_dual",))
    assert [shard.split for shard in open_hdf5(tmp_path).shards] == ["train", "val"]


# What a feature is


def test_numbers_keep_dtype_and_shape(tmp_path):
    write(
        tmp_path,
        one=np.zeros((5, 1), np.float32),
        flags=np.array([True, False]),
        big=np.arange(3, dtype=">i4"),
        scalar=4,
        empty=np.zeros((0, 7)),
    )
    episode = only(tmp_path)
    assert episode.numbers("one").shape == (5, 1)
    assert episode.numbers("one").dtype == np.float32
    assert episode.numbers("flags").tolist() == [True, False]
    assert episode.numbers("big").dtype == np.dtype("int32")
    assert episode.numbers("big").tolist() == [0, 1, 2]
    assert episode.numbers("scalar").shape == ()
    assert episode.numbers("empty").shape == (0, 7)
    assert episode.columns_of("one") is None
    assert episode.camera_kind("one") is episode.camera_kind("absent") is None
    episode.close()


def test_texts_of_datasets_and_attributes(tmp_path):
    file = write(tmp_path, word="pick “it”", words=["a", "bé"], fixed=np.array(b"hello"), n=1.5)
    with h5py.File(file, "a") as h5:
        h5.attrs.update({"root": "top", "list": ["x", "y"], "none": h5py.Empty("S1")})
        h5.create_group("g").attrs["bytes"] = np.bytes_("raw é".encode())
        h5["g"].attrs["bad"] = np.bytes_(b"\xff\xfe")
        h5["n"].attrs["unit"] = "m"
        h5["gz"] = h5py.SoftLink("/words")
    episode = only(tmp_path)
    assert episode.texts("word") == ["pick “it”"]
    assert episode.texts("words") == episode.texts("gz") == ["a", "bé"]
    assert episode.texts("fixed") == ["hello"]
    assert episode.texts("@root") == ["top"]
    assert episode.texts("@list") == ["x", "y"]
    assert episode.texts("@none") == [""]
    assert episode.texts("g@bytes") == ["raw é"]
    assert episode.texts("n@unit") == ["m"]
    for bad in ("g@bad", "n"):
        with pytest.raises(FeatureError):
            episode.texts(bad)
    for bad in ("word", "@root"):
        with pytest.raises(FeatureError):
            episode.numbers(bad)
    with pytest.raises(FeatureError):
        episode.video("word")
    episode.close()


@pytest.mark.parametrize("options", [{}, {"chunks": (3,)}, {"chunks": (3,), "compression": "gzip"}])
def test_variable_length_pictures_in_every_layout(tmp_path, options):
    pictures = [JPEGS[0], b"", JPEGS[1], bytes(40), *JPEGS[2:]]
    with h5py.File(tmp_path / "a.h5", "w", userblock_size=512) as h5:
        h5.create_dataset("cam", data=encode.vlen(pictures), **options)
        h5.create_dataset("later", (4,), dtype=h5py.vlen_dtype(np.uint8), chunks=(2,))
        h5["later"][0] = np.frombuffer(JPEGS[0], np.uint8)
    episode = only(tmp_path)
    stored = episode.pictures("cam")
    assert [stored[k] for k in range(len(stored))] == pictures
    assert stored.lengths.tolist() == list(map(len, pictures))
    assert stored.joined(instead_of_empty=b"-") == b"".join(one or b"-" for one in pictures)
    assert episode.pictures("later").lengths.tolist() == [len(JPEGS[0]), 0, 0, 0]
    assert stored.slab(4, 99).joined() == b"".join(pictures[4:])
    assert len(stored.slab(5, 2)) == 0
    episode.close()


@pytest.mark.parametrize("kind", ["S", "rows", "opaque"])
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_padding_is_cut_behind_the_end_mark_only(tmp_path, kind, compression):
    png = encode.depth_png(1)
    cut_short = JPEGS[2][:-2] + bytes(3)  # a damaged JPEG: nothing tells its zeros from padding
    raw = encode.raw_bgr(encode.scene(3, size=(12, 16)))
    pictures = [b"", JPEGS[0], png, cut_short, raw, JPEGS[1]]
    width = max(map(len, pictures)) + 9
    rows = np.frombuffer(b"".join(one.ljust(width, b"\0") for one in pictures), np.uint8)
    rows = rows.reshape(len(pictures), width)
    dtype = {"S": f"S{width}", "opaque": f"V{width}"}.get(kind)
    values = rows if dtype is None else rows.view(dtype)[:, 0]
    with h5py.File(tmp_path / "a.h5", "w") as h5:
        h5.create_dataset("cam", data=values, compression=compression)
    episode = only(tmp_path)
    stored = episode.pictures("cam")
    wanted = [b"", JPEGS[0], png, cut_short.ljust(width, b"\0"), raw.ljust(width, b"\0"), JPEGS[1]]
    assert [stored[k] for k in range(len(stored))] == wanted
    assert stored.lengths.tolist() == list(map(len, wanted))
    assert stored.joined() == b"".join(wanted)  # the second pass, with lengths known
    episode.close()


def test_raw_frames(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (9, 6, 8, 3), np.uint8)
    frames[:, -1] = 0
    write(tmp_path, cam=frames, gray=frames[..., 0], table=frames[:, :, 0, 0])
    episode = only(tmp_path)
    stored = episode.pictures("cam")
    assert [stored[k] for k in range(9)] == [frame.tobytes() for frame in frames]
    assert stored.lengths.tolist() == [6 * 8 * 3] * 9
    assert episode.picture_shape("cam") == (6, 8, 3)
    assert episode.camera_kind("gray") is episode.camera_kind("table") is None
    np.testing.assert_array_equal(episode.numbers("table"), frames[:, :, 0, 0])
    with pytest.raises(FeatureError):
        episode.numbers("cam")
    for bad in ("gray", "table"):
        with pytest.raises(FeatureError):
            episode.pictures(bad)
    with pytest.raises(MissingFeatureError):
        episode.pictures("nowhere")
    episode.close()


def test_blocks_are_bounded_by_bytes(tmp_path):
    frames = [bytes([k]) * (3 << 20) for k in range(5)]
    write(tmp_path, cam=encode.vlen([*JPEGS, *frames]))
    episode = only(tmp_path)
    sizes = [int(block.lengths.sum()) for block in episode.pictures("cam").blocks()]
    assert max(sizes) <= 4 << 20
    assert sum(sizes) == sum(map(len, JPEGS)) + 5 * (3 << 20)
    episode.close()


# Speed, without a changed byte


@pytest.mark.parametrize("padding", [0, 1, 63, 64, 65, 1024, 16383, 16384, 16385, 40000, 70001])
def test_padding_of_any_length_is_cut(tmp_path, padding):
    zeros_inside = JPEGS[0][:-2] + bytes(300) + b"\xff\xd9"
    pictures = [zeros_inside, JPEGS[1], b""]
    width = len(zeros_inside) + padding
    rows = np.array(pictures, dtype=f"S{width}")
    assert rows.dtype.itemsize == width
    write(tmp_path, cam=rows)
    episode = only(tmp_path)
    assert episode.pictures("cam").lengths.tolist() == list(map(len, pictures))
    assert episode.pictures("cam").joined() == b"".join(pictures)
    episode.close()


def stored_in_every_way(file: Path, pictures: list[bytes], frames: np.ndarray) -> list[str]:
    rows = np.array(pictures, dtype=f"S{max(map(len, pictures)) + 5}")
    ways = ({}, {"chunks": True}, {"chunks": True, "compression": "gzip"})
    with h5py.File(file, "w", userblock_size=1024) as h5:
        for number, way in enumerate(ways):
            h5.create_dataset(f"vlen{number}", data=encode.vlen(pictures), **way)
            h5.create_dataset(f"padded{number}", data=rows, **way)
            h5.create_dataset(f"frames{number}", data=frames, **way)
        cameras = [
            h5.create_dataset(f"interleaved{k}", (len(pictures),), h5py.vlen_dtype(np.uint8))
            for k in range(3)
        ]
        for k, one in enumerate(pictures):
            for camera in cameras:
                camera[k] = np.frombuffer(one, np.uint8)
        return list(h5)


def test_in_memory_is_the_pictures_one_by_one(tmp_path):
    pictures = [encode.jpeg(encode.scene(k, size=(96, 128)), quality=60 + k) for k in range(20)]
    pictures[4] = pictures[11] = b""
    frames = np.random.default_rng(1).integers(0, 256, (20, 24, 32, 3), np.uint8)
    names = stored_in_every_way(tmp_path / "a.h5", pictures, frames)
    assert len(names) == 12
    episode = only(tmp_path)
    for name in names:
        wanted = [frame.tobytes() for frame in frames] if "frames" in name else pictures
        for first, last in ((0, 20), (3, 17), (4, 5), (9, 9)):
            values = episode.pictures(name).slab(first, last).in_memory()
            assert [values[k] for k in range(len(values))] == wanted[first:last], name
            assert values.buffer == b"".join(wanted[first:last])
            assert values.in_memory() is values
    episode.close()


def test_values_that_are_their_buffer_are_not_copied():
    def slices(offsets, lengths, buffer=b"abcdef"):
        return BytesSlices(buffer, np.array(offsets, np.int64), np.array(lengths, np.int64))

    whole = slices([0, 2, 3], [2, 1, 3])
    assert whole.joined(instead_of_empty=b"-") is whole.buffer
    for offsets, lengths, wanted in (
        ([0, 2], [2, 1], b"abc"),
        ([1, 2], [1, 4], b"bcdef"),
        ([2, 0], [4, 2], b"cdefab"),
        ([0, 3], [2, 3], b"abdef"),
        ([0, 2, 2], [2, 0, 4], b"ab-cdef"),
        ([0, 0, 3], [3, 3, 3], b"abcabcdef"),
        ([], [], b""),
    ):
        assert slices(offsets, lengths).joined(instead_of_empty=b"-") == wanted


def test_pictures_are_read_once_and_in_few_reads(tmp_path, monkeypatch):
    pictures = [bytes([k + 1]) * 20_000 for k in range(200)]
    padded = [one[:-2].replace(one[:3], b"\xff\xd8\xff", 1) + b"\xff\xd9" for one in pictures]
    rows = np.array(padded, dtype="S25000")
    write(tmp_path, vlen=encode.vlen([*pictures[:150], b"", *pictures[150:]]), padded=rows)
    episode = only(tmp_path)
    cameras = [episode.pictures("vlen"), episode.pictures("padded")]
    read: list[int] = []
    real_read = Hdf5File.read
    monkeypatch.setattr(
        Hdf5File, "read", lambda self, at, n: read.append(n) or real_read(self, at, n)
    )
    for camera, stored in zip(cameras, (200 * 20_000, rows.nbytes), strict=True):
        read.clear()
        assert int(camera.in_memory().lengths.sum()) == 200 * 20_000
        assert stored <= sum(read) < 1.1 * stored
        assert len(read) <= 6
    episode.close()


def test_a_text_that_hdf5_converts_is_left_to_hdf5(tmp_path):
    """Bytes behind the first zero of a zero-terminated text do not count, as HDF5 has it."""
    stored = h5py.h5t.C_S1.copy()
    stored.set_size(60)
    stored.set_strpad(h5py.h5t.STR_NULLTERM)
    picture = b"\xff\xd8\xff" + b"x" * 9 + b"\xff\xd9"
    rows = np.array([picture + bytes(4) + b"left over"], "S60")
    with h5py.File(tmp_path / "a.h5", "w") as h5:
        space = h5py.h5s.create_simple((1,))
        cam = h5py.h5d.create(h5.id, b"cam", stored, space)
        cam.write(space, space, rows, mtype=stored)
        as_hdf5_has_it = h5["cam"][:].tobytes()
    assert as_hdf5_has_it.rstrip(b"\0") == picture
    episode = only(tmp_path)
    assert episode.pictures("cam").joined() == picture
    episode.close()


# The digest


def test_digest_sees_every_change_and_takes_known_pictures(tmp_path):
    def digest(change=lambda h5: None, **known) -> str:
        file = write(tmp_path, q=np.arange(6.0), cam=encode.vlen(JPEGS), t="a", g__n=[1, 2])
        with h5py.File(file, "a") as h5:
            h5.attrs["note"] = "x"
            change(h5)
        episode = only(tmp_path)
        out = episode.digest(known)
        episode.close()
        return out

    def replace(name, value):
        def change(h5):
            del h5[name]
            h5[name] = value

        return change

    plain = digest()
    assert plain == digest()
    assert len(plain) == 64
    swapped = encode.vlen([JPEGS[1], JPEGS[0], *JPEGS[2:]])
    changed = {
        digest(replace("q", np.array([0.0, 1, 2, 3, 4, 5.000001]))),
        digest(replace("q", np.arange(6.0).reshape(2, 3))),
        digest(replace("q", np.arange(6))),
        digest(replace("cam", swapped)),
        digest(replace("t", "b")),
        digest(lambda h5: h5.attrs.update(note="y")),
        digest(lambda h5: h5.move("g/n", "g/m")),
        digest(lambda h5: h5.__setitem__("link", h5py.ExternalLink("b.h5", "/x"))),
    }
    assert len(changed) == 8
    assert plain not in changed
    lengths = np.array([len(one) for one in JPEGS])
    assert plain == digest(cam=(hashlib.sha256(b"".join(JPEGS)).hexdigest(), lengths))
    assert plain != digest(cam=("0" * 64, lengths))


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


def test_a_remote_folder_reads_the_same(tmp_path):
    truths = rdt.write(tmp_path, episodes=1)
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path), "/hdf5-reader", recursive=True)
    source = open_hdf5("memory://hdf5-reader")
    ((_, local),) = [(f, e and e.digest({})) for f, e in open_hdf5(tmp_path).scan(0)]
    for _, episode in source.scan(0):
        check_cameras(episode, truths[0])
        assert episode.digest({}) == local


def test_other_records_and_closing(tmp_path):
    write(tmp_path, q=np.zeros(3))
    shard = open_hdf5(tmp_path).open_shard(0)
    with pytest.raises(SourceError, match="record 1"):
        shard.episode(Found(1, 0, 1))
    shard.episode(Found(0, 0, 1))
    shard.close()
    shard.close()


def test_real_robosuite_file(real_data):
    for _, episode in open_hdf5(real_data / "robosuite_hdf5").scan(0):
        assert episode.numbers("actions").shape == (174, 6)
        assert episode.texts("/data@env") == ["Wipe"]
        assert episode.texts("@model_file") == ["model_1.xml"]
        assert episode.texts("demonstration/name") == ["demo_1"]
        assert {"/data@date", "/data@env"} < set(episode.feature_names())
        assert [n for n in episode.feature_names() if episode.camera_kind(n)] == []


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


def test_the_module_says_what_it_gives():
    assert hdf5.__all__ == sorted(hdf5.__all__)
