"""The real lerobot opens what we write, and hands out what the source says."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from lerobot_oracle.oracle import run_probe, skip_without_lerobot

from finedata.convert.run import convert
from finedata.store.dataset import Dataset, open_dataset
from finedata.store.pictures import decode_rgb

OFFSETS_S = {"observation.state": [-0.4, -0.2, 0.0], "action": [0.0, 0.2, 0.4, 0.6]}


@pytest.fixture(scope="module")
def real_dataset(real_bridge: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    skip_without_lerobot()
    out = tmp_path_factory.mktemp("lerobot") / "bridge"
    convert("bridge_v2", input=real_bridge, out=out)
    return open_dataset(out)


@pytest.fixture(scope="module")
def probed(real_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict:
    indices = (0, 1, 9, 10, 125, 249)
    return run_probe(
        real_dataset.root,
        tmp_path_factory.mktemp("probe"),
        delta_timestamps=OFFSETS_S,
        windows_at=indices,
    )


def rows(dataset: Dataset, name: str) -> np.ndarray:
    values = dataset.frames.sort("index").select(name).collect().to_series().to_numpy()
    return np.stack(values) if values.dtype == object else values


def test_it_has_every_frame(real_dataset: Dataset, probed: dict) -> None:
    assert probed["meta"]["num_frames"] == probed["meta"]["length"] == 250
    assert probed["meta"]["num_episodes"] == 25
    assert probed["meta"]["fps"] == 5
    for name in ("observation.state", "action", "timestamp", "index", "episode_index"):
        np.testing.assert_array_equal(
            np.asarray(probed["frames"][name]).reshape(rows(real_dataset, name).shape),
            rows(real_dataset, name),
            err_msg=name,
        )


def test_timestamps_are_the_quotient(probed: dict) -> None:
    frame_index = np.asarray(probed["frames"]["frame_index"])
    wanted = (frame_index / 5).astype(np.float32)
    np.testing.assert_array_equal(np.asarray(probed["frames"]["timestamp"]), wanted)


def test_tasks_are_strings(real_dataset: Dataset, probed: dict) -> None:
    tasks = real_dataset.episodes.select("task", "length").collect().iter_rows()
    wanted = [task for task, length in tasks for _ in range(length)]
    assert list(probed["strings"]["task"]) == wanted


def test_pictures_are_the_sources_own(real_dataset: Dataset, probed: dict) -> None:
    for camera in ("image_0", "image_1", "image_2", "image_3"):
        column = f"observation.images.{camera}"
        stored = [
            picture
            for episode_id in real_dataset.episodes.collect()["episode_id"]
            for picture in real_dataset.episode(episode_id).pictures[camera]
        ]
        encoded = [hashlib.sha256(picture).hexdigest() for picture in stored]
        assert list(probed["encoded_sha256"][column]) == encoded
        assert tuple(probed["decoded_shape"][column][0]) == decode_rgb(stored[0]).shape


def test_windows_are_the_right_frames(real_dataset: Dataset, probed: dict) -> None:
    episode_index = rows(real_dataset, "episode_index")
    for index, window in probed["windows"].items():
        start, stop = np.flatnonzero(episode_index == episode_index[index])[[0, -1]]
        for name, offsets in OFFSETS_S.items():
            wanted = index + np.rint(np.array(offsets) * 5).astype(int)
            inside = np.clip(wanted, start, stop)
            np.testing.assert_array_equal(window[name], rows(real_dataset, name)[inside])
            np.testing.assert_array_equal(window[f"{name}_is_pad"], wanted != inside)


def test_statistics_are_there_for_every_feature(probed: dict) -> None:
    stats = probed["meta"]["stats"]
    for name in ("observation.state", "action", "observation.images.image_0"):
        assert {"mean", "std", "min", "max", "count", "q01", "q99"} <= set(stats[name])
