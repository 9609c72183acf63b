"""Memory of one device by part, in bytes, for three ways to share a model.

A run keeps weights, gradients and AdamW's two moments in float32, under autocast too. Sharded by
FSDP2 each device holds 1 / n of all three, and whole only what it is just computing with. With
experts sharded each device holds some of every layer's, and all of the rest.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from turnout.config import ModelConfig, TrainConfig
from turnout.config.routing import expert_places
from turnout.planning.activations import held_bytes, loss_bytes, saved_bytes
from turnout.planning.micro_batch import MicroBatch, taught_batch_of
from turnout.planning.weights import TABLES, Weight, Weights, count

Sharing = Literal["ddp", "fsdp", "experts"]
SINGLE, HALF = 4, 2
MOMENTS = 2
BUCKET = 8 * 1024 * 1024
"""Numbers of the gradients that `Ranks.sum_gradients` sends together, or one tensor more."""
RESERVE = 0.2
"""Share of a device's memory that its driver, libraries and the gaps between tensors take; no
formula gives it."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Of one device, in bytes."""

    weights: float
    gradients: float
    optimizer: float
    copies: float
    """Weights in bfloat16, which autocast keeps until the backward pass is over."""
    activations: float
    """What the backward pass needs, the outputs that are held, and where it begins, at the loss."""
    features: float
    """Of the micro-batch, in float32, and what a teacher hears of it. The store of all features
    stays on the disk, mapped into the memory of the machine, which takes it back when it is short
    of it."""
    teacher: float
    """Weights in float32 of the model that a distillation keeps to, whole on each device."""
    update: float
    """Once the activations are gone: gradients on their way to the other devices, AdamW's working
    copy, or what a device does not hold of the whole model, which validates. Not added: the larger
    of both is."""

    @property
    def total(self) -> float:
        """The most at one time."""
        states = self.weights + self.gradients + self.optimizer + self.teacher
        return states + max(self.copies + self.activations + self.features, self.update)


def memory_of(
    config: TrainConfig, weights: Weights, batch: MicroBatch, sharing: Sharing, devices: int
) -> Memory:
    """The parts under one way of sharing, with that many devices."""
    model, product = config.model, HALF if config.precision == "bfloat16" else SINGLE
    held, trained = own_share(model, weights, sharing, devices)
    whole = gathered(weights.all) if sharing == "fsdp" and devices > 1 else 0
    unsent = gathered(weights.moved) if sharing == "fsdp" and devices > 1 else 0
    activations = saved_bytes(config, batch) + held_bytes(config, batch)
    distils = config.objective.distils
    heard = (batch, taught_batch_of(config, batch)) if distils else (batch,)
    frames = sum(one.utterances * one.feature_frames for one in heard)
    return Memory(
        weights=SINGLE * (held + whole),
        gradients=SINGLE * (trained + unsent),
        optimizer=SINGLE * MOMENTS * trained,
        copies=HALF * multiplied(config, weights, sharing, devices) if product == HALF else 0,
        activations=activations + loss_bytes(model, batch),
        features=SINGLE * frames * model.features.num_mels,
        teacher=SINGLE * count(weights.all) if distils else 0,
        update=max(SINGLE * trained, between_steps(model, weights, sharing, devices)),
    )


def between_steps(model: ModelConfig, weights: Weights, sharing: Sharing, devices: int) -> float:
    """Bytes that several devices take when nothing is computed."""
    if devices == 1:
        return 0
    if sharing == "fsdp":  # rows are no tensor of a whole model
        return SINGLE * count(weights.all)
    held = own_share(model, weights, sharing, devices)[0]
    return max(SINGLE * (count(weights.all) - held), sending(weights.moved))


def own_share(
    model: ModelConfig, weights: Weights, sharing: Sharing, devices: int
) -> tuple[float, float]:
    """Numbers of all weights, and of those that are trained, that a device holds for good."""
    parts = (weights.all, weights.moved)
    if sharing == "ddp":
        held, trained = (float(count(part)) for part in parts)
    elif sharing == "fsdp":
        held, trained = (count(part) / devices for part in parts)
    else:
        held, trained = (share_of_experts(model, part, devices) for part in parts)
    return held, trained


def share_of_experts(model: ModelConfig, weights: Iterable[Weight], devices: int) -> float:
    """Numbers that a device holds of these where experts are sharded: experts / places of them,
    and all the rest."""
    return sum(weight.size / places_of(model, weight, devices) for weight in weights)


def places_of(model: ModelConfig, weight: Weight, devices: int) -> int:
    """Over how many devices a weight is spread where experts are sharded: 1 where it is no
    expert's."""
    if weight.expert is None:
        return 1
    stack, _, rest = weight.name.partition(".")
    part = model.encoder if stack == "encoder" else model.decoder
    return expert_places(model.experts_of(part.routing, int(rest.split(".")[1])), devices)


def gathered(weights: Sequence[Weight]) -> int:
    """Numbers that are whole on every device at one time under FSDP2: two layers, the next being
    gathered while one is computed with, and what belongs to no layer, which stays gathered."""
    layers: dict[str, int] = {}
    for weight in weights:
        layers[layer_of(weight)] = layers.get(layer_of(weight), 0) + weight.size
    layers.pop("", None)
    return outside(weights) + sum(sorted(layers.values())[-2:])


def outside(weights: Iterable[Weight]) -> int:
    """Numbers of what belongs to no layer."""
    return sum(weight.size for weight in weights if not layer_of(weight))


def layer_of(weight: Weight) -> str:
    """Such as encoder.blocks.3; empty where it belongs to none."""
    parts = weight.name.split(".")
    return ".".join(parts[:3]) if parts[1] == "blocks" else ""


def multiplied(config: TrainConfig, weights: Weights, sharing: Sharing, devices: int) -> float:
    """Numbers of the matrices and kernels that products take: no embedding, unless it is the
    output layer too, and no router, which stays in float32."""
    tied = config.model.decoder.tie_embeddings
    taken = [
        weight
        for weight in weights.all
        if len(weight.shape) > 1
        and ".routers." not in weight.name
        and (not weight.name.startswith(TABLES) or (tied and ".embedding." in weight.name))
    ]
    if sharing == "experts":
        return share_of_experts(config.model, taken, devices)
    # Under FSDP2 too: what is gathered is given back after a layer, its copy is not.
    return count(taken)


def sending(weights: Iterable[Weight]) -> int:
    """Bytes of a bucket of gradients and of its sum, while both are there."""
    return 2 * SINGLE * (BUCKET + max((weight.size for weight in weights), default=0))
