# pyright: basic, reportMissingImports=false
"""A small head that words steer: which object is meant, then where it lies from each tool.

States come as the stream has them, not normalised: distances are what a gripper closes by, and two
numbers that were scaled apart cannot be subtracted; see `finedata.train.heads.steer_scene`.

Words are read by learned queries that attend to the tokens. A mean over tokens cannot tell "left
arm, right half" from "right arm, left half". What they read asks a softmax over objects, whose keys
are looks and position and whose values are geometry, and shifts and scales every layer behind it.
Where pictures are shown, cells of them are asked in the same way, camera by camera, and answer with
where they are in the picture, too.

Actions are poses relative to the present one, so a rotation is three numbers of a quaternion whose
w is not negative; each number of each step is standardised by the run's first samples. With `flow`
the network foretells the action behind the noise and not the velocity: a chunk of poses has few
ways to differ and noise has all, and so little of the network is spent on noise.

With an `order` it reasons, too; see `finedata.train.heads.reason`.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from finedata.errors import UsageError
from finedata.train.heads.reason import Reasoning
from finedata.train.heads.steer_scene import POSE, Seen
from finedata.train.words import CELL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from finedata.schema.recipe_file import Recipe

_KEY, _READ, _LOOKED = 16, 24, 64
# Spread of a number of an action, at least, of the widest of its kind; and a time's distance to 1.
_LEAST_SPREAD, _LEAST_LEFT, _STILL = 0.05, 0.05, 1e-6
_TIME_WIDTH = 64


class _Read(nn.Module):
    """Learned queries over tokens: (n, length, width) to a code.

    In training some features are dropped, the same ones of all tokens of a sample: a reading that
    hangs on few of them holds for no sentence but those that it was learnt from.
    """

    def __init__(self, width: int, queries: int, code: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.queries = nn.Parameter(torch.randn(queries, width) / width**0.5)
        self.out = nn.Parameter(torch.randn(queries, width, _READ) / width**0.5)
        self.mix = nn.Linear(queries * _READ, code)

    def forward(self, tokens: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        # Kept features multiply the queries and what is read, which is less than all tokens.
        kept = torch.ones(len(tokens), 1, tokens.shape[-1], device=tokens.device)
        if self.training and self.dropout:
            kept = (torch.rand_like(kept) >= self.dropout) / (1 - self.dropout)
        scores = (self.queries * kept) @ tokens.transpose(1, 2)  # (n, queries, length)
        weights = scores.masked_fill(~seen[:, None], -1e9).softmax(-1)
        read = (weights @ tokens) * kept  # (n, queries, width)
        found = torch.einsum("nqw,qwc->nqc", read, self.out).flatten(1)
        return self.mix(functional.silu(found))


class _Ask(nn.Module):
    """A code asks things by their keys: (n, heads, features) of the values."""

    def __init__(self, code: int, looks: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ask = nn.Linear(code, heads * _KEY)
        self.key = nn.Sequential(nn.Linear(looks, 64), nn.SiLU(), nn.Linear(64, heads * _KEY))

    def forward(
        self, code: torch.Tensor, looks: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        ask = self.ask(code).unflatten(-1, (self.heads, _KEY))
        key = self.key(looks).unflatten(-1, (self.heads, _KEY))
        scores = (ask[:, None] * key).sum(-1) / _KEY**0.5  # (n, things, heads)
        return scores.softmax(1).transpose(1, 2) @ values


class _Block(nn.Module):
    """A residual block whose norm is shifted and scaled by a condition."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.inner, self.outer = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, x: torch.Tensor, film: torch.Tensor) -> torch.Tensor:
        scale, shift = film.chunk(2, -1)
        return x + self.outer(functional.silu(self.inner(self.norm(x) * (1 + scale) + shift)))


