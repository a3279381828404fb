"""What becomes of everything that an episode holds: kept, or left out with a reason. One place.

An episode's features are counted against what its form of the converter reads, what the converter
knowingly leaves out (`not_converted`), and what the part stores. Nothing falls between: the rest is
`left_out`, by name, in finedata.json and on `finedata info`'s page, and the receipt is flagged.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, cast

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from finedata.readers.episode import RawEpisode
    from finedata.schema.converter import Variant

# What the converter says of a form, not of its features; and what is matched by itself.
_NO_FEATURES = ("name", "reader", "embodiment", "space", "when", "not_converted", "keep", "cameras")
_FIELD = re.compile(r"\{([^{}]+)\}")
# Marks of RLDS that every record has: they make the steps, and are not data.
_FRAMING = ("steps/is_first", "steps/is_last", "steps/is_terminal")


def left_out(
    raw: RawEpisode,
    variant: Variant,
    *,
    stored: Collection[str],
    reasons: Mapping[str, str],
) -> dict[str, str]:
    """The features of an episode that nothing was made of, and why.

    Args:
        raw: The episode.
        variant: Its form.
        stored: Features of the source that are stored or were looked at as cameras.
        reasons: Why a feature that should be kept cannot be.

    Returns:
        Feature to reason, in the source's order; declared ones that the episode lacks come last.
    """
    used = set(_mentioned(variant)) | set(_FRAMING) | set(stored)
    knowingly = [pattern for patterns in variant.not_converted.values() for pattern in patterns]
    found: dict[str, str] = {}
    for name in raw.feature_names():
        if name in reasons:
            found[name] = reasons[name]
        elif not (name in used or raw.is_derived(name) or _any(knowingly, name)):
            found[name] = "not named by the converter"
    for name, kind in raw.declared_absent().items():
        if kind == "other" and not _any(knowingly, name):
            found[name] = "declared by the source, and not in the episode"
    return found


def not_converted_flags(raw: RawEpisode, variant: Variant) -> set[str]:
    """Flags for what the episode holds and the converter knowingly leaves out."""
    names = raw.feature_names()
    return {
        f"{kind}_not_converted"
        for kind, patterns in variant.not_converted.items()
        if any(_any(patterns, name) for name in names)
    }


def _any(patterns: Collection[str], name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _mentioned(variant: Variant) -> Iterator[str]:
    """Every text of a form, which is the name of a feature where one has that name."""
    described = msgspec.to_builtins(variant)
    yield from _texts([value for key, value in described.items() if key not in _NO_FEATURES])


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
        yield from _FIELD.findall(value)
    elif isinstance(value, dict):
        yield from _texts(list(cast("dict[str, Any]", value).values()))
    elif isinstance(value, list | tuple):
        for one in cast("list[Any]", value):
            yield from _texts(one)
