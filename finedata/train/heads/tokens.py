# pyright: basic, reportMissingImports=false
"""Actions and reasoning as words of the backbone (ReFineVLA on SpatialVLA).

Action tokens have input embeddings of their own (SpatialVLA's `spatial_embed_tokens`), and every
token has an output row of its own, not tied to what it is read as: the embeddings of text may stay
as they are, and the rows learn. L = CE(action tokens) + weight * CE(the rest of the answer), each
a mean over the tokens that are asked for, so a batch without reasoning has a term of nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from finedata.annotate.asking.answers import AnswerError
from finedata.annotate.trace_text import read_trace
from finedata.errors import UsageError
from finedata.train.answer import IGNORED, Answers
from finedata.train.heads.ego3d import Ego3D
from finedata.train.heads.grid import Grid, fit_grid, grid_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from finedata.annotate.trace_text import Trace
    from finedata.schema.codecs_file import CodecsFile
    from finedata.schema.recipe_file import Recipe
    from finedata.shard.stream.batch import Batch
    from finedata.train.backbone import Backbone
    from finedata.train.data import Data

_AXES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
_TEXT = 0
_TOKEN = "<ACTION{:05d}>"


class TokenHead(nn.Module):
    """Embeddings and output rows of action tokens, and how they are spoken.

    Args:
        recipe: For the grid, the order and the weight of reasoning.
        backbone: Speaks; its embedding of tokens is changed to know action tokens.
        action_dim: Width of an action, seven for each arm.

    Raises:
        UsageError: The actions are no arms of seven numbers, the tokenizer splits a token, or the
            backbone has no place for positions in space.
    """

    terms = ("action", "reasoning", "action_accuracy", "reasoning_accuracy")
    queries = 0
    packed: torch.Tensor

    def __init__(self, recipe: Recipe, backbone: Backbone, *, action_dim: int) -> None:
        super().__init__()
        if action_dim % len(_AXES):
            raise UsageError(
                parameter="actions",
                found=f"{action_dim} numbers",
                wanted="seven of each arm: " + ", ".join(_AXES) + ", as rotation=euler gives them",
            )
        self.recipe = recipe
        self.weights = (1.0, recipe.reasoning_weight, 0.0, 0.0)
        theta, phi, r, turn = recipe.grid_bins
        self.bins = theta, phi, r, turn, turn, turn
        self.sizes = grid_size(self.bins)
        self.acts = recipe.horizon * action_dim // len(_AXES) * 3
        # Of an answer, at most: what costs are counted with.
        self.answer_tokens = self.acts + (recipe.reasoning_tokens if recipe.traces != "none" else 0)
        embedding = backbone.model.get_input_embeddings()
        self.first = _first_token(backbone.tokenizer, embedding.num_embeddings, sum(self.sizes))
        self.end = backbone.token(backbone.family.end, parameter="backbone")
        self._words = backbone.tokenizer.backend_tokenizer
        self._softcap = getattr(
            backbone.model.config.get_text_config(), "final_logit_softcapping", None
        )
        self.inputs = nn.Embedding(sum(self.sizes), backbone.width)
        self.rows = nn.Linear(backbone.width, self.first + sum(self.sizes), bias=False)
        with torch.no_grad():
            known = embedding.weight[: self.first]
            std = backbone.width**-0.5
            for own in (self.inputs.weight, self.rows.weight[self.first :]):
                own.normal_(std=std)
            self.rows.weight[: len(known)] = known
        length = sum(n + 1 for n in self.bins) + 12
        nan = torch.full((length,), float("nan"), dtype=torch.float64)
        self.register_buffer("packed", nan)
        self._answers: Answers | None = None
        self._learn(embedding)
        self.ego3d = _ego3d(recipe, backbone) if recipe.ego3d == "depth" else None
        if self.ego3d is not None:
            backbone.placed = self._placed

    def fit(self, data: Data, actions: np.ndarray, real: np.ndarray) -> list[str]:
        """Lay the grid over normalised actions.

        Args:
            data: For how numbers are written.
            actions: (n, horizon, action_dim) of the training sides.
            real: The same shape.

        Returns:
            What a reader should know: the bins' own error.

        Raises:
            UsageError: See `fit_grid`; or several embodiments, which stand still differently.
        """
        _check_names(data.codecs, data.actions)
        still = _still(data) if self.recipe.stay_bin else None
        width = actions.shape[-1]
        actions, real = actions.reshape(-1, width), real.reshape(-1, width)
        grid = fit_grid(actions, real, how=self.recipe.grid, bins=self.bins, still=still)
        self.set_grid(grid)
        floor = grid.floor(actions, real)
        return [
            "tokens alone cost "
            + ", ".join(f"{name} {value:.4f}" for name, value in floor.items())
            + " (see docs/train.md)"
        ]

    def set_grid(self, grid: Grid) -> None:
        """Write and read action tokens by this grid from now on; a checkpoint keeps it."""
        self.packed.copy_(torch.from_numpy(grid.packed()))
        self._answers = None

    @property
    def answers(self) -> Answers:
        """How answers are written.

        Raises:
            UsageError: The grid was never fitted.
        """
        if self._answers is None:
            self._answers = Answers(
                grid=Grid.unpacked(self.packed.cpu().numpy(), bins=self.bins),
                tokenizer=self._words,
                first=self.first,
                end=self.end,
                reasoning_first=self.recipe.order == "reasoning_first",
                budget=self.recipe.reasoning_tokens,
                max_tokens=self.recipe.max_tokens,
            )
        return self._answers

    def _placed(self, points: torch.Tensor, pointed: torch.Tensor) -> torch.Tensor:
        assert self.ego3d is not None
        return self.ego3d(points, pointed)

    def answer(self, batch: Batch, data: Data) -> None:
        """Let the prompts of a batch go on with what is to be said; see `Answers.append`."""
        self.answers.append(batch, data.actions)

    def counts(self, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """How many tokens each term is a mean of."""
        labels = batch["labels"]
        action = (labels >= self.first).sum()
        reasoning = (labels != IGNORED).sum() - action
        return dict(zip(self.terms, (action, reasoning) * 2, strict=True))

    def losses(
        self, hidden: torch.Tensor, batch: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """The sum of each term: cross-entropies, and how many tokens were the likeliest."""
        labels = batch["labels"][:, 1:].long()
        asked = labels != IGNORED
        wanted = labels[asked]
        # What is at a place is predicted at the place before; only those rows are computed.
        logits = self.logits(hidden[:, :-1][asked])
        losses = functional.cross_entropy(logits, wanted, reduction="none")
        right = (logits.detach().argmax(-1) == wanted).float()
        acts = (wanted >= self.first).float()
        sums = [(x * part).sum() for x in (losses, right) for part in (acts, 1 - acts)]
        return dict(zip(self.terms, sums, strict=True))

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(..., vocabulary and action tokens) of hidden states."""
        found = self.rows(hidden)
        return found if self._softcap is None else self._softcap * (found / self._softcap).tanh()

    def say(
        self, backbone: Backbone, batch: Mapping[str, torch.Tensor], *, reasoning: bool = False
    ) -> dict[str, Any]:
        """Speak greedily; a place of an action can only be filled with a token of its kind.

        Args:
            backbone: The body.
            batch: Prompts, without answers.
            reasoning: Speak reasoning behind the actions too. Where it comes first it is spoken
                anyhow.

        Returns:
            `action` (n, horizon, action_dim), normalised; `tokens`, all that was said, in its
            order and without an end; with `reasoning`, also `text`, what was said, and
            `reasoning`, the parts of each or None where it is not whole.
        """
        first = self.recipe.order == "reasoning_first" and self.recipe.traces != "none"
        spoken = _Spoken(len(batch["ids"]), acts=self.acts, budget=self.recipe.reasoning_tokens)
        begin = _left_padded(batch)
        output = backbone.run(begin, use_cache=True)
        seen, positions = begin["seen"], begin["positions"][..., -1:]
        kinds = self._kinds(output.last_hidden_state.device)
        while True:
            wanted = spoken.wanted(first=first, behind=reasoning)
            if not wanted.any():
                break
            logits = self.logits(output.last_hidden_state[:, -1].float())
            allowed = torch.from_numpy(wanted).to(kinds.device)[:, kinds]
            if first:  # silence is no reasoning
                allowed[:, self.end] = False
            chosen = logits.masked_fill(~allowed, float("-inf")).argmax(-1)
            spoken.add(chosen.tolist(), kinds[chosen].tolist(), end=self.end)
            ids, positions = chosen[:, None], positions + 1
            seen = torch.cat([seen, torch.ones_like(seen[:, :1])], 1)
            step = {"ids": ids, "positions": positions, "seen": seen}
            output = backbone.run(step, use_cache=True, cache=output.cache)
        tokens = np.array(spoken.acted) - self.first
        shaped = tokens.reshape(len(tokens), self.recipe.horizon, -1)
        action = torch.from_numpy(self.answers.grid.actions(shaped)).to(kinds.device)
        pairs = zip(spoken.reasoned, spoken.acted, strict=True)
        said = [[*why, *acts] if first else [*acts, *why] for why, acts in pairs]
        if not reasoning:
            return {"action": action, "tokens": said}
        texts = [self._words.decode(ids) for ids in spoken.reasoned]
        parsed = [_parsed(text) for text in texts]
        return {"action": action, "tokens": said, "text": texts, "reasoning": parsed}

    def _kinds(self, device: torch.device) -> torch.Tensor:
        """(vocabulary,) kind of each token: text, translation, rotation, gripper."""
        text = torch.zeros(self.first, dtype=torch.long)
        return torch.cat([text, *(torch.full((n,), k + 1) for k, n in enumerate(self.sizes))]).to(
            device
        )

    def _learn(self, embedding: Any) -> None:
        """Let the embedding of the backbone's tokens know action tokens, as this head has them."""
        plain, scale = embedding.forward, getattr(embedding, "scalar_embed_scale", 1.0)

        def forward(ids: torch.Tensor) -> torch.Tensor:
            mine = ids >= self.first
            text = plain(ids.masked_fill(mine, 0))
            own = self.inputs((ids - self.first).clamp(min=0)) * scale
            return torch.where(mine[..., None], own.to(text.dtype), text)

        embedding.forward = forward


