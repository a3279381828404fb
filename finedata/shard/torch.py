"""Streams in torch: tensors in place of arrays, pinned where a GPU waits for them.

No DataLoader is needed, since a stream reads ahead by itself; inside a `StatefulDataLoader` of
torchdata (without workers of its own, and `batch_size=None`) its state is the stream's.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from finedata.errors import UsageError, need

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from finedata.shard.stream.batch import Batch
    from finedata.shard.stream.stream import Stream

# torch is no dependency, so its types are not known where this is checked.
Tensor: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class TensorBatch:
    """A batch as tensors; attributes as of `Batch`, pictures still (n, height, width, 3) uint8."""

    pictures: dict[str, Tensor]
    picture_mask: dict[str, Tensor]
    vectors: dict[str, Tensor]
    vector_mask: dict[str, Tensor]
    text: list[str]
    trace: list[dict[str, Any] | None]
    view: list[str]
    source: list[str]
    episode_id: list[str]
    n: Tensor
    frame_index: Tensor


class TensorStream:
    """An iterable of tensors with the state of its stream.

    Args:
        stream: The stream.
        device: Where tensors go; without waiting, from pinned memory, where it is a GPU.
        pin: Pin memory although the tensors stay on the host.

    Raises:
        MissingExtraError: torch is not installed.
    """

    def __new__(cls, stream: Stream, *, device: str = "cpu", pin: bool = False) -> Self:
        """An object that is an `IterableDataset` too: a DataLoader asks for that very class."""
        del stream, device, pin
        need("torch", extra="train", place="tensors of a stream")
        base = import_module("torch.utils.data").IterableDataset
        return object.__new__(type(cls.__name__, (cls, base), {}))

    def __init__(self, stream: Stream, *, device: str = "cpu", pin: bool = False) -> None:
        self.stream = stream
        self._device = device
        self._pin = pin or device.startswith("cuda")

    def __iter__(self) -> Iterator[TensorBatch]:
        if import_module("torch.utils.data").get_worker_info() is not None:
            raise UsageError(
                place="tensors of a stream",
                found="a DataLoader with workers of its own, each of which would give every sample",
                wanted="DataLoader(..., num_workers=0): stream(..., workers=n) reads ahead itself",
            )
        for batch in self.stream:
            yield tensors(batch, device=self._device, pin=self._pin)

    def state_dict(self) -> dict[str, Any]:
        """See `Stream.state_dict`."""
        return self.stream.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Stream.load_state_dict`."""
        self.stream.load_state_dict(state)


def tensors(batch: Batch, *, device: str = "cpu", pin: bool = False) -> TensorBatch:
    """A batch as tensors; on the host and not pinned they share the batch's memory.

    Args:
        batch: The batch.
        device: Where tensors go.
        pin: Copy through pinned memory.
    """
    torch = import_module("torch")

    def of(arrays: dict[str, Any]) -> dict[str, Tensor]:
        return {name: one(array) for name, array in arrays.items()}

    def one(array: Any) -> Tensor:
        tensor = torch.from_numpy(array)
        if pin:
            tensor = tensor.pin_memory()
        return tensor.to(device, non_blocking=pin)

    return TensorBatch(
        pictures=of(batch.pictures),
        picture_mask=of(batch.picture_mask),
        vectors=of(batch.vectors),
        vector_mask=of(batch.vector_mask),
        text=batch.text,
        trace=batch.trace,
        view=batch.view,
        source=batch.source,
        episode_id=batch.episode_id,
        n=one(batch.n.copy()),
        frame_index=one(batch.frame_index.copy()),
    )