class SteerHead(nn.Module):
    """Words and states to chunks of relative poses.

    Args:
        recipe: For all that begins with `steer` or `noise`, and `loss`.
        hidden: Width of the tokens.
        states: Names of the states side by side, as given.
        actions: Names of an action's numbers, as given.

    Raises:
        UsageError: There is no arm, or neither objects nor cameras.
    """

    answer = None
    answer_tokens = queries = 0
    tokens = 1

    mean: torch.Tensor
    spread: torch.Tensor

    def __init__(
        self, recipe: Recipe, *, hidden: int, states: Sequence[str], actions: Sequence[str]
    ) -> None:
        super().__init__()
        self.terms = (recipe.loss,)
        self.weights = (1.0,)
        self.horizon, self.flows = recipe.horizon, recipe.loss == "flow"
        self.draws, self.beta, self.euler = (
            recipe.noise_repeats, recipe.noise_beta, recipe.noise_steps,
        )  # fmt: skip
        # All but each rotation's w, which follows from the other three.
        self.kept = [k for k, name in enumerate(actions) if not name.endswith("qw")]
        self.turns = [k for k, name in enumerate(actions) if name.endswith("qx")]
        self.kinds = [_kind(actions[k]) for k in self.kept]
        self.action_dim = len(actions)
        width, code, heads = recipe.steer_width, recipe.steer_code, recipe.steer_heads
        self.seen = Seen(states)
        self.cameras, self.side = len(recipe.cameras), recipe.pictures // CELL
        if not self.seen.objects and not self.cameras:
            raise UsageError(
                parameter="states",
                found=", ".join(states),
                wanted="objects in the states (block_0_x, block_0_y, ...), or `cameras`",
            )
        self.read = _Read(hidden, recipe.steer_queries, code, recipe.steer_dropout)
        entering = self.seen.of_arms + self.seen.rest + code
        if self.seen.objects:
            self.objects = _Ask(code, self.seen.of_looks, heads)
            entering += heads * self.seen.of_object
        if self.cameras:
            self.cells = nn.ModuleList(_Ask(code, _LOOKED + 2, heads) for _ in recipe.cameras)
            self.looked = nn.Linear(hidden, _LOOKED)
            entering += self.cameras * heads * (_LOOKED + 2)
        self.enter = nn.Linear(entering, width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(recipe.steer_blocks))
        self.film = nn.Linear(code, recipe.steer_blocks * 2 * width)
        numbers = recipe.horizon * len(self.kept)
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, numbers)
        if self.flows:
            blocks = recipe.steer_noise_blocks
            self.noised = nn.Linear(numbers, width)
            self.time = nn.Linear(_TIME_WIDTH, blocks * 2 * width)
            self.given = nn.Linear(width, (1 + blocks * 2) * width)
            self.noise_blocks = nn.ModuleList(_Block(width) for _ in range(blocks))
        self.reason = None
        if recipe.order:
            self.reason = Reasoning(recipe)
            self.answer = self.reason.add_traces
            self.terms, self.weights = (recipe.loss, "reasoning"), (1.0, recipe.reasoning_weight)
        self.register_buffer("mean", torch.zeros(recipe.horizon, len(self.kept)))
        self.register_buffer("spread", torch.ones(recipe.horizon, len(self.kept)))

    @property
    def used(self) -> dict[str, float]:
        """How often a sample goes through a part, where that is not once; see `Cost`."""
        found: dict[str, float] = {}
        if self.seen.objects:
            found["objects.key"] = self.seen.objects
        if self.cameras:
            found |= {"looked": self.cameras * self.side**2}
            found |= {f"cells.{k}.key": self.side**2 for k in range(self.cameras)}
        if self.flows:
            found |= dict.fromkeys(("noised", "noise_blocks", "time", "leave"), self.draws)
        if self.reason is not None:
            found |= {f"reason.{part}": often for part, often in self.reason.used.items()}
        return found

    def fit(self, data: Any, actions: np.ndarray, real: np.ndarray) -> list[str]:
        """Standardise each number of each step by a run's first samples.

        Args:
            data: Not used.
            actions: (n, horizon, action_dim), and where they are real.
            real: The same shape.
        """
        del data
        code = torch.from_numpy(actions[..., self.kept]).double()
        there = torch.from_numpy(real[..., self.kept])
        count = there.sum(0).clamp(min=1)
        mean = code.masked_fill(~there, 0).sum(0) / count
        square = (code - mean).square().masked_fill(~there, 0).sum(0) / count
        spread = square.sqrt()
        for kind in set(self.kinds):
            mine = [k for k, one in enumerate(self.kinds) if one == kind]
            # An arm that rests does not move at all: its noise is not to be learnt as much as work.
            widest = float(spread[:, mine].max())
            # Of numbers that never move, as a hand that none of the first samples opens, nothing is
            # known: left as they are, one that does move later is no million.
            least = widest * _LEAST_SPREAD if widest > _STILL else 1.0
            spread[:, mine] = spread[:, mine].clamp(min=least)
        if self.mean.device.type != "meta":
            self.mean.copy_(mean)
            self.spread.copy_(spread)
        return []

    def counts(self, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """How many numbers each term is a mean of."""
        count = batch["action_mask"][..., self.kept].sum()
        found = {self.terms[0]: count * self.draws if self.flows else count}
        return found if self.reason is None else found | {"reasoning": self.reason.count(batch)}

    def losses(
        self, hidden: torch.Tensor, batch: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """The sums of its terms; `flow` draws noise and times from torch's generator."""
        real = batch["action_mask"][..., self.kept].flatten(1)
        action = ((batch["action"][..., self.kept] - self.mean) / self.spread).flatten(1)
        action = action.masked_fill(~real, 0)
        known = self.know(hidden, batch)
        found: dict[str, torch.Tensor] = {}
        if self.reason is not None:
            known, found["reasoning"] = self.reason.told(known, batch)
        if not self.flows:
            distance = (self.leave(self.norm(known)) - action).abs()
            return {"l1": distance.masked_fill(~real, 0).sum(), **found}
        shape = (len(action), self.draws)
        noise = torch.randn(*shape, action.shape[-1], device=action.device)
        # As of `DitHead`, 0 is noise and 1 the action.
        time = 1 - torch.rand(shape, device=action.device) ** (1 / self.beta)
        mixed = torch.lerp(noise, action[:, None], time[..., None])
        ahead = self.foretold(known, mixed, time)
        # The squared error of a velocity, (action - mixed) / left, near its end not of all size.
        left = (1 - time).clamp(min=_LEAST_LEFT)[..., None]
        squares = ((ahead - action[:, None]) / left).square()
        return {"flow": squares.masked_fill(~real[:, None], 0).sum(), **found}

    def predict(self, hidden: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Chunks (n, horizon, action_dim); the noise is torch's generator's."""
        known = self.know(hidden, batch)
        if self.reason is not None:
            known = self.reason.think(known)
        if self.flows:
            found = torch.randn(len(known), 1, self.mean.numel(), device=known.device)
            for step in range(self.euler):
                time = torch.full((len(known), 1), step / self.euler, device=known.device)
                ahead = self.foretold(known, found, time)
                found = found + (ahead - found) / (self.euler - step)
            found = found[:, 0]
        else:
            found = self.leave(self.norm(known))
        code = found.unflatten(1, (self.horizon, -1)) * self.spread + self.mean
        whole = code.new_zeros(*code.shape[:2], self.action_dim)
        whole[..., self.kept] = code
        for first in self.turns:
            left = 1 - whole[..., first : first + 3].square().sum(-1)
            whole[..., first + 3] = left.clamp(min=0).sqrt()
        return whole

    def know(self, hidden: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(n, width): what is to be done here, from tokens and states.

        Args:
            hidden: (n, length, width) of the cells of pictures, camera by camera, then of words.
            batch: For `state` and `seen`.
        """
        cells = self.cameras * self.side**2
        code = self.read(hidden[:, cells:], batch["seen"][:, cells:])
        arms, objects, looks = self.seen(batch["state"].masked_fill(~batch["state_mask"], 0))
        entering = [arms, code]
        if objects is not None:
            entering.append(self.objects(code, looks, objects).flatten(1))
        if self.cameras:
            entering += self._looked_at(code, hidden[:, :cells])
        x = self.enter(torch.cat(entering, -1))
        films = self.film(code).chunk(len(self.blocks), -1)
        for block, film in zip(self.blocks, films, strict=True):
            x = block(x, film)
        return x

    def foretold(
        self, known: torch.Tensor, mixed: torch.Tensor, time: torch.Tensor
    ) -> torch.Tensor:
        """The action behind noise: (n, draws, numbers) at times (n, draws)."""
        begin, *given = self.given(known)[:, None].split(
            [known.shape[-1]] + [2 * known.shape[-1]] * len(self.noise_blocks), -1
        )
        films = self.time(_waves(time)).chunk(len(self.noise_blocks), -1)
        x = self.noised(mixed) + begin
        for block, mine, film in zip(self.noise_blocks, given, films, strict=True):
            x = block(x, mine + film)
        return self.leave(self.norm(x))

    def _looked_at(self, code: torch.Tensor, hidden: torch.Tensor) -> list[torch.Tensor]:
        """What is asked of each camera: features of cells and where they are, -1 to 1."""
        looked = self.looked(hidden).unflatten(1, (self.cameras, -1))
        line = torch.linspace(-1, 1, self.side, device=looked.device)
        at = torch.cartesian_prod(line, line).expand(len(looked), -1, -1)
        found: list[torch.Tensor] = []
        for camera, ask in enumerate(self.cells):
            cells = torch.cat([looked[:, camera], at], -1)
            found.append(ask(code, cells, cells).flatten(1))
        return found


def _kind(name: str) -> str:
    end = re.sub(r".*_", "", name)
    return "turn" if end in POSE[3:7] else "place" if end in POSE[:3] else end


def _waves(time: torch.Tensor) -> torch.Tensor:
    """Sines and cosines of times 0 to 1: (..., `_TIME_WIDTH`)."""
    half = _TIME_WIDTH // 2
    rate = torch.exp(math.log(1000.0) / half * torch.arange(half, device=time.device))
    angle = time[..., None] * rate
    return torch.cat([angle.sin(), angle.cos()], -1)