class _Spoken:
    """What several samples have said, each in its own place of the answer."""

    def __init__(self, count: int, *, acts: int, budget: int) -> None:
        self.acted: list[list[int]] = [[] for _ in range(count)]
        self.reasoned: list[list[int]] = [[] for _ in range(count)]
        self._ended = [False] * count
        self._acts, self._budget = acts, budget

    def wanted(self, *, first: bool, behind: bool) -> np.ndarray:
        """(n, 4) bool: of which kinds the next token of each may be; of none when all is said.

        A sample that is done while others are not goes on with text that is thrown away.
        """
        found = np.zeros((len(self.acted), 4), bool)
        busy = False
        for k, (acted, reasoned) in enumerate(zip(self.acted, self.reasoned, strict=True)):
            room = len(reasoned) < self._budget - 1
            if first and not acted and room:
                found[k, [_TEXT, 1]] = True
            elif len(acted) < self._acts:
                found[k, len(acted) % 3 + 1] = True
            elif behind and not first and room and not self._ended[k]:
                found[k, _TEXT] = True
            else:
                self._ended[k] = found[k, _TEXT] = True
                continue
            busy = True
        return found if busy else np.zeros_like(found)

    def add(self, chosen: list[int], kinds: list[int], *, end: int) -> None:
        """Take the next token of each."""
        for k, (token, kind) in enumerate(zip(chosen, kinds, strict=True)):
            if self._ended[k]:
                continue
            if kind != _TEXT:
                self.acted[k].append(token)
            elif token == end:
                self._ended[k] = True
            else:
                self.reasoned[k].append(token)


