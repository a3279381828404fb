# pyright: basic, reportMissingImports=false
"""A backbone that is taught to annotate: cross-entropy of its own words behind a question.

There is no head: the backbone's output rows are trained as they are, so an export is a plain
vision-language model, which any server of such models serves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from finedata.train.answer import IGNORED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from finedata.schema.recipe_file import Recipe
    from finedata.train.backbone import Backbone


class AnnotatorHead(nn.Module):
    """Reads the backbone's words out.

    Args:
        recipe: For `max_answer`.
        backbone: Speaks.
    """

    terms = ("words", "words_accuracy")
    weights = (1.0, 0.0)
    queries = 0
    answer = fit = None

    def __init__(self, recipe: Recipe, backbone: Backbone) -> None:
        super().__init__()
        self.answer_tokens = recipe.max_answer
        # Bound methods: the backbone keeps its rows, and is no part of this module.
        self._rows = backbone.model.get_output_embeddings
        self._end = backbone.token(backbone.family.end, parameter="backbone")
        self._softcap = getattr(
            backbone.model.config.get_text_config(), "final_logit_softcapping", None
        )

    def counts(self, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """How many tokens each term is a mean of."""
        return dict.fromkeys(self.terms, (batch["labels"] != IGNORED).sum())

    def losses(
        self, hidden: torch.Tensor, batch: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """The sum of each term: cross-entropy, and how many tokens were the likeliest."""
        labels = batch["labels"][:, 1:].long()
        asked = labels != IGNORED
        wanted = labels[asked]
        logits = self.logits(hidden[:, :-1][asked])
        return {
            "words": functional.cross_entropy(logits, wanted, reduction="sum"),
            "words_accuracy": (logits.detach().argmax(-1) == wanted).float().sum(),
        }

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(..., vocabulary) of hidden states."""
        found = self._rows()(hidden)
        return found if self._softcap is None else self._softcap * (found / self._softcap).tanh()

    def say(
        self, backbone: Backbone, batch: Mapping[str, torch.Tensor], *, longest: int
    ) -> tuple[list[int], bool]:
        """Answer one question greedily.

        Args:
            backbone: The body.
            batch: One question, without an answer.
            longest: Stop after so many tokens.

        Returns:
            The tokens, and whether the answer came to its end.
        """
        said: list[int] = []
        seen, positions = batch["seen"], batch["positions"][..., -1:]
        asked = {k: v for k, v in batch.items() if k not in ("labels", "answer")}
        output: Any = backbone.run(asked, use_cache=True)
        while len(said) < longest:
            chosen = int(self.logits(output.last_hidden_state[:, -1].float()).argmax(-1))
            if chosen == self._end:
                return said, True
            said.append(chosen)
            positions = positions + 1
            seen = torch.cat([seen, torch.ones_like(seen[:, :1])], 1)
            step = {
                "ids": torch.tensor([[chosen]], device=seen.device),
                "positions": positions,
                "seen": seen,
            }
            output = backbone.run(step, use_cache=True, cache=output.cache)
        return said, False
