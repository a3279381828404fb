"""The oracle itself: it reads back what the fixture holds, and it says no when it should."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from lerobot_oracle import fixture, oracle

if TYPE_CHECKING:
    from pathlib import Path

WINDOWS_AT = (0, 5, 6, 10)
OFFSETS = (-1, 0, 1)
DELTA_TIMESTAMPS = {
    name: [offset / fixture.FPS for offset in OFFSETS]
    for name in ("action", "action_valid", "source_time_s", fixture.CAMERA)
}


@pytest.fixture(scope="module")
def expected_and_read(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Any]]:
    oracle.skip_without_lerobot()
    folder = tmp_path_factory.mktemp("oracle")
    expected = fixture.write_dataset(folder / "dataset", data_files=2)
    read = oracle.run_probe(
        folder / "dataset", folder, delta_timestamps=DELTA_TIMESTAMPS, windows_at=WINDOWS_AT
    )
    return expected, read


def test_columns_come_back(expected_and_read: tuple[Any, dict[str, Any]]) -> None:
    expected, read = expected_and_read
    assert set(read["frames"]) == set(expected.columns)
    for name, values in expected.columns.items():
        as_torch = values.astype(np.float32) if values.dtype == np.float64 else values
        np.testing.assert_array_equal(read["frames"][name], as_torch, err_msg=name, strict=True)
    assert read["strings"]["task"] == expected.tasks
    assert read["nulls"] == {}


def test_pictures_come_back(expected_and_read: tuple[Any, dict[str, Any]]) -> None:
    expected, read = expected_and_read
    assert read["encoded_sha256"] == {fixture.CAMERA: expected.encoded_sha256}
    assert read["decoded_sha256"] == {fixture.CAMERA: expected.decoded_sha256}
    assert read["decoded_shape"][fixture.CAMERA][0] == [fixture.HEIGHT, fixture.WIDTH, 3]


def test_windows_stop_at_episode_bounds(expected_and_read: tuple[Any, dict[str, Any]]) -> None:
    expected, read = expected_and_read
    episode_index = expected.columns["episode_index"]
    for position in WINDOWS_AT:
        own = np.flatnonzero(episode_index == episode_index[position])
        asked = position + np.array(OFFSETS)
        wanted = asked.clip(own[0], own[-1])
        window = read["windows"][position]
        np.testing.assert_array_equal(window["action"], expected.columns["action"][wanted])
        np.testing.assert_array_equal(
            window["action_valid"], expected.columns["action_valid"][wanted]
        )
        assert window[fixture.CAMERA] == [expected.decoded_sha256[frame] for frame in wanted]
        for name in DELTA_TIMESTAMPS:
            np.testing.assert_array_equal(window[f"{name}_is_pad"], asked != wanted)


def test_batches_have_the_shapes_training_expects(
    expected_and_read: tuple[Any, dict[str, Any]],
) -> None:
    _, read = expected_and_read
    size = (3, fixture.HEIGHT, fixture.WIDTH)
    assert read["batch"]["action"] == {"shape": [4, 8], "dtype": "float32"}
    assert read["batch"]["action_valid"] == {"shape": [4], "dtype": "bool"}
    assert read["batch"][fixture.CAMERA] == {"shape": [4, *size], "dtype": "float32"}
    assert read["window_batch"][fixture.CAMERA] == {"shape": [4, 3, *size], "dtype": "float32"}


def test_metadata_come_back(expected_and_read: tuple[Any, dict[str, Any]]) -> None:
    _, read = expected_and_read
    meta = read["meta"]
    assert (meta["fps"], meta["robot_type"]) == (fixture.FPS, "widowx")
    assert (meta["total_episodes"], meta["total_frames"], meta["length"]) == (2, 11, 11)
    assert meta["tasks"] == [[task, index] for index, task in enumerate(fixture.TASKS)]
    assert meta["data_files"] == [f"data/chunk-000/file-{index:03d}.parquet" for index in (0, 1)]
    assert meta["stats"][fixture.CAMERA]["mean"]["shape"] == [3, 1, 1]
    assert meta["stats"]["action"]["std"]["shape"] == [8]
    first, second = meta["episodes"]
    assert (first["dataset_from_index"], first["dataset_to_index"]) == (0, 6)
    assert (second["dataset_from_index"], second["dataset_to_index"]) == (6, 11)
    assert (second["episode_id"], second["success"]) == ("test-0000000000000001", None)


def test_one_episode_of_a_shared_file(tmp_path: Path) -> None:
    oracle.skip_without_lerobot()
    expected = fixture.write_dataset(tmp_path / "dataset")
    read = oracle.run_probe(tmp_path / "dataset", tmp_path, episodes=[1])
    np.testing.assert_array_equal(read["frames"]["index"], np.arange(6, 11))
    np.testing.assert_array_equal(read["frames"]["action"], expected.columns["action"][6:])
    assert read["encoded_sha256"][fixture.CAMERA] == expected.encoded_sha256[6:]


def test_an_undeclared_column_is_refused(tmp_path: Path) -> None:
    """The oracle can fail, and says why: lerobot wants every stored column declared."""
    oracle.skip_without_lerobot()
    fixture.write_dataset(tmp_path / "dataset")
    path = tmp_path / "dataset" / "meta" / "info.json"
    info = json.loads(path.read_text(encoding="utf-8"))
    del info["features"]["action_valid"]
    path.write_text(json.dumps(info), encoding="utf-8")
    with pytest.raises(AssertionError, match="because column names don't match"):
        oracle.run_probe(tmp_path / "dataset", tmp_path)


def test_a_wrong_interpreter_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(oracle.INTERPRETER_VARIABLE, str(tmp_path / "python"))
    with pytest.raises(FileNotFoundError, match=oracle.INTERPRETER_VARIABLE):
        oracle.lerobot_python()
