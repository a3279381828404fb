from __future__ import annotations

import hashlib
import tracemalloc
from pathlib import Path

import av
import numpy as np
import pytest
from sources.video import codec_of, demuxed_times, write_video

from finedata.errors import CorruptRecordError, SourceError
from finedata.readers.files import open_folder
from finedata.readers.mp4.index import Mp4Index, read_mp4_index


class Bytes:
    """A file in memory that remembers how much of it was read."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size, self.reads = data, len(data), []

    def read(self, offset: int, length: int) -> bytes:
        self.reads.append((offset, length))
        return self.data[offset : offset + length]

    def close(self) -> None: ...


def index_of(path: Path) -> Mp4Index:
    reader = open_folder(path.parent).open(path.name)
    try:
        return read_mp4_index(reader)
    finally:
        reader.close()


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return (len(body) + 8).to_bytes(4, "big") + kind + body


WAYS = {
    "b-frames": {},
    "no b-frames": {"b_frames": 0, "fps": 15},
    "mpeg4": {"codec": "mpeg4", "fps": 29.97},
    "av1": {"codec": "av1", "height": 64, "width": 96},
    "late start": {"start_s": 0.5},
    "index first": {"options": {"movflags": "faststart"}},
    "negative offsets": {"options": {"movflags": "negative_cts_offsets"}},
    "no edit list": {"options": {"use_editlist": "0"}},
    "fragments": {"fps": 10, "options": {"movflags": "frag_keyframe"}},
    "fragments, empty moov": {
        "options": {"movflags": "frag_keyframe+empty_moov+default_base_moof"},
    },
    "quicktime": {"container": "mov"},
    "uneven": {
        "times_s": np.cumsum(np.random.default_rng(0).uniform(0.03, 0.2, 30)),
        "timescale": 90000,
    },
}


@pytest.mark.parametrize("way", WAYS)
def test_times_are_those_at_which_ffmpeg_shows_the_frames(tmp_path: Path, way: str):
    path = write_video(tmp_path / "a.mp4", 30, **WAYS[way])
    index = index_of(path)
    wanted = demuxed_times(path)
    assert index.frames == len(wanted) == 30
    np.testing.assert_allclose(index.time_s, wanted, rtol=0, atol=1e-9)
    assert index.shape == (WAYS[way].get("height", 32), WAYS[way].get("width", 48), 3)
    assert index.codec == codec_of(path)
    assert index.byte_size == path.stat().st_size
    assert index.fps == pytest.approx(1 / np.median(np.diff(wanted)))


def test_the_pictures_are_never_read(tmp_path: Path):
    data = write_video(tmp_path / "a.mp4", 60).read_bytes()
    begin = data.index(b"mdat") - 4
    end = begin + int.from_bytes(data[begin : begin + 4], "big")
    reader = Bytes(data)
    read_mp4_index(reader)
    touched = sum(max(0, min(at + n, end) - max(at, begin)) for at, n in reader.reads)
    assert touched <= 24  # two box headers
    assert len(reader.reads) < 8


def test_the_digest_is_of_the_moov_box(tmp_path: Path):
    data = write_video(tmp_path / "a.mp4", 12).read_bytes()
    moov = data[data.index(b"moov") - 4 :]
    assert read_mp4_index(Bytes(data)).sha256 == hashlib.sha256(moov).hexdigest()


def test_uniform_holds_only_at_the_true_rate(tmp_path: Path):
    index = index_of(write_video(tmp_path / "a.mp4", 30, fps=10))
    assert index.uniform(10)
    assert index.uniform(10, first_frame=7, count=5)
    assert not index.uniform(10.1)
    assert not index.uniform(10, first_frame=20, count=11)
    assert not index.uniform(0)
    late = index_of(
        write_video(tmp_path / "b.mp4", 3, times_s=np.array([0.0, 0.1, 0.2003]), timescale=90000)
    )
    assert not late.uniform(10)
    assert late.uniform(10, tolerance_s=1e-3)
    assert late.uniform(10, count=2)


def test_one_frame_has_a_rate(tmp_path: Path):
    index = index_of(write_video(tmp_path / "a.mp4", 1, fps=10))
    assert (index.frames, index.time_s.tolist()) == (1, [0.0])
    assert index.fps == pytest.approx(10)


@pytest.mark.parametrize(("container", "name"), [("matroska", "Matroska"), ("avi", "AVI")])
def test_other_containers_are_named(tmp_path: Path, container: str, name: str):
    path = write_video(tmp_path / "a", 5, codec="mpeg4", b_frames=0, container=container)
    with pytest.raises(SourceError, match=name):
        index_of(path)


@pytest.mark.parametrize("part", ["head", "half", "all but one byte", "empty", "no moov"])
def test_a_truncated_file_is_corrupt(tmp_path: Path, part: str):
    options = {"movflags": "faststart"} if part in ("half", "all but one byte") else None
    data = write_video(tmp_path / "a.mp4", 30, options=options).read_bytes()
    cut = {
        "head": data[:20],
        "half": data[: len(data) // 2],
        "all but one byte": data[:-1],
        "empty": b"",
        "no moov": data[: data.index(b"moov") - 4],
    }
    with pytest.raises(CorruptRecordError):
        read_mp4_index(Bytes(cut[part]))


def test_an_edit_that_ends_early_hides_the_rest(tmp_path: Path):
    path = write_video(tmp_path / "a.mp4", 30)
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 12
    data[at : at + 4] = (500).to_bytes(4, "big")  # milliseconds: 15 of 30 frames at 30 Hz
    path.write_bytes(data)
    index = index_of(path)
    assert index.frames == 15
    np.testing.assert_allclose(index.time_s, demuxed_times(path), rtol=0, atol=1e-9)


def test_a_last_box_that_is_cut_off_is_corrupt(tmp_path: Path):
    data = write_video(tmp_path / "a.mp4", 30).read_bytes()
    assert read_mp4_index(Bytes(data + box(b"free", bytes(92)))).frames == 30
    with pytest.raises(CorruptRecordError, match="92 bytes past the end"):
        read_mp4_index(Bytes(data + (100).to_bytes(4, "big") + b"free"))


def test_a_fragment_at_an_impossible_time_is_corrupt(tmp_path: Path):
    way = WAYS["fragments, empty moov"]
    data = bytearray(write_video(tmp_path / "a.mp4", 30, **way).read_bytes())
    at = data.index(b"tfdt") + 4
    assert data[at] == 1
    data[at + 4 : at + 12] = ((1 << 63) - 5).to_bytes(8, "big")
    with pytest.raises(CorruptRecordError, match="impossible time"):
        read_mp4_index(Bytes(bytes(data)))


def test_frames_outside_the_file_are_corrupt(tmp_path: Path):
    data = bytearray(write_video(tmp_path / "a.mp4", 30).read_bytes())
    at = data.index(b"stco") + 12
    data[at : at + 4] = len(data).to_bytes(4, "big")
    with pytest.raises(CorruptRecordError, match="past the end"):
        read_mp4_index(Bytes(bytes(data)))


def test_a_sound_without_a_picture_is_refused(tmp_path: Path):
    moov = box(
        b"moov",
        box(b"mvhd", bytes(100)),
        box(b"trak", box(b"mdia", box(b"hdlr", bytes(8), b"soun"))),
    )
    with pytest.raises(SourceError, match="no video track"):
        read_mp4_index(Bytes(box(b"ftyp", b"isom") + moov))


@pytest.mark.parametrize("table", [b"stts", b"stsz", b"ctts", b"stsc", b"stco", b"elst"])
def test_a_declared_count_allocates_nothing(tmp_path: Path, table: bytes):
    data = bytearray(write_video(tmp_path / "a.mp4", 30).read_bytes())
    at = data.index(table) + (12 if table == b"stsz" else 8)
    data[at : at + 4] = b"\xff\xff\xff\xf0"
    tracemalloc.start()
    with pytest.raises(SourceError):
        read_mp4_index(Bytes(bytes(data)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("way", ["b-frames", "late start", "fragments, empty moov"])
def test_no_damage_escapes_as_another_error(tmp_path: Path, way: str):
    whole = write_video(tmp_path / "a.mp4", 30, **WAYS[way]).read_bytes()
    random = np.random.default_rng(3)
    begin = whole.index(b"moov")
    outcomes = {"read": 0, "refused": 0}
    for _ in range(500):
        data = bytearray(whole)
        for _ in range(random.integers(1, 4)):
            at = int(random.integers(begin if random.random() < 0.85 else 0, len(data)))
            word = int(random.choice([0, 1, 1 << 31, (1 << 32) - 1, random.integers(1 << 32)]))
            new = word.to_bytes(4, "big") if random.random() < 0.5 else bytes([word & 255])
            data[at : at + len(new)] = new
        try:
            index = read_mp4_index(
                Bytes(
                    bytes(
                        data[: int(random.integers(len(data)))] if random.random() < 0.1 else data
                    )
                )
            )
        except SourceError:
            outcomes["refused"] += 1
        else:
            assert len(index.time_s) == index.frames <= 5_000_000
            outcomes["read"] += 1
    assert min(outcomes.values()) > 20


def test_real_videos(real_data: Path):
    paths = sorted((real_data / "gr00t_lerobot_v20" / "videos").rglob("*.mp4"))
    counts = []
    for path in paths:
        index = index_of(path)
        np.testing.assert_allclose(index.time_s, demuxed_times(path), rtol=0, atol=1e-9)
        assert (index.shape, index.codec) == ((256, 256, 3), "h264")
        assert index.uniform(20)
        counts.append(index.frames)
    assert counts == [416, 470, 470, 412, 328]


def test_frames_of_a_description_that_is_not_there_are_corrupt(tmp_path: Path):
    """FFmpeg opens such a file, and shows nothing of it."""
    data = bytearray(write_video(tmp_path / "a.mp4", 30).read_bytes())
    at = data.index(b"stsc") + 12 + 8
    data[at : at + 4] = (65537).to_bytes(4, "big")
    with pytest.raises(CorruptRecordError, match="description that is not there"):
        read_mp4_index(Bytes(bytes(data)))


def test_an_edit_whose_length_rounds_to_nothing_shows_nothing(tmp_path: Path):
    """A movie clock of a billion ticks: FFmpeg hides every frame of such a file."""
    data = bytearray(write_video(tmp_path / "a.mp4", 30).read_bytes())
    at = data.index(b"mvhd") + 4 + 12
    data[at : at + 4] = (0x70000000).to_bytes(4, "big")
    with pytest.raises((CorruptRecordError, SourceError), match="frame"):
        read_mp4_index(Bytes(bytes(data)))


@pytest.mark.parametrize("fragments", [False, True])
def test_frames_without_a_byte_are_corrupt(tmp_path: Path, *, fragments: bool):
    """FFmpeg passes over them: at their times nothing is shown."""
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"} if fragments else {}
    path = write_video(tmp_path / "a.mp4", 30, b_frames=0, options=options)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as video:
        size = [packet.size for packet in video.demux(video=0) if packet.size][5]
    at = data.index(size.to_bytes(4, "big"), data.index(b"trun" if fragments else b"stsz"))
    data[at : at + 4] = bytes(4)
    path.write_bytes(data)
    if not fragments:  # there all that comes behind is misplaced as well
        with av.open(str(path)) as video:
            assert sum(packet.size > 0 for packet in video.demux(video=0)) == 29
    with pytest.raises(CorruptRecordError, match=r"1 of \d+ frames without a byte"):
        read_mp4_index(Bytes(bytes(data)))
