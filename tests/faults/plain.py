"""A LeRobot dataset of a few rows, of any shape that people leave behind: written by hand here.

It shares no code with the readers. A `Plain` says what is in it; what it leaves out is not there.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

Motion = Callable[[int, int, int], np.ndarray]


def swinging(episode: int, frames: int, width: int) -> np.ndarray:
    """(frames, width) joints that swing, each episode a little otherwise."""
    time = np.linspace(0, 1, frames)[:, None]
    return 0.4 * np.sin(2 * time + episode + np.arange(width))


def still(episode: int, frames: int, width: int) -> np.ndarray:
    """(frames, width) that never move."""
    return np.full((frames, width), 0.1 * episode)


@dataclass(frozen=True, kw_only=True)
class Plain:
    """What to write."""

    episodes: int = 3
    frames: int = 12
    width: int = 6
    names: tuple[str, ...] | None = None
    vectors: dict[str, str] = field(
        default_factory=lambda: {"state": "observation.state", "action": "action"}
    )
    motion: Motion = swinging
    command: Motion | None = None
    cameras: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ("lift the cube",)
    chunk: int = 0
    extra: dict[str, tuple[dict[str, Any], Callable[[int, int], pa.Array]]] = field(
        default_factory=dict
    )
    robot: str = "arm"
    fps: int = 10


def write_plain(root: Path, plain: Plain) -> Path:
    """Write it as LeRobot v2.1 and return the folder."""
    (root / "meta").mkdir(parents=True)
    (root / "data/chunk-000").mkdir(parents=True)
    picture = {"dtype": "image", "shape": [8, 8, 3], "names": ["height", "width", "channel"]}
    features: dict[str, Any] = {}
    for side, name in plain.vectors.items():
        shape = [plain.chunk, plain.width] if side == "action" and plain.chunk else [plain.width]
        names = None if plain.names is None else list(plain.names)
        features[name] = {"dtype": "float32", "shape": shape, "names": names}
    features |= dict.fromkeys(plain.cameras, picture)
    features |= {name: declared for name, (declared, _) in plain.extra.items()}
    for name in ("timestamp", "frame_index", "episode_index", "index", "task_index"):
        kind = "float32" if name == "timestamp" else "int64"
        features[name] = {"dtype": kind, "shape": [1], "names": None}
    info = {
        "codebase_version": "v2.1", "robot_type": plain.robot, "fps": plain.fps,
        "total_episodes": plain.episodes, "total_frames": plain.episodes * plain.frames,
        "total_tasks": len(plain.tasks), "total_videos": 0, "total_chunks": 1,
        "chunks_size": 1000, "splits": {"train": f"0:{plain.episodes}"},
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": None, "features": features,
    }  # fmt: skip
    (root / "meta/info.json").write_text(json.dumps(info))
    tasks = [json.dumps({"task_index": k, "task": t}) for k, t in enumerate(plain.tasks)]
    (root / "meta/tasks.jsonl").write_text("\n".join(tasks) + "\n")
    with (root / "meta/episodes.jsonl").open("w") as lines:
        for episode in range(plain.episodes):
            task = plain.tasks[episode % len(plain.tasks)]
            line = {"episode_index": episode, "tasks": [task], "length": plain.frames}
            lines.write(json.dumps(line) + "\n")
    for episode in range(plain.episodes):
        path = root / f"data/chunk-000/episode_{episode:06d}.parquet"
        pq.write_table(pa.table(_columns(plain, episode)), path)
    return root


def _columns(plain: Plain, episode: int) -> dict[str, pa.Array]:
    frames = plain.frames
    state = plain.motion(episode, frames, plain.width).astype(np.float32)
    action = np.vstack([state[1:], state[-1:]])
    if plain.command is not None:
        action = plain.command(episode, frames, plain.width).astype(np.float32)
    columns: dict[str, pa.Array] = {}
    for side, name in plain.vectors.items():
        values = state if side == "state" else action
        if side == "action" and plain.chunk:
            ahead = [np.minimum(np.arange(frames) + k, frames - 1) for k in range(plain.chunk)]
            nested = np.stack([action[rows] for rows in ahead], axis=1).tolist()
            columns[name] = pa.array(nested, pa.list_(pa.list_(pa.float32(), plain.width)))
        else:
            columns[name] = pa.array(values.tolist(), pa.list_(pa.float32(), plain.width))
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for place, name in enumerate(plain.cameras):
        shown = [{"bytes": _png(40 * episode + 9 * k + place), "path": None} for k in range(frames)]
        columns[name] = pa.array(shown, picture)
    columns |= {name: made(episode, frames) for name, (_, made) in plain.extra.items()}
    columns["timestamp"] = pa.array(np.arange(frames) / plain.fps, pa.float32())
    columns["frame_index"] = pa.array(np.arange(frames), pa.int64())
    columns["episode_index"] = pa.array(np.full(frames, episode), pa.int64())
    columns["index"] = pa.array(episode * frames + np.arange(frames), pa.int64())
    columns["task_index"] = pa.array(np.full(frames, episode % len(plain.tasks)), pa.int64())
    return columns


def _png(level: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), level % 256, np.uint8)).save(out, "PNG")
    return out.getvalue()
