"""How many tokens a picture or a video is: the published rule of each family of models.

A budget holds back a most, so where documents differ the larger rule stands, and a name of which
only the vendor is known counts by the largest of the vendor's rules.

OpenAI, with `detail` left out, as finedata leaves it: guide "Images and vision"
(developers.openai.com/api/docs/guides/images-vision) in two copies of 2026, an earlier one from
before GPT-5.6 and a later one from after it (July or August). Where they differ:

- Factors: gpt-5-mini and gpt-5.4-mini 1.62 (later copy: 1.2), gpt-5-nano 2.46 (1.5), gpt-5.4-nano
  2.46 (1.2). What users of OpenAI's forum measured in March 2026 agrees with the later copy.
- Patches: gpt-4.1-mini and gpt-5.2 at most 6144 (earlier copy: 1536), gpt-5.4-mini and
  gpt-5.4-nano 2500 (1536). Only the earlier copy tells gpt-4.1-nano's; NVIDIA's gateway (nvcf,
  August 2026) counts it with 6144, so it does here.
- GPT-5.6 and gpt-6-astra shrink nothing; more than 30,000 patches they refuse (reports on the
  guide, September 2026). gpt-6.1-sol was measured to do the same (2026-10-20); of the other GPT-6
  models it is supposed.

Gemini 3: guide "Media resolution" (ai.google.dev/gemini-api/docs/media-resolution, 2026). It names
Gemini 4 along with Gemini 3, but the figures for Gemini 4 were not seen.

Gemini 2.5: the same guide says "256 + Pan & Scan". The crops are counted by "Image understanding"
(the side of a crop is the short side / 1.5), between 256 and 768 pixels as in Google Cloud's guide,
and the whole picture is added, as in usage that gemini-2.0-flash reported in 2025: 7 x 258, of 6
crops. Others saw a mere 258.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from finedata.store.pictures import picture_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from finedata.teachers.protocol import Picture

_UNKNOWN_SIZE = (512, 512)


def picture_tokens(
    picture: Picture,
    *,
    teacher: str,
    model: str = "",
    settings: Mapping[str, Any] | None = None,
) -> int:
    """Tokens of one picture or video, by the rule of the model.

    Args:
        picture: Its size is read from its header.
        teacher: Name of the teacher: tells a Gemini model with a name of its own.
        model: As the teacher names it; an owner before the last `/` is not looked at.
        settings: Of the request; `media_resolution` changes how Gemini counts.

    Example:
        >>> from finedata.teachers.protocol import Picture
        >>> picture_tokens(Picture(b""), teacher="gemini", model="gemini-3.5-flash")
        1120
    """
    rule = _rule(model, teacher)
    level = _media_resolution(settings or {})
    if picture.media_type.startswith("video/"):
        return max(1, math.ceil(_video_s(picture.data))) * rule.second(level)
    width, height = picture_size(picture.data) or _UNKNOWN_SIZE
    return rule.picture(max(1, width), max(1, height), level)


class _Rule:
    """How one family of models counts. Sizes are in pixels, `level` is Gemini's resolution.

    This one is Qwen2.5-VL's, for every model that is not known: one token for each 28 x 28 pixels,
    a video as 2 frames a second of 512 x 512.
    """

    def picture(self, width: int, height: int, level: str) -> int:
        """Tokens of a picture."""
        del level
        return math.ceil(width / 28) * math.ceil(height / 28)

    def second(self, level: str) -> int:
        """Tokens of a second of a video."""
        del level
        return 2 * math.ceil(512 / 28) ** 2


@dataclass(frozen=True)
class _Tiles(_Rule):
    """OpenAI's tiles: fitted into 2048 x 2048, then to 768 on the short side, 512 x 512 each.

    Attributes:
        base: Tokens of any picture.
        tile: Tokens of each tile.
    """

    base: int
    tile: int

    def picture(self, width: int, height: int, level: str) -> int:
        """Tokens of a picture."""
        del level
        long, short = max(width, height), min(width, height)
        if long > 2048:
            long, short = 2048, max(1, short * 2048 // long)
        if short > 768:
            long, short = long * 768 // short, 768
        return self.base + self.tile * math.ceil(long / 512) * math.ceil(short / 512)


@dataclass(frozen=True)
class _Patches(_Rule):
    """OpenAI's patches of 32 x 32, shrunk until they are no more than allowed, times a factor.

    Attributes:
        percent: The factor times 100, so that the product is exact.
        most: To so many patches a picture is shrunk.
        longest: To so many pixels its long side is shrunk before.
    """

    percent: int
    most: int
    longest: int

    def picture(self, width: int, height: int, level: str) -> int:
        """Tokens of a picture."""
        del level
        long, short = max(width, height), min(width, height)
        if long > self.longest:
            long, short = self.longest, -(-short * self.longest // long)
        return -(-_patches(long, short, most=self.most) * self.percent // 100)


@dataclass(frozen=True)
class _Crops(_Rule):
    """Gemini 1.5 to 2.5: 258 for the whole picture, and 258 for each crop of a larger one."""

    def picture(self, width: int, height: int, level: str) -> int:
        """Tokens of a picture."""
        if level in ("LOW", "MEDIUM") or max(width, height) <= 384:
            return 66 if level == "LOW" else 258
        side = min(768, max(256, min(width, height) * 2 // 3))
        return 258 * (1 + math.ceil(width / side) * math.ceil(height / side))

    def second(self, level: str) -> int:
        """Tokens of a second of a video."""
        return _SOUND_AND_TIME + (66 if level == "LOW" else 258)


@dataclass(frozen=True)
class _Resolution(_Rule):
    """Gemini 3 and 4: a number for each `media_resolution`, whatever the size of the picture."""

    def picture(self, width: int, height: int, level: str) -> int:
        """Tokens of a picture; of a level that is not known, as of the highest."""
        del width, height
        return {"LOW": 280, "MEDIUM": 560, "": 1120, "HIGH": 1120}.get(level, 2240)

    def second(self, level: str) -> int:
        """Tokens of a second of a video."""
        return _SOUND_AND_TIME + (70 if level in ("", "LOW", "MEDIUM") else 280)


@dataclass(frozen=True)
class _Largest(_Rule):
    """For a name of which only the vendor is known: the largest of several rules.

    Attributes:
        rules: Those it may be.
    """

    rules: tuple[_Rule, ...]

    def picture(self, width: int, height: int, level: str) -> int:
        """Tokens of a picture."""
        return max(rule.picture(width, height, level) for rule in self.rules)

    def second(self, level: str) -> int:
        """Tokens of a second of a video."""
        return max(rule.second(level) for rule in self.rules)


_SOUND_AND_TIME = 42
"""Tokens of a second of a video beside its frame: 32 of sound, and a time stamp. With a frame of
258 that makes the 300 a second of Gemini's guide "Video understanding"."""

