"""One episode as its reader gives it: only what is asked, in right colours, from any row groups."""

from __future__ import annotations

import io
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from finedata.errors import ConformError, UsageError
from finedata.store.dataset import Dataset, open_dataset
from finedata.store.episode import Episode, right_picture
from finedata.store.lerobot.layout import picture_column, video_path
from finedata.store.tables import row_groups

SIZE = (24, 32)
LENGTHS = [11, 4, 3, 5]
# (episode, first row, one past the last) of each row group: the first is cut in three, the next
# two share one, as other writers do.
GROUPS = [[(0, 0, 4)], [(0, 4, 8)], [(0, 8, 11)], [(1, 0, 4), (2, 0, 3)], [(3, 0, 5)]]


def colour(episode: int, frame: int) -> np.ndarray:
    """Much red, the frame's number in the green."""
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[..., 0], pixels[..., 1], pixels[..., 2] = 200, 10 * frame, 20 * episode
    return pixels


def depth(frame: int) -> np.ndarray:
    return np.full(SIZE, 1000 + 300 * frame, np.uint16)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def picture(camera: str, episode: int, frame: int) -> bytes:
    if camera == "depth":
        return png(depth(frame))
    pixels = colour(episode, frame)
    if camera == "top_bgr":
        return png(np.ascontiguousarray(pixels[..., ::-1]))
    return simplejpeg.encode_jpeg(pixels, quality=95)


CAMERAS = ("front", "top_bgr", "depth")


def table(pieces: list[tuple[int, int, int]], change: Any = None) -> pa.Table:
    rows = [(episode, frame) for episode, first, last in pieces for frame in range(first, last)]
    columns: dict[str, Any] = {
        "episode_index": pa.array([episode for episode, _ in rows], pa.int64()),
        "frame_index": pa.array([frame for _, frame in rows], pa.int64()),
        "action": pa.array(
            [[100.0 * episode + frame, 1.0] for episode, frame in rows], pa.list_(pa.float32(), 2)
        ),
        "action.base_pose": pa.array([[0.5] * 3 for _ in rows], pa.list_(pa.float32(), 3)),
    }
    for camera in CAMERAS:
        columns[picture_column(camera)] = pa.array(
            [
                {"bytes": (change or picture)(camera, episode, frame), "path": None}
                for episode, frame in rows
            ],
            pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
        )
    return pa.table(columns)


def write(root: Path, change: Any = None, **options: Any) -> Dataset:
    path = root / "data/chunk-000/file-000.parquet"
    path.parent.mkdir(parents=True)
    with pq.ParquetWriter(path, table(GROUPS[0]).schema, **options) as writer:
        for pieces in GROUPS:
            writer.write_table(table(pieces, change))
    info = SimpleNamespace(parts=[SimpleNamespace(name="p", path=".")])
    return Dataset(root, cast("Any", info))


def episode_of(dataset: Dataset, index: int, **change: Any) -> Episode:
    row = {
        "episode_id": f"e{index}",
        "part": "p",
        "task": "lift",
        "fps": 10.0,
        "length": LENGTHS[index],
        "episode_index": index,
        "data/chunk_index": 0,
        "data/file_index": 0,
    }
    return Episode(dataset, row | change)


