"""What a connection has seen and been told: its robot, its chunks, its steps.

Three ways to use a chunk. By default the client is given the whole of it and plays it. With
`execute` it is given the first steps only. With `ensemble` the policy is asked at every step, and
what all chunks say about this step is averaged (ACT's temporal ensembling). Where the client takes
one action at a time (vla-eval's protocol, and actions that refer to the state of their own time,
`delta`), the connection keeps the chunk and gives its steps one by one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from finedata.errors import UsageError

if TYPE_CHECKING:
    from finedata.train.predict import Predictor
    from finedata.train.robot import Observation, Predicted, Robot

__all__ = ["Session", "Use"]

_DECAY = 0.01
"""How much less each younger chunk counts than the one before it, as ACT has it (m = 0.01)."""


@dataclass(frozen=True, kw_only=True)
class Use:
    """How chunks are used.

    Attributes:
        horizon: Steps that the policy predicts.
        execute: Steps of a chunk that are taken before the policy is asked again.
        ensemble: Ask at every step, and average.
    """

    horizon: int
    execute: int
    ensemble: bool = False

    @classmethod
    def of(cls, horizon: int, *, execute: int | None, ensemble: bool) -> Use:
        """What a user asked for.

        Raises:
            UsageError: More steps than there are, or steps of an ensemble.
        """
        if execute is not None and not 1 <= execute <= horizon:
            raise UsageError(
                parameter="execute", found=str(execute), wanted=f"1 to {horizon}, the horizon"
            )
        if ensemble and execute not in (None, 1):
            raise UsageError(
                parameter="execute",
                found=f"{execute} with an ensemble",
                wanted="1, or none: an ensemble asks the policy at every step",
            )
        return cls(
            horizon=horizon, execute=1 if ensemble else execute or horizon, ensemble=ensemble
        )


class Session:
    """One robot of one connection.

    Args:
        use: How chunks are used.
        stepwise: The client takes one action at a time.
    """

    def __init__(self, use: Use, *, stepwise: bool = False) -> None:
        self.use, self.stepwise = use, stepwise
        self.asked = 0
        self._robot: Robot | None = None
        self.reset()

    def reset(self) -> None:
        """Forget the chunks: an episode begins. The robot stays."""
        self._text = ""
        self._chunks: deque[_Chunk] = deque(maxlen=self.use.horizon)
        self._step = 0

    def robot(self, predictor: Predictor, name: str) -> Robot:
        """The robot of this connection; the first request that names one decides.

        Raises:
            UsageError: There is none of that name, none is named and there are several, or the
                connection has another.
        """
        if self._robot is None:
            self._robot = predictor.robot(name)
        elif name and name != self._robot.name:
            raise UsageError(
                place="embodiment",
                found=f"{name} on a connection of {self._robot.name}",
                wanted="one embodiment a connection",
            )
        return self._robot

    def must_ask(self, observation: Observation) -> bool:
        """Whether the policy has to be asked; other words begin anew."""
        if observation.text != self._text:
            self.reset()
            self._text = observation.text
        return self.use.ensemble or not self._one_by_one or self._step % self.use.execute == 0

    def take(self, predicted: Predicted, observation: Observation) -> None:
        """Keep what the policy said.

        Raises:
            UsageError: It is no number; see `Robot.actions_of`.
        """
        self.asked += 1
        robot = self.known
        actions = None if robot.steps_alone else robot.actions_of(predicted.given, observation)
        self._chunks.append(_Chunk(self._step, predicted.given, actions))
        if not self.use.ensemble:
            while len(self._chunks) > 1:
                self._chunks.popleft()

    def answer(self, observation: Observation) -> np.ndarray:
        """(steps, width) float32 by `Robot.action_names`, for an observation, from the chunks.

        Raises:
            UsageError: See `Robot.actions_of`.
        """
        if not self._one_by_one:
            actions = self._chunks[-1].actions
            assert actions is not None
            return actions[: self.use.execute]
        now = [
            chunk.at(self._step, self.known, observation)
            for chunk in self._chunks
            if self._step - chunk.begin < len(chunk.given)
        ]
        self._step += 1
        return _averaged(np.stack(now), self.known)[None]

    @property
    def _one_by_one(self) -> bool:
        return self.stepwise or self.use.ensemble or self.known.steps_alone

    @property
    def known(self) -> Robot:
        """The robot."""
        assert self._robot is not None
        return self._robot


@dataclass(frozen=True, eq=False)
class _Chunk:
    begin: int
    given: np.ndarray
    actions: np.ndarray | None

    def at(self, step: int, robot: Robot, observation: Observation) -> np.ndarray:
        """(width,) of a step of the session."""
        at = step - self.begin
        if self.actions is not None:
            return self.actions[at]
        return robot.actions_of(self.given[at : at + 1], observation)[0]


def _averaged(actions: np.ndarray, robot: Robot) -> np.ndarray:
    """What (n, width) predictions of one step, the oldest first, say together.

    Quaternions are added on the side of the newest, and made of unit length: of rotations that are
    near each other this is their mean.
    """
    if len(actions) == 1:
        return actions[0]
    weights = np.exp(-_DECAY * np.arange(len(actions)))
    weights /= weights.sum()
    actions = actions.astype(np.float64)
    names = robot.action_names
    for k, name in enumerate(names):
        if name.endswith("qx"):
            whole = slice(k, k + 4)
            side = (actions[:, whole] * actions[-1, whole]).sum(-1)
            actions[:, whole] *= np.where(side < 0, -1.0, 1.0)[:, None]
    found = weights @ actions
    for k, name in enumerate(names):
        if name.endswith("qx"):
            length = np.linalg.norm(found[k : k + 4])
            # Predictions that cancel out have no mean: the newest one stands.
            found[k : k + 4] = (
                found[k : k + 4] / length if length > 1e-6 else actions[-1, k : k + 4]
            )
    return found.astype(np.float32)
