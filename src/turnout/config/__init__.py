"""The configuration of runs, and the presets of models; no torch, so that `--help` needs none."""

from turnout.config.data import AugmentConfig, ChannelConfig, CorpusConfig, DataConfig, JoinConfig
from turnout.config.model import (
    DecoderConfig,
    EncoderConfig,
    FeatureConfig,
    ModelConfig,
    VocabularyConfig,
)
from turnout.config.presets import PRESETS, preset
from turnout.config.routing import RoutingConfig
from turnout.config.training import ObjectiveConfig, OptimizerConfig, TrainConfig
from turnout.config.transcription import TranscriptionOptions

__all__ = [
    "PRESETS",
    "AugmentConfig",
    "ChannelConfig",
    "CorpusConfig",
    "DataConfig",
    "DecoderConfig",
    "EncoderConfig",
    "FeatureConfig",
    "JoinConfig",
    "ModelConfig",
    "ObjectiveConfig",
    "OptimizerConfig",
    "RoutingConfig",
    "TrainConfig",
    "TranscriptionOptions",
    "VocabularyConfig",
    "preset",
]
