"""Small models of every kind, for plans to be held against."""

from typing import Any

from turnout.config import (
    DecoderConfig,
    EncoderConfig,
    FeatureConfig,
    ModelConfig,
    ObjectiveConfig,
    RoutingConfig,
    TrainConfig,
    VocabularyConfig,
)
from turnout.guidance import Guide

KINDS = ("dense", "switch", "omni", "supervised", "hybrid")
ROUTING = ("num_experts", "experts_for", "layers", "share_layers", "router_bias", "gate")


def routed(kind: Any, *, decoder: dict[str, Any] | None = None, **changes: Any) -> ModelConfig:
    """A model whose encoder and decoder are routed so; `changes` are the encoder's, or its
    routing's."""
    routing = {name: changes.pop(name) for name in ROUTING if name in changes}
    shape: dict[str, Any] = {
        "num_layers": 2, "d_model": 16, "num_heads": 2, "d_feedforward": 24, "conv_kernel": 5,
    }  # fmt: skip
    written: dict[str, Any] = {"num_layers": 2, "num_heads": 2, "d_feedforward": 40}
    experts = {"num_experts": 3, **routing}
    return ModelConfig(
        features=FeatureConfig(num_mels=9),
        vocabulary=VocabularyConfig(size=40, languages=("en",), translations=(("en", "de"),)),
        encoder=EncoderConfig(routing=RoutingConfig(kind=kind, **experts), **(shape | changes)),
        decoder=DecoderConfig(
            routing=RoutingConfig(kind=kind, num_experts=3, guided_by=(Guide.TASK,)),
            **(written | (decoder or {})),
        ),
    )


def run_of(model: ModelConfig, **changes: Any) -> TrainConfig:
    """A run of it on the CPU."""
    objective = ObjectiveConfig(**changes.pop("objective", {}))
    start = "a-model" if changes.get("trainable") or objective.distils else None
    settings: dict[str, Any] = {"device": "cpu", "init_from": start, "objective": objective}
    return TrainConfig(model=model, **(settings | changes))
