"""Model shapes by name."""

from collections.abc import Callable

from turnout.config.bounds import require
from turnout.config.model import (
    DecoderConfig,
    EncoderConfig,
    FeatureConfig,
    ModelConfig,
    RoutingConfig,
    VocabularyConfig,
)
from turnout.guidance import Guide


def tiny() -> ModelConfig:
    """A few ten thousand parameters: tests and first trials."""
    return ModelConfig(
        encoder=EncoderConfig(num_layers=2, d_model=32, num_heads=2, d_feedforward=64),
        decoder=DecoderConfig(num_layers=1, num_heads=2, d_feedforward=64),
    )


def small() -> ModelConfig:
    """S-MoE for two cores: a Conformer routed by bandwidth, a decoder routed by task."""
    return ModelConfig(
        encoder=EncoderConfig(
            d_feedforward=288,
            routing=RoutingConfig(kind="supervised", guided_by=(Guide.BANDWIDTH,)),
        ),
        decoder=DecoderConfig(
            d_feedforward=288,
            routing=RoutingConfig(kind="supervised", guided_by=(Guide.TASK,)),
        ),
    )


def omni_router() -> ModelConfig:
    """The published Omni-router shape (arXiv 2507.05724): 613M parameters, 210M active, CTC."""
    return ModelConfig(
        vocabulary=VocabularyConfig(size=8192, languages=("en",), translations=()),
        encoder=EncoderConfig(
            num_layers=16,
            block="transformer",
            d_model=1024,
            num_heads=16,
            d_feedforward=4096,
            activation="relu",
            subsampling="stack4",
            positions="sinusoidal",
            routing=RoutingConfig(kind="omni", num_experts=4),
        ),
        decoder=DecoderConfig(num_layers=0),
        bandwidth_token=False,
    )


def whisper_tiny() -> ModelConfig:
    """The shape of Whisper's multilingual 'tiny' (arXiv 2212.04356)."""
    return ModelConfig(
        features=FeatureConfig(kind="whisper", normalization="whisper"),
        vocabulary=VocabularyConfig(size=51865, languages=("en",), translations=()),
        encoder=EncoderConfig(
            num_layers=4,
            block="transformer",
            d_model=384,
            num_heads=6,
            d_feedforward=1536,
            activation="gelu",
            subsampling="conv2",
            positions="whisper",
            dropout=0.0,
        ),
        decoder=DecoderConfig(
            num_layers=4,
            num_heads=6,
            d_feedforward=1536,
            activation="gelu",
            positions="learned",
            dropout=0.0,
        ),
        ctc=False,
        bandwidth_token=False,
    )


PRESETS: dict[str, Callable[[], ModelConfig]] = {
    "tiny": tiny,
    "small": small,
    "omni-router": omni_router,
    "whisper-tiny": whisper_tiny,
}


def preset(name: str) -> ModelConfig:
    """The model shape of that name; raises ConfigError, naming the known ones."""
    require(name in PRESETS, f"no preset '{name}': choose one of {', '.join(PRESETS)}")
    return PRESETS[name]()
