"""The products of all experts at once, for CUDA: frames in the order of their experts, weights
stacked, and how many frames each expert has is told to nobody but the device.

Rows behind the last expert's are padding. Grouped products leave them as the memory was, forward
and backward, so whatever comes of them is dropped wherever rows meet.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, _foreach_copy_, nn  # pyright: ignore[reportPrivateImportUsage]
from torch.nn import functional

SPARE = 8
"""Ones behind the elements of a frame, by the first of which the upper product adds its bias.
Eight, since rows in bfloat16 begin at multiples of 16 bytes."""
KERNELS = (9, 10)
"""Major compute capabilities for which PyTorch has a grouped product; on others it loops, and waits
for the counts as `ExpertBank.sorted` does."""


class Stacks(NamedTuple):
    """Of all experts, in the precision of the products."""

    up: Float[Tensor, "experts inner wide"]
    """With the biases behind the weights, and zeros behind these."""
    down: Float[Tensor, "experts d_model inner"]
    down_bias: Float[Tensor, "experts d_model"]


class Order(NamedTuple):
    """Where frames go; all on their device."""

    owner: Int[Tensor, " rows"]
    """Of each frame as they lie; the number of experts where it is padding."""
    source: Int[Tensor, " rows"]
    """Which frame comes at a place of the order."""
    place: Int[Tensor, " rows"]
    """The place of each frame."""
    ends: Int[Tensor, " experts"]
    """Behind the last place of each expert, int32."""


def precision_of(hidden: Tensor, weight: Tensor) -> torch.dtype:
    """In what a linear layer would multiply these."""
    kind = hidden.device.type
    if torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return torch.promote_types(hidden.dtype, weight.dtype)


def has_kernel(device: torch.device, precision: torch.dtype, widths: Sequence[int]) -> bool:
    """Whether PyTorch has a grouped product for this device, precision and widths."""
    return (
        device.type == "cuda"
        and precision == torch.bfloat16
        and hasattr(functional, "grouped_mm")
        and all(width % SPARE == 0 for width in widths)
        and torch.cuda.get_device_capability(device)[0] in KERNELS
    )


def ordered(
    expert_index: Int[Tensor, "batch frames"], frame_mask: Bool[Tensor, "batch frames"], count: int
) -> Order:
    """By expert, and as they came within one; padding last."""
    # Sorting takes a pass for each byte.
    owner = torch.where(frame_mask, expert_index, count).reshape(-1).to(torch.int16)
    sorted_owner, source = owner.sort(stable=True)
    experts = torch.arange(count, dtype=owner.dtype, device=owner.device)
    ends = torch.searchsorted(sorted_owner, experts, right=True, out_int32=True)
    numbers = torch.arange(len(source), device=source.device)
    return Order(owner, source, torch.empty_like(source).scatter_(0, source, numbers), ends)


def moved(
    rows: Float[Tensor, "rows width"], places: Int[Tensor, " rows"]
) -> Float[Tensor, "rows width"]:
    """Each row at its place, which no other has. As a copy, since its gradient is a gather; that of
    a gather would be added up."""
    return torch.empty_like(rows).index_copy_(0, places, rows)


class Stacked(torch.autograd.Function):
    """Weights of one shape, stacked and cast in one pass; with biases these stand behind the rows,
    and zeros behind them."""

    @staticmethod
    def forward(ctx: Any, precision: torch.dtype, count: int, *tensors: Tensor) -> Tensor:
        """As `torch.stack(...).to(precision)`, which would write them twice. The first `count` are
        weights, the others biases of theirs."""
        weights, biases = tensors[:count], tensors[count:]
        *shape, width = weights[0].shape
        ctx.kept = width, weights[0].dtype, bool(biases)
        if not biases:
            stack = weights[0].new_empty((count, *shape, width), dtype=precision)
            _foreach_copy_(stack.unbind(0), weights)
            return stack
        stack = weights[0].new_zeros((count, *shape, width + SPARE), dtype=precision)
        _foreach_copy_(stack[..., :width].unbind(0), weights)
        stack[..., width] = torch.stack(biases)
        return stack

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Each tensor's part, in its own precision."""
        width, precision, biased = ctx.kept
        parts = gradients[0][..., :width].to(precision).unbind(0)
        if biased:
            parts += gradients[0][..., width].to(precision).unbind(0)
        return None, None, *parts


def stacked(
    precision: torch.dtype, weights: Sequence[Tensor], biases: Sequence[Tensor] = ()
) -> Tensor:
    """One tensor of all, gradients to each."""
    stack = Stacked.apply(precision, len(weights), *weights, *biases)
    assert isinstance(stack, Tensor)
    return stack


def stacks(ups: Sequence[nn.Linear], downs: Sequence[nn.Linear], precision: torch.dtype) -> Stacks:
    """Of the experts' own tensors, which stay what they are."""
    return Stacks(
        up=stacked(precision, [up.weight for up in ups], [up.bias for up in ups]),
        down=stacked(precision, [down.weight for down in downs]),
        down_bias=stacked(precision, [down.bias for down in downs]),
    )


def product(
    rows: Float[Tensor, "rows inputs"],
    weights: Float[Tensor, "experts outputs inputs"],
    ends: Int[Tensor, " experts"],
) -> Float[Tensor, "rows outputs"]:
    """Of each expert's rows with its weights; behind the last end whatever lay there."""
    return functional.grouped_mm(rows, weights.transpose(1, 2), offs=ends)


def with_bias(
    answers: Float[Tensor, "rows d_model"],
    owner: Int[Tensor, " rows"],
    bias: Float[Tensor, "experts d_model"],
) -> Float[Tensor, "rows d_model"]:
    """Answers as frames lie, each with the bias of its expert; padding with none. As a product,
    since its gradient is one too."""
    experts = torch.arange(len(bias), dtype=owner.dtype, device=owner.device)
    return torch.addmm(answers, (owner.unsqueeze(1) == experts).to(bias.dtype), bias)
