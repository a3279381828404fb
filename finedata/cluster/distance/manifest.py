"""The manifest beside the tiles of a run: which units there were, and which tiles hold them.

Written before the first tile, read by `distances`; beside it, in the ledger of all runs, the mark
of the last one that finished.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from finedata.cluster.distance.tiles import Subset, Tile, TileKind, UnitPlan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from finedata.cluster.distance.pipeline import TileStore
    from finedata.cluster.group.unit_groups import UnitGroup

# The ledger that says which ledger holds the last finished run; its lock is the verb's.
INDEX = "cluster"
FINISHED = "finished"
MANIFEST, IDS = "manifest", "ids"


class _Large(msgspec.Struct, frozen=True, array_like=True):
    unit: int
    order: bytes
    bounds: bytes
    landmarks: bytes | None
    sample: bytes
    tiles: int


class _Tile(msgspec.Struct, frozen=True, array_like=True):
    number: int
    kind: TileKind
    units: tuple[int, int]
    blocks: tuple[int, int]
    pairs: int
    large: int | None


class StoredGroup(msgspec.Struct, frozen=True, array_like=True):
    """The units of one part and one set of arms, and their tiles."""

    part: str
    arms: tuple[str, ...]
    task_ids: list[str]
    unit_offsets: bytes
    tiles: list[_Tile]
    large: list[_Large]


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """What the index says of the last finished run."""

    ledger: str
    settings_sha256: str
    dtype: Literal["float32", "float64"]


def finished_bytes(mark: Finished) -> bytes:
    """What the index keeps of a finished run."""
    return msgspec.msgpack.encode(mark)


def store_manifest(
    store: TileStore, groups: Sequence[UnitGroup], tiles: Sequence[Sequence[Tile]]
) -> None:
    """Say in a ledger what its tiles will hold.

    Args:
        store: The ledger of tiles.
        groups: The units.
        tiles: The tiles of each group, numbered on from one group to the next.
    """
    entries: list[StoredGroup] = []
    number = 0
    for place, (group, own) in enumerate(zip(groups, tiles, strict=True)):
        large: dict[int, UnitPlan] = {t.plan.unit: t.plan for t in own if t.plan is not None}
        entries.append(
            StoredGroup(
                group.part.part,
                group.arms,
                group.task_ids,
                _bytes_of(group.tracks.unit_offsets),
                [
                    _Tile(
                        number + t.number,
                        t.kind,
                        t.units,
                        t.blocks,
                        t.pairs,
                        None if t.plan is None else t.plan.unit,
                    )
                    for t in own
                ],
                [_packed(plan) for plan in large.values()],
            )
        )
        number += len(own)
        ids = "\n".join(group.episode_ids).encode()
        _put_new(store, IDS, place, ids)
    _put_new(store, MANIFEST, 0, msgspec.msgpack.encode(entries))


def stored_tiles(group: StoredGroup) -> list[Tile]:
    """The tiles of a group, as they were planned; cells are not known any more."""
    plans = {one.unit: _unpacked(one) for one in group.large}
    return [
        Tile(
            number=entry.number,
            kind=entry.kind,
            units=entry.units,
            cells=0,
            pairs=entry.pairs,
            blocks=entry.blocks,
            plan=None if entry.large is None else plans[entry.large],
        )
        for entry in group.tiles
    ]


def _packed(plan: UnitPlan) -> _Large:
    order, bounds = _bytes_of(plan.order), _bytes_of(plan.bounds)
    if plan.subset is None:
        return _Large(plan.unit, order, bounds, None, b"", plan.tiles)
    chosen, sample = _bytes_of(plan.subset.landmarks), _bytes_of(plan.subset.sample)
    return _Large(plan.unit, order, bounds, chosen, sample, plan.tiles)


def _unpacked(one: _Large) -> UnitPlan:
    subset = None
    if one.landmarks is not None:
        subset = Subset(landmarks=numbers_of(one.landmarks), sample=numbers_of(one.sample))
    return UnitPlan(
        unit=one.unit,
        order=numbers_of(one.order),
        bounds=numbers_of(one.bounds),
        subset=subset,
        tiles=one.tiles,
    )


def _bytes_of(numbers: NDArray[np.int64]) -> bytes:
    return numbers.astype("<i8").tobytes()


def numbers_of(payload: bytes) -> NDArray[np.int64]:
    """Stored int64 numbers."""
    return np.frombuffer(payload, "<i8").astype(np.int64)


def _put_new(store: TileStore, kind: str, number: int, payload: bytes) -> None:
    if store.get(kind, number) != payload:
        store.put(kind, number, payload)
