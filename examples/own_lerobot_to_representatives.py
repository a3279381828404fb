"""From your own LeRobot dataset to the episodes worth annotating.

    python examples/own_lerobot_to_representatives.py OUT [LEROBOT_DATASET]

Without a dataset of yours one is made of the demo's corpus, in LeRobot v2.1.
"""

from __future__ import annotations

import sys
from pathlib import Path

import finedata as fd
from finedata.demo.walk import unpack


def make_lerobot(out: Path) -> Path:
    """A plain LeRobot v2.1 dataset of three tasks, as somebody else might have recorded it."""
    unpack(out / "source")
    bridge = fd.source("bridge_v2", out / "source/bridge_dataset/1.0.0").convert(
        out / "recorded", cameras="image_0"
    )
    bridge.write(out / "lerobot", format="lerobot-v2.1", keep_pictures=True)
    return out / "lerobot"


def main(out: Path, own: Path | None = None) -> fd.Dataset:
    """Convert, judge, choose, show."""
    source = fd.source("lerobot", own or make_lerobot(out))
    ds = source.convert(out / "dataset")
    print(ds.conversion)  # every episode found is written, or failed with a reason

    judged = ds.gate()  # action against state, and nine more checks; nothing is deleted
    print(f"{judged.verdicts['pass']} of {judged.episodes} pass")

    ds.cluster(budget=10, device="cpu")  # by dynamic time warping, within each task
    chosen = ds.sql(
        "select r.rank, e.task, r.represents, r.episode_id from representatives r "
        "join episodes e using (episode_id) order by r.rank"
    )
    print(chosen)

    ds.report(out / "report.html")
    print(f"open {out / 'report.html'}")
    return ds


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(Path(one) for one in sys.argv[2:3]))
