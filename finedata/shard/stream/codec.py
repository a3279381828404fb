"""Numbers as a policy sees them, and the way back: one arithmetic for training and for serving.

A stream writes numbers with `normalise`, a policy server reads predictions with `denormalise`; both
take a `VectorCodec`, which a checkpoint keeps (`Stream.codecs`), and NumPy, and no shards.

What actions may refer to, as FineVLA's `UnifyJointAction` does it: *delta* has position a - s and
rotation R_a R_s^-1 (in the base) of each step against the state of that step; *relative* has
position R_s^-1 (a - s) and rotation R_s^-1 R_a (in the tool) against the state at the sample's
frame; joints are a - s in both. Grippers stay absolute.

Then numbers are scaled. Quantile and min-max bring [q01, q99] and [min, max] to [-1, 1], as
openpi's `Normalize` does; numbers outside stay outside. Where the two quantiles are one number and
the extremes are not (a gripper that is hardly ever open) the extremes stand for them, because a
number that is scaled away cannot be read back. A constant becomes 0. Rotations are left as they
are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from finedata.errors import FeatureError, UsageError
from finedata.motion.quaternion import canonicalise, conjugate, multiply, rotate
from finedata.motion.rotation import from_quaternion_xyzw, to_quaternion_xyzw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from finedata.motion.rotation import RotationEncoding
    from finedata.schema.codecs_file import Normalisation, Rotation, VectorCodec
    from finedata.schema.shards_file import Statistics

__all__ = ["denormalise", "given_names", "normalise", "normalise_masked", "scale", "turned_places"]

_QUATERNION = ("qx", "qy", "qz", "qw")
_WRITTEN: dict[Rotation, tuple[RotationEncoding, tuple[str, ...]]] = {
    "quaternion": ("quaternion_xyzw", _QUATERNION),
    "6d": ("rotation_6d", tuple(f"r{k}" for k in range(6))),
    "euler": ("euler_xyz_extrinsic", ("roll", "pitch", "yaw")),
}
_IDENTITY = np.array([0.0, 0.0, 0.0, 1.0])
# Float32 does not tell two numbers apart that are nearer than this times their size.
_SAME = 1e-7


@dataclass(frozen=True, slots=True)
class _Groups:
    """Where positions and quaternions of a role are: places of their numbers, in pairs by arm."""

    quaternions: tuple[tuple[int, ...], ...]
    positions: tuple[tuple[int, ...] | None, ...]
    grippers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Layout:
    """What follows from a codec, as arrays."""

    groups: _Groups
    centre: np.ndarray
    half: np.ndarray
    scaled: bool
    # What numbers are divided by: a constant is divided by infinity.
    divisor: np.ndarray
    # Places of the role's numbers that are no rotation, in the role and as they are given.
    plain: tuple[np.ndarray, np.ndarray]
    # First place of each rotation as it is given.
    turned: tuple[int, ...]


def normalise(
    codec: VectorCodec, values: ArrayLike, *, state: ArrayLike | None = None
) -> np.ndarray:
    """Write numbers of a role as a stream does.

    Args:
        codec: Of the part and role.
        values: (..., steps, width) numbers by `codec.names`; absolute, quaternions xyzw.
        state: What actions that are not absolute refer to, under the same names: `relative`: the
            state now, (..., width); `delta`: the state at each step, (..., steps, width).

    Returns:
        (..., steps, given width) float32.

    Raises:
        FeatureError: A shape is another, or the state is missing.
    """
    given = np.array(_checked(codec, values, len(codec.names), what="values"), np.float32)
    there = np.broadcast_to(np.asarray(codec.filled), given.shape)
    given = np.where(there, given, np.float32(codec.fill))
    reference = _reference(codec, given, state)
    return normalise_masked(codec, given, there.copy(), reference, there)[0]


def denormalise(
    codec: VectorCodec, given: ArrayLike, *, state: ArrayLike | None = None
) -> np.ndarray:
    """Read what a policy predicts: the inverse of `normalise`, but for a quaternion's sign.

    Args:
        codec: Of the part and role.
        given: (..., steps, given width) numbers by `codec.given_names`. Rotations need not be of
            unit length or orthonormal: the nearest by Gram-Schmidt is taken.
        state: As for `normalise`, in its own numbers: not normalised. A server that reads the next
            state before each step gives `delta` one step at a time.

    Returns:
        (..., steps, width) float32 by `codec.names`: absolute, unit quaternions xyzw. A quaternion
        that was written as angles or 6-D, or refers to a state, is on the side of that state, or
        has w >= 0 where there is none. `codec.fill` where the part does not have the number.

    Raises:
        FeatureError: A shape is another, or the state is missing.
    """
    layout = _layout(codec)
    read = np.asarray(_checked(codec, given, len(codec.given_names), what="given"), np.float64)
    values = np.empty((*read.shape[:-1], len(codec.names)))
    values[..., layout.plain[0]] = read[..., layout.plain[1]]
    encoding, names = _WRITTEN[codec.rotation]
    for place, begin in zip(layout.groups.quaternions, layout.turned, strict=True):
        written = read[..., begin : begin + len(names)].reshape(-1, len(names))
        quaternion = to_quaternion_xyzw(written, encoding=encoding)
        if codec.rotation != "quaternion":
            quaternion = canonicalise(quaternion)
        values[..., list(place)] = quaternion.reshape(*read.shape[:-1], 4)
    values = values * layout.half + layout.centre
    reference = _reference(codec, values, state)
    if reference is not None:
        values = _back(codec, values, reference)
    return np.where(np.asarray(codec.filled), values, codec.fill).astype(np.float32)


def normalise_masked(
    codec: VectorCodec,
    values: np.ndarray,
    mask: np.ndarray,
    state: np.ndarray | None = None,
    state_mask: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """`normalise` of numbers some of which are not there; used by streams.

    Args:
        codec: Of the part and role.
        values: (..., steps, width) float32, `codec.fill` where masked.
        mask: The same shape: true where a number is real; changed in place.
        state: Broadcastable to `values`; None for absolute numbers.
        state_mask: Of the state.

    Returns:
        Numbers (..., steps, given width) float32 and their mask: a rotation is masked as a whole.
    """
    layout = _layout(codec)
    if state is not None and state_mask is not None:
        values = _referred(codec, values, mask, state, state_mask)
    if layout.scaled:
        values = np.where(mask, (values - layout.centre) / layout.divisor, values)
        values = values.astype(np.float32)
    return _written(codec, values, mask)


def given_names(names: Sequence[str], *, rotation: Rotation, place: str) -> tuple[str, ...]:
    """Names of a role's numbers as they are given.

    Raises:
        UsageError: A quaternion is not whole.
    """
    found = list(names)
    for places in reversed(_groups(tuple(names), place).quaternions):
        prefix = found[places[0]].removesuffix("qx")
        found[places[0] : places[0] + 4] = [prefix + name for name in _WRITTEN[rotation][1]]
    return tuple(found)


def turned_places(names: Sequence[str], *, place: str) -> frozenset[int]:
    """Places of the numbers of rotations, which are not scaled."""
    return frozenset(k for group in _groups(tuple(names), place).quaternions for k in group)


def scale(found: Statistics, at: int, *, how: Normalisation) -> tuple[float, float]:
    """What becomes 0, and what is 1 above it, of one name of statistics; see the module."""
    low, high = {
        "none": (-1.0, 1.0),
        "quantile": (found.q01[at], found.q99[at]),
        "min-max": (found.min[at], found.max[at]),
        "mean-std": (found.mean[at], found.std[at]),
    }[how]
    if low is None or high is None:
        return 0.0, 1.0
    if how == "mean-std":
        return low, 0.0 if high <= _SAME * max(1.0, abs(low)) else high
    if how == "quantile" and _same(low, high):
        low, high = found.min[at] or 0.0, found.max[at] or 0.0
    return (low + high) / 2, 0.0 if _same(low, high) else (high - low) / 2


def _same(low: float, high: float) -> bool:
    return high - low <= _SAME * max(1.0, abs(low), abs(high))


def _checked(codec: VectorCodec, values: ArrayLike, width: int, *, what: str) -> np.ndarray:
    found = np.asarray(values)
    if found.ndim < 2 or found.shape[-1] != width:
        raise FeatureError(
            place=f"{what} of vector role {codec.role}",
            found=f"an array of shape {found.shape}",
            wanted=f"(..., steps, {width})",
        )
    return found


def _reference(
    codec: VectorCodec, values: np.ndarray, state: ArrayLike | None
) -> np.ndarray | None:
    """The state as something that broadcasts to the values; None where nothing refers to one."""
    if codec.action == "absolute":
        return None
    shape = values.shape if codec.action == "delta" else (*values.shape[:-2], values.shape[-1])
    found = None if state is None else np.asarray(state, np.float32)
    if found is None or found.shape != shape:
        raise FeatureError(
            place=f"state of vector role {codec.role}, whose actions are {codec.action}",
            found="none" if found is None else f"an array of shape {found.shape}",
            wanted=f"{shape}: "
            + ("the state at each step" if codec.action == "delta" else "the state now"),
        )
    return found if codec.action == "delta" else found[..., None, :]


def _referred(
    codec: VectorCodec,
    values: np.ndarray,
    mask: np.ndarray,
    state: np.ndarray,
    state_mask: np.ndarray,
) -> np.ndarray:
    """Absolute actions against states."""
    state = np.broadcast_to(state, values.shape)
    mask &= state_mask
    groups = _layout(codec).groups
    out = values.astype(np.float64) - state
    out[..., list(groups.grippers)] = values[..., list(groups.grippers)]
    for quaternion, position in zip(groups.quaternions, groups.positions, strict=True):
        q = list(quaternion)
        whole = mask[..., q].all(-1, keepdims=True)
        # Absent rotations have the fill, which is none: they turn by nothing.
        turned = np.where(whole, values[..., q], _IDENTITY)
        inverse = conjugate(np.where(whole, state[..., q], _IDENTITY))
        if codec.action == "delta":
            out[..., q] = canonicalise(multiply(turned, inverse))
            continue
        out[..., q] = canonicalise(multiply(inverse, turned))
        if position is not None:
            p = list(position)
            out[..., p] = rotate(inverse, out[..., p])
            mask[..., p] &= whole & mask[..., p].all(-1, keepdims=True)
    return np.where(mask, out, codec.fill).astype(np.float32)


def _back(codec: VectorCodec, values: np.ndarray, state: np.ndarray) -> np.ndarray:
    """Absolute actions of what refers to states."""
    groups = _layout(codec).groups
    wide = np.broadcast_to(state, values.shape).astype(np.float64)
    out = values + wide
    out[..., list(groups.grippers)] = values[..., list(groups.grippers)]
    for quaternion, position in zip(groups.quaternions, groups.positions, strict=True):
        q = list(quaternion)
        now, turn = wide[..., q], values[..., q]
        found = multiply(turn, now) if codec.action == "delta" else multiply(now, turn)
        side = (found * now).sum(-1, keepdims=True)
        out[..., q] = np.where(side < 0, -found, found)
        if codec.action == "relative" and position is not None:
            p = list(position)
            out[..., p] = wide[..., p] + rotate(now, values[..., p])
    return out


def _written(
    codec: VectorCodec, values: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rotations as they are asked for; a rotation is masked as a whole."""
    encoding, names = _WRITTEN[codec.rotation]
    if codec.rotation == "quaternion" and mask.all():
        return values, mask
    for places in reversed(_layout(codec).groups.quaternions):
        begin = places[0]
        whole = mask[..., list(places)].all(-1, keepdims=True)
        if codec.rotation == "quaternion":
            mask[..., list(places)] = whole
            continue
        unit = np.where(whole, values[..., list(places)], _IDENTITY)
        turned = from_quaternion_xyzw(unit.reshape(-1, 4), encoding=encoding)
        turned = turned.reshape(*unit.shape[:-1], len(names)).astype(np.float32)
        turned = np.where(whole, turned, np.float32(codec.fill))
        wide = np.broadcast_to(whole, turned.shape)
        values = np.concatenate([values[..., :begin], turned, values[..., begin + 4 :]], -1)
        mask = np.concatenate([mask[..., :begin], wide, mask[..., begin + 4 :]], -1)
    return values, mask


