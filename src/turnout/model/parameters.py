"""How large a model is, and how much of it a frame or a token meets."""

from typing import NamedTuple

from torch import nn

from turnout.experts.bank import ExpertBank


class Parameters(NamedTuple):
    """Numbers that a model has learned."""

    total: int
    active: int
    """Without the experts that one frame, or one token, does not take: one of each routed
    feed-forward is active, as the router is."""


def parameters_of(model: nn.Module) -> Parameters:
    """Of a model; a tensor that two parts share counts once."""
    total = sum(parameter.numel() for parameter in model.parameters())
    idle = 0
    for bank in model.modules():
        if isinstance(bank, ExpertBank):
            # All of a bank are of one shape.
            of_each = sum(parameter.numel() for parameter in bank.experts[0].parameters())
            idle += of_each * (len(bank.experts) - 1)
    return Parameters(total, total - idle)
