"""Results as `finedata sim evaluate` writes them, made up: no physics."""

from __future__ import annotations

from typing import Any

import numpy as np

from finedata.sim.compare import SCORES
from finedata.sim.evaluate import EvaluateSettings, Judged, Result, Run
from finedata.sim.outcome import Outcome

_WISH = {
    "colour": "red",
    "place": "tray",
    "arm": "left",
    "approach": "above",
    "rotation": "clockwise",
    "side": "left",
}


def result_of(
    goal: list[bool], *, mix: str = "", seed: int = 0, step: int = 100, policy: str = "p",
    digest: str = "s", drawn: dict[str, int] | None = None, **settings: Any,
) -> Result:  # fmt: skip
    """A result whose scores are all that of the goal."""
    run = Run(
        recipe="steer", family="f" * 16, mix=mix, seed=seed, step=step, batch=4,
        drawn=drawn or {"raw": 4 * step}, shards="d" * 16,
    )  # fmt: skip
    return Result(
        policy=policy,
        settings=EvaluateSettings(scenes=len(goal), **settings),
        scenes_sha256=digest,
        mujoco="4.0.0",
        run=run if mix else None,
        episodes=[
            Judged(
                scene=k, wish=_WISH, prompt="do it", frames=20, scored=dict.fromkeys(SCORES, good),
                outcome=Outcome(
                    colour="red" if good else None, place="tray" if good else None,
                    arm="left" if good else None, approach=None,
                    rotation="clockwise" if good else "counter-clockwise", side=None,
                    lift_frame=None, turned_rad=0.0, lifts=0,
                ),
            )
            for k, good in enumerate(goal)
        ],
    )  # fmt: skip


def study(*, scenes: int = 192) -> list[Result]:
    """Seven mixtures, three seeds, raw and fine prompts: rates that rise and fall somewhere."""
    rng = np.random.default_rng(3)
    found: list[Result] = []
    for number, (fine, raw) in enumerate(((0, 1), (1, 4), (1, 2), (1, 1), (2, 1), (4, 1), (1, 0))):
        weights = {name: weight for name, weight in (("fg", fine), ("raw", raw)) if weight}
        drawn = {name: 60_000 * weight // (fine + raw) for name, weight in weights.items()}
        for seed in range(3):
            for prompts in ("fine", "raw"):
                good = rng.random(scenes) < 0.1 + 0.13 * number - 0.03 * seed
                found.append(
                    result_of(
                        good.tolist(),
                        mix=",".join(f"{name}={weight}" for name, weight in weights.items()),
                        seed=seed,
                        step=15_000,
                        policy="steer",
                        drawn=drawn,
                        prompts=prompts,
                    )
                )
    return found
