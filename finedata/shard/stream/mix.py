"""What a mixture may be written as: `fg=1,raw=1`, or the same as a mapping.

A view says which samples and which words: `fg` the chosen episodes with fine-grained text, `raw`
every episode with an instruction. The tiers `unlabelled` and `failed` are views of their own, which
nobody meets unless they are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from finedata.errors import UsageError
from finedata.shard.order.schedule import exact_weights

if TYPE_CHECKING:
    from collections.abc import Mapping
    from fractions import Fraction
    from pathlib import Path

    from finedata.schema.shards_file import Policy
    from finedata.shard.order.schedule import Weight

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
    written = split_pairs(mix, parameter="mix") if isinstance(mix, str) else mix
    unknown = sorted(set(written) - set(VIEW_TIERS))
    if unknown or not written:
        raise UsageError(
            parameter="mix", found=", ".join(unknown) or "no view", wanted=", ".join(VIEW_TIERS)
        )
    return exact_weights(written)


def empty_view(view: str, *, root: Path, policy: Policy) -> UsageError:
    """The error of a view without a sample, with what would fill it."""
    wanted, next_command = "samples in every view", f"finedata info {root}  # which sets there are"
    if view == "fg":
        seen = " and that a person has reviewed" if policy == "reviewed" else ""
        wanted = (
            "representatives with a fine-grained instruction, which a teacher or a person "
            f"writes{seen}; facts that are measured from the motion make none"
        )
        verb = "review" if policy == "reviewed" else "annotate facts"
        next_command = f"finedata {verb} DATASET, then finedata shard {root} --text DATASET"
    return UsageError(
        place=f"view {view} of {root}",
        found="no sample in any source",
        wanted=wanted,
        next_command=next_command,
    )


def is_released(mix: Mix) -> bool:
    """Whether the sampling of the papers' released code is asked for."""
    return isinstance(mix, str) and mix.partition(":")[0].strip() == "released"


def read_released(mix: Mix) -> dict[str, Fraction]:
    """The weights of `released` (fg=1,raw=1) or `released:fg=2,raw=1`: of a task of each view.

    Raises:
        UsageError: It names another view, or no weight is positive.
    """
    written = str(mix).partition(":")[2].strip() or "fg=1,raw=1"
    weights = read_mix(written)
    wrong = sorted(set(weights) - {"fg", "raw"})
    if wrong or min(weights.values()) < 0 or not any(weights.values()):
        raise UsageError(
            parameter="mix",
            found=str(mix),
            wanted="released, or released:fg=2,raw=1: weights of zero or more of fg and raw",
        )
    return weights


def released_mix(weights: Mapping[str, str]) -> str:
    """What `read_released` reads as these weights."""
    return "released:" + ",".join(f"{view}={weight}" for view, weight in weights.items())


def split_pairs(text: str, *, parameter: str) -> dict[str, str]:
    """`a=1,b=2` as a mapping.

    Raises:
        UsageError: A part has no `=`, or a name comes twice.
    """
    pairs: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value) or name in pairs:
            raise UsageError(
                parameter=parameter, found=repr(part), wanted="name=weight, each name once"
            )
        pairs[name] = value
    return pairs
