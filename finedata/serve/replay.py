"""Open-loop replay: recorded episodes are shown to a served policy, through the real socket.

The policy is asked as a robot would ask, at every chunk's end, and its answers are held against
what was done. Open loop means that what it says changes nothing that it sees: a small error here
does not say that an episode would have succeeded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from finedata.serve.client import connect
from finedata.train.recorded import Recorded, Replayed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from finedata.serve.desk import Desk

__all__ = ["replay"]


def replay(
    desk: Desk, address: str, episodes: Iterable[Recorded], *, api_key: str = ""
) -> Iterator[Replayed]:
    """Show episodes to the policy that listens at an address.

    Args:
        desk: How it is served.
        address: Where.
        episodes: Which.
        api_key: The server's key.

    Raises:
        FinedataError: The server refuses an observation.
    """
    stride = desk.predictor.recipe.stride
    for one in episodes:
        chunk = 1 if desk.use.ensemble or one.robot.steps_alone else desk.use.execute
        asked = list(range(0, len(one.actions), chunk * stride))
        frames: list[int] = []
        since: list[int] = []
        predicted: list[np.ndarray] = []
        with connect(address, api_key=api_key) as policy:
            for frame, seen in zip(asked, _seen(desk, one, asked), strict=True):
                observation: dict[str, Any] = {
                    **dict.fromkeys(desk.predictor.cameras),
                    **seen,
                    "prompt": one.episode.task,
                    "embodiment": one.robot.name,
                }
                for role, values in one.states.items():
                    shown = desk.form.written(values[frame][None], one.robot.names(role))[0]
                    observation[f"state/{role}"] = shown
                said = policy.act(observation).actions
                for step, action in enumerate(said):
                    if frame + step * stride < len(one.actions):
                        frames.append(frame + step * stride)
                        since.append(frame)
                        predicted.append(desk.form.read(action, one.robot.action_names))
        yield Replayed(
            episode_id=one.episode.episode_id,
            task=one.episode.task,
            embodiment=one.robot.name,
            fps=one.episode.fps,
            names=one.robot.action_names,
            recorded=one.actions,
            valid=one.valid,
            states=_same_numbers(one),
            frames=np.array(frames),
            asked=np.array(since),
            predicted=np.stack(predicted),
        )


def _seen(desk: Desk, one: Recorded, frames: list[int]) -> Iterator[dict[str, Any]]:
    """What is seen in these frames, one frame after the other: pictures, and where they are."""
    predictor = desk.predictor
    pictures = {
        role: one.episode.iter_frames(camera, frames) for role, camera in one.cameras.items()
    }
    deep = one.depths if predictor.needs_depth else ()
    depths = {role: one.depths[role].iter_metres(frames) for role in deep}
    for frame in frames:
        found = {role: next(stream) for role, stream in pictures.items()}
        shown = {role: picture for role, picture in found.items() if picture is not None}
        seen: dict[str, Any] = {**shown}
        if predictor.needs_depth:
            seen |= {f"depth/{role}": None for role in predictor.cameras}
        seen |= {f"depth/{role}": next(stream) for role, stream in depths.items()}
        for role, depth in one.depths.items() if predictor.in_space else ():
            if role in shown:
                seen[f"matrix/{role}"] = depth.matrix_of(shown[role], frame=frame)
        yield seen


def _same_numbers(one: Recorded) -> np.ndarray | None:
    """What was measured of the numbers that are commanded."""
    for role, values in one.states.items():
        if one.robot.names(role) == one.robot.action_names:
            return values
    return None