def _ego3d(recipe: Recipe, backbone: Backbone) -> Ego3D:
    """Positions for a backbone's patches.

    Raises:
        UsageError: Its visual tokens are not one a patch, or points do not divide one.
    """
    config = backbone.model.config
    if config.model_type != "paligemma":
        raise UsageError(
            parameter="ego3d",
            found=f"{config.model_type}, some patches of which are one visual token",
            wanted="a backbone of the family paligemma, as SpatialVLA's",
        )
    if config.vision_config.patch_size % recipe.ego3d_points:
        raise UsageError(
            parameter="ego3d_points",
            found=f"{recipe.ego3d_points} points on a side of {config.vision_config.patch_size} "
            "pixels",
            wanted="a number that divides a patch",
        )
    return Ego3D(points=recipe.ego3d_points, width=config.vision_config.hidden_size)


def _left_padded(batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Prompts that end together, so that all go on at one place."""
    length = batch["ids"].shape[1]
    shift = length - batch["length"].long()
    places = (torch.arange(length, device=shift.device) - shift[:, None]) % length
    axes = batch["positions"].shape[1]
    return {
        **{name: batch[name] for name in ("pixels", "points", "pointed") if name in batch},
        "ids": batch["ids"].gather(1, places),
        "seen": batch["seen"].gather(1, places),
        "positions": batch["positions"].gather(2, places[:, None].expand(-1, axes, -1)),
    }


def _parsed(text: str) -> Trace | None:
    try:
        return read_trace(text)
    except AnswerError:
        return None


def _first_token(tokenizer: Any, rows: int, count: int) -> int:
    """The id of the first action token: behind all rows, or where the tokenizer has it.

    Raises:
        UsageError: The tokenizer has some of them, not all in a row.
    """
    names = [_TOKEN.format(k) for k in range(count)]
    known = tokenizer.get_vocab()
    if names[0] not in known:
        return rows
    first = known[names[0]]
    for k, name in enumerate(names):
        if known.get(name) != first + k:
            raise UsageError(
                parameter="backbone",
                place=f"token {name} of the tokenizer",
                found=f"id {known[name]}" if name in known else "none: it would be split",
                wanted=f"one token, id {first + k}, as the tokenizer has {names[0]}",
            )
    return first


def _check_names(codecs: CodecsFile, roles: tuple[str, ...]) -> None:
    """Refuse actions that are no arms of seven numbers in order.

    Raises:
        UsageError: They are not.
    """
    for role in roles:
        for codec in codecs.codecs:
            if codec.role != role:
                continue
            names = codec.given_names
            wanted = _AXES * (len(names) // len(_AXES))
            if len(names) != len(wanted) or any(
                name.rsplit("_", 1)[-1] != axis for name, axis in zip(names, wanted, strict=True)
            ):
                raise UsageError(
                    parameter="actions",
                    place=f"role {role} of {codec.source}",
                    found=", ".join(names),
                    wanted="of each arm " + ", ".join(_AXES),
                )


def _still(data: Data) -> np.ndarray:
    """(7,) the action of no motion, as it is written.

    Raises:
        UsageError: Parts write it differently, or arms do.
    """
    found = set()
    for codec in data.codecs.codecs:
        if codec.role in data.actions:
            moves = [k for k, n in enumerate(codec.names) if n.rsplit("_", 1)[-1] in _AXES[:3]]
            none = [-codec.centre[k] / codec.half[k] if codec.half[k] else 0.0 for k in moves]
            found |= {tuple(none[k : k + 3]) for k in range(0, len(none), 3)}
    if len(found) != 1 or any(codec.action == "absolute" for codec in data.codecs.codecs
                              if codec.role in data.actions):  # fmt: skip
        raise UsageError(
            parameter="stay_bin",
            found=f"actions that stand still in {len(found)} ways, or are absolute",
            wanted="action=delta or relative, of one embodiment with one arm",
        )
    return np.array([*found.pop(), 0.0, 0.0, 0.0, 0.0])
