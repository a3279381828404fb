"""How far a run is, said in one form by every verb, so that one bar shows them all."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["OnProgress", "Progress"]


class Progress(msgspec.Struct, frozen=True):
    """How far a run is; `done` and `failed` of `total` are behind it.

    Attributes:
        phase: What is being done. Its verb decides what is counted: `converting` bytes of the
            source, `judging` and `reading` frames, `comparing` pairs of frames, `measuring`
            episodes, `asking` episodes (frames, for traces), `packing` pieces of shards.
        done: So many are done well.
        total: So many there are, as far as is known; a run may end below it.
        failed: So many failed: episodes where bytes are counted, else of what is counted.
    """

    phase: str
    done: int
    total: int
    failed: int = 0


OnProgress: TypeAlias = "Callable[[Progress], None] | None"
