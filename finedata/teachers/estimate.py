"""What a run would cost: calls, tokens and money, before a cent is spent and with nothing sent.

Text counts four characters a token, the rule of thumb of both large vendors for English; pictures
count by the rule of the model (`finedata.teachers.picture_tokens`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from finedata.teachers.picture_tokens import picture_tokens
from finedata.teachers.prices import Price, cost_nano, price_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from finedata.teachers.protocol import Request

__all__ = [
    "DEFAULT_OUTPUT_TOKENS",
    "Estimate",
    "estimate_requests",
    "input_tokens",
    "upper_bound_nano",
]

DEFAULT_OUTPUT_TOKENS = 8192
"""Longest answer that is assumed where `max_output_tokens` is not set."""

_CHARACTERS_PER_TOKEN = 4
_CHARACTERS_PER_TOKEN_AT_LEAST = 2  # JSON and numbers are cut finer than prose
_USUAL_SHARE = 0.25  # of the longest answer; structured answers are rarely longer


class Estimate(msgspec.Struct, frozen=True):
    """What a run would take.

    Attributes:
        calls: Questions, identical ones counted once.
        recorded: Of these, already answered in the ledger: they cost nothing.
        input_tokens: Tokens to be sent.
        output_tokens: Tokens expected back; a quarter of the longest allowed answers.
        cost_nano: Expected cost in nano-dollars; None without a price.
        most_nano: Cost if every answer is as long as allowed; None without a price.
    """

    calls: int = 0
    recorded: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nano: int | None = None
    most_nano: int | None = None


def estimate_requests(
    requests: Iterable[Request],
    *,
    teacher: str,
    price: Price | None = None,
    recorded: Iterable[str] = (),
) -> Estimate:
    """Add up a run; the requests are looked at one by one and not kept.

    Args:
        requests: What would be asked.
        teacher: Name of the teacher: its rule for pictures is used.
        price: Price of all of them; None for the published price of each model.
        recorded: Ids of calls that are answered already.
    """
    answered, seen = set(recorded), set[str]()
    hits = sent = back = 0
    cost: int | None = 0
    most: int | None = 0
    for request in requests:
        if request.call_id in seen:
            continue
        seen.add(request.call_id)
        if request.call_id in answered:
            hits += 1
            continue
        tokens, longest = input_tokens(request, teacher=teacher), _longest_answer(request)
        usual = math.ceil(longest * _USUAL_SHARE)
        sent, back = sent + tokens, back + usual
        own = price or price_of(request.model)
        cost = _plus(cost, cost_nano(own, input_tokens=tokens, output_tokens=usual))
        most = _plus(most, cost_nano(own, input_tokens=tokens, output_tokens=longest))
    return Estimate(len(seen), hits, sent, back, cost, most)


def upper_bound_nano(request: Request, *, teacher: str, price: Price | None) -> int:
    """Most that one attempt costs, in nano-dollars: held back from the budget; 0 without price."""
    sent = input_tokens(
        request, teacher=teacher, characters_per_token=_CHARACTERS_PER_TOKEN_AT_LEAST
    )
    longest = _longest_answer(request)
    return cost_nano(price, input_tokens=sent, output_tokens=longest) or 0


def input_tokens(
    request: Request, *, teacher: str, characters_per_token: int = _CHARACTERS_PER_TOKEN
) -> int:
    """Tokens of everything that is sent: texts, labels, schema, pictures."""
    characters = len(request.prompt) + len(request.system)
    characters += sum(len(picture.label) for picture in request.pictures)
    if request.schema is not None:
        characters += len(msgspec.json.encode(request.schema))
    pictures = sum(
        picture_tokens(picture, teacher=teacher, model=request.model, settings=request.settings)
        for picture in request.pictures
    )
    return math.ceil(characters / characters_per_token) + pictures


def _longest_answer(request: Request) -> int:
    return int(request.settings.get("max_output_tokens", DEFAULT_OUTPUT_TOKENS))


def _plus(total: int | None, more: int | None) -> int | None:
    return None if total is None or more is None else total + more
