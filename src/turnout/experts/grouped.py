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

ALIGNED = 8
"""Widths are multiples of this: rows in bfloat16 begin at multiples of 16 bytes."""
KERNELS = (9, 10)
"""Major compute capabilities for which PyTorch has a grouped product; on others it loops, and waits
for the counts as `ExpertBank.sorted` does."""

MOST_ROWS = 4096
"""Frames for each expert, padding counted: how many are valid only the device knows. With more the
sorted loop is faster, its wait included (docs/speed.md)."""


class Order(NamedTuple):
    """Where frames go; all on their device."""

    source: Int[Tensor, " rows"]
    """Which frame comes at a place of the order."""
    ends: Int[Tensor, " experts"]
    """Behind the last place of each expert, int32."""
    owner: Float[Tensor, "rows experts"]
    """One where a place is an expert's, else zero; in the precision of the products."""


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
        and all(width % ALIGNED == 0 for width in widths)
        and torch.cuda.get_device_capability(device)[0] in KERNELS
    )


def ordered(
    expert_index: Int[Tensor, " rows"],
    padding: Bool[Tensor, " rows"],
    count: int,
    precision: torch.dtype,
) -> Order:
    """By expert, and as they came within one; padding last."""
    owner, source = expert_index.masked_fill(padding, count).sort(stable=True)
    experts = torch.arange(count, device=owner.device)
    ends = torch.searchsorted(owner, experts, right=True, out_int32=True)
    return Order(source, ends, (owner.unsqueeze(1) == experts).to(precision))


class Taken(torch.autograd.Function):
    """Frames in their order. By hand, since the gradient of a gather is added up, and no frame
    comes twice; at padding it is zero, whatever comes."""

    @staticmethod
    def forward(ctx: Any, frames: Tensor, order: Order, padding: Tensor) -> Tensor:
        """In the precision of the products."""
        ctx.kept = order.source, padding, frames.dtype
        return frames.to(order.owner.dtype).index_select(0, order.source)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """To where they came from."""
        source, padding, precision = ctx.kept
        back = put_back(gradients[0], source)
        return back.masked_fill_(padding, 0).to(precision), None, None


def put_back(
    rows: Float[Tensor, "rows width"], source: Int[Tensor, " rows"]
) -> Float[Tensor, "rows width"]:
    """Each row where it was taken from."""
    return torch.empty_like(rows).index_copy_(0, source, rows)


class Linears(torch.autograd.Function):
    """Of each expert's rows with its weights and bias; behind the last end whatever lay there."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, order: Order, *tensors: Tensor) -> Tensor:
        """Weights of all experts, then their biases, which stay what they are."""
        weights, biases = tensors[: len(tensors) // 2], tensors[len(tensors) // 2 :]
        # Stacked and cast in one pass, where `torch.stack(...).to(...)` would take two.
        stack = rows.new_empty((len(weights), *weights[0].shape))
        bias = rows.new_empty((len(biases), *biases[0].shape))
        _foreach_copy_([*stack.unbind(0), *bias.unbind(0)], tensors)
        ctx.save_for_backward(rows, stack, order.ends)
        ctx.precision = weights[0].dtype
        found = functional.grouped_mm(rows, stack.transpose(1, 2), offs=order.ends)
        return found.addmm_(order.owner, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Of each expert the sum over its rows: a product too, and nothing behind the last end
        has a part in it."""
        rows, stack, ends = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        to_rows = None
        if ctx.needs_input_grad[0]:
            to_rows = functional.grouped_mm(gradient, stack, offs=ends)
        if not any(ctx.needs_input_grad[2:]):
            return to_rows, None, *(None for _ in ctx.needs_input_grad[2:])
        to_weights = functional.grouped_mm(gradient.t(), rows, offs=ends)
        ones = gradient.new_ones((len(gradient), ALIGNED))
        to_biases = functional.grouped_mm(ones.t(), gradient, offs=ends)[:, 0]
        parts = (part.to(ctx.precision).unbind(0) for part in (to_weights, to_biases))
        return to_rows, None, *(one for part in parts for one in part)


def taken(
    frames: Float[Tensor, "rows d_model"], order: Order, padding: Bool[Tensor, "rows 1"]
) -> Float[Tensor, "rows d_model"]:
    """Frames in their order."""
    found = Taken.apply(frames, order, padding)
    assert isinstance(found, Tensor)
    return found


def through(
    rows: Float[Tensor, "rows inputs"], order: Order, linears: Sequence[nn.Linear]
) -> Float[Tensor, "rows outputs"]:
    """What each expert's layer makes of its rows."""
    weights, biases = [linear.weight for linear in linears], [linear.bias for linear in linears]
    found = Linears.apply(rows, order, *weights, *biases)
    assert isinstance(found, Tensor)
    return found
