"""Train a tiny policy, serve it, and ask it as a robot would.

    python examples/ask_a_served_policy.py OUT [STEPS]

Needs `pip install 'finedata[train,serve]'`; a CPU is enough. The robot's side needs `serve` only.
"""

from __future__ import annotations

import sys
from pathlib import Path

import finedata as fd
from finedata.demo.walk import unpack


def train(out: Path, *, steps: int) -> Path:
    """A policy of one camera; with so few steps it has learnt next to nothing."""
    unpack(out / "source")
    ds = fd.source("bridge_v2", out / "source/bridge_dataset/1.0.0").convert(
        out / "dataset", max_episodes=6, cameras="image_0"
    )
    ds.gate()
    ds.cluster(device="cpu")
    ds.shard(out / "shards", held_out=0.1)
    recipe = fd.recipe("tiny_oft", mix="raw=1", steps=steps, eval_every=0, cameras=["image_0"])
    recipe.train(out / "shards", out=out / "run", device="cpu", workers=0)
    return out / "run"


def drive(address: str, ds: fd.Dataset) -> list[float]:
    """The robot's side: pictures and words out, actions back."""
    episode = ds[ds.episodes.select("episode_id").first().collect().item()]
    task = ds.episodes.select("task").first().collect().item()
    with fd.connect(address) as policy:
        for frame in (0, 5, 10):
            picture = episode.frames("image_0", [frame])[0]  # (height, width, 3) uint8, RGB
            answer = policy.act({"image_0": picture, "prompt": task})
            now = dict(zip(answer.names, answer.actions[0].tolist(), strict=True))
            print(f"frame {frame}:", {name: round(value, 3) for name, value in now.items()})
    return answer.actions[0].tolist()


def main(out: Path, *, steps: int = 20) -> list[float]:
    """All of it on one machine; `finedata serve OUT/run` is the server by itself."""
    run = train(out, steps=steps)
    with fd.policy(run).serving(execute=8) as listening:
        return drive(listening.address, fd.open(out / "dataset"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), steps=int(sys.argv[2]) if len(sys.argv) > 2 else 20)
