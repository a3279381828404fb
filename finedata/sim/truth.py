"""The true facts of an episode, read from the physics, as rows of annotations.

Their origin is `source`: nobody guessed them. An instruction is assembled from them, which is its
origin. Reasoning is told where a step of the expert's begins: what lies where, what has been done,
what is to be done next. Grasp and release are where the block begins and ceases to be between
fingers that are neither open nor shut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from finedata.annotate.trace_text import Trace, trace_text
from finedata.schema.makers import make_fact, make_instruction, make_trace, provenance
from finedata.sim.factors import Wish  # noqa: TC001  (msgspec reads it)
from finedata.sim.world import FPS, TRAY_HALF_M

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from finedata.sim.episode import Episode
    from finedata.sim.scene import Scene

ANNOTATOR = "finedata_sim"
_HELD_BELOW, _IN_HAND_M = 0.7, 0.03
_COME = {"above": "from above", "side": "from the side"}
_IN = {"tray": "in", "mat": "on"}


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """What is true of a demonstration that did as it was wished.

    Attributes:
        wish: What was wished, and happened.
        frames: Its length.
        grasp_frame: First frame in which the block is held until it is let go.
        lift_frame: When it left its support.
        release_frame: First frame in which it is no longer held.
        turned_rad: How far the block was turned, counter-clockwise positive, seen from above.
        attempts: How often a gripper closed.
    """

    wish: Wish
    frames: int
    grasp_frame: int
    lift_frame: int
    release_frame: int
    turned_rad: float
    attempts: int


def truth_of(episode: Episode, wish: Wish) -> Truth:
    """Read what is true of a demonstration that succeeded.

    Args:
        episode: What was played; its block was lifted.
        wish: What was wished, and happened.
    """
    block, lift = episode.scene.colours.index(wish.colour), episode.outcome.lift_frame or 0
    held = [
        view.arms[wish.arm].open < _HELD_BELOW
        and float(np.linalg.norm(np.array(view.arms[wish.arm].position_m) - view.blocks_m[block]))
        < _IN_HAND_M
        for view in episode.views
    ]
    frames = len(episode.actions)
    # At least one frame each of reaching, moving and letting go.
    grasp = max(1, next((t + 1 for t in range(lift - 1, -1, -1) if not held[t]), 0))
    release = min(frames - 1, next((t for t in range(lift, frames) if not held[t]), frames - 1))
    shut = [view.arms[wish.arm].open < _HELD_BELOW for view in episode.views]
    attempts = sum(now and not before for before, now in zip([False, *shut], shut, strict=False))
    return Truth(
        wish=wish,
        frames=frames,
        grasp_frame=grasp,
        lift_frame=lift,
        release_frame=release,
        turned_rad=episode.outcome.turned_rad,
        attempts=attempts,
    )


def phases(truth: Truth) -> list[str]:
    """What is done at each frame, in words: a run of equal words is a step."""
    cuts = [0, truth.grasp_frame, truth.release_frame, truth.frames]
    texts = _plan(truth.wish)
    return [text for k, text in enumerate(texts) for _ in range(cuts[k], cuts[k + 1])]


def _plan(wish: Wish) -> tuple[str, str, str]:
    block = f"{wish.colour} block"
    return (
        f"Reach for the {block} {_COME[wish.approach]} and grasp it.",
        f"Lift the {block}, turn it {wish.rotation} and bring it to the {_there(wish)}.",
        f"Let the {block} go and draw back.",
    )


def truth_rows(
    truth: Truth, *, scene: Scene, episode_id: str, run_id: str, steps: list[dict[str, Any]],
    fine: str | None, cameras: Sequence[str],
) -> dict[str, list[dict[str, Any]]]:  # fmt: skip
    """Table -> rows.

    Args:
        truth: What is true.
        scene: Where.
        episode_id: Whose.
        run_id: hash16 of the settings of the recording.
        steps: The episode's steps, as they were converted from `phases`.
        fine: A fine-grained text, where the episode has one.
        cameras: What was seen.
    """
    wish = truth.wish
    said_by = provenance("source", annotator=ANNOTATOR, run_id=run_id)
    named: dict[str, Any] = {"episode_id": episode_id, "fps": float(FPS)}
    block = f"{wish.colour} block"
    come = _COME[wish.approach]
    reach, move = steps[0], steps[1]
    facts = [
        _fact(said_by, named, "active_actor", "actor", wish.arm, f"The {wish.arm} arm acts.",
              truth, actor=wish.arm),
        _fact(said_by, named, "target_object", "category", "block",
              "The object that is moved is a block.", truth, object=block),
        _fact(said_by, named, "target_object", "color", wish.colour,
              f"The block that is moved is {wish.colour}.", truth, object=block),
        _fact(said_by, named, "contact_and_approach", "approach_direction", come,
              f"The {wish.arm} gripper comes to the block {come}.", truth, step=reach,
              actor=wish.arm, object=block),
        _fact(said_by, named, "trajectory_and_orientation", "rotation_direction",
              f"{wish.rotation} about the vertical axis",
              f"The {wish.arm} arm turns the block {wish.rotation}, seen from above.", truth,
              step=move, actor=wish.arm, object=block),
        _fact(said_by, named, "trajectory_and_orientation", "rotation_angle",
              f"{np.degrees(abs(truth.turned_rad)):.0f} degrees",
              f"The block is turned by {np.degrees(abs(truth.turned_rad)):.0f} degrees.", truth,
              step=move, actor=wish.arm, object=block,
              value_number=abs(truth.turned_rad), unit="rad"),
        _fact(said_by, named, "final_configuration", "final_workspace_location",
              "on the mat" if wish.place == "mat" else _there(wish),
              f"In the end the block lies {_IN[wish.place]} the {_there(wish)}.", truth,
              object=block, end=True),
    ]  # fmt: skip
    rows: dict[str, list[dict[str, Any]]] = {"facts": facts, "instructions": []}
    rows["traces"] = [
        make_trace(
            said_by, episode_id=episode_id, frame_index=int(step["start_frame"]), fps=float(FPS),
            raw_text=trace_text(thought), cameras=cameras, **msgspec.structs.asdict(thought),
        )
        for step, thought in zip(steps, reasoning(wish, scene), strict=True)
    ]  # fmt: skip
    if fine is not None:
        rows["instructions"] = [
            make_instruction(
                provenance("assembled", annotator=ANNOTATOR, run_id=run_id),
                episode_id=episode_id, kind="fine_grained", order=0, text=fine, language="en",
                fact_ids=[row["fact_id"] for row in facts],
            )
        ]  # fmt: skip
    return rows


def reasoning(wish: Wish, scene: Scene) -> list[Trace]:
    """What there is to think at the beginning of each of the three steps.

    Args:
        wish: What is done.
        scene: Where.
    """
    order = sorted(range(3), key=lambda k: -scene.blocks_m[k][1])
    row = ", ".join(scene.colours[k] for k in order)
    beside = "left" if scene.mat_m[1] > 0 else "right"
    seen = f"From left to right lie a {row} block; ahead is the tray, {beside} of it the mat."
    block, there = f"{wish.colour} block", f"{_IN[wish.place]} the {_there(wish)}"
    plan = _plan(wish)
    done = (
        f"The {block} lies on the table and is to lie {there}; no gripper holds it.",
        f"The {wish.arm} gripper holds the {block}, which is to lie {there}.",
        f"The {block} is {there}, and the {wish.arm} gripper still holds it.",
    )
    goal = np.array(scene.tray_m if wish.place == "tray" else scene.mat_m)
    if wish.side is not None:
        goal += [0.0, (1 if wish.side == "left" else -1) * TRAY_HALF_M[1] / 2]
    at = np.array(scene.blocks_m[scene.colours.index(wish.colour)])
    where = (
        f"The {block} is {_place(at)}; it is to be taken {_COME[wish.approach]}.",
        f"From there the place lies {_place(goal - at)}; the way leads over the table.",
        f"The place is {_place(goal)}; the way back is up.",
    )
    move = (
        f"Move the {wish.arm} arm to the {block} {_COME[wish.approach]}.",
        f"Lift the {block} with the {wish.arm} arm and turn it {wish.rotation}.",
        f"Open the {wish.arm} gripper and draw back.",
    )
    return [
        Trace(
            observation=seen,
            situation_analysis=done[k],
            spatial_reasoning=where[k],
            task_planning=" ".join(f"({n}) {one}" for n, one in enumerate(plan[k:], 1)),
            logical_steps=list(plan[k:]),
            sub_action=move[k],
        )
        for k in range(3)
    ]


def _place(way_m: NDArray[np.float64]) -> str:
    """A way in the robot's frame, in words and centimetres."""
    ahead, left = (round(100 * float(one)) for one in way_m)
    sides = f"{abs(left)} cm to the {'left' if left > 0 else 'right'}"
    return f"{abs(ahead)} cm {'ahead' if ahead >= 0 else 'back'} and {sides}"


def _there(wish: Wish) -> str:
    return "mat" if wish.place == "mat" else f"{wish.side} half of the tray"


def _fact(
    said_by: dict[str, Any], named: dict[str, Any], dimension: str, slot: str, value: str,
    text: str, truth: Truth, *, step: dict[str, Any] | None = None, end: bool = False, **more: Any,
) -> dict[str, Any]:  # fmt: skip
    span = (0, truth.frames) if step is None else (step["start_frame"], step["end_frame"])
    return make_fact(
        said_by, **named, dimension=dimension, slot=slot, value=value, text=text,
        anchor="step" if step else "episode_end" if end else "episode",
        start_frame=truth.frames - 1 if end else span[0], end_frame=span[1], step=step,
        confidence=1.0, **more,
    )  # fmt: skip
