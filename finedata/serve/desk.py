"""The one place where requests meet the policy, whatever dialect they came in."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

import finedata
from finedata.errors import UsageError
from finedata.serve.form import Form
from finedata.serve.observe import IGNORED, SPACE, Request, read_request
from finedata.train.robot import Observation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from finedata.serve.session import Session, Use
    from finedata.train.predict import Predictor
    from finedata.train.robot import Predicted, Robot

__all__ = ["Answered", "Desk"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Answered:
    """What several sessions are told.

    Attributes:
        actions: Of each (steps, width), in the client's form.
        predicted: What the policy said to each; None where a chunk is gone on with.
        names: Of the actions' numbers.
        model_s: Seconds that the policy took.
    """

    actions: list[np.ndarray]
    predicted: list[Predicted | None]
    names: tuple[str, ...]
    model_s: float

    @property
    def reasoning(self) -> list[dict[str, Any]]:
        """Of each that was asked why: the text, and its parts where they are whole."""
        return [
            {
                "text": one.text,
                "parts": None if one.reasoning is None else msgspec.to_builtins(one.reasoning),
            }
            for one in self.predicted
            if one is not None and one.text
        ]


@dataclass(frozen=True, kw_only=True, eq=False)
class Desk:
    """A policy and how it is served.

    Attributes:
        predictor: The policy.
        use: How its chunks are used.
        form: The clients' conventions.
        renamed: A client's name to what it means; see `read_request`.
        reasoning: Say why with every answer.
    """

    predictor: Predictor
    use: Use
    form: Form = field(default_factory=Form)
    renamed: Mapping[str, str] = field(default_factory=dict[str, str])
    reasoning: bool = False

    def __post_init__(self) -> None:
        known = {*self.predictor.cameras, *self._states, "state", "prompt", IGNORED}
        known |= {f"state/{role}" for role in self._states}
        if self.predictor.in_space:
            known |= {f"{kind}/{one}" for kind in SPACE for one in self.predictor.cameras}
        for key, name in self.renamed.items():
            if name not in known:
                raise UsageError(
                    parameter="key",
                    place=f"key {key}={name}",
                    found=f"{name!r}, which is no role of the policy",
                    wanted=", ".join(sorted(known)),
                )
        if self.reasoning and not self.predictor.speaks:
            raise UsageError(
                parameter="reasoning",
                found=f"a policy with the head {self.predictor.recipe.head}",
                wanted="one that speaks, with the head tokens",
            )

    @property
    def _states(self) -> tuple[str, ...]:
        robots = self.predictor.robots.values()
        return tuple(dict.fromkeys(role for robot in robots for role in robot.states))

    def read(self, payload: Mapping[str, Any]) -> Request:
        """An observation as a client spells it.

        Raises:
            UsageError: It cannot be read.
        """
        return read_request(
            payload,
            cameras=self.predictor.cameras,
            states=self._states,
            renamed=self.renamed,
            space=self.predictor.in_space,
        )

    def ask(self, sessions: Sequence[Session], requests: Sequence[Request]) -> Answered:
        """Answer the requests of several sessions, with one pass of the policy.

        Raises:
            UsageError: One of them cannot be answered; then none is.
        """
        asked: list[tuple[int, Robot, Observation]] = []
        seen: list[Observation] = []
        for session, request in zip(sessions, requests, strict=True):
            robot = session.robot(self.predictor, request.embodiment)
            observation = request.observation(robot, self.form)
            if request.reset:
                session.reset()
            if session.must_ask(observation):
                asked.append((len(seen), robot, observation))
            seen.append(observation)
        predicted: list[Predicted | None] = [None] * len(seen)
        began = perf_counter()
        if asked:
            said = self.predictor.predict(
                [(robot, observation) for _, robot, observation in asked],
                draw=sessions[0].asked,
                noise=requests[0].noise,
                reasoning=self.reasoning or any(request.reasoning for request in requests),
            )
        else:
            said = []
        took = perf_counter() - began
        for (at, _, observation), one in zip(asked, said, strict=True):
            sessions[at].take(one, observation)
            predicted[at] = one
        names = sessions[0].known.action_names
        actions = [
            self.form.written(session.answer(observation), session.known.action_names)
            for session, observation in zip(sessions, seen, strict=True)
        ]
        return Answered(
            actions=actions, predicted=predicted, names=self.form.names(names), model_s=took
        )

    def warm_up(self) -> float:
        """Answer a black picture once for every robot; returns the seconds of the last answer."""
        size = self.predictor.recipe.pictures
        black = np.zeros((size, size, 3), np.uint8)
        took = 0.0
        for robot in self.predictor.robots.values():
            states = {role: np.zeros(len(robot.names(role)), np.float32) for role in robot.states}
            pictures = dict.fromkeys(self.predictor.cameras, black)
            deep = self.predictor.cameras if self.predictor.needs_depth else ()
            depths = dict.fromkeys(deep, np.ones((size, size), np.float32))
            shown = Observation(pictures=pictures, text="warm up", states=states, depths=depths)
            began = perf_counter()
            self.predictor.predict([(robot, shown)])
            took = perf_counter() - began
        return took

    def metadata(self, *, chunk: int | None = None) -> dict[str, Any]:
        """What a client is told first: StarVLA's keys, and everything else by name.

        Args:
            chunk: Steps of an answer, where the dialect fixes them.
        """
        robots, recipe = self.predictor.robots, self.predictor.recipe
        only = next(iter(robots)) if len(robots) == 1 else None
        first = next(iter(robots.values()))
        one_by_one = self.use.ensemble or any(robot.steps_alone for robot in robots.values())
        return {
            "env": "finedata",
            "action_chunk_size": chunk or (1 if one_by_one else self.use.execute),
            "available_unnorm_keys": list(robots),
            "default_unnorm_key": only,
            "action_keys": list(first.actions),
            "state_keys": list(first.needed),
            "training_obs_image_size": [recipe.pictures, recipe.pictures],
            "finedata": {
                "version": finedata.__version__,
                "recipe": self.predictor.saved.recipe.name,
                "recipe_sha256": self.predictor.saved.recipe.sha256,
                "step": self.predictor.saved.step,
                "trained": self.predictor.trained,
                "cameras": list(self.predictor.cameras),
                "needed_depth": list(self.predictor.cameras) if self.predictor.needs_depth else [],
                "horizon": self.use.horizon,
                "stride": recipe.stride,
                "execute": self.use.execute,
                "ensemble": self.use.ensemble,
                "rotation": self.form.rotation,
                "gripper": self.form.gripper,
                "reasoning": self.predictor.speaks,
                "embodiments": {
                    name: {
                        "actions": list(self.form.names(robot.action_names)),
                        "states": {
                            role: list(self.form.names(robot.names(role))) for role in robot.states
                        },
                        "needed_states": list(robot.needed),
                    }
                    for name, robot in robots.items()
                },
            },
        }