@pytest.fixture(scope="module", params=["statistics", "no statistics"])
def dataset(request, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("episodes")
    return write(folder, write_statistics=request.param == "statistics")


@pytest.mark.parametrize("index", range(4))
def test_numbers_and_pictures_from_any_row_groups(dataset: Dataset, index: int) -> None:
    episode = episode_of(dataset, index)
    assert len(episode) == LENGTHS[index]
    assert episode.cameras == list(CAMERAS)
    wanted = np.arange(LENGTHS[index])
    np.testing.assert_array_equal(episode.action[:, 0], 100 * index + wanted)
    assert list(episode.columns) == ["episode_index", "frame_index", "action", "action.base_pose"]
    found = episode.rows(["action", "frame_index"])
    assert list(found) == ["action", "frame_index"]
    np.testing.assert_array_equal(found["frame_index"], wanted)
    for camera in CAMERAS:
        all_of_them = [picture(camera, index, frame) for frame in wanted]
        assert episode.pictures[camera] == all_of_them
        assert episode.stored(camera) == all_of_them


@pytest.mark.parametrize("index", range(4))
def test_slabs_are_all_rows_once_in_order(dataset: Dataset, index: int, monkeypatch) -> None:
    read: list[int] = []
    real = row_groups.DataFile.read

    def counted(self, group, *, columns=None):
        read.append(group)
        return real(self, group, columns=columns)

    episode = episode_of(dataset, index)
    next(episode.slabs())  # where rows of a shared group are, is found once
    monkeypatch.setattr(row_groups.DataFile, "read", counted)
    slabs = list(episode.slabs(columns=["action"], cameras=["front", "depth"]))
    assert [frame for slab in slabs for frame in slab.frames] == list(range(LENGTHS[index]))
    assert read == [k for k, pieces in enumerate(GROUPS) if index in [piece[0] for piece in pieces]]
    for slab in slabs:
        assert list(slab.columns) == ["action"]
        assert list(slab.pictures) == ["front", "depth"]
        assert len(slab.columns["action"]) == len(slab.frames)
        assert slab.pictures["front"] == [picture("front", index, k) for k in slab.frames]
    rows = [len(slab.frames) for slab in episode.slabs(columns=(), cameras=())]
    assert rows == [len(slab.frames) for slab in slabs]


def test_colours_are_right_and_depth_keeps_its_bits(dataset: Dataset) -> None:
    episode = episode_of(dataset, 0)
    front, top = episode.frames("front"), episode.frames("top_bgr", [9, 2])
    assert (front.shape, front.dtype) == ((11, *SIZE, 3), np.uint8)
    assert np.abs(front[7].astype(int) - colour(0, 7)).max() < 8
    np.testing.assert_array_equal(top, [colour(0, 9), colour(0, 2)])
    far = episode.frames("depth", range(3, 6))
    assert far.dtype == np.uint16
    np.testing.assert_array_equal(far, [depth(frame) for frame in (3, 4, 5)])
    assert episode.frames("front", []).shape[0] == 0


def test_encoded_pictures_are_the_stored_bytes_where_colours_are_right(dataset: Dataset) -> None:
    episode = episode_of(dataset, 0)
    assert episode.frames("front", [3, 10], encoded=True) == [
        picture("front", 0, frame) for frame in (3, 10)
    ]
    (top,) = episode.frames("top_bgr", [3], encoded=True)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(top))), colour(0, 3))
    assert right_picture("top_bgr", picture("top_bgr", 0, 3)) == top


@given(st.lists(st.integers(0, 10), max_size=12))
def test_frames_come_in_the_order_asked_for(dataset: Dataset, frames: list[int]) -> None:
    episode = episode_of(dataset, 0)
    assert episode.stored("front", frames) == [picture("front", 0, frame) for frame in frames]
    shown = list(episode.iter_frames("depth", frames))
    assert [int(one[0, 0]) for one in shown] == [1000 + 300 * frame for frame in frames]


def test_only_row_groups_that_hold_the_frames_are_read(dataset: Dataset, monkeypatch) -> None:
    read: list[tuple[int, list[str]]] = []
    real = row_groups.DataFile.read

    def counted(self, group, *, columns=None):
        read.append((group, columns))
        return real(self, group, columns=columns)

    monkeypatch.setattr(row_groups.DataFile, "read", counted)
    episode = episode_of(dataset, 0)
    episode.frames("front", [9, 4, 8])
    leaf = "observation.images.front.bytes"
    assert read == [(1, [leaf]), (2, [leaf])]
    read.clear()
    episode.rows(["action"])
    assert {name for _, columns in read for name in columns} == {"action"}


def test_nothing_is_read_before_it_is_asked(converted: Path, tmp_path: Path, monkeypatch) -> None:
    dataset = open_dataset(converted)
    wanted = list(dataset.iter_episodes())
    assert [one.episode_id for one in wanted] == dataset.episodes.collect()["episode_id"].to_list()

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError

    with monkeypatch.context() as patch:
        patch.setattr(row_groups.DataFile, "open", refuse)
        episode = dataset.episode(wanted[0].episode_id)
        assert (episode.task, episode.fps) == (wanted[0].task, wanted[0].fps)
        assert len(episode) == episode.row["length"] > 0
        assert (len(episode.names["action"]), episode.videos) == (8, {})
        assert not any(name.startswith("stats/") for name in episode.row)
        with pytest.raises(AssertionError):
            dataset.episode(wanted[0].episode_id, pictures=True)
    eager = dataset.episode(wanted[0].episode_id, pictures=True)
    with monkeypatch.context() as patch:
        patch.setattr(row_groups.DataFile, "read", refuse)
        assert len(eager.state) == len(eager)
        assert {len(pictures) for pictures in eager.pictures.values()} == {len(eager)}
    long = list(dataset.iter_episodes(where="length > 20"))
    assert [one.episode_id for one in long] == [
        one.episode_id for one in wanted if one.row["length"] > 20
    ]
    assert 0 < len(long) < len(wanted)
    assert list(dataset.iter_episodes(where="length > 1e9")) == []
    with pytest.raises(UsageError, match="wanted an episode of this dataset"):
        dataset.episode("nobody")
    with pytest.raises(UsageError):
        list(dataset.iter_episodes(where="colour = 'red'"))


