"""The figures of `docs/how`, each computed by the code that it explains.

    python docs/_site/figures.py

writes them anew. They are made of the packed corpus of the demo and of arithmetic, so the same code
gives the same bytes; a slow test says where one is out of date.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).parent.parent))

import finedata as fd
from _site.drawing import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, Drawing, Scale
from finedata.demo.walk import walk
from finedata.motion.dtw.distances import FrameCost, dtw_path
from finedata.motion.quaternion import canonicalise, make_sign_continuous
from finedata.motion.rotation import to_quaternion_xyzw
from finedata.shard.order.schedule import Schedule, exact_weights

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = Path(__file__).parent.parent / "how"
_SEED = 0


def house(_: Path) -> Drawing:
    """The verbs and what lies between them."""
    drawing = Drawing(
        860, 250, "From raw corpora by convert, gate, cluster, annotate and shard to a policy"
    )
    boxes = {
        "raw corpora": (20, 30, "RLDS, HDF5, LeRobot"),
        "dataset": (250, 30, "LeRobot v3.0 + tables"),
        "representatives": (480, 30, "judged, clustered, chosen"),
        "facts, traces": (690, 30, "held against motion"),
        "shards": (480, 165, "pixels once, words beside"),
        "policy": (250, 165, "bit-exact to go on with"),
        "robot, benchmark": (20, 165, "openpi's, StarVLA's clients"),
    }
    for name, (x, y, below) in boxes.items():
        drawing.rect(x, y, 150, 54, fill="#eef4f8", stroke=BLUE, radius=6)
        drawing.text(x + 75, y + 23, name, anchor="middle", bold=True)
        drawing.text(x + 75, y + 42, below, anchor="middle", size=10, colour=GREY)
    arrows = [
        ("convert, verify", (172, 57), (248, 57), (210, 47)),
        ("gate, cluster", (402, 57), (478, 57), (440, 47)),
        ("annotate", (632, 57), (688, 57), (660, 47)),
        ("shard", (765, 86), (634, 180), (720, 150)),
        ("stream, train", (478, 192), (402, 192), (440, 182)),
        ("serve", (248, 192), (172, 192), (210, 182)),
    ]
    for words, start, stop, (x, y) in arrows:
        drawing.arrow(start, stop)
        drawing.text(x, y, words, anchor="middle", size=10)
    drawing.arrow((765, 86), (765, 118))
    drawing.text(765, 134, "review by people", anchor="middle", size=10)
    drawing.text(
        555, 112, "query, report, publish at any time", anchor="middle", size=10, colour=GREY
    )
    return drawing


def motion(_: Path) -> Drawing:
    """One turning tool in two spellings, and in ours."""
    frames = np.arange(60)
    angles = np.deg2rad(
        np.stack([10 * np.sin(frames / 9), 30 + 0 * frames, 60 + 5 * frames], axis=1)
    )
    wrapped = (angles + np.pi) % (2 * np.pi) - np.pi
    raw = canonicalise(to_quaternion_xyzw(wrapped, encoding="euler_xyz_extrinsic"))
    ours = make_sign_continuous(raw)
    drawing = Drawing(820, 300, "Sign jumps of quaternions, and the same rotations without them")
    for place, title, tracks in (
        (60, "w >= 0 in each frame: a false jump", raw),
        (450, "finedata: the first w >= 0, then continuous", ours),
    ):
        x, y = Scale(0, 59, place, place + 320), Scale(-1, 1, 260, 50)
        drawing.text(place, 30, title, bold=True)
        drawing.axes(x, y, ticks_x=[0, 20, 40, 59], ticks_y=[-1, 0, 1])
        for column, (name, colour) in enumerate(
            zip(("qx", "qy", "qz", "qw"), (BLUE, GREEN, ORANGE, RED), strict=True)
        ):
            drawing.line([(x(k), y(tracks[k, column])) for k in frames], colour=colour, width=2)
            drawing.text(x(59) + 6, y(tracks[-1, column]) + 4, name, colour=colour, size=11)
    drawing.text(220, 292, "frame", anchor="middle", size=11, colour=GREY)
    drawing.text(610, 292, "frame", anchor="middle", size=11, colour=GREY)
    return drawing


def proof(demo: Path) -> Drawing:
    """Every way in which the demo's actions could be meant, and what each leaves unexplained."""
    report = fd.source("bridge_v2", demo / "source/bridge_dataset/1.0.0").verify()
    (part,) = (part for part in report.arms[0].parts if part.part == "action")
    readings = sorted(part.readings, key=lambda reading: reading.unexplained or 0.0)
    readings = [one for one in readings if "previous_target" in one.name]
    drawing = Drawing(
        820, 70 + 26 * len(readings), "What each reading of the actions leaves unexplained"
    )
    drawing.text(
        20,
        24,
        "demo corpus: share of the motion that each reading of the action leaves unexplained",
        bold=True,
    )
    x = Scale(0, 0.32, 360, 760)
    for row, one in enumerate(readings):
        y = 40 + 26 * row
        name = one.name.removesuffix(", previous_target")
        drawing.text(350, y + 14, name, anchor="end", bold=one.declared)
        value = one.unexplained or 0.0
        colour = GREEN if one.declared else GREY
        drawing.rect(x.start, y, x(value) - x.start, 18, fill=colour)
        drawing.text(x(value) + 6, y + 14, f"{value:.3f}", size=11)
    y = 40 + 26 * len(readings) + 14
    drawing.text(20, y, f"declared in green; verdict: {part.verdict}", size=11, colour=GREY)
    return drawing


