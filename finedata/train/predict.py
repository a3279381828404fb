# pyright: basic, reportMissingImports=false
"""A trained policy that is asked: from what a robot sees to what it should do.

Words and pictures go through the very encoder of training, states and actions through its codecs,
so nothing about normalisation or prompts is said twice. A prediction is a function of weights,
observation and `draw`: its noise is drawn from the recipe's seed and that number.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import torch

from finedata.errors import UsageError
from finedata.schema.recipe_file import recipe_digest
from finedata.shard.depth import depth_model, metres_of
from finedata.shard.stream.fill import camera_matrices
from finedata.shard.stream.pictures import nearest_into
from finedata.shard.stream.resize import resize_into
from finedata.train.checkpoint import find_checkpoint, read_checkpoint
from finedata.train.data import cut
from finedata.train.encode import Encoder
from finedata.train.export import load_policy
from finedata.train.optimise import reseed
from finedata.train.robot import Observation, Predicted, Robot, robot_named, robots_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.train.checkpoint import Saved
    from finedata.train.policy import Policy

__all__ = ["Predictor"]

_COLOURS = 3
# No recipe's: seeds of recipes are whole numbers.
_SHARED_SEED = -1
# What does not tell recipes of one study apart: which mixture, how often, how long, how watched.
_VARIED = {
    "mix": "", "seed": 0, "steps": 1, "warmup": 0, "save_every": 1, "keep": 1, "eval_every": 0,
    "eval_samples": 1, "log_every": 1,
}  # fmt: skip


def _text(value: Any) -> str:
    """As `--set` has it."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


