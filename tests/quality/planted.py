"""Logs with known truth: smooth motions tracked by a controller, and ways to corrupt them."""

from __future__ import annotations

import numpy as np

from finedata.motion.quaternion import multiply, normalise
from finedata.motion.rotation import to_quaternion_xyzw
from finedata.store.motion.tracks import PartTracks

ARM = ("x", "y", "z", "qx", "qy", "qz", "qw", "gripper")
POSE_NAMES = tuple(f"right_{name}" for name in ARM)
TWO_ARMS = (*POSE_NAMES, *(f"left_{name}" for name in ARM))


def smooth(rng, frames, *, columns, reach, knots=6):
    """Random way points joined smoothly, with rests between some of them."""
    points = rng.uniform(-reach, reach, (knots, columns))
    points[rng.integers(1, knots)] = points[0]
    at = np.sort(rng.uniform(0, 1, knots - 2))
    at = np.concatenate([[0.0], at, [1.0]]) * (frames - 1)
    values = np.stack(
        [np.interp(np.arange(frames), at, points[:, k]) for k in range(columns)], axis=1
    )
    width = max(3, frames // 12)
    kernel = np.hanning(width + 2)[1:-1]
    kernel /= kernel.sum()
    padded = np.pad(values, ((width, width), (0, 0)), mode="edge")
    eased = [np.convolve(padded[:, k], kernel, mode="same") for k in range(columns)]
    return np.stack(eased, axis=1)[width:-width]


def targets(rng, frames):
    """(T, 8) commanded poses of one arm: half a metre of reach, tool turning, gripper shutting."""
    position = smooth(rng, frames, columns=3, reach=0.25) + np.array([0.3, 0.0, 0.3])
    turn = to_quaternion_xyzw(smooth(rng, frames, columns=3, reach=0.6), encoding="rotation_vector")
    base = normalise(np.array([0.1, 0.9, 0.2, 0.3]))[0]
    quaternion = multiply(turn, base)
    shut, opened = np.sort(rng.integers(frames // 6, frames - frames // 8, 2))
    gripper = np.ones(frames)
    gripper[shut : max(opened, shut + 3)] = 0.0
    return np.concatenate([position, quaternion, gripper[:, None]], axis=1)


def follow(rng, action, *, lag, noise_m=0.001, offset_m=0.003):
    """What a controller makes of targets: later, a little beside, with noise."""
    frames = len(action)
    late = action[np.clip(np.arange(frames) - lag, 0, None)].copy()
    position = late[:, :3] + rng.normal(0, offset_m, 3) + rng.normal(0, noise_m, (frames, 3))
    wobble = rng.normal(0, 0.01, (frames, 3)) + rng.normal(0, 0.02, 3)
    quaternion = multiply(late[:, 3:7], to_quaternion_xyzw(wobble, encoding="rotation_vector"))
    # Fingers take some frames to move.
    gripper = np.convolve(np.pad(late[:, 7], (3, 3), mode="edge"), np.ones(3) / 3, mode="same")
    return np.concatenate([position, quaternion, gripper[3:-3, None]], axis=1)


def clean(rng, *, frames=None, lag=None):
    """(action, state) of a good log, (T, 8) each."""
    frames = int(rng.integers(40, 140)) if frames is None else frames
    action = targets(rng, frames)
    state = follow(rng, action, lag=int(rng.integers(0, 4)) if lag is None else lag)
    return action, state


def _shifted(rng, action, state):
    by = len(action) // 3
    return action[by:], state[:-by]


def _other(rng, action, state):
    return clean(rng, frames=len(action))[0], state


def _wxyz(rng, action, state):
    return action[:, [0, 1, 2, 6, 3, 4, 5, 7]], state


def _axis_flipped(rng, action, state):
    wrong = action.copy()
    wrong[:, 1] *= -1.0
    return wrong, state


def _conjugated(rng, action, state):
    return action * np.array([1, 1, 1, -1, -1, -1, 1, 1]), state


def _scaled(rng, action, state):
    return action * np.array([1000.0, 1000, 1000, 1, 1, 1, 1, 1]), state


def _halved(rng, action, state):
    return action * np.array([0.5, 0.5, 0.5, 1, 1, 1, 1, 1]), state


def _stuck(rng, action, state):
    stuck = state.copy()
    stuck[len(state) // 3 :] = stuck[len(state) // 3]
    return action, stuck


def _inverted_gripper(rng, action, state):
    wrong = action.copy()
    wrong[:, 7] = 1.0 - wrong[:, 7]
    return wrong, state


def _noise(rng, action, state):
    wrong = state.copy()
    wrong[:, :3] += rng.normal(0, 0.15, (len(state), 3))
    return action, wrong


def _deltas(rng, action, state):
    wrong = action.copy()
    wrong[:, :3] = np.diff(action[:, :3], axis=0, prepend=action[:1, :3])
    return wrong, state


CORRUPTIONS = {
    "action shifted by a third": _shifted,
    "action of another episode": _other,
    "quaternion order": _wxyz,
    "sign of an axis": _axis_flipped,
    "inverse rotation": _conjugated,
    "millimetres": _scaled,
    "half the size": _halved,
    "state stuck": _stuck,
    "gripper inverted": _inverted_gripper,
    "noise": _noise,
    "deltas for targets": _deltas,
}


def tracks_of(pairs, *, names=POSE_NAMES, space="ee", times=None):
    """Join (action, state) pairs into one batch."""
    lengths = [len(action) for action, _ in pairs]
    return PartTracks(
        part="planted",
        space=space,
        names=tuple(names),
        action_names=tuple(names),
        arms=("right", "left")[: 1 + any(name.startswith("left_") for name in names)],
        episode_ids=[f"planted-{k:016x}" for k in range(len(pairs))],
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        state=np.concatenate([state for _, state in pairs]).astype(np.float32),
        action=np.concatenate([action for action, _ in pairs]).astype(np.float32),
        source_time_s=times,
    )