def dtw(demo: Path) -> Drawing:
    """Two demonstrations of one task, and which frame lies on which."""
    dataset = fd.open(demo / "bridge")
    task = "close the drawer"
    rows = dataset.episodes.filter(pl.col("task") == task).sort("episode_id").collect()
    tracks = [dataset[name].state for name in rows["episode_id"].to_list()]
    lengths = sorted(range(len(tracks)), key=lambda k: len(tracks[k]))
    first, second = tracks[lengths[0]], tracks[lengths[-1]]
    path = dtw_path(first, second, cost=FrameCost(space="pose", two_stage=True)).path
    drawing = Drawing(820, 330, "Two demonstrations of one task, aligned by dynamic time warping")
    drawing.text(
        20,
        24,
        f"{task}: {len(first)} and {len(second)} frames; grey lines: which lies on which",
        bold=True,
    )
    last = max(len(first), len(second)) - 1
    heights = np.concatenate([first[:, 0], second[:, 0]])
    low, high = float(heights.min()), float(heights.max())
    x = Scale(0, last, 70, 790)
    upper, lower = Scale(low, high, 140, 50), Scale(low, high, 280, 190)
    for a, b in path:
        drawing.line(
            [(x(a), upper(first[a, 0])), (x(b), lower(second[b, 0]))],
            colour=GREY,
            width=1,
            opacity=0.5,
        )
    for track, scale, colour in ((first, upper, BLUE), (second, lower, ORANGE)):
        points = [(x(k), scale(track[k, 0])) for k in range(len(track))]
        drawing.line(points, colour=colour, width=2)
        drawing.dots(points, colour=colour)
    drawing.text(20, 100, "x in m", size=11, colour=BLUE)
    drawing.text(20, 240, "x in m", size=11, colour=ORANGE)
    drawing.text(430, 318, "frame", anchor="middle", size=11, colour=GREY)
    return drawing


def facts(demo: Path) -> Drawing:
    """An episode's motion, and what was told of it."""
    dataset = fd.open(demo / "bridge")
    first = dataset.representatives.filter(pl.col("rank") == 0).collect()["episode_id"].item()
    episode = dataset[first]
    told = (
        dataset.facts.filter((pl.col("episode_id") == first) & (pl.col("anchor") == "step"))
        .filter(
            pl.col("slot").is_in(
                ["primitive_action", "translation_direction", "rotation_direction"]
            )
        )
        .sort("start_frame", "slot")
        .collect()
    )
    rows: list[dict[str, Any]] = told.to_dicts()
    slots = sorted({row["slot"] for row in rows})
    drawing = Drawing(
        820, 190 + 34 * len(slots), "Height and gripper of an episode, and facts with their frames"
    )
    length = len(episode.state)
    x = Scale(0, length - 1, 150, 790)
    height, grip = episode.state[:, 2], episode.state[:, 7]
    y, share = Scale(float(height.min()), float(height.max()), 140, 50), Scale(0, 1, 140, 50)
    drawing.text(
        20, 24, "one episode of the demo: what motion shows, and what is told of it", bold=True
    )
    drawing.text(140, 70, "height", anchor="end", colour=BLUE)
    drawing.text(140, 90, "gripper open", anchor="end", colour=ORANGE)
    drawing.line([(x(k), y(height[k])) for k in range(length)], colour=BLUE, width=2)
    drawing.line([(x(k), share(grip[k])) for k in range(length)], colour=ORANGE, width=2)
    for row, slot in enumerate(slots):
        top = 160 + 34 * row
        drawing.text(140, top + 16, slot.replace("_", " "), anchor="end", size=11)
        for one in rows:
            if one["slot"] != slot:
                continue
            start, stop = x(one["start_frame"]), x(min(one["end_frame"], length - 1))
            good = one["kinematic_verdict"] == "confirmed"
            drawing.rect(
                start,
                top,
                stop - start - 2,
                24,
                fill=GREEN if good else RED,
                opacity=0.25,
                radius=3,
            )
            drawing.text((start + stop) / 2, top + 16, str(one["value"]), anchor="middle", size=10)
    drawing.text(
        470,
        182 + 34 * len(slots),
        "frame 0 to the last; green: confirmed by the motion",
        anchor="middle",
        size=11,
        colour=GREY,
    )
    return drawing


