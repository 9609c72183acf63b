"""Matrices that move by a product of low rank alone (Hu et al. 2021, arXiv 2106.09685): what they
were, which is frozen, plus up @ down. At the end the product is added to the matrix.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from turnout.errors import ConfigError
from turnout.experts.routing import Router

ADDED = ("added_up", "added_down")
"""What such a matrix has besides its own name."""


class LowRankLinear(nn.Linear):
    """A Linear whose matrix is frozen; made of one by `add_low_rank`."""

    added_up: nn.Parameter
    """[out, rank], zero at first: the model begins as it was."""
    added_down: nn.Parameter
    """[rank, in]"""

    def forward(
        self,
        input: Float[Tensor, "*rows inner"],  # noqa: A002 - as nn.Linear calls it
    ) -> Float[Tensor, "*rows outer"]:
        """As of the sum of both, which is never made."""
        added = nn.functional.linear(input, self.added_down)
        return super().forward(input) + nn.functional.linear(added, self.added_up)


def add_low_rank(model: nn.Module, rank: int) -> None:
    """Freeze the trained matrices of `model`, and give each a product of this rank to be trained in
    its place; trained vectors (biases, norms) stay trained.

    Raises ConfigError for trained tensors that are no matrix of a Linear, or a router's, and for a
    rank at which a product has as many numbers as its matrix.
    """
    routers = {m.linear for m in model.modules() if isinstance(m, Router)}  # read past their module
    linear = {
        name: module
        for name, module in model.named_modules()
        if type(module) is nn.Linear and module.weight.requires_grad and module not in routers
    }
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter.ndim > 1 and name[: -len(".weight")] not in linear:
            raise ConfigError(
                f"low_rank is for matrices, and trainable also names {name}, which is none of a "
                "layer: name attention or experts alone, or leave low_rank out"
            )
    for name, module in linear.items():
        outer, inner = module.weight.shape
        if rank * (outer + inner) >= outer * inner:
            raise ConfigError(
                f"low_rank is {rank}, and {name} is a matrix of {outer} x {inner}: from rank "
                f"{-(-outer * inner // (outer + inner))} on a product has no fewer numbers than "
                "that: choose a lower one, or leave low_rank out"
            )
    for module in linear.values():
        weight = module.weight.requires_grad_(False)
        outer, inner = weight.shape
        module.__class__ = LowRankLinear
        # As the paper's: down is random, up is zero, so that the sum is the matrix at first.
        down = torch.empty(rank, inner, device=weight.device)
        module.added_down = nn.Parameter(nn.init.kaiming_uniform_(down, a=math.sqrt(5)))
        module.added_up = nn.Parameter(weight.new_zeros(outer, rank))


@torch.no_grad()
def merge_low_rank(model: nn.Module) -> None:
    """Add each product to its matrix, which is a Linear again."""
    for module in model.modules():
        if isinstance(module, LowRankLinear):
            module.weight += module.added_up @ module.added_down
            del module.added_up, module.added_down
            module.__class__ = nn.Linear  # pyright: ignore[reportAttributeAccessIssue]


def is_added(name: str) -> bool:
    """Whether a parameter is half of such a product."""
    return name.rpartition(".")[2] in ADDED
