"""What a device sends in one step, in bytes.

Of a message of B bytes that n devices have in common, a ring sends from each device B (n - 1) / n
to gather it or to scatter its sum, and both, 2 B (n - 1) / n, to sum it on all (Patarasuk and Yuan
2009). To send each frame to the device of its expert, 1 - 1 / n of the frames leave where experts
are taken alike.

As turnout sums: gradients in float32, once a step, after all of its micro-batches. FSDP2 gathers
the weights of a layer before its forward and again before its backward pass, those of no layer once
for both, and scatters the gradients behind that, for every micro-batch.
"""

from dataclasses import dataclass

from turnout.config import TrainConfig
from turnout.config.routing import expert_places
from turnout.planning.memory import Sharing, outside, places_of
from turnout.planning.micro_batch import MicroBatch, stacks_of
from turnout.planning.weights import Weights, count, feed_forwards_of

SINGLE, HALF = 4, 2


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Of one device in one step."""

    all_reduce: float = 0.0
    """Sums of gradients."""
    all_gather: float = 0.0
    """Weights of other devices."""
    reduce_scatter: float = 0.0
    """Gradients, each summed on the device that keeps it."""
    all_to_all: float = 0.0
    """Frames and tokens on their way to their experts and back, and so their gradients."""

    @property
    def total(self) -> float:
        """All that is sent."""
        return self.all_reduce + self.all_gather + self.reduce_scatter + self.all_to_all


def traffic_of(
    config: TrainConfig, weights: Weights, batch: MicroBatch, sharing: Sharing, devices: int
) -> Traffic:
    """Under one way of sharing."""
    ring, micro_batches = (devices - 1) / devices, config.optimizer.accumulate
    trained = SINGLE * count(weights.moved)
    if sharing == "ddp":
        return Traffic(all_reduce=2 * ring * trained)
    if sharing == "fsdp":
        return Traffic(
            all_gather=ring * SINGLE * (2 * weights.total - outside(weights.all)) * micro_batches,
            reduce_scatter=ring * trained * micro_batches,
        )
    return Traffic(
        all_reduce=sum_of_gradients(config, weights, devices),
        all_to_all=frames_to_experts(config, batch, devices) * micro_batches,
    )


def sum_of_gradients(config: TrainConfig, weights: Weights, devices: int) -> float:
    """Where experts are sharded: of what all hold over all devices, of each expert over those that
    hold it."""
    sent = 0.0
    for weight in weights.moved:
        places = places_of(config.model, weight, devices)
        holders = devices / places
        sent += 2 * (holders - 1) / holders * SINGLE * weight.size / places
    return sent


def frames_to_experts(config: TrainConfig, batch: MicroBatch, devices: int) -> float:
    """There and back, forward and backward: four times, in the precision of products."""
    model, sent = config.model, 0.0
    number = HALF if config.precision == "bfloat16" else SINGLE
    for part, frames in stacks_of(model, batch):
        for layer in range(part.num_layers):
            places = expert_places(model.experts_of(part.routing, layer), devices)
            leaving = frames * (places - 1) / places * feed_forwards_of(part)
            sent += 4 * leaving * model.encoder.d_model * number
    return sent
