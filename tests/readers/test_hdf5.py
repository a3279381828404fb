"""HDF5 recordings: every byte as it is stored, and damage that ends in words, never in a crash."""

from __future__ import annotations

import hashlib
from pathlib import Path

import fsspec
import h5py
import numpy as np
import pytest
from readers.hdf5_files import JPEGS, only, write
from sources import encode, rdt, robomind_v1, robomind_v2
from sources.truth import SourceTruth

from finedata.errors import (
    FeatureError,
    MissingFeatureError,
    SourceError,
)
from finedata.readers.byte_slices import BytesSlices
from finedata.readers.episode import Found
from finedata.readers.hdf5 import source as hdf5
from finedata.readers.hdf5.episode import Hdf5Episode
from finedata.readers.hdf5.file import Hdf5File
from finedata.readers.hdf5.source import open_hdf5, recognises


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


def test_the_module_says_what_it_gives():
    assert hdf5.__all__ == sorted(hdf5.__all__)
