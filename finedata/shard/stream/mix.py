"""What a mixture may be written as: `fg=1,raw=1`, or the same as a mapping.

A view says which samples and which words: `fg` the chosen episodes with fine-grained text, `raw`
every episode with an instruction. The tiers `unlabelled` and `failed` are views of their own, which
nobody meets unless they are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from finedata.errors import UsageError
from finedata.shard.schedule import exact_weights

if TYPE_CHECKING:
    from collections.abc import Mapping
    from fractions import Fraction

    from finedata.shard.schedule import Weight

__all__ = ["VIEW_TIERS", "Mix", "read_mix", "split_pairs"]

Mix: TypeAlias = "Mapping[str, Weight] | str"

VIEW_TIERS: dict[str, tuple[str, ...]] = {
    "fg": ("rep",),
    "raw": ("rep", "rest"),
    "unlabelled": ("unlabelled",),
    "failed": ("failed",),
}
"""View to the tiers of sets that it takes."""


def read_mix(mix: Mix) -> dict[str, Fraction]:
    """The weights of the views, as exact fractions.

    Args:
        mix: View to weight, or the same as text: `fg=1,raw=1/3`.

    Raises:
        UsageError: It is not of that form, or names no view.
    """
    if mix == "released":
        # A word that a reader of the papers tries; a made-up mixture would look like theirs.
        raise UsageError(
            place="mix",
            found="released: a draw with replacement and equal mass for each task, which finedata "
            "does not have",
            wanted="views and their weights: fg=1,raw=1",
            next_command="finedata stream SHARDS --mix fg=1,raw=1",
        )
    written = split_pairs(mix, place="mix") if isinstance(mix, str) else mix
    unknown = sorted(set(written) - set(VIEW_TIERS))
    if unknown or not written:
        raise UsageError(
            place="mix", found=", ".join(unknown) or "no view", wanted=", ".join(VIEW_TIERS)
        )
    return exact_weights(written)


def split_pairs(text: str, *, place: str) -> dict[str, str]:
    """`a=1,b=2` as a mapping.

    Raises:
        UsageError: A part has no `=`, or a name comes twice.
    """
    pairs: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value) or name in pairs:
            raise UsageError(place=place, found=repr(part), wanted="name=weight, each name once")
        pairs[name] = value
    return pairs
