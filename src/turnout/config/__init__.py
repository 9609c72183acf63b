"""Every configuration dataclass and the presets; no torch, so that `--help` needs none."""

from turnout.config.data import AugmentConfig, CorpusConfig, DataConfig, JoinConfig
from turnout.config.model import (
    DecoderConfig,
    EncoderConfig,
    FeatureConfig,
    ModelConfig,
    RoutingConfig,
    VocabularyConfig,
)
from turnout.config.preparation import PrepareConfig, SynthesisConfig
from turnout.config.presets import PRESETS, preset
from turnout.config.training import ObjectiveConfig, OptimizerConfig, TrainConfig
from turnout.config.transcription import TranscriptionOptions

__all__ = [
    "PRESETS",
    "AugmentConfig",
    "CorpusConfig",
    "DataConfig",
    "DecoderConfig",
    "EncoderConfig",
    "FeatureConfig",
    "JoinConfig",
    "ModelConfig",
    "ObjectiveConfig",
    "OptimizerConfig",
    "PrepareConfig",
    "RoutingConfig",
    "SynthesisConfig",
    "TrainConfig",
    "TranscriptionOptions",
    "VocabularyConfig",
    "preset",
]
