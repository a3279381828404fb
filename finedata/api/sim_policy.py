"""A policy in the closed loop: asked in this process, or where it is served.

Both are asked the same way, and a trained policy acts alike: what it is shown is made by the names
that it tells, and its noise is that of the scene and of how often it was asked in it, never of the
order of scenes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import numpy as np

from finedata.errors import UsageError
from finedata.sim.acting import ACTION_NAMES, observed
from finedata.sim.evaluate import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from finedata.serve.client import Action
    from finedata.serve.desk import Desk

__all__ = ["Asked", "Here"]

# More than an episode has frames.
_MOST_ASKED = 1_000


class Answering(Protocol):
    """What answers for an episode: `finedata.serve.client.Connection`, or `Here`."""

    @property
    def metadata(self) -> dict[str, Any]:
        """What it says of itself."""
        ...

    def act(self, observation: Mapping[str, Any]) -> Action:
        """What to do now."""
        ...

    def close(self) -> None:
        """The episode is over."""
        ...


class Here:
    """A policy of this process, asked as through a connection: an episode of its own.

    Args:
        desk: The policy.
        metadata: What it says of itself.
    """

    def __init__(self, desk: Desk, metadata: dict[str, Any]) -> None:
        from finedata.serve.session import Session

        self.metadata, self._desk, self._session = metadata, desk, Session(desk.use)

    def act(self, observation: Mapping[str, Any]) -> Action:
        """Ask; see `finedata.serve.client.Connection.act`."""
        from finedata.serve.client import Action

        found = self._desk.ask([self._session], [self._desk.read(observation)])
        return Action(actions=found.actions[0], names=found.names, reasoning=None, timing={})

    def close(self) -> None:
        """Nothing is held."""


class Asked:
    """A policy as `finedata.sim.acting.Mind`; each episode has a connection of its own.

    Args:
        place: Where it is, for messages.
        connect: Begins an episode.

    Attributes:
        name: Its recipe and step.
        cameras: What it must be shown.
        pictures: Pixels of them.
        run: What was trained, where it tells.
    """

    def __init__(self, place: str, connect: Callable[[], Answering]) -> None:
        self._place, self._connect = place, connect
        self._connection = connect()
        metadata = self._connection.metadata
        told: dict[str, Any] = metadata.get("finedata", {})
        self.name = f"{told.get('recipe', 'policy')}, step {told.get('step', '?')}"
        self.cameras: tuple[str, ...] = tuple(told.get("cameras", ()))
        self.pictures = int(metadata.get("training_obs_image_size", [128])[0])
        trained = told.get("trained")
        self.run = msgspec.convert(trained, Run) if trained else None
        robots: Mapping[str, Any] = told.get("embodiments", {})
        self._robot = next(
            (one for one in robots if one.endswith("gantry")), next(iter(robots), "")
        )
        self._states: dict[str, list[str]] = robots.get(self._robot, {}).get("states", {})
        self._needed: list[str] = robots.get(self._robot, {}).get("needed_states", [])
        self._takes_noise = trained is not None
        self._noise = 0

    def begin(self, scene: Any, wish: Any) -> None:
        """Begin a connection; the policy is told neither scene nor wish."""
        del wish
        self._connection.close()
        self._connection = self._connect()
        self._noise = scene.number * _MOST_ASKED

    def act(self, view: Any, scene: Any, prompt: str, pictures: Any) -> np.ndarray:
        """Ask; see `finedata.sim.acting.Mind`."""
        numbers = observed(view, scene)
        shown: dict[str, Any] = {"prompt": prompt}
        if self._takes_noise:
            shown["noise"] = self._noise
        if self._robot:
            shown["embodiment"] = self._robot
        for role in self._needed:
            missing = [one for one in self._states[role] if one not in numbers]
            if missing:
                raise self._stranger(found=f"a policy that must be told {', '.join(missing[:3])}")
            shown[f"state/{role}"] = np.array(
                [numbers[one] for one in self._states[role]], np.float32
            )
        if self.cameras:
            drawn = pictures()
            unknown = [one for one in self.cameras if one not in drawn]
            if unknown:
                raise self._stranger(found=f"a policy that must be shown {', '.join(unknown)}")
            shown |= {one: drawn[one] for one in self.cameras}
        said = self._connection.act(shown)
        self._noise += 1
        if sorted(said.names) != sorted(ACTION_NAMES):
            raise self._stranger(found=f"answers named {', '.join(said.names[:4]) or 'nothing'}")
        actions = np.asarray(said.actions, np.float64)
        if actions.ndim != 2 or actions.shape[1] != len(said.names):
            raise self._stranger(
                found=f"an answer of shape {actions.shape} for {len(said.names)} names"
            )
        return actions[:, [said.names.index(one) for one in ACTION_NAMES]]

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def _stranger(self, *, found: str) -> UsageError:
        return UsageError(
            place=self._place,
            found=found,
            wanted="a policy that was trained on what finedata sim record wrote",
        )
