"""Grippers of all sources on one scale, the open fraction: 1 = open, 0 = closed, not clipped.

Sources count in metres, millimetres, motor ticks or fractions, from open or from closed, or give
commands that hold until the next one. The scale is not clipped, so that nothing is lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from finedata.errors import FeatureError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


def to_open_fraction(
    values: ArrayLike, *, open_value: float, closed_value: float
) -> NDArray[np.float64]:
    """Map the source's scale linearly to open fractions; not clipped.

    Args:
        values: (T,) in the source's unit.
        open_value: The source's value of an open gripper; exactly 1 comes out for it.
        closed_value: The source's value of a closed one; exactly 0 comes out for it.

    Returns:
        (T,) open fractions; NaN stays NaN.

    Raises:
        FeatureError: Open and closed are the same value, or one is not finite.

    Example:
        DROID writes 0 for open and 1 for closed:

        >>> to_open_fraction([0.0, 0.25, 1.0], open_value=0.0, closed_value=1.0).tolist()
        [1.0, 0.75, 0.0]
    """
    span = _span(open_value, closed_value)
    # Adding 0 makes the -0 of a closed gripper on a falling scale a plain 0.
    return (np.asarray(values, np.float64) - closed_value) / span + 0.0


def from_open_fraction(
    open_fraction: ArrayLike, *, open_value: float, closed_value: float
) -> NDArray[np.float64]:
    """Map open fractions (T,) to the source's scale; the inverse of `to_open_fraction`.

    Raises:
        FeatureError: Open and closed are the same value, or one is not finite.
    """
    span = _span(open_value, closed_value)
    return np.asarray(open_fraction, np.float64) * span + closed_value


def open_fraction_by_range(
    values: ArrayLike, ranges: Sequence[tuple[float, float, float]]
) -> NDArray[np.float64] | None:
    """Map to open fractions where files of one source use different scales; not clipped.

    Args:
        values: (T,) of one episode, in a unit that only their size tells.
        ranges: (up_to, open, closed) of each scale, narrowest first. The first one whose `up_to`
            is not smaller than the largest absolute (finite) value of the episode is taken.

    Returns:
        (T,) open fractions; NaN stays NaN. `None` where no range is wide enough.

    Raises:
        FeatureError: The chosen scale's open and closed are the same value, or not finite.

    Example:
        RoboMIND's AgileX arms write metres in some files and radians in others. An episode whose
        gripper hardly opens may fit a scale that is not its own: decide over whole episodes.

        >>> ranges = [(0.11, 0.1, 0.0), (6.0, 5.0, 0.0)]
        >>> open_fraction_by_range([0.0, 2.5], ranges).tolist()
        [0.0, 0.5]
    """
    array = np.asarray(values, np.float64)
    finite = array[np.isfinite(array)]
    largest = float(np.abs(finite).max()) if finite.size else 0.0
    for up_to, open_value, closed_value in ranges:
        if largest <= up_to:
            return to_open_fraction(array, open_value=open_value, closed_value=closed_value)
    return None


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
            in the other they open, in between (or NaN) the last one holds.
        close_sign: +1 where positive numbers close (RT-1), -1 where they open.
        threshold: Size of a command that counts.
        initial: Open fraction before the first command; by default the opposite of the first
            command, and open where there is none.

    Returns:
        (T,) of 0.0 and 1.0, and `initial` before the first command.

    Raises:
        FeatureError: `close_sign` is neither +1 nor -1.

    Source: `rel2abs_gripper_actions` of Octo and OpenVLA, for RT-1's
    `gripper_closedness_action`.

    Example:
        >>> hold_relative([0.0, 1.0, 0.0, -1.0]).tolist()
        [1.0, 0.0, 0.0, 1.0]
    """
    if close_sign not in (1, -1):
        raise FeatureError(place="close_sign", found=str(close_sign), wanted="+1 or -1")
    signed = np.asarray(commands, np.float64) * close_sign
    wanted = np.where(signed > threshold, 0.0, np.where(signed < -threshold, 1.0, np.nan))
    given = np.flatnonzero(~np.isnan(wanted))
    if initial is None:
        initial = 1.0 - float(wanted[given[0]]) if len(given) else 1.0
    # For each frame, how many commands came so far; the last of them holds, none is `initial`.
    count = np.cumsum(~np.isnan(wanted))
    return np.concatenate([[initial], wanted[given]])[count]


def _span(open_value: float, closed_value: float) -> float:
    span = open_value - closed_value
    if span == 0.0 or not np.isfinite(span):
        raise FeatureError(
            place="a gripper's scale",
            found=f"open = {open_value}, closed = {closed_value}",
            wanted="two different finite numbers",
        )
    return span
