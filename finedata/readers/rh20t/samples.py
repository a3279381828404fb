"""Which sample of an RH20T stream belongs to which row: only time tells.

Every file of `transformed/` samples the robot at a camera's own colour frames, but with samples
missing or `None`, so a file gives no row a place by its order. Equal times are taken first, else
the nearest within 100 ms, else NaN: to hold an older value would invent a measurement. No number
is converted; units and orders are the publisher's.

Layout: rh20t_api (`scene.py`), MIT.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, cast

import numpy as np

from finedata.errors import FeatureError, LengthError, MissingFeatureError

# How far a sample may lie from the row it is shown in; the publisher's converters use the same.
ALIGNMENT_MS: Final = 100

# Beyond the largest integer that float64 holds exactly nothing is a time in milliseconds.
_MAX_MS = 1 << 53


class Stream(NamedTuple):
    """Where a feature is.

    Attributes:
        file: A file of `transformed/`.
        member: Which member of a sample; `None` where the sample is the value itself.
        width: Numbers of a value; `None` where it depends on the robot.
    """

    file: str
    member: str | None
    width: int | None


# Feature to its place. A pose is metres and quaternion_wxyz, in the robot's base (`_base`) or the
# camera's frame; forces are newtons, torques newton metres, joints radians; a gripper's first
# number is its width in millimetres.
STREAMS: Final = {
    "tcp_base": Stream("tcp_base.npy", "tcp", 7),
    "tcp": Stream("tcp.npy", "tcp", 7),
    "robot_ft": Stream("tcp_base.npy", "robot_ft", 6),
    "force_torque": Stream("force_torque.npy", "raw", 6),
    "force_torque_base": Stream("force_torque_base.npy", "raw", 6),
    "gripper_command": Stream("gripper.npy", "gripper_command", None),
    "gripper_info": Stream("gripper.npy", "gripper_info", None),
    "joint": Stream("joint.npy", None, None),
}


def holds_samples(entry: Any) -> bool:
    """Whether a camera has an entry; one of the wrong type is refused where it is read.

    Args:
        entry: What a file of `transformed/` holds for the camera; `None` where it has nothing.
    """
    return entry is not None and not (isinstance(entry, (list, dict)) and not entry)


def samples_of(
    entry: Any, *, feature: str, camera: str, folder: str
) -> tuple[np.ndarray, np.ndarray]:
    """Times and values of a feature, in the order in which the file stores them.

    Args:
        entry: What the feature's file holds for a camera: a list of dicts with `timestamp`, a
            dict by time, or `None`.
        feature: One of `STREAMS`.
        camera: Serial of the camera, for errors.
        folder: Name of the scene, for errors.

    Returns:
        Times, int64 (n,), Unix milliseconds, and values, float64 (n, width), NaN where unknown.

    Raises:
        MissingFeatureError: No sample of this camera has it.
        LengthError: Its values have different widths.
        FeatureError: The entry, a time or a value is of another type.
    """
    stream = STREAMS[feature]
    file = f"{folder}/transformed/{stream.file}"
    pairs = _pairs(entry, stream.member, place=file)
    if all(value is None for _, value in pairs) and (not pairs or stream.width is None):
        found = f"no sample for the camera {camera}"
        raise MissingFeatureError(place=file, found=found, wanted=f"the feature {feature}")
    place = f"feature {feature} of {folder}"
    times = milliseconds_of([time for time, _ in pairs], place=place)
    return times, _matrix([value for _, value in pairs], stream.width, place)


def aligned_to_rows(row_ms: np.ndarray, *, sample_ms: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The sample of each row: of equal time, else the nearest (the earlier of two) in reach.

    Args:
        row_ms: Times of the rows, int64 (T,), in any order.
        sample_ms: Times of the samples, int64 (n,), n >= 1, in any order; of equal ones the
            first stored counts.
        values: The samples, float64 (n, width).

    Returns:
        Float64 (T, width); NaN in rows without a sample within `ALIGNMENT_MS`.

    Example:
        >>> rows, samples = np.array([0, 50, 500]), np.array([10, 60])
        >>> aligned_to_rows(rows, sample_ms=samples, values=np.array([[1.0], [2.0]]))[:, 0]
        array([ 1.,  2., nan])
    """
    order = np.argsort(sample_ms, kind="stable")
    nearest = order[nearest_of(row_ms, sorted_ms=sample_ms[order])]
    aligned = values[nearest]
    aligned[np.abs(sample_ms[nearest] - row_ms) > ALIGNMENT_MS] = np.nan
    return aligned


