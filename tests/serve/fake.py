"""A policy of two robots that says what a test tells it to, without torch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from finedata.schema.codecs_file import CodecsFile, VectorCodec
from finedata.serve.desk import Desk
from finedata.serve.form import Form
from finedata.serve.session import Use
from finedata.train.robot import Predicted, robot_named, robots_of

NAMES = (
    "right_x", "right_y", "right_z", "right_qx", "right_qy", "right_qz", "right_qw",
    "right_gripper",
)  # fmt: skip
GIVEN = (*NAMES[:3], *(f"right_r{k}" for k in range(6)), NAMES[-1])
HORIZON = 4
# What becomes 0, and what 1, of positions and gripper; rotations are left as they are.
CENTRE = (0.1, 0.2, 0.3, 0.0, 0.0, 0.0, 0.0, 0.5)
HALF = (0.5, 0.5, 0.5, 1.0, 1.0, 1.0, 1.0, 0.5)
STILL = np.array([0, 0, 0, 1, 0, 0, 0, 1, 0, 0], np.float32)
"""Given numbers of no turn, at the centre."""
STATE = np.array([0.1, 0.2, 0.3, 0, 0, 0, 1, 0.5], np.float32)


def codecs(*, action: str = "absolute", embodiments: tuple[str, ...] = ("arm", "other")) -> Any:
    shared: dict[str, Any] = {
        "source": "a", "part": "main", "names": NAMES, "filled": (True,) * 8, "rotation": "6d",
        "normalise": "quantile", "centre": CENTRE, "half": HALF, "given_names": GIVEN,
    }  # fmt: skip
    found = []
    for name in embodiments:
        found += [
            VectorCodec(embodiment=name, role="state", kind="state", action="absolute", **shared),
            VectorCodec(embodiment=name, role="action", kind="action", action=action, **shared),
        ]
    return CodecsFile(horizon=HORIZON, stride=1, history=0, codecs=tuple(found))


class FakePredictor:
    """As `finedata.train.predict.Predictor`.

    `says` maps the number of the request to (HORIZON, 10) given numbers.
    """

    def __init__(
        self,
        *,
        action: str = "absolute",
        cameras: tuple[str, ...] = ("front",),
        embodiments: tuple[str, ...] = ("arm",),
        inputs: tuple[str, ...] = (),
        says: Any = None,
        speaks: bool = False,
        in_space: bool = False,
    ) -> None:
        self.cameras, self.horizon, self.speaks = cameras, HORIZON, speaks
        self.robots = robots_of(
            codecs(action=action, embodiments=embodiments), inputs=inputs, actions=("action",)
        )
        self.recipe = SimpleNamespace(head="tokens" if speaks else "oft", pictures=56, stride=1)
        self.saved = SimpleNamespace(recipe=SimpleNamespace(name="fake", sha256="0" * 64), step=7)
        self.says = says or (lambda number: np.tile(STILL, (HORIZON, 1)))
        self.in_space = self.needs_depth = in_space
        self.trained: dict[str, Any] = {}
        self.seen: list[Any] = []

    def robot(self, name: str = "") -> Any:
        return robot_named(self.robots, name)

    def predict(
        self, asked: Any, *, draw: int = 0, noise: int | None = None, reasoning: bool = False
    ) -> list[Predicted]:
        number = len(self.seen)
        self.seen.append((asked, draw, reasoning))
        for robot, observation in asked:
            robot.inputs_of(observation)
            for camera in self.cameras:
                observation.picture(camera)
        return [
            Predicted(given=self.says(number), text="because" if reasoning else "") for _ in asked
        ]


def desk(predictor: Any = None, **how: Any) -> Desk:
    predictor = predictor or FakePredictor()
    use = Use.of(predictor.horizon, execute=how.pop("execute", None),
                 ensemble=how.pop("ensemble", False))  # fmt: skip
    form = Form(**{key: how.pop(key) for key in ("rotation", "gripper") if key in how})
    return Desk(predictor=predictor, use=use, form=form, **how)
