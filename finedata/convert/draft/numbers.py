"""What numbers alone tell: unit norms, units, the ends of a gripper, whether actions are deltas.

Everything here is a guess for a person to check, so nothing is returned without its reason and
its doubt in words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection

_NORM_TOLERANCE = 0.02
# More than one turn and some: no joint of an arm does that in radians.
_MOST_RADIANS = 6.8
# How much of the motion a reading must explain to be believed.
_BELIEVED = 0.5
# A scale this close to one: the deltas add up to the measured path.
_SLOPE_TOLERANCE = 0.25
_CLOSING = frozenset({"close", "closed", "closedness", "closing"})
# Of the usual scales: the least and the most that their lowest and highest numbers may be, and
# what is fully open.
_SCALES = (
    (-0.2, 0.0, 1.25, 1.0),
    (-10.0, 50.0, 125.0, 100.0),
    (-100.0, 300.0, 1250.0, 1000.0),
)
_WIDEST_M = 0.13


@dataclass(frozen=True, slots=True)
class GripperScale:
    """The source's numbers of an open and of a closed gripper.

    Attributes:
        open: Fully open.
        closed: Fully closed.
        kind: As in a converter file.
        why: What told.
        doubt: What it cannot tell.
    """

    open: float
    closed: float
    kind: Literal["absolute", "relative_hold"]
    why: str
    doubt: str


@dataclass(frozen=True, slots=True)
class ActionKind:
    """How recorded actions relate to the state.

    Attributes:
        reference: `absolute`, `delta`, or `unknown`.
        refers_to: What a delta is added to.
        why: What told, with its figures.
    """

    reference: Literal["absolute", "delta", "unknown"]
    why: str
    refers_to: Literal["previous_target", "measured"] = "measured"


def has_unit_norm(values: np.ndarray) -> bool:
    """Whether every row (T, 4) has norm 1 to two hundredths: quaternions do, angles do not."""
    rows = values[np.isfinite(values).all(axis=1)]
    if not len(rows):
        return False
    return bool(np.abs(np.linalg.norm(rows, axis=1) - 1.0).max() < _NORM_TOLERANCE)


def is_large(values: np.ndarray, *, limit: float = _MOST_RADIANS) -> bool:
    """Whether some value is beyond what radians (or another small unit) can be."""
    finite = values[np.isfinite(values)]
    return bool(finite.size) and bool(np.abs(finite).max() > limit)


def gripper_scale(values: np.ndarray, words: Collection[str]) -> GripperScale:
    """Guess the ends of a gripper's scale from its range (T,) and the words of its name.

    Example:
        >>> gripper_scale(np.array([2.0, 98.0]), ["gripper"]).open
        100.0
    """
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    seen = f"values from {low:.4g} to {high:.4g}"
    closing = bool(_CLOSING & set(words))
    doubt = "which end of the gripper's scale is open, was guessed"
    if low < -0.5 and high <= 1.25 and low >= -1.25:
        opened, closed = -1.0, 1.0
        if finite.size and float(np.mean(np.abs(finite) < 0.1)) > 0.5:
            why = f"{seen}, mostly near 0: commands to open and to close"
            return GripperScale(opened, closed, "relative_hold", why, doubt)
        return GripperScale(opened, closed, "absolute", f"{seen}: a scale of -1 to 1", doubt)
    if low >= -0.02 and 0.005 < high <= _WIDEST_M:
        opened = float(f"{high:.3g}")
        why = f"{seen}: a width in metres; the widest that was seen is taken as open"
        doubt = "the gripper's numbers look like metres; give the width of the whole opening"
        return GripperScale(opened, 0.0, "absolute", why, doubt)
    for smallest, least, most, full in _SCALES:
        if smallest <= low and least <= high <= most:
            ends = (0.0, full) if closing else (full, 0.0)
            why = f"{seen}: a scale of 0 to {full:g}"
            why += ", and its name says that it closes" if closing else ""
            return GripperScale(*ends, "absolute", why, doubt)
    opened, closed = float(f"{high:.4g}"), float(f"{low:.4g}")
    opened, closed = (closed, opened) if closing else (opened, closed)
    if opened == closed:
        opened = closed + 1.0
    why = f"{seen}: no usual scale; the ends that were seen are taken"
    return GripperScale(opened, closed, "absolute", why, doubt)


def action_kind(action: np.ndarray, state: np.ndarray) -> ActionKind:
    """Tell absolute targets from deltas by what the state does next.

    Args:
        action: (T, n), the same quantity as the state, or steps of it.
        state: (T, n).

    Returns:
        `absolute` where action[t] explains state[t + 1]; `delta` where the sums of the actions
        explain how the state moved (about the target before it where they add up to the very
        path, else about the measured pose); else `unknown`.
    """
    good = np.isfinite(action).all(axis=1) & np.isfinite(state).all(axis=1)
    action, state = action[good], state[good]
    if len(state) < 4:
        return ActionKind("unknown", f"{len(state)} usable frames tell nothing")
    following = state[1:]
    moved = float(np.square(following - following.mean(axis=0)).sum())
    if moved < 1e-10:
        return ActionKind("unknown", "the state does not move, so its actions tell nothing")
    absolute = 1.0 - float(np.square(action[:-1] - following).sum()) / moved
    path = np.cumsum(action, axis=0)[:-1]
    wanted = following - state[0]
    total = float(np.square(path).sum())
    slope = float((path * wanted).sum()) / total if total > 0 else 0.0
    centred = wanted - wanted.mean(axis=0)
    delta = 1.0 - float(np.square(slope * path - wanted).sum()) / float(np.square(centred).sum())
    figures = f"explain {max(absolute, 0):.0%} of it as targets and {max(delta, 0):.0%} as steps"
    if absolute >= _BELIEVED and absolute >= delta:
        return ActionKind("absolute", f"actions follow the next state: they {figures}")
    if delta >= _BELIEVED and slope > 0:
        sums = abs(slope - 1.0) < _SLOPE_TOLERANCE
        about = "the sums are the path itself" if sums else f"the state moves {slope:.2g} of them"
        return ActionKind(
            "delta",
            f"actions are steps of the state: they {figures}; {about}",
            "previous_target" if sums else "measured",
        )
    return ActionKind("unknown", f"actions do not follow the state: they {figures}")
