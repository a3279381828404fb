"""One of two processes that train together; started by test_ranks.py."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

torch.set_num_threads(1)

from train.recipes import recipe_file  # noqa: E402

from finedata.train.loop import Trainer  # noqa: E402

# AdamW with a small epsilon makes much of the rounding of tiny gradients.
CHANGES = {
    "mix": "fg=1,raw=2", "horizon": 4, "steps": 3, "batch": 8, "micro_batch": 2, "warmup": 1,
    "save_every": 3, "log_every": 1, "max_tokens": 256, "freeze_vision": True, "ema": 0.5,
    "epsilon": 1e-3, "eval_every": 3, "eval_samples": 6,
}  # fmt: skip


def main(shards: str, out: str, *shardings: str) -> None:
    for sharding in shardings:
        Trainer(
            recipe_file("tiny_oft", **CHANGES),
            shards,
            Path(out) / sharding,
            workers=0,
            device="cpu",
            sharding=sharding,
        ).train()


if __name__ == "__main__":
    main(*sys.argv[1:])