def mixture(_: Path) -> Drawing:
    """How far what was drawn is from what was asked, by a schedule and by chance."""
    shares = exact_weights({"a": 5, "b": 3, "c": 2}, place="mix")
    schedule = Schedule.of(shares)
    steps = 20_000
    picked, _ = schedule.slice(0, steps)
    by_chance = np.random.default_rng(_SEED).choice(
        3, size=steps, p=[float(w) for w in schedule.weights]
    )
    asked = np.arange(1, steps + 1) * float(schedule.weights[0])
    ours = np.cumsum(picked == 0) - asked
    drawn = np.cumsum(by_chance == 0) - asked
    drawing = Drawing(820, 320, "Samples too many or too few of one source, scheduled and drawn")
    drawing.text(
        20, 24, "5 : 3 : 2, samples of the first source more (or fewer) than asked", bold=True
    )
    bound = float(np.ceil(np.abs(drawn).max() / 20) * 20)
    x, y = Scale(0, steps, 70, 790), Scale(-bound, bound, 280, 40)
    drawing.axes(x, y, ticks_x=[0, 5000, 10000, 15000, 20000], ticks_y=[-bound, 0, bound])
    at = np.arange(0, steps, 50)
    drawing.line([(x(k), y(drawn[k])) for k in at], colour=ORANGE, width=1.5)
    drawing.line([(x(k), y(ours[k])) for k in at], colour=BLUE, width=2.5)
    drawing.text(80, 56, "drawn by chance", colour=ORANGE)
    drawing.text(250, 56, f"scheduled: never more than {np.abs(ours).max():.2f} off", colour=BLUE)
    drawing.text(430, 312, "samples", anchor="middle", size=11, colour=GREY)
    return drawing


def resume(demo: Path) -> Drawing:
    """The same samples, whoever reads them and however often it is stopped."""
    total, cut = 48, 20

    def read(
        batch: int, *, begin: int = 0, stop: int = total, rank: int = 0, world: int = 1
    ) -> list[Any]:
        names: list[Any] = []
        with fd.stream(
            demo / "shards", mix="raw=1", batch=batch, stop=stop, rank=rank, world=world, workers=0
        ) as stream:
            if begin:
                stream.load_state_dict(state)
            for one in stream:
                names += [
                    (int(n), f"{e}/{f}")
                    for n, e, f in zip(one.n, one.episode_id, one.frame_index, strict=True)
                ]
            if stop == cut:
                state.update(stream.state_dict())
            return names

    state: dict[str, Any] = {}
    whole = read(8)
    halves = [read(8, rank=rank, world=2) for rank in (0, 1)]
    before = read(4, stop=cut)
    after = read(7, begin=cut, stop=cut + 28)
    rows = [
        ("one process, batches of 8", [(n, name, BLUE) for n, name in whole]),
        (
            "two ranks, 4 each of 8",
            [
                (n, name, c)
                for half, c in zip(halves, (GREEN, ORANGE), strict=True)
                for n, name in half
            ],
        ),
        (
            "stopped after 20, batches of 4, then of 7",
            [(n, name, PURPLE) for n, name in before] + [(n, name, RED) for n, name in after],
        ),
    ]
    truth = dict(whole)
    drawing = Drawing(820, 250, "Three ways to read one sequence of samples")
    drawing.text(
        20, 24, "which frame is sample n? the same, in each of three ways to read", bold=True
    )
    x = Scale(0, total, 30, 800)
    shades = {
        name: k for k, name in enumerate(sorted({name.split("/")[0] for name in truth.values()}))
    }
    for row, (words, cells) in enumerate(rows):
        top = 46 + 64 * row
        drawing.text(30, top + 10, words, size=12)
        same = all(truth[n] == name for n, name, _ in cells)
        drawing.text(
            800,
            top + 10,
            "the same samples" if same else "other samples",
            anchor="end",
            size=12,
            colour=GREEN if same else RED,
        )
        for n, name, colour in sorted(cells):
            lift = 3 + 22 * shades[name.split("/")[0]] / max(1, len(shades) - 1)
            drawing.rect(x(n), top + 18, x(1) - x(0) - 2, 26, fill=colour, opacity=0.15)
            drawing.rect(x(n), top + 18 + 26 - lift, x(1) - x(0) - 2, lift, fill=colour)
    drawing.text(
        415,
        240,
        "sample n; the height of a bar says which episode",
        anchor="middle",
        size=11,
        colour=GREY,
    )
    return drawing


FIGURES: dict[str, Callable[[Path], Drawing]] = {
    "dtw": dtw,
    "facts": facts,
    "house": house,
    "mixture": mixture,
    "motion": motion,
    "proof": proof,
    "resume": resume,
}


def make(names: list[str] | None = None, *, demo: Path | None = None) -> dict[str, str]:
    """The figures as SVG, by name; the demo is walked first where none is given."""
    with tempfile.TemporaryDirectory() as temporary:
        if demo is None:
            demo = Path(temporary) / "demo"
            for _ in walk(demo):
                pass
        return {name: FIGURES[name](demo).svg() for name in names or FIGURES}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    given = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    for figure, content in make(demo=given).items():
        (FOLDER / f"{figure}.svg").write_text(content, "utf-8")
