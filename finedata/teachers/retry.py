"""How long to wait before asking again: exponential backoff with full jitter, as arithmetic.

What the server asks for is waited for in full, or not at all where it is too long. Drawing from the
name of the call instead of from a shared generator keeps the waits of a run the same whatever the
order of its calls.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """Bounds of the waits between the attempts of one call.

    Attributes:
        attempts: How often a call is tried in all, the first time included.
        first_s: Upper end of the first wait.
        longest_s: Upper end of every wait that the server did not ask for.
        longest_asked_s: A server that asks for more than this is not waited for.
    """

    attempts: int = 6
    first_s: float = 0.5
    longest_s: float = 30.0
    longest_asked_s: float = 120.0


def wait_s(
    backoff: Backoff, *, attempt: int, name: str, seed: int, retry_after_s: float | None = None
) -> float | None:
    """Seconds to wait after a failed attempt, or None when it was the last.

    "Full jitter": uniform in [0, min(longest, first * 2^(attempt - 1))], as Marc Brooker describes
    it ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015). What the server asks for is
    waited for in full, and the jitter comes on top, so that all who were told the same do not come
    back at once.

    Args:
        backoff: The bounds.
        attempt: Number of the attempt that failed, 1 for the first.
        name: Name of the call.
        seed: Seed of the run.
        retry_after_s: What the server asked for; None where it did not say.

    Example:
        >>> wait_s(Backoff(attempts=2), attempt=2, name="a", seed=0) is None
        True
        >>> 3.0 <= wait_s(Backoff(), attempt=1, name="a", seed=0, retry_after_s=3.0) <= 3.5
        True
    """
    if attempt >= backoff.attempts:
        return None
    if retry_after_s is not None and retry_after_s > backoff.longest_asked_s:
        return None
    # the exponent is bounded, so that no number of attempts overflows
    upper = min(backoff.longest_s, backoff.first_s * 2.0 ** min(attempt - 1, 60))
    drawn = hashlib.sha256(f"{seed}/{name}/{attempt}".encode()).digest()[:8]
    jitter = int.from_bytes(drawn) / 2**64 * upper
    return jitter + max(retry_after_s or 0.0, 0.0)
