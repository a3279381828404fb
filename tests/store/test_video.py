from __future__ import annotations

import io
import os
import re
import resource
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from sources.video import numbered_picture, picture_number, write_video

from finedata.errors import (
    CorruptRecordError,
    FinedataError,
    MissingExtraError,
    OutputError,
    SourceError,
    UsageError,
    install_command,
)
from finedata.readers.files import open_folder
from finedata.readers.mp4.index import read_mp4_index
from finedata.store.videos.copied import copy_video, place_video
from finedata.store.videos.frames import decode_frames, iter_frames
from finedata.store.videos.remux import remux_video
from finedata.store.videos.transcode import black_video, encode_pictures, transcode_video

KINDS = {
    "h264 with b-frames": {"b_frames": 3},
    "h264 without": {"b_frames": 0},
    "h264 open gop": {"open_gop": True},
    "mpeg4": {"codec": "mpeg4", "b_frames": 0},
    "mpeg4 with b-frames": {"codec": "mpeg4"},
    "av1": {"codec": "av1", "height": 64, "width": 96},
    "late and uneven": {
        "times_s": 0.3 + np.cumsum(np.random.default_rng(0).uniform(0.02, 0.2, 60)),
        "timescale": 90000,
    },
    "quicktime": {"container": "mov"},
}
ROWS = {
    "all": np.arange(60),
    "every third": np.arange(0, 60, 3),
    "every third from the middle": np.arange(19, 50, 3),
    "a clip in the middle": np.arange(26, 41),
    "far apart": np.array([1, 2, 59]),
    "one": np.array([31]),
    "at random": np.sort(np.random.default_rng(1).choice(60, 20, replace=False)),
}


def shown(path: Path) -> tuple[np.ndarray, list[int]]:
    """Times and numbers of the frames that FFmpeg shows, decoded from the start."""
    with av.open(str(path)) as container:
        frames = [
            (
                float(frame.pts * frame.time_base),
                picture_number(frame.to_ndarray(format="rgb24"))[0],
            )
            for frame in container.decode(video=0)
        ]
    return np.array([time for time, _ in frames]), [number for _, number in frames]