class Predictor:
    """A policy on a device, ready to be asked.

    Args:
        policy: The policy.
        saved: Its checkpoint's documents.
        device: Where it computes.

    Attributes:
        saved: The documents.
        recipe: What was trained.
        robots: Name to how its numbers are written.
        cameras: Picture roles in the order of the prompt.
        speaks: Whether it can reason.
        in_space: Whether it is told where in space its pictures are.
        needs_depth: Whether it must be shown depth, which it does not estimate.
        policy: The policy itself, in its mode of prediction.
        settings: How prompts are encoded.
        encoder: Encodes them.

    Raises:
        UsageError: Actions refer to a state that there is not.
    """

    def __init__(self, policy: Policy, saved: Saved, device: torch.device) -> None:
        self.saved, self.recipe = saved, saved.recipe.recipe
        self.cameras = saved.cameras
        self.robots = robots_of(saved.codecs, inputs=self.recipe.states, actions=saved.actions)
        for robot in self.robots.values():
            _ = robot.needed
        self.speaks = self.recipe.head == "tokens"
        self.in_space = self.recipe.ego3d == "depth"
        self.needs_depth = self.in_space and not self.recipe.depth_model
        self._device = device
        self.policy = policy.to(device).eval()
        self.settings = policy.backbone.encoder_settings(
            self.recipe, cameras=self.cameras, queries=policy.head.queries
        )
        self.encoder = Encoder(self.settings)

    @classmethod
    def load(cls, run: str | Path, *, device: str = "", averaged: bool = True) -> Predictor:
        """The policy of a run's newest checkpoint, or of a checkpoint.

        Args:
            run: The run or checkpoint.
            device: `cpu`, `cuda` or one of several; the GPU by default where there is one.
            averaged: With the averaged weights, where there are.

        Raises:
            UsageError: There is no checkpoint.
            ConformError: It is damaged, or without statistics.
        """
        found = find_checkpoint(Path(run))
        if read_checkpoint(found).recipe.recipe.head == "annotator":
            raise UsageError(
                place=str(run),
                found="a run that writes about episodes",
                wanted="a policy, which predicts actions",
                next_command=f"finedata annotate facts DATASET --teacher local --model {run}",
            )
        policy, saved = load_policy(found, averaged=averaged)
        where = device or ("cuda" if torch.cuda.is_available() else "cpu")
        return cls(policy, saved, torch.device(where))

    @property
    def horizon(self) -> int:
        """Steps of a chunk."""
        return self.recipe.horizon

    @property
    def trained(self) -> dict[str, Any]:
        """What was trained, in a few words: what a study's runs differ in, and what they share.

        `family` is the recipe's digest without its mixture, seed and length, and `changed` what
        else was set for the run, in words; `drawn` how many samples of each view were learnt from,
        `shards` the digest of what they were drawn from.
        """
        recipe, receipts = self.recipe, self.saved.receipts
        drawn: dict[str, int] = {}
        for receipt in receipts:
            for one in receipt["drawn"]:
                drawn[one["view"]] = drawn.get(one["view"], 0) + one["samples"]
        return {
            "recipe": self.saved.recipe.name,
            "family": recipe_digest(msgspec.structs.replace(recipe, **_VARIED))[:16],
            "changed": {
                key: _text(getattr(recipe, key))
                for key in sorted(self.saved.recipe.changed.keys() - _VARIED.keys())
            },
            "mix": recipe.mix,
            "seed": recipe.seed,
            "step": self.saved.step,
            "batch": recipe.batch,
            "drawn": dict(sorted(drawn.items())),
            "shards": receipts[-1]["shards"][:16] if receipts else "",
        }

    def robot(self, name: str = "") -> Robot:
        """A robot by its name; see `robot_named`."""
        return robot_named(self.robots, name)

    @torch.inference_mode()
    def predict(
        self,
        asked: Sequence[tuple[Robot, Observation]],
        *,
        draw: int = 0,
        noise: int | None = None,
        reasoning: bool = False,
    ) -> list[Predicted]:
        """Answer several observations at once.

        Args:
            asked: Robot and observation of each.
            draw: Number of the noise, where the policy draws any.
            noise: A number that the noise is drawn from instead, whatever the recipe's seed: two
                policies that are asked with one number begin at the same noise.
            reasoning: Let it say why, too.

        Raises:
            UsageError: A picture or state is missing or of another shape, a prompt is too long, or
                a policy without words is asked why.
        """
        if reasoning and not self.speaks:
            raise UsageError(
                place="reasoning",
                found=f"a policy with the head {self.recipe.head}",
                wanted="one that speaks, with the head tokens",
            )
        seed, number = (self.recipe.seed, draw) if noise is None else (_SHARED_SEED, noise)
        reseed(seed, number, 0)
        said = self.policy(self._batch(asked), predict=True, reasoning=reasoning)
        actions = said["action"].float().cpu().numpy()
        return [
            Predicted(
                given=actions[k],
                text=said["text"][k] if reasoning else "",
                reasoning=said["reasoning"][k] if reasoning else None,
            )
            for k in range(len(asked))
        ]

    def _batch(self, asked: Sequence[tuple[Robot, Observation]]) -> dict[str, torch.Tensor]:
        """The observations as the policy takes them; see `finedata.train.data.inputs`."""
        arrays: dict[str, Any] = {}
        if self.recipe.states:
            states = [robot.inputs_of(observation) for robot, observation in asked]
            arrays["state"] = np.stack([values for values, _ in states])
            arrays["state_mask"] = np.stack([mask for _, mask in states])
        prompts = self.seen([observation for _, observation in asked])
        return prompts | {
            name: torch.from_numpy(np.ascontiguousarray(array)).to(self._device)
            for name, array in arrays.items()
        }

    def seen(self, observations: Sequence[Observation]) -> dict[str, torch.Tensor]:
        """The prompts of some observations as the policy takes them; no states.

        Raises:
            UsageError: A picture is missing or of another shape, or a prompt is too long.
        """
        count, one = len(observations), self.settings
        size = (count, one.height, one.width, _COLOURS)
        pictures = {camera: np.zeros(size, np.uint8) for camera in self.cameras}
        masks = {camera: np.zeros(count, bool) for camera in self.cameras}
        space: dict[str, dict[str, np.ndarray]] = {}
        if one.points:
            space = {"depth": {}, "matrix": {}}
            for camera in self.cameras:
                space["depth"][camera] = np.zeros(size[:3], np.float32)
                space["matrix"][camera] = np.full((count, 3, 3), np.nan, np.float32)
        for at, observation in enumerate(observations):
            for camera in self.cameras:
                picture = observation.picture(camera)
                if picture is not None:
                    resize_into(pictures[camera][at], picture)
                    masks[camera][at] = True
                    if one.points:
                        shown = pictures[camera][at]
                        self._measure(observation, camera, shown, space["depth"][camera][at])
                        known = observation.matrices.get(camera)
                        if known is not None:
                            space["matrix"][camera][at] = camera_matrices(
                                known.reshape(9), of=picture.shape[1::-1], size=size[1:3]
                            )
        encoded = {
            name: np.zeros((count, *shape), dtype)
            for name, (shape, dtype) in self.encoder.arrays().items()
        }
        self.encoder.encode([one.text for one in observations], pictures, masks, encoded, **space)
        return {
            name: torch.from_numpy(np.ascontiguousarray(array)).to(self._device)
            for name, array in cut(encoded, self.recipe.prompt_lengths).items()
        }

    def _measure(
        self, observation: Observation, camera: str, shown: np.ndarray, metres: np.ndarray
    ) -> None:
        """Depth of a picture as the policy is shown it: the robot's, or estimated.

        Raises:
            UsageError: The robot gives none, and nothing is named that estimates it.
        """
        if camera in observation.depths:
            found = observation.depths[camera]
            if found is not None:
                nearest_into(metres, found)
        elif self.recipe.depth_model:
            metres[:] = metres_of(depth_model(self.recipe.depth_model).millimetres(shown))
        else:
            raise UsageError(
                place=f"depth of {camera}",
                found="none",
                wanted=f"depth/{camera}: metres of each pixel, nil where the robot has none; or a "
                "run with the recipe's depth_model, which estimates it",
            )