def test_a_dataset_crosses_processes_without_its_files(converted: Path) -> None:
    dataset = open_dataset(converted)
    episode = next(dataset.iter_episodes())
    assert len(episode.state)
    again = pickle.loads(pickle.dumps(episode))
    np.testing.assert_array_equal(again.state, episode.state)
    assert len(pickle.dumps(dataset)) < 100_000


def test_threads_read_side_by_side(dataset: Dataset) -> None:
    asked = [(index, frame) for index in range(4) for frame in range(LENGTHS[index])] * 3

    def one(place: tuple[int, int]) -> bytes:
        return episode_of(dataset, place[0]).stored("front", [place[1]])[0]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, asked)) == [picture("front", *place) for place in asked]


# --- what is not there, or damaged


def test_what_is_not_there_is_said(dataset: Dataset) -> None:
    episode = episode_of(dataset, 0)
    for wrong in ([11], [-1], [3, 99]):
        for call in (episode.frames, episode.stored):
            with pytest.raises(UsageError, match="wanted 0 to 10"):
                call("front", wrong)
    with pytest.raises(UsageError, match="wanted one of front, top_bgr, depth"):
        episode.frames("back")
    with pytest.raises(UsageError, match="wanted one of episode_index, frame_index, action"):
        episode.rows(["state"])
    with pytest.raises(UsageError, match="wanted one of"):
        episode.rows([picture_column("front")])


def test_other_rows_than_the_table_says_are_refused(dataset: Dataset) -> None:
    for change in ({"length": 12}, {"episode_index": 7}):
        words = r"rows of episode e0, wanted 1[12], as meta"
        with pytest.raises(ConformError, match=words) as caught:
            _ = episode_of(dataset, 0, **change).columns
        assert "fetch it again" in caught.value.next_command
    with pytest.raises(ConformError, match="file-007"):
        _ = episode_of(dataset, 0, **{"data/file_index": 7}).columns


def test_a_picture_that_is_none_is_said_with_its_place(tmp_path: Path) -> None:
    def damaged(camera: str, episode: int, frame: int) -> bytes:
        if (episode, frame) == (0, 5):
            return b"no picture" if camera != "depth" else png(np.zeros((8, 8), np.uint16))
        return picture(camera, episode, frame)

    episode = episode_of(write(tmp_path, damaged), 0)
    for camera in CAMERAS:
        words = f"at frame 5 of camera {camera} of episode e0"
        with pytest.raises(ConformError, match=words) as at:
            episode.frames(camera, [7, 5, 2])
        assert str(tmp_path) in at.value.place
        assert episode.frames(camera, [7, 2]).shape[0] == 2
    shown = list(episode.iter_frames("front"))
    assert [frame is None for frame in shown] == [frame == 5 for frame in range(11)]
    assert episode.frames("front", [5], encoded=True) == [b"no picture"]
    with pytest.raises(ConformError, match="at frame 5 of camera top_bgr"):
        episode.frames("top_bgr", [4, 5], encoded=True)


def test_a_damaged_row_group_is_our_error_never_arrows(tmp_path: Path) -> None:
    dataset = write(tmp_path)
    path = tmp_path / "data/chunk-000/file-000.parquet"
    whole = path.read_bytes()
    place = pq.read_metadata(path).row_group(1).column(2).data_page_offset
    refused: list[ConformError] = []
    for start in range(place, place + 240, 12):
        path.write_bytes(whole[:start] + b"\xff" * 30 + whole[start + 30 :])
        fresh = episode_of(Dataset(dataset.root, dataset.info), 0)
        try:
            assert len(fresh.action) == 11  # damage inside numbers makes other numbers
        except ConformError as error:
            refused.append(error)
    assert refused
    assert {error.place for error in refused} == {str(path)}
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConformError, match="wanted a file as finedata wrote it"):
        _ = episode_of(Dataset(dataset.root, dataset.info), 0).columns


