"""Generated units for the tests of clustering: arms that move, of known shapes."""

from __future__ import annotations

import numpy as np

from finedata.cluster.distance.motion import ArmLayout, UnitTracks

__all__ = ["ARM", "TWO_ARMS", "MemoryStore", "make_units"]

ARM = (ArmLayout(scaled=(0, 1, 2), quaternion=3, gripper=7),)
TWO_ARMS = (*ARM, ArmLayout(scaled=(8, 9, 10), quaternion=11, gripper=15))


def make_units(
    sizes: list[int],
    *,
    seed: int = 0,
    length: tuple[int, int] = (4, 12),
    ways: int = 1,
    arms: tuple[ArmLayout, ...] = ARM,
) -> UnitTracks:
    """Units of the given sizes; track k of a unit goes way `k % ways`."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(length[0], length[1] + 1, sum(sizes))
    tracks: list[np.ndarray] = []
    for size in sizes:
        goals = rng.normal(size=(ways, len(arms), 3)) * 3
        for k in range(size):
            time = np.linspace(0, 1, lengths[len(tracks)])[:, None]
            columns: list[np.ndarray] = []
            for arm in range(len(arms)):
                position = time * goals[k % ways, arm] + rng.normal(size=3) * 0.05
                angle = time[:, 0] * (1 + k % ways)
                quaternion = np.zeros((len(time), 4))
                quaternion[:, 2], quaternion[:, 3] = np.sin(angle / 2), np.cos(angle / 2)
                gripper = (time > 0.5).astype(float)
                columns += [position, quaternion, gripper]
            tracks.append(np.concatenate(columns, axis=1).astype(np.float32))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    unit_offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    values = np.concatenate(tracks) if tracks else np.zeros((0, 8 * len(arms)), np.float32)
    return UnitTracks.of(values, offsets=offsets, unit_offsets=unit_offsets, arms=arms)


class MemoryStore:
    """A store of tiles that counts what is put into it."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, int], bytes] = {}
        self.puts = 0

    def get(self, kind: str, number: int) -> bytes | None:
        return self.held.get((kind, number))

    def put(self, kind: str, number: int, payload: bytes) -> None:
        self.puts += 1
        self.held[kind, number] = payload
