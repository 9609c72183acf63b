"""Tensors of which a rank holds all, its rows alone (FSDP2), or nothing, since another rank's
experts have them (a tensor on the device "meta", which has a shape and no memory).

All that leaves a step is made whole again, one tensor at a time, and is what a run with whole
models has: files, validated weights, the final model.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from turnout.training.distributed import Ranks


def local(tensor: Tensor) -> Tensor:
    """This rank's rows of a spread tensor, in the memory where they lie; any other as it is."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def holders_of(tensors: Sequence[Tensor], ranks: Ranks) -> list[list[int]]:
    """Of each tensor the ranks that hold it or rows of it, which all ranks ask for together."""
    held = [[not tensor.is_meta for tensor in tensors]]
    table = ranks.gather_rows(torch.tensor(held, dtype=torch.uint8, device=ranks.device))
    return [[rank for rank, has in enumerate(column) if has] for column in table.T.tolist()]


@torch.no_grad()
def full(tensor: Tensor, holders: Sequence[int], ranks: Ranks) -> Tensor:
    """All of a tensor, which all ranks ask for together; that tensor itself, in the memory where it
    lies, where nothing of it is to come from another rank."""
    tensor = tensor.detach()
    if not isinstance(tensor, DTensor):
        return tensor if len(holders) == ranks.size else ranks.from_rank(holders[0], tensor)
    rows, own = tensor.shape[0], local(tensor)
    padded = own.new_zeros((-(-rows // ranks.size), *own.shape[1:]))
    padded[: own.shape[0]] = own
    return ranks.gather_rows(padded)[:rows]


@torch.no_grad()
def put(target: Tensor, whole: Tensor) -> None:
    """Copy a whole tensor into `target`: where that is spread, this rank's rows of it, where
    another rank holds it, nothing."""
    if target.is_meta:
        return
    if not isinstance(target, DTensor):
        target.copy_(whole)
        return
    own, rows = local(target), target.shape[0]
    before = target.device_mesh.get_local_rank() * -(-rows // target.device_mesh.size())
    own.copy_(whole[before : before + own.shape[0]])


def share_to_write(tensors: Mapping[str, Tensor], ranks: Ranks, writers: int) -> dict[str, Tensor]:
    """Whole tensors in this process's memory, of which the first `writers` ranks take turns, so
    that each is written once, by one that holds it where one of them does; all ranks take part."""
    share: dict[str, Tensor] = {}
    names = sorted(tensors)
    held_by = holders_of([tensors[name] for name in names], ranks)
    for turn, (name, holders) in enumerate(zip(names, held_by, strict=True)):
        able, tensor = [rank for rank in holders if rank < writers], tensors[name]
        if isinstance(tensor, DTensor) or not able:
            tensor = full(tensor, holders, ranks)
        takers = able or range(writers)
        if takers[turn % len(takers)] == ranks.rank:
            share[name] = tensor.detach().cpu().contiguous()
    return share