def looked_up(path: Path, time_s: float) -> tuple[int, float]:
    """The frame that LeRobot's PyAV path gives: seek, decode until the time, take the nearest."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        container.seek(
            round(time_s / stream.time_base), backward=True, any_frame=False, stream=stream
        )
        found = []
        for frame in container.decode(stream):
            found.append((abs(float(frame.pts * frame.time_base) - time_s), frame))
            if frame.pts * frame.time_base >= time_s:
                break
        away, frame = min(found, key=lambda pair: pair[0])
        return picture_number(frame.to_ndarray(format="rgb24"))[0], away


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("videos")
    return {
        kind: write_video(folder / f"{number}.mp4", 60, **spec)
        for number, (kind, spec) in enumerate(KINDS.items())
    }


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fps", [10, 29.97])
def test_a_remuxed_video_shows_each_row_at_its_time(
    sources, tmp_path: Path, kind: str, rows: str, fps: float
):
    wanted = ROWS[rows]
    target = tmp_path / "out.mp4"
    remux_video(sources[kind], target, fps=fps, rows=wanted)
    time_s, numbers = shown(target)
    assert (np.diff(time_s) > 0).all()
    for row, number in enumerate(wanted.tolist()):
        at = int(np.abs(time_s - row / fps).argmin())
        assert abs(time_s[at] - row / fps) < 1e-5
        assert numbers[at] == number
    # What is not a row's is well away from every row's time, and nothing is before the first row.
    others = np.array(
        [t for t, number in zip(time_s, numbers, strict=True) if number not in wanted]
    )
    if len(others):
        assert np.abs(others[:, None] - np.arange(len(wanted)) / fps).min() > 2e-4
    assert time_s[0] == 0
    with av.open(str(target)) as container:
        assert float(container.streams.video[0].average_rate) == pytest.approx(fps, abs=1e-9)
        packets = [p for p in container.demux(video=0) if p.size]
        assert all(p.dts <= p.pts for p in packets)
        assert (np.diff([p.dts for p in packets]) > 0).all()


@pytest.mark.parametrize(
    "kind", ["h264 with b-frames", "h264 open gop", "av1", "mpeg4 with b-frames"]
)
@pytest.mark.parametrize("rows", ["all", "every third from the middle", "at random"])
def test_a_lookup_by_time_finds_the_row(sources, tmp_path: Path, kind: str, rows: str):
    target = tmp_path / "out.mp4"
    remux_video(sources[kind], target, fps=15, rows=ROWS[rows])
    for row, number in enumerate(ROWS[rows].tolist()):
        found, away = looked_up(target, row / 15)
        assert found == number
        assert away < 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_a_remuxed_video_is_read_by_the_index_and_remuxed_again(sources, tmp_path: Path, kind: str):
    once, twice = tmp_path / "once.mp4", tmp_path / "twice.mp4"
    remux_video(sources[kind], once, fps=15, rows=np.arange(20, 50))
    reader = open_folder(tmp_path).open("once.mp4")
    index = read_mp4_index(reader)
    reader.close()
    time_s, numbers = shown(once)
    np.testing.assert_allclose(index.time_s, time_s, rtol=0, atol=1e-9)
    assert numbers[:30] == list(range(20, 50))
    assert index.uniform(15, count=30)
    remux_video(once, twice, fps=30, rows=np.arange(5, 25))
    assert shown(twice)[1][:20] == list(range(25, 45))


def test_frames_that_nothing_needs_are_left_out(sources, tmp_path: Path):
    remux_video(sources["h264 without"], tmp_path / "out.mp4", fps=10, rows=np.arange(26, 41))
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].frames == 41 - 24  # from the key frame before


def test_a_count_of_frames_and_other_kinds_of_source(sources, tmp_path: Path):
    source = sources["h264 with b-frames"]
    paths = [tmp_path / name for name in ("a.mp4", "b.mp4", "c.mp4")]
    remux_video(source, paths[0], fps=10, frames=20)
    remux_video(io.BytesIO(source.read_bytes()), paths[1], fps=10, rows=np.arange(20))
    with source.open("rb") as file:
        remux_video(file, paths[2], fps=10, frames=20)
    contents = {path.read_bytes() for path in paths}
    assert len(contents) == 1
    assert shown(paths[0])[1][:20] == list(range(20))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4", "c.mp4"]


def test_matroska_becomes_mp4(tmp_path: Path):
    source = write_video(tmp_path / "a.mkv", 20, container="matroska")
    remux_video(source, tmp_path / "a.mp4", fps=10)
    time_s, numbers = shown(tmp_path / "a.mp4")
    np.testing.assert_allclose(time_s, np.arange(20) / 10, atol=1e-9)
    assert numbers == list(range(20))


@pytest.mark.parametrize(
    "rows",
    [[], [3, 3], [4, 2], [0, 60], [-1, 0]],
    ids=["none", "twice", "back", "past", "negative"],
)
def test_rows_that_no_copy_can_show_are_refused(sources, tmp_path: Path, rows):
    with pytest.raises(SourceError, match="increasing frame numbers"):
        remux_video(sources["mpeg4"], tmp_path / "out.mp4", fps=10, rows=np.array(rows, np.int64))
    assert list(tmp_path.iterdir()) == []


def test_a_linked_video_shares_its_bytes(sources, tmp_path: Path):
    source = sources["mpeg4"]
    (tmp_path / "link.mp4").symlink_to(source)
    target = tmp_path / "deep" / "out.mp4"
    for given in (tmp_path / "link.mp4", source, source):  # the last ones are there already
        place_video(given, target)
        assert target.samefile(source)
        assert not target.is_symlink()
        assert [path.name for path in target.parent.iterdir()] == ["out.mp4"]


def test_a_video_is_copied_where_no_link_can_be_made(sources, tmp_path: Path, monkeypatch):
    def refused(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    target = tmp_path / "out.mp4"
    target.write_bytes(b"an older one")
    place_video(sources["mpeg4"], target)
    assert target.read_bytes() == sources["mpeg4"].read_bytes()
    assert not target.samefile(sources["mpeg4"])
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_a_replaced_link_leaves_the_source_alone(sources, tmp_path: Path):
    first, second = tmp_path / "first.mp4", tmp_path / "second.mp4"
    first.write_bytes(b"first")
    second.write_bytes(b"second")
    place_video(first, tmp_path / "out.mp4")
    place_video(second, tmp_path / "out.mp4")
    assert (tmp_path / "out.mp4").read_bytes() == b"second"
    assert first.read_bytes() == b"first"


@pytest.mark.parametrize("way", ["remux", "copy", "place", "black"])
def test_a_link_that_a_killed_run_left_is_not_written_through(
    sources, tmp_path: Path, way: str, monkeypatch
):
    precious = tmp_path / "precious"
    precious.write_bytes(b"bytes of a source")
    os.link(precious, tmp_path / ".out.mp4.partial")
    source, target = sources["mpeg4"], tmp_path / "out.mp4"
    if way == "remux":
        remux_video(source, target, fps=10)
    elif way == "copy":
        copy_video(open_folder(source.parent).open(source.name), target)
    elif way == "place":
        monkeypatch.setattr(
            os, "link", lambda *_: (_ for _ in ()).throw(OSError(18, "cross-device"))
        )
        place_video(source, target)
    else:
        black_video(target, shape=(32, 48), fps=10, frames=60)
    assert precious.read_bytes() == b"bytes of a source"
    assert len(list(iter_frames(target))) == 60
    assert not (tmp_path / ".out.mp4.partial").exists()


def test_a_remote_video_is_copied(sources, tmp_path: Path):
    source = sources["mpeg4"]
    reader = open_folder(source.parent).open(source.name)
    copy_video(reader, tmp_path / "out.mp4")
    assert (tmp_path / "out.mp4").read_bytes() == source.read_bytes()
    reader.size += 1
    with pytest.raises(CorruptRecordError, match="wanted the"):
        copy_video(reader, tmp_path / "short.mp4")
    reader.close()
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


@pytest.mark.parametrize("way", ["remux", "transcode", "place"])
def test_what_is_missing_or_broken_is_the_sources_fault(sources, tmp_path: Path, way: str):
    act = {
        "remux": lambda source: remux_video(source, tmp_path / "out.mp4", fps=10),
        "transcode": lambda source: transcode_video(
            source, tmp_path / "out.mp4", fps=10, codec="h264"
        ),
        "place": lambda source: place_video(source, tmp_path / "out.mp4"),
    }[way]
    with pytest.raises(SourceError, match=r"absent\.mp4"):
        act(tmp_path / "absent.mp4")
    if way != "place":
        whole = sources["mpeg4"].read_bytes()
        (tmp_path / "broken").write_bytes(whole[: whole.index(b"moov")])
        with pytest.raises(CorruptRecordError, match="broken"):
            act(tmp_path / "broken")
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("way", ["remux", "transcode", "black", "copy"])
def test_a_full_disk_is_an_output_error(sources, tmp_path: Path, way: str, monkeypatch):
    source = sources["h264 with b-frames"]
    reader = open_folder(source.parent).open(source.name)
    act = {
        "remux": lambda: remux_video(source, tmp_path / "out.mp4", fps=10),
        "transcode": lambda: transcode_video(source, tmp_path / "out.mp4", fps=10, codec="h264"),
        "black": lambda: black_video(tmp_path / "out.mp4", shape=(480, 640), fps=10, frames=300),
        "copy": lambda: copy_video(reader, tmp_path / "out.mp4"),
    }[way]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OutputError, match="File too large"):
            act()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        reader.close()
    assert list(tmp_path.iterdir()) == []


def test_a_black_video_is_black_and_even(tmp_path: Path):
    black_video(tmp_path / "out.mp4", shape=(171, 213, 3), fps=15, frames=40)
    pictures = list(iter_frames(tmp_path / "out.mp4"))
    assert len(pictures) == 40
    assert pictures[0].shape == (172, 214, 3)
    assert max(picture.max() for picture in pictures) <= 1
    np.testing.assert_allclose(shown(tmp_path / "out.mp4")[0], np.arange(40) / 15, atol=1e-9)
    assert (tmp_path / "out.mp4").stat().st_size < 5000


@pytest.mark.parametrize("codec", ["av1", "h264"])
def test_a_transcoded_video_shows_the_rows_scaled(sources, tmp_path: Path, codec):
    paths = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    for path in paths:
        transcode_video(
            sources["late and uneven"],
            path,
            fps=10,
            codec=codec,
            size=(64, 96),
            rows=np.array([0, 2, 2, 5, 9]),
            first_frame=20,
        )
    assert paths[0].read_bytes() == paths[1].read_bytes()
    time_s, numbers = shown(paths[0])
    np.testing.assert_allclose(time_s, np.arange(5) / 10, atol=1e-9)
    assert numbers == [20, 22, 22, 25, 29]
    reader = open_folder(tmp_path).open("a.mp4")
    index = read_mp4_index(reader)
    reader.close()
    assert (index.shape, index.codec, index.fps) == ((64, 96, 3), codec, pytest.approx(10))


def test_a_transcoded_video_keeps_an_exact_fractional_rate_and_every_frame(sources, tmp_path: Path):
    transcode_video(sources["mpeg4"], tmp_path / "a.mp4", fps=30000 / 1001, codec="h264", frames=50)
    time_s, numbers = shown(tmp_path / "a.mp4")
    np.testing.assert_allclose(time_s, np.arange(50) * 1001 / 30000, atol=1e-9)
    assert numbers == list(range(50))


@pytest.mark.parametrize("codec", ["av1", "h264"])
def test_pictures_are_encoded_with_odd_sizes_made_even(tmp_path: Path, codec):
    pictures = [numbered_picture(k, height=71, width=93, camera=5) for k in range(12)]
    encode_pictures(iter(pictures), tmp_path / "out.mp4", fps=15, codec=codec)
    decoded = list(iter_frames(tmp_path / "out.mp4"))
    assert decoded[0].shape == (72, 94, 3)
    assert [picture_number(picture[:71, :93]) for picture in decoded] == [(k, 5) for k in range(12)]


def test_colours_survive_encoding(tmp_path: Path):
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:, :48], picture[:, 48:] = (200, 30, 40), (20, 60, 180)
    encode_pictures([picture] * 3, tmp_path / "out.mp4", fps=15, codec="h264")
    decoded = next(iter_frames(tmp_path / "out.mp4")).astype(int)
    assert np.abs(decoded[:, 4:44] - picture[:, 4:44]).max() < 12
    assert np.abs(decoded[:, 52:92] - picture[:, 52:92]).max() < 12


def test_no_picture_makes_no_video(tmp_path: Path):
    with pytest.raises(SourceError, match="no frame"):
        encode_pictures([], tmp_path / "out.mp4", fps=15, codec="h264")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_decoded_by_number_and_by_time(sources, kind: str):
    source = sources[kind]
    numbers = [41, 3, 3, 59, 0, 58, 20]
    assert [picture_number(p)[0] for p in decode_frames(source, numbers=numbers)] == numbers
    time_s = shown(source)[0]
    by_time = decode_frames(source, times_s=time_s[numbers] + 5e-5)
    assert [picture_number(p)[0] for p in by_time] == numbers
    clip = list(iter_frames(source, 26, 7))
    assert [picture_number(p)[0] for p in clip] == list(range(26, 33))
    assert len(list(iter_frames(source))) == 60


def test_frames_that_are_not_there_are_refused(sources):
    source = sources["mpeg4"]
    with pytest.raises(SourceError, match=r"0.050000 s"):
        decode_frames(source, times_s=[0.0, 0.05])
    for broken in ([60], [-1]):
        with pytest.raises(SourceError):
            decode_frames(source, numbers=broken)
    with pytest.raises(SourceError, match="60 frames"):
        list(iter_frames(source, 55, 6))
    with pytest.raises(SourceError, match="60 frames"):
        list(iter_frames(source, 60))
    with pytest.raises(UsageError):
        decode_frames(source)
    assert decode_frames(source, numbers=[]) == []


def test_without_pyav_links_are_made_and_the_rest_says_what_to_install(
    sources, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "av", None)
    place_video(sources["mpeg4"], tmp_path / "linked.mp4")
    with pytest.raises(MissingExtraError, match=re.escape(install_command("video"))):
        remux_video(sources["mpeg4"], tmp_path / "out.mp4", fps=10)


def test_damaged_videos_end_in_an_error_or_a_file(sources, tmp_path: Path):
    whole = sources["h264 with b-frames"].read_bytes()
    random = np.random.default_rng(5)
    shape = decode_frames(sources["h264 with b-frames"], times_s=[0.0])[0].shape
    written = refused = 0
    for number in range(40):
        data = bytearray(whole)
        for at in random.integers(0, len(data), 4):
            data[at] = random.integers(256)
        (tmp_path / "in").write_bytes(data)
        out = tmp_path / f"{number}.mp4"
        try:
            remux_video(tmp_path / "in", out, fps=10, frames=30)
        except FinedataError:
            refused += 1
            assert not out.exists(), "half a file"
            continue
        written += 1
        try:
            frames = decode_frames(out, times_s=[0.0, 1.0])
        except FinedataError:
            continue
        assert [frame.shape for frame in frames] == [shape] * 2
    assert min(written, refused) >= 5, "the damage is too little or too much to tell"
    assert {path.name for path in tmp_path.iterdir()} == {
        "in",
        *(f"{number}.mp4" for number in range(40) if (tmp_path / f"{number}.mp4").exists()),
    }, "nothing is left over"


def test_real_video_keeps_every_pixel(real_data: Path, tmp_path: Path):
    source = min((real_data / "gr00t_lerobot_v20" / "videos").rglob("*.mp4"))
    rows = np.arange(31, 131, 2)
    remux_video(source, tmp_path / "out.mp4", fps=10, rows=rows)
    before = list(iter_frames(source, 31, 100))[::2]
    after = decode_frames(tmp_path / "out.mp4", times_s=np.arange(len(rows)) / 10)
    assert all((a == b).all() for a, b in zip(after, before, strict=True))


def test_names_inside_that_are_no_text_do_no_harm(tmp_path: Path) -> None:
    """A camera's name, say, in the encoding of its maker's country."""
    good, odd = tmp_path / "good.mp4", tmp_path / "odd.mp4"
    write_video(good, 12, fps=10)
    data = good.read_bytes()
    assert b"VideoHandler" in data
    odd.write_bytes(data.replace(b"VideoHandler", b"Video\xc8andler"))
    rows = np.arange(0, 12, 3)
    for source, target in ((good, "a.mp4"), (odd, "b.mp4")):
        remux_video(source, tmp_path / target, fps=10, rows=rows)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
