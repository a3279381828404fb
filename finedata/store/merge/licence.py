"""Which licences may lie together in one dataset.

Pairs of sources that may not be merged without being asked are named with the reason in words.
The table is short and closed on purpose: a licence that is not in it is unknown, and nobody knows
what an unknown one allows. This is caution, not legal advice: `--allow-mixed-licences` leaves the
decision to the user, and `episodes.licence` always says which episode came under which.

Source of the terms: the SPDX licence list, https://spdx.org/licenses/, and for NC, SA and ND the
deeds of Creative Commons, https://creativecommons.org/licenses/.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finedata.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LicenceConflict", "check_licences", "licence_conflicts"]

_PERMISSIVE = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "CC-BY-3.0",
        "CC-BY-4.0",
        "CC0-1.0",
        "MIT",
        "PDDL-1.0",
    }
)
# Alone they are fine; what is put beside them would come under their condition.
_RESTRICTED = {
    "CC-BY-NC-4.0": "forbids commercial use of the whole",
    "CC-BY-NC-ND-4.0": "forbids to share what is made of it",
    "CC-BY-NC-SA-4.0": (
        "forbids commercial use, and wants what is made of it under the same licence"
    ),
    "CC-BY-ND-4.0": "forbids to share what is made of it",
    "CC-BY-SA-4.0": "wants what is made of it under the same licence",
}
_PERMISSIVE_NAMES = {name.casefold(): name for name in _PERMISSIVE} | {"cc0": "CC0-1.0"}
_RESTRICTED_NAMES = {name.casefold(): name for name in _RESTRICTED}


@dataclass(frozen=True, slots=True)
class LicenceConflict:
    """Two sources whose licences do not go together, and why."""

    first: tuple[str, str]
    second: tuple[str, str]
    reason: str


def licence_conflicts(licences: Iterable[tuple[str, str]]) -> list[LicenceConflict]:
    """Find the pairs that do not go together.

    Args:
        licences: (source, licence by its SPDX name) of everything that is to be merged; names
            are compared without regard to case.

    Returns:
        One for each pair, in the order of the names; a source with itself is no pair.

    Example:
        >>> licence_conflicts([("bridge_v2", "CC-BY-4.0"), ("rdt", "MIT")])
        []
        >>> licence_conflicts([("rdt", "MIT"), ("rt_1", "LicenseRef-unknown")])[0].reason
        "nobody knows what 'LicenseRef-unknown' of rt_1 allows"
    """
    found: list[LicenceConflict] = []
    ordered = sorted(set(licences))
    for i, first in enumerate(ordered):
        for second in ordered[i + 1 :]:
            reason = _reason(first, second)
            if reason:
                found.append(LicenceConflict(first, second, reason))
    return found


def check_licences(licences: Iterable[tuple[str, str]]) -> None:
    """Refuse what does not go together.

    Raises:
        UsageError: Lists every pair with its reason.
    """
    conflicts = licence_conflicts(licences)
    if conflicts:
        pairs = "; ".join(
            f"{c.first[0]} ({c.first[1]}) with {c.second[0]} ({c.second[1]}): {c.reason}"
            for c in conflicts
        )
        raise UsageError(
            place="licences",
            found=pairs,
            wanted="licences that go together",
            next_command="leave one out, or decide yourself: --allow-mixed-licences",
        )


def _reason(first: tuple[str, str], second: tuple[str, str]) -> str:
    for source, licence in (first, second):
        name = licence.strip().casefold()
        # Two sources under one unknown name are two unknown things.
        if name not in _PERMISSIVE_NAMES and name not in _RESTRICTED_NAMES:
            return f"nobody knows what {licence!r} of {source} allows"
    names = [licence.strip().casefold() for _, licence in (first, second)]
    if names[0] == names[1]:
        return ""
    for (source, _), name in zip((first, second), names, strict=True):
        if name in _RESTRICTED_NAMES:
            licence = _RESTRICTED_NAMES[name]
            return f"{licence} of {source} {_RESTRICTED[licence]}"
    return ""
