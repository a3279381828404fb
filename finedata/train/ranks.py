# pyright: basic, reportMissingImports=false
"""One process or many: who this is, and a policy spread over all of them.

torchrun starts the processes and says in the environment which is which; nothing else is read from
there. Gradients are averaged over ranks by DDP and FSDP2 alike.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import distributed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finedata.train.policy import Policy

Sharding: TypeAlias = Literal["fsdp", "ddp"]


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among all.

    Attributes:
        rank: Its number.
        world: How many there are.
        device: Where it computes.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this one writes and speaks."""
        return self.rank == 0

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum over all ranks, in place."""
        if self.world > 1:
            distributed.all_reduce(tensor)
        return tensor

    def gathered(self, sums: dict[str, list[float]]) -> dict[str, list[float]]:
        """Lists by name, summed over all ranks number by number."""
        if self.world == 1:
            return sums
        parts: list[Any] = [None] * self.world
        distributed.all_gather_object(parts, sums)
        total: dict[str, list[float]] = {}
        for part in parts:
            for name, numbers in part.items():
                before = total.get(name, [0.0] * len(numbers))
                total[name] = [a + b for a, b in zip(before, numbers, strict=True)]
        return total

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.world > 1:
            distributed.barrier()

    def spread(self, policy: Policy, sharding: Sharding) -> Any:
        """The module to call: the policy itself, or wrapped; parameters become sharded in place."""
        if self.world == 1:
            return policy
        if sharding == "ddp":
            ids = [self.device.index] if self.device.type == "cuda" else None
            return torch.nn.parallel.DistributedDataParallel(policy, device_ids=ids)
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(self.device.type, (self.world,))
        for block in policy.backbone.blocks:
            fully_shard(block, mesh=mesh)
        return fully_shard(policy, mesh=mesh)


def join(device: str = "") -> Ranks:
    """Join the other processes of torchrun, if there are any.

    Args:
        device: `cpu`, `cuda` or one of several; the GPU where there is one by default.
    """
    rank, world, local = (
        int(os.environ.get(name, default))
        for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
    )
    found = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if found.type == "cuda" and found.index is None:
        found = torch.device("cuda", local)
        torch.cuda.set_device(found)
    if world > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if found.type == "cuda" else "gloo")
    return Ranks(rank, world, found)


def reshard(module: Any) -> None:
    """Share the weights over ranks again: FSDP2 leaves the outermost whole until a backward."""
    for part in module.modules():
        if hasattr(part, "reshard"):
            part.reshard()


def synchronised(module: Any, micro_batches: list[Any]) -> Iterator[Any]:
    """Micro-batches, gradients being averaged over ranks with the last one only."""
    for number, batch in enumerate(micro_batches):
        last = number == len(micro_batches) - 1
        if hasattr(module, "set_requires_gradient_sync"):
            module.set_requires_gradient_sync(last)
        wait = hasattr(module, "no_sync") and not last
        with module.no_sync() if wait else nullcontext():
            yield batch
