"""Guidance -> the indices that a model takes; the same for every backend."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from turnout.config import ModelConfig, RoutingConfig
from turnout.errors import GuidanceError
from turnout.guidance import Bandwidth, Guidance


def expert_guides(
    config: ModelConfig, routing: RoutingConfig, guidance: Sequence[Guidance]
) -> NDArray[np.int64]:
    """[batch or rows]: expert or group of each; zeros where nothing guides.

    Raises GuidanceError, naming the choices.
    """
    table = config.expert_map(routing)
    return np.array([table.index(known) for known in guidance], dtype=np.int64)


def bandwidths(config: ModelConfig, guidance: Sequence[Guidance]) -> NDArray[np.int64]:
    """[batch]: position in `Bandwidth`; zeros where the model has no token for it."""
    if not config.bandwidth_token:
        return np.zeros(len(guidance), dtype=np.int64)
    choices = list(Bandwidth)
    if any(known.bandwidth is None for known in guidance):
        raise GuidanceError(
            f"this model needs the bandwidth of every utterance: one of {', '.join(choices)}"
        )
    positions = [choices.index(known.bandwidth) for known in guidance if known.bandwidth]
    return np.array(positions, dtype=np.int64)
