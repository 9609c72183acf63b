"""The graphs of the model that a run began from, where they are those of its own model too."""

import dataclasses

from turnout.backends.sessions import weight_names
from turnout.config import ModelConfig, TrainConfig, VocabularyConfig
from turnout.errors import FetchError, ModelFolderError, StorageError, UsageError
from turnout.hub.resolve import open_model
from turnout.model.speech_model import SpeechModel
from turnout.model_folder import DECODER, ENCODER, ModelFolder
from turnout.training import log


def kept_graphs(config: TrainConfig, model: SpeechModel) -> dict[str, bytes]:
    """The graphs of `init_from` where the shape is still its own, and they hold no weights; none
    otherwise: `turnout export` writes them. Says where they cannot be read any more."""
    if config.init_from is None:
        return {}
    try:
        return graphs_of(open_model(config.init_from, log.say), model)
    except (ModelFolderError, FetchError, UsageError, StorageError) as error:
        # The run is at its end: its model is worth more than its graphs.
        log.say(
            f"warning: the graphs of {config.init_from} cannot be kept ({error}): the model has "
            "none, and `turnout export` writes them"
        )
        return {}


def graphs_of(folder: ModelFolder, model: SpeechModel) -> dict[str, bytes]:
    """Those of a folder, where they fit a model and hold no weights."""
    if not folder.has_graphs or graph_shape(folder.config) != graph_shape(model.config):
        return {}
    graphs = {name: folder.read(name) for name in (ENCODER, DECODER) if folder.has(name)}
    return graphs if all(map(weight_names, graphs.values())) else {}


def graph_shape(config: ModelConfig) -> ModelConfig:
    """What a model's graphs depend on."""
    vocabulary, parts = config.vocabulary, {}
    for name in ("encoder", "decoder"):
        parts[name] = dataclasses.replace(getattr(config, name), dropout=0.0)
    if not (config.encoder.routing.guided or config.decoder.routing.guided):
        # Only what guides to an expert may be told by the languages.
        vocabulary = VocabularyConfig(size=vocabulary.size, languages=("",), translations=())
    return dataclasses.replace(config, vocabulary=vocabulary, **parts)