def nearest_of(row_ms: np.ndarray, *, sorted_ms: np.ndarray) -> np.ndarray:
    """Index of the nearest of sorted times, int64 (T,); of two as near, or equal, the first.

    Args:
        row_ms: Times that are looked for, int64 (T,), in any order.
        sorted_ms: Times to choose from, int64 (n,), n >= 1, ascending.
    """
    after = np.searchsorted(sorted_ms, row_ms, side="left").clip(max=len(sorted_ms) - 1)
    before = np.searchsorted(sorted_ms, sorted_ms[(after - 1).clip(min=0)], side="left")
    is_before = np.abs(sorted_ms[before] - row_ms) <= np.abs(sorted_ms[after] - row_ms)
    return np.where(is_before, before, after)


def _pairs(entry: Any, member: str | None, *, place: str) -> list[tuple[Any, Any]]:
    """(time, value) of a camera's samples: a list of dicts with `timestamp`, or a dict by time."""
    if entry is None:
        return []
    if isinstance(entry, dict):
        timed = list(cast("dict[Any, Any]", entry).items())
    elif isinstance(entry, list):
        # Without its dict or its time a sample says nothing; its row stays NaN or goes without.
        samples = [s for s in cast("list[Any]", entry) if s is not None]
        if not all(isinstance(sample, dict) for sample in samples):
            raise FeatureError(place=place, found="a sample that is no dict", wanted="dicts")
        timed = [(s["timestamp"], s) for s in samples if s.get("timestamp") is not None]
    else:
        found = f"a {type(entry).__name__} for a camera"
        raise FeatureError(place=place, found=found, wanted="a list or a dict")
    if member is None:
        return timed
    if not all(sample is None or isinstance(sample, dict) for _, sample in timed):
        raise FeatureError(place=place, found="a sample that is no dict", wanted="dicts")
    # A member that no sample has is a feature that is not there; one that is None is unknown.
    if not any(sample and member in sample for _, sample in timed):
        return []
    return [(time, None if sample is None else sample.get(member)) for time, sample in timed]


def milliseconds_of(times: list[Any], *, place: str) -> np.ndarray:
    """Time stamps as int64 (n,), Unix milliseconds, in the order in which they are stored.

    Args:
        times: Numbers as they were unpickled.
        place: Whose they are, for errors.

    Raises:
        FeatureError: One is no number, no whole one, or beyond what float64 holds exactly.
    """
    for time in times:
        if not _is_whole(time):
            raise FeatureError(place=place, found=f"{time!r:.60}", wanted="whole milliseconds")
    return np.array(times, np.int64)


def _is_whole(time: Any) -> bool:
    """Whether an unpickled value is a whole number of milliseconds that int64 and float64 hold."""
    # The comparison is false for NaN and infinity: int() is asked only of what it can take.
    return (
        isinstance(time, (int, float, np.integer, np.floating))
        and not isinstance(time, bool)
        and abs(cast("float", time)) < _MAX_MS
        and int(cast("float", time)) == time
    )


def _matrix(values: list[Any], width: int | None, place: str) -> np.ndarray:
    """Rows float64 (n, width); `None` as a whole or inside becomes NaN."""
    rows = [None if value is None else _row(value, place) for value in values]
    widths = {len(row) for row in rows if row is not None}
    if width:
        widths.add(width)
    if len(widths) != 1:
        raise LengthError(
            place=place, found=f"values of {sorted(widths)} numbers", wanted="one width"
        )
    unknown = np.full(widths.pop(), np.nan)
    return np.stack([unknown if row is None else row for row in rows])


def _row(value: Any, place: str) -> np.ndarray:
    """One sample as float64 (width,); a bare number is a row of one."""
    try:
        found = np.asarray(value)
        if found.dtype.kind == "O" and found.ndim <= 1:
            listed: list[Any] = found.reshape(-1).tolist()
            found = np.array([np.nan if item is None else float(item) for item in listed])
    except (TypeError, ValueError, OverflowError) as error:
        raise FeatureError(place=place, found=f"{error}", wanted="numbers") from error
    if found.dtype.kind not in "iuf" or found.ndim > 1 or not found.size:
        kind = f"{found.dtype} of shape {found.shape}"
        raise FeatureError(place=place, found=kind, wanted="a row of numbers")
    return found.reshape(-1).astype(np.float64)
