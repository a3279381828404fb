"""Grippers: the source's numbers come in, the open fraction goes out (1 = open, 0 = closed)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["from_open_fraction", "hold_relative", "to_open_fraction"]


def to_open_fraction(
    values: ArrayLike, *, open_value: float, closed_value: float
) -> NDArray[np.float64]:
    """Map the source's scale linearly to open fractions; not clipped.

    Args:
        values: (T,) in the source's unit (metres, millimetres, bytes, fractions).
        open_value: The source's value of an open gripper.
        closed_value: The source's value of a closed one.

    Example:
        DROID writes 0 for open and 1 for closed:
        ``to_open_fraction(x, open_value=0.0, closed_value=1.0)``.
    """
    return (np.asarray(values, np.float64) - closed_value) / (open_value - closed_value)


def from_open_fraction(
    open_fraction: ArrayLike, *, open_value: float, closed_value: float
) -> NDArray[np.float64]:
    """The inverse of `to_open_fraction`."""
    return np.asarray(open_fraction, np.float64) * (open_value - closed_value) + closed_value


def hold_relative(
    commands: ArrayLike,
    *,
    close_sign: int = 1,
    threshold: float = 0.1,
    initial: float | None = None,
) -> NDArray[np.float64]:
    """Turn commands that close, open or change nothing into the open fraction they lead to.

    Args:
        commands: (T,). Beyond `threshold` in the direction of `close_sign` they close, beyond it
            in the other they open, in between (or not finite) the last one holds.
        close_sign: +1 where positive numbers close (RT-1), -1 where they open.
        threshold: Size of a command that counts.
        initial: Open fraction before the first command; by default the opposite of the first
            command, and open where there is none.

    Returns:
        (T,) of 0.0 and 1.0.

    Source: Open X-Embodiment's `rel2abs_gripper_actions` for RT-1.
    """
    signed = np.asarray(commands, np.float64) * close_sign
    wanted = np.where(signed > threshold, 0.0, np.where(signed < -threshold, 1.0, np.nan))
    given = np.flatnonzero(np.isfinite(wanted))
    if initial is None:
        initial = 1.0 - float(wanted[given[0]]) if len(given) else 1.0
    # For each frame, the last command at or before it; 0 stands for `initial`.
    last = np.zeros(len(wanted), np.int64)
    last[given] = np.arange(1, len(given) + 1)
    return np.concatenate([[initial], wanted[given]])[np.maximum.accumulate(last)]
