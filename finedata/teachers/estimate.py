"""What a run would cost: calls, tokens and money, before a cent is spent.

Requests come in, an `Estimate` goes out; nothing is sent. Text counts four characters a token, the
rule of thumb of both large vendors for English; pictures count by the published rule of who
serves the model.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from finedata.teachers.prices import Price, cost_nano, price_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from finedata.teachers.protocol import Picture, Request

__all__ = [
    "DEFAULT_OUTPUT_TOKENS",
    "Estimate",
    "estimate_requests",
    "input_tokens",
    "picture_tokens",
    "upper_bound_nano",
]

DEFAULT_OUTPUT_TOKENS = 8192
"""Longest answer that is reckoned with where `max_output_tokens` is not set."""

_CHARACTERS_PER_TOKEN = 4
_CHARACTERS_PER_TOKEN_AT_LEAST = 2  # JSON and numbers are cut finer than prose
_USUAL_SHARE = 0.25  # of the longest answer; structured answers are seldom longer


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
        picture_tokens(picture, teacher=teacher, model=request.model)
        for picture in request.pictures
    )
    return math.ceil(characters / characters_per_token) + pictures


def picture_tokens(picture: Picture, *, teacher: str, model: str = "") -> int:
    """Tokens of one picture or video.

    Rules: Gemini counts 258 for a picture of at most 384 x 384, else 258 for each tile of
    768 x 768, and 258 for each second of a video (Gemini API docs, "Understand and count tokens").
    OpenAI's GPT models fit it into 2048 x 2048, then to 768 on the short side, and count 85 and
    170 for each tile of 512 x 512 (OpenAI docs, "Images and vision"). Everything else counts as
    Qwen2.5-VL does: one token for each 28 x 28 pixels; its videos 2 frames a second at 512 x 512.
    """
    if picture.media_type.startswith("video/"):
        seconds = max(1, math.ceil(_video_s(picture.data)))
        return seconds * (258 if teacher == "gemini" else 2 * math.ceil(512 / 28) ** 2)
    width, height = _size(picture.data)
    if teacher == "gemini":
        small = width <= 384 and height <= 384
        return 258 if small else 258 * math.ceil(width / 768) * math.ceil(height / 768)
    if model.rsplit("/", 1)[-1].startswith(("gpt-", "o1", "o3", "o4", "chatgpt-")):
        scale = min(1.0, 2048 / max(width, height))
        scale *= min(1.0, 768 / (min(width, height) * scale))
        tiles = math.ceil(width * scale / 512) * math.ceil(height * scale / 512)
        return 85 + 170 * tiles
    return math.ceil(width / 28) * math.ceil(height / 28)


def _longest_answer(request: Request) -> int:
    return int(request.settings.get("max_output_tokens", DEFAULT_OUTPUT_TOKENS))


def _plus(total: int | None, more: int | None) -> int | None:
    return None if total is None or more is None else total + more


def _size(data: bytes) -> tuple[int, int]:
    """Width and height of a PNG or JPEG by its header; of what is neither, 512 x 512.

    Read by hand, because it is done for every picture that is sent: Pillow takes longer than
    sending it. PNG: the IHDR chunk comes first. JPEG: the first frame header SOF0 to SOF15 (ITU-T
    T.81, B.2.2), of which DHT, JPG and DAC share the range.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) >= 24:
        return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    at = 2 if data.startswith(b"\xff\xd8") else len(data)
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(data[at + 7 : at + 9]), int.from_bytes(data[at + 5 : at + 7])
        # a fill byte stands alone, a segment says its length
        at += 1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4])
    return 512, 512


def _video_s(data: bytes) -> float:
    """Duration by the `mvhd` box (ISO/IEC 14496-12, 8.2.2); 10 s where there is none."""
    at = data.find(b"mvhd")
    if at < 0 or len(data) < at + 36:
        return 10.0
    wide = data[at + 4] == 1
    scale_at = at + (24 if wide else 16)
    scale = int.from_bytes(data[scale_at : scale_at + 4])
    duration = int.from_bytes(data[scale_at + 4 : scale_at + (12 if wide else 8)])
    return duration / scale if scale else 10.0
