"""Train on two robots at once: other cameras, other names, one batch.

    python examples/mix_two_robots.py OUT

A role file says which camera of each robot fills which role, and what the numbers of its arm are
called. What a robot does not have is black or zero, and masked.
"""

from __future__ import annotations

import sys
from pathlib import Path

import finedata as fd
from finedata.demo.walk import unpack

ARM = ("x", "y", "z", "qx", "qy", "qz", "qw", "gripper")


def two_robots(out: Path) -> list[fd.Dataset]:
    """Bridge's arm with a camera in front, and somebody's LeRobot recording from the wrist."""
    unpack(out / "source")
    bridge = fd.source("bridge_v2", out / "source/bridge_dataset/1.0.0")
    first = bridge.convert(out / "first", episodes="0-9", cameras="image_0")
    second = bridge.convert(out / "second_as_recorded", episodes="10-19", cameras="image_0")
    second.write(out / "lerobot", format="lerobot-v2.1", keep_pictures=True)
    own = fd.source("lerobot", out / "lerobot").convert(out / "second")
    for dataset in (first, own):
        dataset.gate()
        dataset.cluster(device="cpu")
    return [first, own]


def roles() -> str:
    """The role file: an action that both have, and a camera that only one of them has each."""
    lines = [
        "version = 1",
        'cameras = ["front", "wrist"]',
        "[vectors.action]",
        f"names = {list(ARM)}".replace("'", '"'),
    ]
    parts = [
        ("bridge_v2", "widowx_250", '{ front = "image_0" }'),
        ("lerobot", "widowx_250", '{ wrist = "image_0" }'),
    ]
    for source, part, cameras in parts:
        lines += ["[[parts]]", f'source = "{source}"', f'part = "{part}"', f"cameras = {cameras}"]
        lines += ["[parts.vectors.action]", *(f'{name} = "action:right_{name}"' for name in ARM)]
    return "\n".join(lines) + "\n"


def main(out: Path) -> dict[str, int]:
    """Shards of both, and batches of which one in four is Bridge's.

    Returns:
        Source to samples drawn.
    """
    first, second = two_robots(out)
    # The recording names no licence; that both may be mixed is for you to know.
    first.shard(out / "shards", also=[second], allow_mixed_licences=True)
    (out / "shards/roles.toml").write_text(roles())
    settings = {"mix": {"raw": 1}, "sources": {"raw": {"bridge_v2": 1, "lerobot": 3}}}
    drawn = {"bridge_v2": 0, "lerobot": 0}
    with fd.stream(out / "shards", **settings, horizon=4, batch=16, stop=160, workers=0) as stream:
        for batch in stream:
            if batch.n[0] == 0:
                shapes = batch.pictures["front"].shape, batch.vectors["action"].shape
                print("one batch for both: front and action", *shapes)
                print("has a front camera:", batch.picture_mask["front"].astype(int))
                print("has a wrist camera:", batch.picture_mask["wrist"].astype(int))
            for name in batch.episode_id:
                drawn[name.rsplit("-", 1)[0]] += 1
        print(drawn)
        print(stream.receipt().chain[-1])  # another run that drew the same has the same digest
    return drawn


if __name__ == "__main__":
    main(Path(sys.argv[1]))
