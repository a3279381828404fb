"""A big corpus in BridgeData-V2's own bytes, for measuring conversions.

    python benchmarks/corpus.py --out DIR --gigabytes 2 --cameras 2 --mean-length 120

Comes in: a size. Goes out: DIR/bridge_dataset/1.0.0 with one `train` split in files of about
200 MB, and one line of JSON about it. Records are those of the demo corpus, with motions of their
own; the pictures (256x256 JPEG of 14 to 20 kB) are drawn from a pool in shuffled order, because
painting them all would take longer than any conversion. Only the cameras asked for are declared.
The same arguments give the same bytes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from corpora.arm import Variation, simulate
from corpora.declaration import (
    CORPUS_NAME,
    CORPUS_VERSION,
    camera_names,
    shard_file_name,
    write_declaration,
)
from corpora.pictures import CAMERAS, paint_scene, render_motion
from corpora.record import encode_bridge_episode
from corpora.tfrecord import frame_record, write_frames
from corpora.ways import TASKS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from corpora.arm import Motion

SHARD_BYTES = 200e6
VARIATION = Variation(waypoint_m=0.01, angle_rad=0.08, layout_m=0.01, start_m=0.03, pace=0.25)
FOLDER = "/nfs/kun2/users/homer/datasets/bridge_data_all/numpy_256"


def main() -> None:
    options = parse_arguments()
    target = options.out / CORPUS_NAME / CORPUS_VERSION
    if target.exists() and any(target.iterdir()):
        message = f"{target} is not empty; a corpus is never overwritten"
        raise SystemExit(message)
    target.mkdir(parents=True, exist_ok=True)

    started = time.perf_counter()
    pool = picture_pool(options.pictures, seed=options.seed)
    pool_seconds = time.perf_counter() - started

    started = time.perf_counter()
    corpus = Corpus(pool, cameras=options.cameras, length=options.mean_length, seed=options.seed)
    total = options.gigabytes * 1e9
    count = max(1, round(total / SHARD_BYTES))
    sizes: list[tuple[int, int]] = []
    for index in range(count):
        before = corpus.episodes
        path = target / shard_file_name("train", index, count)
        size = write_frames(path, corpus.frames(total / count))
        sizes.append((corpus.episodes - before, size))
    write_declaration(target, image_size=256, cameras=options.cameras, splits={"train": sizes})
    seconds = time.perf_counter() - started

    written = sum(size for _, size in sizes)
    result = {
        "episodes": corpus.episodes,
        "frames": corpus.steps,
        "bytes": written,
        "files": count,
        "mean_picture_bytes": round(sum(map(len, pool)) / len(pool)),
        "pool_seconds": round(pool_seconds, 2),
        "seconds": round(seconds, 2),
        "megabytes_per_second": round(written / seconds / 1e6),
    }
    print(json.dumps(result))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--gigabytes", type=float, default=2.0, help="size in 10^9 bytes")
    parser.add_argument("--cameras", type=int, default=2, choices=range(1, CAMERAS + 1))
    parser.add_argument("--mean-length", type=int, default=120, help="steps of an average episode")
    parser.add_argument("--pictures", type=int, default=2000, help="distinct pictures in the pool")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def picture_pool(count: int, *, seed: int) -> list[bytes]:
    """`count` distinct pictures of all tasks from all cameras."""
    return list(islice(_pictures(seed), count))


def _pictures(seed: int) -> Iterator[bytes]:
    rng = np.random.default_rng([seed, 3])
    while True:
        for task in TASKS:
            for camera in range(CAMERAS):
                painted = int(rng.integers(2**31))
                goal_m = np.array(task.goal_m)
                scene = paint_scene(task.shape, goal_m, camera=camera, image_size=256, seed=painted)
                way = task.ways[camera % len(task.ways)]
                motion = simulate(task, way, variation=VARIATION, mean_length=90, rng=rng)
                yield from render_motion(scene, motion)


class Corpus:
    """Episodes one after the other, counted."""

    def __init__(self, pool: list[bytes], *, cameras: int, length: int, seed: int) -> None:
        self.pool = pool
        self.names = camera_names(cameras)
        self.length = length
        self.rng = np.random.default_rng([seed, 4])
        self.episodes = 0
        self.steps = 0

    def frames(self, size: float) -> Iterator[bytes]:
        """Framed records until there are `size` bytes of them."""
        written = 0
        while written < size:
            frame = frame_record(self._payload())
            written += len(frame)
            yield frame

    def _payload(self) -> bytes:
        task = TASKS[self.episodes % len(TASKS)]
        way = task.ways[self.episodes // len(TASKS) % len(task.ways)]
        motion = simulate(task, way, variation=VARIATION, mean_length=self.length, rng=self.rng)
        payload = encode_bridge_episode(
            state=motion.state,
            action=motion.action,
            pictures={name: self._film(motion) for name in self.names},
            instruction=task.instruction,
            file_path=f"{FOLDER}/{task.folder}/train/out.npy",
            source_episode_id=self.episodes,
        )
        self.episodes += 1
        self.steps += len(motion.action)
        return payload

    def _film(self, motion: Motion) -> list[bytes]:
        chosen = self.rng.integers(len(self.pool), size=len(motion.action))
        return [self.pool[index] for index in chosen.tolist()]


if __name__ == "__main__":
    main()
