"""Videos of a dataset as one file an episode: linked, cut by stream copy, or encoded anew."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import av
import numpy as np
import pytest
from store.export.independent import far_apart, video_frames

from finedata.store.dataset import Dataset
from finedata.store.episode import Episode
from finedata.store.export.v21_video import camera_stats, video_feature, write_video
from finedata.store.lerobot.layout import Feature, picture_column, video_path

FEATURE = Feature("image", (32, 48, 3), ("height", "width", "channels"))


# Exactly every fifth frame is a key frame, and none refers to a later one.
OPTIONS = {"crf": "10", "g": "5", "bf": "0", "sc_threshold": "0"}


def episode_of(video: Path, *, camera: str, first: int, frames: int) -> Episode:
    """An episode of a dataset that is nothing but a video: frames of it at 10 a second."""
    root = video.parent
    target = root / video_path(camera, 0)[0]
    if not target.exists():
        target.parent.mkdir(parents=True)
        target.hardlink_to(video)
    prefix = f"videos/{picture_column(camera)}"
    row = {
        "episode_id": "e",
        "part": "p",
        "task": "",
        "fps": 10.0,
        "length": frames,
        f"{prefix}/chunk_index": 0,
        f"{prefix}/file_index": 0,
        f"{prefix}/from_timestamp": first / 10,
        f"{prefix}/to_timestamp": (first + frames) / 10,
    }
    info = SimpleNamespace(parts=[SimpleNamespace(name="p", path=".")])
    return Episode(Dataset(root, cast("Any", info)), row)


def picture(number: int) -> np.ndarray:
    """Mostly red, with a blue bar that moves."""
    frame = np.zeros((32, 48, 3), np.uint8)
    frame[..., 0] = 200
    frame[:, number * 2 : number * 2 + 8] = (0, 0, 220)
    return frame


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "file-000.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options=OPTIONS)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for number in range(20):
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24"))
            )
        container.mux(stream.encode())
    return path


def written(tmp_path: Path, episode: Episode) -> tuple[Path, Counter[str]]:
    target = tmp_path / "episode.mp4"
    counts: Counter[str] = Counter()
    (camera,) = episode.videos
    write_video(episode, camera=camera, feature=FEATURE, target=target, counts=counts)
    return target, counts


def test_a_file_of_one_episode_is_linked(video: Path, tmp_path: Path) -> None:
    target, counts = written(tmp_path, episode_of(video, camera="front", first=0, frames=20))
    assert target.read_bytes() == video.read_bytes()
    assert counts == {"videos_linked": 1}


@pytest.mark.parametrize(
    ("first", "frames", "way"),
    [(5, 5, "videos_cut"), (10, 10, "videos_cut"), (7, 9, "videos_encoded")],
)
def test_an_episode_is_taken_out_of_a_shared_file(
    video: Path, tmp_path: Path, first: int, frames: int, way: str
) -> None:
    episode = episode_of(video, camera="front", first=first, frames=frames)
    target, counts = written(tmp_path, episode)
    assert counts == {way: 1}
    times, found = video_frames(target)
    # Just its frames: readers that count them must be right, too.
    np.testing.assert_allclose(times, np.arange(frames) / 10, atol=1e-4)
    for number, frame in enumerate(found):
        assert far_apart(frame, picture(first + number)) < 6


def test_exchanged_colours_are_encoded_right(video: Path, tmp_path: Path) -> None:
    target, counts = written(tmp_path, episode_of(video, camera="front_bgr", first=5, frames=10))
    assert counts == {"videos_encoded": 1, "colours_exchanged": 10}
    times, found = video_frames(target)
    np.testing.assert_allclose(times, np.arange(10) / 10, atol=1e-4)
    for number, frame in enumerate(found):
        assert far_apart(frame, picture(5 + number)[..., ::-1]) < 8
        assert far_apart(frame, picture(5 + number)) > 50


def test_statistics_come_of_frames_where_there_are_none(video: Path) -> None:
    plain, exchanged = (
        camera_stats({}, episode_of(video, camera=camera, first=5, frames=10), camera=camera)
        for camera in ("front", "front_bgr")
    )
    assert plain is not None
    assert exchanged is not None
    assert plain["mean"][0] > 0.6 > 0.2 > plain["mean"][2]
    assert exchanged["mean"] == plain["mean"][::-1]
    assert plain["count"] == [4.0]


def test_info_says_what_the_file_is(video: Path) -> None:
    found = video_feature(video, feature=FEATURE, fps=10.0, declared={}, counts=Counter())
    assert found["shape"] == [32, 48, 3]
    assert found["info"]["video.codec"] == "h264"
    assert found["info"]["video.fps"] == 10
    assert found["info"]["video.pix_fmt"] == "yuv420p"
