# pyright: basic, reportMissingImports=false
"""Reasoning at the scale of the head `steer`: a trace is said word by word from what is known.

ReFineVLA's two losses, L(action) + weight * L(reasoning), and both orders, with no language model:
a small recurrent net says the trace of a sample, from the same features that foretell its actions.
With `action_first` reasoning can help actions through those features alone; with `reasoning_first`
actions see what was said: the true trace in training, what the net says itself when it acts.

A word is its hash among a thousand, so no vocabulary has to be known and nothing can be read back:
this is to measure what reasoning does to actions, not to speak. Of a hundred words five pairs meet.
Signs between words tell nothing here and are left out. Of a batch every `ASKED_EVERY`th sample is
asked for words, which costs twice as much as the actions of all.
"""

from __future__ import annotations

import re
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from finedata.errors import UsageError
from finedata.train.answer import reasoning_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from finedata.schema.recipe_file import Recipe
    from finedata.shard.stream.batch import Batch

_WORDS, _WORD, _SAYS = 1021, 64, 96
# Views alternate in a batch, as fg, raw, fg, raw: a prime stride meets each of them in its share.
ASKED_EVERY = 17
_END = 1  # 0 is behind the end
_KEPT_TRACES = 1 << 15


class Reasoning(nn.Module):
    """What is said of a situation.

    Args:
        recipe: For `order`, `reasoning_tokens` and the width.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.first = recipe.order == "reasoning_first"
        self.budget = recipe.reasoning_tokens
        self.words = nn.Embedding(_WORDS, _WORD)
        self.begin = nn.Linear(recipe.steer_width, _SAYS)
        self.say = nn.GRU(_WORD, _SAYS, batch_first=True)
        self.out = nn.Linear(_SAYS, _WORDS)
        if self.first:
            self.heard = nn.Linear(_SAYS, recipe.steer_width)
        self._numbers = lru_cache(maxsize=_KEPT_TRACES)(self._numbered)

    @property
    def used(self) -> dict[str, float]:
        """How often a sample goes through a part, of as many words as allowed; see `SteerHead`."""
        asked = self.budget / ASKED_EVERY
        return {"words": 0, "say": self.budget if self.first else asked, "out": asked}

    def add_traces(self, batch: Batch, data: Any) -> None:
        """Put the traces of a batch beside its prompts.

        New in `encoded` is `thought` (n, reasoning_tokens) int32: words, the end, then 0; all 0
        where a sample has no trace.

        Raises:
            UsageError: A trace is longer than allowed.
            ConformError: A trace lacks a part.
        """
        del data
        thought = np.zeros((len(batch.trace), self.budget), np.int32)
        for at, trace in enumerate(batch.trace):
            if not trace:
                continue
            place = f"trace of {batch.episode_id[at]} frame {int(batch.frame_index[at])}"
            said = self._numbers(reasoning_text(trace, place=place))
            if len(said) > self.budget:
                raise UsageError(
                    place=place,
                    found=f"{len(said)} words with its end",
                    wanted=f"at most {self.budget}, the recipe's reasoning_tokens; nothing is cut",
                    next_command=f"--set reasoning_tokens={-(-len(said) // 16) * 16}",
                )
            thought[at, : len(said)] = said
        batch.encoded = dict(batch.encoded) | {"thought": thought}

    def count(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """How many words are asked for."""
        return (batch["thought"][::ASKED_EVERY] != 0).sum()

    def told(
        self, known: torch.Tensor, batch: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What actions know then, and the sum of the cross-entropies of the words asked for."""
        thought = batch["thought"].long()
        thought = thought[:, : max(1, int((thought != 0).sum(1).max()))]
        if not self.first:
            known_of, thought = known[::ASKED_EVERY], thought[::ASKED_EVERY]
        else:
            known_of = known
        before = functional.pad(thought[:, :-1], (1, 0))
        states, _ = self.say(self.words(before), self._from(known_of))
        if self.first:
            last = (thought != 0).sum(1).clamp(min=1) - 1
            known = known + self.heard(states[torch.arange(len(states)), last])
            states, thought = states[::ASKED_EVERY], thought[::ASKED_EVERY]
        there = thought != 0
        losses = functional.cross_entropy(self.out(states[there]), thought[there], reduction="sum")
        return known, losses

    def think(self, known: torch.Tensor) -> torch.Tensor:
        """What actions know after the likeliest words were said; as it is with `action_first`."""
        if not self.first:
            return known
        state = self._from(known)
        word = torch.zeros(len(known), 1, dtype=torch.long, device=known.device)
        last = state[0]
        going = torch.ones(len(known), 1, dtype=torch.bool, device=known.device)
        for _ in range(self.budget):
            _, state = self.say(self.words(word), state)
            last = torch.where(going, state[0], last)
            word = self.out(state[0]).argmax(-1, keepdim=True)
            going = going & (word != _END)
            if not going.any():
                break
        return known + self.heard(last)

    def _from(self, known: torch.Tensor) -> torch.Tensor:
        return self.begin(known).tanh()[None].contiguous()

    @staticmethod
    def _numbered(text: str) -> list[int]:
        words = re.findall(r"\w+", text.lower())
        return [*(2 + zlib.crc32(one.encode()) % (_WORDS - 2) for one in words), _END]