# --- videos


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Thirty frames at 10 a second, a key frame every eighth, some referring to later ones."""
    av = pytest.importorskip("av", reason="PyAV is not installed")
    root = tmp_path_factory.mktemp("filmed")
    for camera in ("front", "top_bgr"):
        path = root / video_path(camera, 0)[0]
        path.parent.mkdir(parents=True)
        with av.open(str(path), "w") as container:
            options = {"crf": "5", "g": "8", "bf": "2", "sc_threshold": "0"}
            stream = container.add_stream("libx264", rate=10, options=options)
            stream.width, stream.height, stream.pix_fmt = SIZE[1], SIZE[0], "yuv420p"
            for number in range(30):
                pixels = np.zeros((*SIZE, 3), np.uint8)
                pixels[..., 0], pixels[..., 2] = 180, 6 * number
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode())
    info = SimpleNamespace(parts=[SimpleNamespace(name="p", path=".")])
    return Dataset(root, cast("Any", info))


def filmed_episode(dataset: Dataset, first: int, frames: int) -> Episode:
    places = {
        f"videos/{picture_column(camera)}/{name}": value
        for camera in ("front", "top_bgr")
        for name, value in (
            ("chunk_index", 0),
            ("file_index", 0),
            ("from_timestamp", first / 10),
            ("to_timestamp", (first + frames) / 10),
        )
    }
    return episode_of(dataset, 0, length=frames, **places)


def numbers(frames: Any, channel: int) -> list[int]:
    return [round(float(frame[..., channel].mean()) / 6) for frame in frames]


@given(st.lists(st.integers(0, 16), max_size=9))
def test_frames_of_a_video_in_any_order(filmed: Dataset, frames: list[int]) -> None:
    episode = filmed_episode(filmed, 11, 17)
    assert numbers(episode.frames("front", frames), 2) == [11 + frame for frame in frames]
    # Stored with red and blue exchanged: the moving blue comes out as red.
    assert numbers(episode.iter_frames("top_bgr", frames), 0) == [11 + frame for frame in frames]


def test_a_video_stays_open_and_frames_in_order_are_decoded_once(
    filmed: Dataset, monkeypatch
) -> None:
    from finedata.store.videos import frames as video_frames
    from finedata.store.videos import opened as open_videos

    dataset = Dataset(filmed.root, filmed.info)
    opened: list[Path] = []
    sought: list[int] = []
    real, seek = open_videos.VideoReader, video_frames._seek
    monkeypatch.setattr(open_videos, "VideoReader", lambda path: opened.append(path) or real(path))
    monkeypatch.setattr(video_frames, "_seek", lambda *args: sought.append(args[2]) or seek(*args))
    for first in (0, 10, 20):
        episode = filmed_episode(dataset, first, 10)
        assert numbers(episode.iter_frames("front"), 2) == list(range(first, first + 10))
    assert len(opened) == 1
    assert len(sought) == 4  # at the four key frames, and nowhere else
    for frame in (1, 2, 3):
        episode.frames("front", [frame])
    assert len(sought) == 5
    assert len(opened) == 1


def test_a_video_shorter_than_its_rows_is_an_error(filmed: Dataset) -> None:
    episode = filmed_episode(filmed, 20, 12)
    for call in (lambda: episode.frames("front"), lambda: episode.frames("front", [3, 11])):
        with pytest.raises(ConformError, match=r"found 30 frames, wanted at least 3[12]") as caught:
            call()
        assert "file-000.mp4" in caught.value.place
        assert "fetch it again" in caught.value.next_command
    assert numbers(episode.frames("front", [9]), 2) == [29]


def test_a_damaged_video_is_an_error(filmed: Dataset, tmp_path: Path) -> None:
    path = tmp_path / video_path("front", 0)[0]
    path.parent.mkdir(parents=True)
    path.write_bytes((filmed.root / video_path("front", 0)[0]).read_bytes()[:700])
    episode = filmed_episode(Dataset(tmp_path, filmed.info), 0, 10)
    for camera in ("front", "top_bgr"):  # cut off, and not there
        with pytest.raises(ConformError, match=r"file-000\.mp4"):
            episode.frames(camera, [0])


def test_a_video_has_no_stored_pictures(filmed: Dataset) -> None:
    episode = filmed_episode(filmed, 0, 10)
    with pytest.raises(UsageError, match="found a video"):
        episode.frames("front", [0], encoded=True)
    with pytest.raises(UsageError, match="found a video"):
        episode.stored("front")
