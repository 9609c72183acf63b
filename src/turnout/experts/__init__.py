"""Experts, the routers that choose among them, and the values that say who was chosen."""

from turnout.experts.bank import Dropout, Expert, ExpertBank, banks, tied_experts
from turnout.experts.feed_forward import FeedForward
from turnout.experts.routing import (
    Learned,
    Route,
    Router,
    Routing,
    Supervised,
    balance_loss,
    frames_per_expert,
    probability_per_expert,
)

__all__ = [
    "Dropout",
    "Expert",
    "ExpertBank",
    "FeedForward",
    "Learned",
    "Route",
    "Router",
    "Routing",
    "Supervised",
    "balance_loss",
    "banks",
    "frames_per_expert",
    "probability_per_expert",
    "tied_experts",
]
