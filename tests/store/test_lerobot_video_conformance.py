"""The real lerobot opens what we make of other LeRobot datasets and of RH20T, videos included."""

from __future__ import annotations

import hashlib
from pathlib import Path

import av
import numpy as np
import pytest
from lerobot_oracle.oracle import run_probe, skip_without_lerobot
from sources import generic_lerobot, rh20t

from finedata.convert.run import convert
from finedata.store.dataset import Dataset, open_dataset

PREFIX = "observation.images."


def decoded(path: Path) -> list[np.ndarray]:
    """Every frame of a file, decoded by PyAV: uint8 (height, width, 3)."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def sha256(pixels: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


@pytest.fixture(scope="module")
def gr00t(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    skip_without_lerobot()
    out = tmp_path_factory.mktemp("gr00t") / "out"
    convert("lerobot", input=real_data / "gr00t_lerobot_v20", out=out)
    return open_dataset(out)


def check_pictures(dataset: Dataset, probed: dict, frames: tuple[int, ...]) -> None:
    """Each picture that lerobot read is the frame that PyAV finds in the source's file."""
    part = dataset.parts[0]
    rows = dataset.part_frames(part.name).select("episode_index", "frame_index").collect().rows()
    ids = dict(dataset.episodes.select("episode_index", "episode_id").collect().iter_rows())
    for camera, hashes in probed["decoded_sha256"].items():
        for position, wanted in zip(frames, hashes, strict=True):
            episode_index, frame_index = rows[position]
            span = dataset.episode(ids[episode_index]).videos[camera.removeprefix(PREFIX)]
            number = round(span.from_s * part.fps) + frame_index
            assert wanted == sha256(decoded(span.path)[number]), (camera, position)


def test_real_videos_are_linked_and_read(gr00t: Dataset, tmp_path: Path) -> None:
    frames = (0, 1, 200, 415, 416, 1000, 2095)
    probed = run_probe(gr00t.root, tmp_path, frames=frames)
    assert probed["meta"]["num_frames"] == 2096
    assert probed["meta"]["num_episodes"] == 5
    check_pictures(gr00t, probed, frames)
    rows = gr00t.frames.collect()
    for name in ("observation.state", "action"):
        stored = np.stack(rows[name].to_numpy())[list(frames)].astype(np.float32)
        np.testing.assert_array_equal(np.asarray(probed["frames"][name]), stored)


def test_the_links_have_the_source_bytes(gr00t: Dataset, real_data: Path) -> None:
    folder = real_data / "gr00t_lerobot_v20/videos/chunk-000/observation.images.ego_view"
    sources = sorted(folder.glob("*.mp4"))
    outputs = sorted(gr00t.root.glob("videos/observation.images.ego_view/*/*.mp4"))
    assert [path.read_bytes() for path in outputs] == [path.read_bytes() for path in sources]


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_other_versions_are_read(version: str, tmp_path: Path) -> None:
    skip_without_lerobot()
    generic_lerobot.write(tmp_path / "source", version=version)
    convert("lerobot", input=tmp_path / "source", out=tmp_path / "out")
    dataset = open_dataset(tmp_path / "out")
    frames = tuple(range(dataset.parts[0].frames))
    probed = run_probe(dataset.root, _made(tmp_path / "probe"), frames=frames)
    check_pictures(dataset, probed, frames)


def test_frames_given_other_times_are_found(tmp_path: Path) -> None:
    skip_without_lerobot()
    rh20t.write(tmp_path / "source", cfgs=(1,), episodes=2)
    convert("rh20t", input=tmp_path / "source", out=tmp_path / "out")
    dataset = open_dataset(tmp_path / "out")
    part = dataset.parts[0]
    frames = tuple(range(part.frames))
    probed = run_probe(dataset.root / part.path, _made(tmp_path / "probe"), frames=frames)
    assert probed["meta"]["num_frames"] == part.frames
    assert len(probed["decoded_sha256"]) == 3
    for camera, hashes in probed["decoded_sha256"].items():
        assert hashes == expected_hashes(dataset, camera), camera


def expected_hashes(dataset: Dataset, camera: str) -> list[str]:
    """By time: the frame of the remuxed file that is shown at k / fps, for every row."""
    found: list[str] = []
    for episode_id in dataset.episodes.select("episode_id").collect()["episode_id"]:
        episode = dataset.episode(episode_id)
        span = episode.videos[camera.removeprefix(PREFIX)]
        with av.open(str(span.path)) as container:
            frames = list(container.decode(video=0))
        times = np.array([float(frame.pts * frame.time_base) for frame in frames])
        for row in range(len(episode)):
            nearest = int(np.abs(times - row / episode.fps).argmin())
            assert abs(times[nearest] - row / episode.fps) < 1e-4
            found.append(sha256(frames[nearest].to_ndarray(format="rgb24")))
    return found