@lru_cache(maxsize=4096)
def _layout(codec: VectorCodec) -> _Layout:
    groups = _groups(codec.names, f"vector role {codec.role}")
    half = np.asarray(codec.half, np.float64)
    more = len(_WRITTEN[codec.rotation][1]) - 4
    firsts = [places[0] for places in groups.quaternions]
    turned = {place for group in groups.quaternions for place in group}
    plain = np.array([k for k in range(len(codec.names)) if k not in turned], np.int64)
    behind = np.searchsorted(np.array(firsts, np.int64), plain)
    return _Layout(
        groups=groups,
        centre=np.asarray(codec.centre, np.float64),
        half=half,
        scaled=codec.normalise != "none",
        divisor=np.where(half > 0, half, np.inf),
        plain=(plain, plain + more * behind),
        turned=tuple(first + more * k for k, first in enumerate(firsts)),
    )


@lru_cache(maxsize=1024)
def _groups(names: tuple[str, ...], where: str) -> _Groups:
    place = {name: k for k, name in enumerate(names)}
    quaternions: list[tuple[int, ...]] = []
    positions: list[tuple[int, ...] | None] = []
    for name in names:
        if not name.endswith("qx"):
            continue
        prefix = name.removesuffix("qx")
        wanted = [prefix + end for end in _QUATERNION]
        begin = place[name]
        if list(names[begin : begin + 4]) != wanted:
            raise UsageError(
                place=where,
                found=", ".join(names[begin : begin + 4]),
                wanted=", ".join(wanted) + ", next to each other",
            )
        quaternions.append(tuple(range(begin, begin + 4)))
        axes = [place.get(prefix + axis) for axis in "xyz"]
        known = [axis for axis in axes if axis is not None]
        positions.append(tuple(known) if len(known) == 3 else None)
    grippers = tuple(k for k, name in enumerate(names) if name.endswith("gripper"))
    return _Groups(tuple(quaternions), tuple(positions), grippers)
