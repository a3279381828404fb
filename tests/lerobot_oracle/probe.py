"""What the real LeRobotDataset reads, written down for a test that must not import lerobot.

    .venv-lerobot/bin/python tests/lerobot_oracle/probe.py DATASET_ROOT OUT_DIR [--episodes 1,3]
        [--delta-timestamps '{"action": [0.0, 0.1]}'] [--windows-at 0,7] [--frames 0,1,2]

Comes in: the root of a LeRobot v3.0 dataset. Goes out: OUT_DIR/probe.npz with every numeric column
and window, and OUT_DIR/probe.json with the metadata, the task of every frame, and a sha256 of every
picture, both as stored (the encoded bytes) and as decoded (uint8, height x width x channel).
`oracle.py` starts it with the right environment and puts the two files together again. Nothing is
compared here: what the values should be is the test's business.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset

if TYPE_CHECKING:
    from collections.abc import Iterable

REPO_ID = "local/test"
BATCH_SIZE = 4


def main() -> None:
    options = parse_arguments()
    opening = {"root": options.root, "episodes": options.episodes, "video_backend": "pyav"}
    dataset = LeRobotDataset(REPO_ID, **opening)
    positions = range(len(dataset)) if options.frames is None else options.frames
    arrays, report = probe_frames(dataset, positions)
    report["meta"] = describe(dataset)
    report["encoded_sha256"] = encoded_pictures(dataset, positions)
    report["batch"] = first_batch(dataset)
    if options.delta_timestamps is not None:
        windowed = LeRobotDataset(REPO_ID, delta_timestamps=options.delta_timestamps, **opening)
        window_arrays, report["windows"] = probe_windows(windowed, options.windows_at)
        arrays |= window_arrays
        report["window_batch"] = first_batch(windowed)
    options.out.mkdir(parents=True, exist_ok=True)
    np.savez(options.out / "probe.npz", **arrays)
    text = json.dumps(report, indent=1, sort_keys=True, ensure_ascii=False)
    (options.out / "probe.json").write_text(text + "\n", encoding="utf-8")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--episodes", type=integers, help="episode indices, comma-separated")
    parser.add_argument("--delta-timestamps", type=json.loads, help="JSON: feature -> seconds")
    parser.add_argument("--windows-at", type=integers, default=[0], help="positions of the windows")
    parser.add_argument("--frames", type=integers, help="positions to read, comma-separated")
    return parser.parse_args()


def integers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def probe_frames(
    dataset: LeRobotDataset, positions: Iterable[int]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Every frame by `dataset[i]`, the way a training loop reads it."""
    cameras = dataset.meta.camera_keys
    columns: dict[str, list[np.ndarray]] = {}
    report: dict[str, Any] = {
        "decoded_sha256": {camera: [] for camera in cameras},
        "decoded_shape": {camera: [] for camera in cameras},
        "nulls": {},
        "strings": {},
    }
    for position in positions:
        item = dataset[position]
        for key, value in item.items():
            if key in cameras:
                pixels = to_pixels(value)
                report["decoded_sha256"][key].append(sha256(pixels))
                report["decoded_shape"][key].append(list(pixels.shape))
            elif isinstance(value, torch.Tensor):
                columns.setdefault(key, []).append(value.numpy())
            elif isinstance(value, str):
                report["strings"].setdefault(key, []).append(value)
            else:
                report["nulls"].setdefault(key, []).append(position)
    return {f"frame/{key}": np.stack(values) for key, values in columns.items()}, report


def probe_windows(
    dataset: LeRobotDataset, positions: Iterable[int]
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, list[str]]]]:
    """The windows and their paddings at a few positions; pictures as the sha256 of each."""
    cameras = dataset.meta.camera_keys
    arrays: dict[str, np.ndarray] = {}
    hashes: dict[str, dict[str, list[str]]] = {}
    for position in positions:
        item = dataset[position]
        hashes[str(position)] = {}
        for key in dataset.delta_timestamps:
            arrays[f"window/{position}/{key}_is_pad"] = item[f"{key}_is_pad"].numpy()
            if key in cameras:
                pictures = item[key] if item[key].ndim == 4 else item[key][None]
                hashes[str(position)][key] = [sha256(to_pixels(picture)) for picture in pictures]
            else:
                arrays[f"window/{position}/{key}"] = item[key].numpy()
    return arrays, hashes


def describe(dataset: LeRobotDataset) -> dict[str, Any]:
    """The metadata as lerobot understood it."""
    meta = dataset.meta
    stats = meta.stats or {}
    return {
        "fps": meta.fps,
        "robot_type": meta.robot_type,
        "total_episodes": meta.total_episodes,
        "total_frames": meta.total_frames,
        "total_tasks": meta.total_tasks,
        "num_episodes": dataset.num_episodes,
        "num_frames": dataset.num_frames,
        "length": len(dataset),
        "features": meta.features,
        "camera_keys": meta.camera_keys,
        "tasks": [[str(row.Index), int(row.task_index)] for row in meta.tasks.itertuples()],
        "stats": {
            feature: {name: describe_statistic(value) for name, value in entry.items()}
            for feature, entry in stats.items()
        },
        "episodes": [json_safe(row) for row in meta.episodes],
        "splits": meta.info.get("splits"),
        "data_files": [str(meta.get_data_file_path(row)) for row in range(meta.total_episodes)],
    }


def describe_statistic(value: np.ndarray) -> dict[str, Any]:
    return {"shape": list(value.shape), "values": value.tolist()}


def json_safe(row: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(row, default=str))


def encoded_pictures(dataset: LeRobotDataset, positions: Iterable[int]) -> dict[str, list[str]]:
    """The sha256 of the bytes that the reader hands to its decoder, for image cameras."""
    hashes: dict[str, list[str]] = {}
    for camera in dataset.meta.image_keys:
        column = dataset.hf_dataset.with_format(None).select_columns([camera])
        undecoded = column.cast_column(camera, datasets.Image(decode=False))
        stored = (undecoded[position][camera]["bytes"] for position in positions)
        hashes[camera] = [hashlib.sha256(picture).hexdigest() for picture in stored]
    return hashes


def first_batch(dataset: LeRobotDataset) -> dict[str, Any]:
    """Shapes and types of the first batch that torch's own DataLoader makes of it."""
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=BATCH_SIZE, shuffle=False, num_workers=0
    )
    batch = next(iter(loader))
    return {
        key: {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
        if isinstance(value, torch.Tensor)
        else value
        for key, value in batch.items()
    }


def to_pixels(picture: torch.Tensor) -> np.ndarray:
    """Float (C, H, W) in [0, 1] back to the uint8 (H, W, C) it came from; other types stay."""
    pixels = picture.permute(1, 2, 0)
    if picture.is_floating_point():
        pixels = (pixels * 255).round().to(torch.uint8)
    return np.ascontiguousarray(pixels.numpy())


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


if __name__ == "__main__":
    main()
