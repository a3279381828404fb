"""What a policy that speaks is to say behind a prompt: action tokens, and a teacher's reasoning.

Which of the two comes first is the recipe's: with actions first, reasoning can help them through
shared weights only, and costs nothing when a robot does not ask for it; with reasoning first, the
actions see it. A sample without a trace has no reasoning to learn, and not an end of none: it would
teach to be silent. Nothing is cut: a trace longer than its budget is an error that names it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from finedata.annotate.trace_text import SECTIONS, Trace, trace_text
from finedata.errors import ConformError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finedata.shard.stream.batch import Batch
    from finedata.train.heads.grid import Grid

IGNORED = -100
"""The label of a token that nobody is asked for."""
_KEPT = 4096


@dataclass(eq=False)
class Answers:
    """Appends answers to prompts.

    Attributes:
        grid: Of action tokens.
        tokenizer: The backbone's, as `tokenizers` has it.
        first: Id of the first action token.
        end: Id of the token that ends an answer.
        reasoning_first: Whether reasoning comes before actions.
        budget: Most tokens of reasoning, the end included.
        max_tokens: Most tokens of prompt and answer.
    """

    grid: Grid
    tokenizer: Any
    first: int
    end: int
    reasoning_first: bool
    budget: int
    max_tokens: int

    def __post_init__(self) -> None:
        # Traces that hold are those of many frames.
        self._spoken = lru_cache(maxsize=_KEPT)(self._encoded)

    def append(self, batch: Batch, roles: Sequence[str]) -> None:
        """Let the encoded prompts of a batch go on with what is to be said.

        `ids`, `seen` and `length` are those of prompt and answer afterwards. New are `labels`
        (n, max_tokens) int32, at the place of each token of the answer its id, elsewhere `IGNORED`,
        and `answer` (n, max_tokens) bool, true at the places of the answer.

        Args:
            batch: With `encoded`; its arrays are replaced, not written to.
            roles: Vector roles of the actions, side by side.

        Raises:
            UsageError: A trace, or prompt and answer together, are longer than allowed.
            ConformError: A trace lacks a part.
        """
        actions = np.concatenate([batch.vectors[role] for role in roles], -1)
        real = np.concatenate([batch.vector_mask[role] for role in roles], -1)
        tokens = self.grid.tokens(np.where(real, actions, 0)) + self.first
        # A token is real where all that it says is: three numbers, three numbers, one.
        arms = real.reshape(*real.shape[:-1], -1, 7)
        whole = np.stack([arms[..., :3].all(-1), arms[..., 3:6].all(-1), arms[..., 6]], -1)
        whole = whole.reshape(len(tokens), -1)
        tokens = tokens.reshape(len(tokens), -1)
        encoded = dict(batch.encoded)
        ids, seen, length = (encoded[name].copy() for name in ("ids", "seen", "length"))
        labels = np.full(ids.shape, IGNORED, np.int32)
        answer = np.zeros(ids.shape, bool)
        for at, trace in enumerate(batch.trace):
            spoken, end = (self._reasoning(trace, batch, at), [self.end]) if trace else ([], [])
            acts = tokens[at].tolist()
            acted = np.where(whole[at], tokens[at], IGNORED).tolist()
            said = [*spoken, *acts, *end] if self.reasoning_first else [*acts, *spoken, *end]
            asked = [*spoken, *acted, *end] if self.reasoning_first else [*acted, *spoken, *end]
            begin = int(length[at])
            behind = begin + len(said)
            if behind > self.max_tokens:
                raise UsageError(
                    place="max_tokens",
                    found=f"a prompt of {begin} tokens and an answer of {len(said)}: "
                    f"{batch.text[at][:80]!r}",
                    wanted=f"at most {self.max_tokens} together; nothing is cut",
                    next_command=f"--set max_tokens={-(-behind // 64) * 64}",
                )
            ids[at, begin:behind] = said
            labels[at, begin:behind] = asked
            answer[at, begin:behind] = True
            seen[at, begin:behind] = True
            length[at] = behind
        batch.encoded = encoded | {
            "ids": ids, "seen": seen, "length": length, "labels": labels, "answer": answer,
        }  # fmt: skip

    def _reasoning(self, trace: dict[str, Any], batch: Batch, at: int) -> list[int]:
        place = f"trace of {batch.episode_id[at]} frame {int(batch.frame_index[at])}"
        found = self._spoken(reasoning_text(trace, place=place))
        if len(found) >= self.budget:
            raise UsageError(
                place=place,
                found=f"{len(found) + 1} tokens with its end",
                wanted=f"at most {self.budget}, the recipe's reasoning_tokens; nothing is cut",
                next_command=f"--set reasoning_tokens={-(-(len(found) + 1) // 16) * 16}",
            )
        return found

    def _encoded(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids


def reasoning_text(trace: dict[str, Any], *, place: str) -> str:
    """A row of traces in ReFineVLA's own form.

    Raises:
        ConformError: It lacks a part.
    """
    names = (*SECTIONS, "logical_steps", "sub_action")
    missing = [name for name in names if not trace.get(name)]
    if missing:
        raise ConformError(
            place=place,
            found="nothing as " + ", ".join(missing),
            wanted="all parts of a trace",
            next_command="finedata annotate traces  # writes whole ones",
        )
    return trace_text(Trace(**{name: trace[name] for name in names}))