_QWEN = _Rule()
_TILES = _Tiles(85, 170)
_PATCHES_LARGE = _Patches(120, most=30_000, longest=65_535)
_PATCHES_NANO = _Patches(246, most=6144, longest=2048)
_CROPS = _Crops()
_RESOLUTION = _Resolution()

_RULES: dict[str, _Rule] = {
    "gpt-4o": _TILES,
    "gpt-4o-mini": _Tiles(2833, 5667),
    "chatgpt-4o": _TILES,
    "gpt-4-turbo": _TILES,
    "gpt-4-vision": _TILES,
    "gpt-4.1": _TILES,
    "gpt-4.1-mini": _Patches(162, most=6144, longest=2048),
    "gpt-4.1-nano": _PATCHES_NANO,
    "gpt-4.5": _TILES,
    "gpt-5": _Tiles(70, 140),
    "gpt-5-mini": _Patches(162, most=1536, longest=2048),
    "gpt-5-nano": _Patches(246, most=1536, longest=2048),
    "gpt-5.1": _Tiles(70, 140),
    "gpt-5.2": _Patches(120, most=6144, longest=2048),
    "gpt-5.4": _Patches(120, most=2500, longest=2048),
    "gpt-5.4-mini": _Patches(162, most=2500, longest=2048),
    "gpt-5.4-nano": _Patches(246, most=2500, longest=2048),
    "gpt-5.5": _Patches(120, most=10_000, longest=6000),
    "gpt-5.6": _PATCHES_LARGE,
    "gpt-6": _PATCHES_LARGE,
    "gpt-6.1": _PATCHES_LARGE,
    "gpt-6.2": _PATCHES_LARGE,
    "o1": _Tiles(75, 150),
    "o3": _Tiles(75, 150),
    "o4-mini": _Patches(172, most=1536, longest=2048),
    "computer-use-preview": _Tiles(65, 129),
    "gemini-1.5": _CROPS,
    "gemini-2.0": _CROPS,
    "gemini-2.5": _CROPS,
    "gemini-3": _RESOLUTION,
    "gemini-3.1": _RESOLUTION,
    "gemini-3.5": _RESOLUTION,
    "gemini-3.6": _RESOLUTION,
    "gemini-3.7": _RESOLUTION,
    "gemini-3.8": _RESOLUTION,
    "gemini-4": _RESOLUTION,
}
"""Rules by the beginning of a model's name, up to a `-`; the longest that fits counts."""

# gpt-4o-mini's is left out: none but it multiplies tokens by 33, to charge what gpt-4o once did
_ANY_GPT = _Largest((_TILES, _PATCHES_LARGE, _PATCHES_NANO))
_ANY_GEMINI = _Largest((_CROPS, _RESOLUTION))


@cache
def _rule(model: str, teacher: str) -> _Rule:
    """The rule of a model; without one of its own, the largest of the vendor's, else Qwen's."""
    name = model.rsplit("/", 1)[-1].removeprefix("ft:")
    fitting = [
        known for known in _RULES if name == known or name.startswith((f"{known}-", f"{known}:"))
    ]
    if fitting:
        return _RULES[max(fitting, key=len)]
    if teacher == "gemini" or name.startswith("gemini"):
        return _ANY_GEMINI
    return _ANY_GPT if re.match(r"gpt-|chatgpt-|o\d", name) else _QWEN


def _media_resolution(settings: Mapping[str, Any]) -> str:
    """Gemini's setting by its last word: LOW, MEDIUM, HIGH, ULTRA_HIGH; empty for the default."""
    found = settings.get("media_resolution") or settings.get("mediaResolution") or ""
    level = str(getattr(found, "value", found)).upper().removeprefix("MEDIA_RESOLUTION_")
    return "" if level == "UNSPECIFIED" else level


def _patches(width: int, height: int, *, most: int) -> int:
    """Patches of 32 x 32 pixels that cover a picture, shrunk until there are at most `most`.

    Formula: OpenAI's guide "Images and vision", "Patch-based image tokenization".

    Example:
        >>> _patches(1800, 2400, most=1536)
        1452
    """
    patches = math.ceil(width / 32) * math.ceil(height / 32)
    if patches <= most:
        return patches
    shrink = math.sqrt(32 * 32 * most / (width * height))
    across, down = width * shrink / 32, height * shrink / 32
    shrink *= min(math.floor(across) / across, math.floor(down) / down)
    return math.ceil(int(width * shrink) / 32) * math.ceil(int(height * shrink) / 32)


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
