"""A batch: arrays of fixed shape by role, and the words and names of its samples."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from finedata.shard.stream.numbers import Vector
    from finedata.shard.stream.sequence import Samples, Sequence

__all__ = ["Batch", "Layout"]

# Arrays begin on cache lines.
_ALIGN_BYTES = 64


class Batch:
    """Samples of one rank, in the order of the sequence.

    Arrays are views of memory that is used again when nobody holds them any more.

    Attributes:
        pictures: Picture role to (n, height, width, 3) uint8, RGB; black where the part has no such
            camera. With a history (n, steps, height, width, 3), the sample's own frame last; before
            an episode's first picture that one stands.
        picture_mask: Picture role to (n,) or (n, steps) bool: the sample has this picture.
        depth: Picture role to (n, height, width) float32, metres of the same pixels as the
            picture's, 0 where there is none; empty where depth is not asked for.
        matrix: Picture role to (n, 3, 3) float32, the pinhole of these pictures in their pixels;
            not a number where nobody knows it.
        vectors: Vector role to (n, steps, width) float32.
        vector_mask: Vector role to the same shape, bool: this number is real, inside the episode
            and, of an action, was commanded.
        text: The words of each sample.
        trace: The trace of each sample, where traces are asked for and there is one.
        encoded: What the encoder made, if there is one; see `Encoding`.
    """

    def __init__(
        self,
        samples: Samples,
        sequence: Sequence,
        *,
        arrays: dict[str, np.ndarray],
        text: list[str],
        trace: list[dict[str, Any] | None],
    ) -> None:
        self._samples = samples
        self._sequence = sequence
        self.pictures = _of(arrays, "picture")
        self.picture_mask = _of(arrays, "picture_mask")
        self.depth = _of(arrays, "depth")
        self.matrix = _of(arrays, "matrix")
        self.vectors = _of(arrays, "vector")
        self.vector_mask = _of(arrays, "vector_mask")
        self.encoded = _of(arrays, "encoded")
        self.text = text
        self.trace = trace

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def n(self) -> np.ndarray:
        """(n,) int64: number in the sequence."""
        return self._samples.n

    @property
    def frame_index(self) -> np.ndarray:
        """(n,) int64: frame in the episode."""
        return self._samples.frame_index

    @property
    def view(self) -> list[str]:
        """The view of each sample."""
        return [self._sequence.views[k] for k in self._samples.view.tolist()]

    @property
    def source(self) -> list[str]:
        """The source of each sample."""
        sets = self._sequence.shards.sets
        return [sets[name].source for name in self.set_names]

    @property
    def set_names(self) -> list[str]:
        """The set of each sample."""
        return [self._sequence.sets[k] for k in self._samples.shard_set.tolist()]

    @cached_property
    def episode_id(self) -> list[str]:
        """The episode of each sample."""
        return [name for _, _, name, _ in self._sequence.names(self._samples)]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the arrays of a batch are in a piece of memory.

    Attributes:
        places: Name to (offset in bytes, shape, dtype).
        total_bytes: Of all.
    """

    places: dict[str, tuple[int, tuple[int, ...], str]]
    total_bytes: int

    @classmethod
    def of(
        cls,
        batch: int,
        *,
        cameras: tuple[str, ...],
        size: tuple[int, int],
        steps: tuple[int, ...],
        vectors: list[Vector],
        encoded: Mapping[str, tuple[tuple[int, ...], str]],
        depth: bool = False,
    ) -> Layout:
        """The layout of batches of so many samples; `steps` is () without a history of pictures."""
        places: dict[str, tuple[int, tuple[int, ...], str]] = {}
        at = 0

        def put(name: str, shape: tuple[int, ...], dtype: str) -> None:
            nonlocal at
            places[name] = at, (batch, *shape), dtype
            length = batch * prod(shape) * np.dtype(dtype).itemsize
            at += -(-length // _ALIGN_BYTES) * _ALIGN_BYTES

        for role in cameras:
            put(f"picture:{role}", (*steps, *size, 3), "uint8")
            put(f"picture_mask:{role}", steps, "bool")
            if depth:
                put(f"depth:{role}", size, "float32")
                put(f"matrix:{role}", (3, 3), "float32")
        for vector in vectors:
            put(f"vector:{vector.role}", (vector.steps, len(vector.names)), "float32")
            put(f"vector_mask:{vector.role}", (vector.steps, len(vector.names)), "bool")
        for name, (shape, dtype) in encoded.items():
            put(f"encoded:{name}", shape, dtype)
        return cls(places, at)

    def arrays(self, memory: np.ndarray, count: int) -> dict[str, np.ndarray]:
        """The arrays of the first `count` samples, as views of (total_bytes,) uint8."""
        found: dict[str, np.ndarray] = {}
        for name, (offset, shape, dtype) in self.places.items():
            length = prod(shape) * np.dtype(dtype).itemsize
            found[name] = memory[offset : offset + length].view(dtype).reshape(shape)[:count]
        return found


def _of(arrays: dict[str, np.ndarray], kind: str) -> dict[str, np.ndarray]:
    return {
        name.removeprefix(f"{kind}:"): array
        for name, array in arrays.items()
        if name.startswith(f"{kind}:")
    }
