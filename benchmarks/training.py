"""Encoding in workers, and what a training step waits for data; see the README of this folder.

python benchmarks/training.py encode    # patches and ids from decoded pictures, one core
python benchmarks/training.py wait      # share of waiting in steps of 200 ms with 2 workers
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np

# In the place of this folder, whose modules have the names of tests' packages.
sys.path[0] = str(Path(__file__).parent.parent / "tests")

from shard.stream.tiny_shards import TinySet, make_shards  # noqa: E402

from finedata.schema.recipe_file import Recipe, find_recipe  # noqa: E402
from finedata.shard.shards import Shards  # noqa: E402
from finedata.train.backbone import load_backbone  # noqa: E402
from finedata.train.data import look, open_stream  # noqa: E402
from finedata.train.encode import Encoder, EncoderSettings  # noqa: E402

SIZE, CAMERAS, BATCH = 224, ("high", "left", "right"), 32


def recipe() -> Recipe:
    """`tiny_oft` with pictures and chunks of the papers' size."""
    return msgspec.structs.replace(
        find_recipe("tiny_oft").recipe, pictures=SIZE, max_tokens=640, horizon=16
    )


def encoder_settings() -> EncoderSettings:
    """How prompts of three cameras are encoded for Qwen3-VL."""
    return load_backbone(recipe()).encoder_settings(recipe(), cameras=CAMERAS, queries=16)


def encode() -> None:
    """Pictures a second of one core, with ids and positions of their prompts."""
    encoder = Encoder.of(msgspec.to_builtins(encoder_settings()))
    out = {
        name: np.empty((BATCH, *shape), dtype) for name, (shape, dtype) in encoder.arrays().items()
    }
    rng = np.random.default_rng(0)
    pictures = {
        name: rng.integers(0, 256, (BATCH, SIZE, SIZE, 3)).astype(np.uint8) for name in CAMERAS
    }
    mask = {name: np.ones(BATCH, bool) for name in CAMERAS}
    rates = []
    for run in range(12):
        # Words that were never met, so that nothing comes from a cache.
        text = [f"put cup {run} {k} on the plate, then close the drawer" for k in range(BATCH)]
        began = time.process_time()
        encoder.encode(text, pictures, mask, out)
        rates.append(BATCH * len(CAMERAS) / (time.process_time() - began))
    print(f"{np.median(rates):,.0f} pictures/s of CPU time (median of 12, {min(rates):,.0f} worst)")


def wait() -> None:
    """What of a step of 200 ms is spent waiting, after the first ones."""
    with tempfile.TemporaryDirectory() as folder:
        sets = [
            TinySet("a", "rest", [300] * 4, cameras=CAMERAS, size=(SIZE, SIZE), tar_samples=200)
        ]
        root = make_shards(Path(folder) / "shards", sets)
        data = look(Shards.open(root), recipe())
        waited: list[float] = []
        with open_stream(data, recipe(), encoder_settings(), batch=BATCH, workers=2) as opened:
            batches = iter(opened)
            for _ in range(40):
                began = time.perf_counter()
                batch = next(batches)
                waited.append(time.perf_counter() - began)
                del batch
                time.sleep(0.2)
    total = sum(waited[10:])
    print(f"waiting {total / (30 * 0.2 + total):.2%} of 30 steps of 200 ms, {BATCH} samples each")


if __name__ == "__main__":
    {"encode": encode, "wait": wait}[sys.argv[1]]()
