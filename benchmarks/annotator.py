"""A tiny annotator before and after training, on episodes that it never saw, judged by the motion.

The loop of `docs/train.md`, end to end, on the demo's dataset: the motion's facts are the lessons;
the trained run is a teacher like any other; the pipeline checks its answers, and the motion judges
its facts. Three speakers are asked about the same held-out episodes:

- `before`: the same model before training;
- `copied`: as many of the surest facts of a training episode, given out for this one: what can be
  said unseen;
- `after`: the trained run.

    finedata demo --out demo
    OMP_NUM_THREADS=1 python benchmarks/annotator.py demo/bridge --out DIR [--steps 300]
    OMP_NUM_THREADS=1 python benchmarks/annotator.py --episodes 140 --steps 500 --out DIR

The second makes a corpus as the demo's with so many episodes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections import Counter
from pathlib import Path

import polars as pl

import finedata
from finedata.annotate.checks.motion import judged_facts, motions_in_order
from finedata.kinematic import measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path, nargs="?")
    parser.add_argument("--episodes", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    given = parser.parse_args()
    root = given.out / "dataset"
    if not root.exists():
        if given.episodes:
            made(given.out / "source", root, given.episodes)
        else:
            shutil.copytree(given.dataset, root)
        finedata.open(root).annotate_kinematic(everything=True)
    began = time.process_time()
    before = finedata.recipe("tiny_annotator", steps=1, warmup=0, lr_vlm=0.0, lr_vision=0.0)
    before.train(root, out=given.out / "before", resume=True, workers=1)
    done = finedata.recipe("tiny_annotator", steps=given.steps, log_every=50).train(
        root, out=given.out / "after", resume=True, workers=1, on_log=print
    )
    sides = json.loads((given.out / "after" / "episodes.json").read_text())
    print(f"trained on {len(sides['train'])} episodes, {time.process_time() - began:.0f} CPU s")
    print(f"loss {done.last['terms']['words']:.3f} at step {done.step}")
    rows = [
        (
            "copied",
            len(sides["heldout"]),
            copied(root, sides, most=finedata.recipe("tiny_annotator").values.max_facts),
        )
    ]
    rows += [(n, *asked(root, given.out, n, sides["heldout"])) for n in ("before", "after")]
    print(f"\n{len(sides['heldout'])} held-out episodes")
    print("| speaker | episodes with facts | facts | confirmed | contradicted | untestable | "
          "confirmed of the testable |\n|---|---|---|---|---|---|---|")  # fmt: skip
    for name, episodes, verdicts in rows:
        said, bad = verdicts["confirmed"], verdicts["contradicted"]
        share = f"{said / (said + bad):.0%}" if said + bad else "-"
        print(f"| {name} | {episodes} | {verdicts.total()} | {said} | {bad} | "
              f"{verdicts['untestable']} | {share} |")  # fmt: skip


def made(source: Path, root: Path, episodes: int) -> None:
    """A dataset like the demo's, of so many episodes."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from corpora.corpus import write_bridge_corpus

    write_bridge_corpus(
        source, episodes=episodes, image_size=64, mean_length=24, real_cameras=1, shards=4
    )
    opened = finedata.source("bridge_v2", source / "bridge_dataset" / "1.0.0").convert(root)
    opened.gate()
    opened.cluster(device="cpu")


def asked(root: Path, out: Path, name: str, ids: list[str]) -> tuple[int, Counter[str]]:
    """What a run says of some episodes, in a copy of the dataset without the motion's facts."""
    copy = out / f"asked-{name}"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(root, copy)
    for table in ("facts", "steps"):
        shutil.rmtree(copy / "annotations" / table)
    teacher = finedata.teacher("local", model=str(out / name), attempts=1)
    found = finedata.open(copy).annotate_facts(teacher, episodes=ids, fps=2.0, refinement_fps=2.0)
    for reason, count in found.reasons.items():
        print(f"  {name}: {count} x {reason[:120]}")
    return found.done, Counter(found.verdicts)


def copied(root: Path, sides: dict[str, list[str]], *, most: int) -> Counter[str]:
    """Verdicts of the motion on the surest facts of training episodes, told of held-out ones."""
    dataset = finedata.open(root)
    verdicts: Counter[str] = Counter()
    motions = motions_in_order(dataset, sides["heldout"])
    for number, (episode_id, motion) in enumerate(motions):
        other = sides["train"][number % len(sides["train"])]
        length = dataset.episodes.filter(pl.col("episode_id") == episode_id).collect()["length"][0]
        rows = dataset.facts.filter(pl.col("episode_id") == other).collect().to_dicts()
        facts = sorted(rows, key=lambda fact: -(fact["confidence"] or 0.0))[:most]
        moved = [
            fact | {"episode_id": episode_id, "end_frame": min(fact["end_frame"], length)}
            for fact in facts
            if fact["start_frame"] < length
        ]
        judged, _ = judged_facts(moved, None if motion is None else measure(motion))
        verdicts.update(row["kinematic_verdict"] for row in judged)
    return verdicts


if __name__ == "__main__":
    main()
