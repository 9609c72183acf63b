"""What a model can be asked for, and the memory that it takes: told to clients before it is loaded,
and of one that is."""

from dataclasses import dataclass
from math import prod

import numpy as np

from turnout.adapters.stored import KINDS_OF_MODELS, shapes_in
from turnout.audio.features import SAMPLE_RATE, model_features, num_frames
from turnout.config import ModelConfig, RoutingConfig
from turnout.decoding.requests import Request, Utterance
from turnout.guidance import Bandwidth, Guide, Task
from turnout.model_folder import DECODER, ENCODER, WEIGHTS, ModelFolder
from turnout.serving.metrics import expert_names
from turnout.text.tokenizer import Tokenizer

FLOAT_BYTES = 4
WARM_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class RoutingFacts:
    """The experts of a stack."""

    kind: str
    """switch, omni, supervised or hybrid."""
    guided_by: tuple[str, ...]
    experts: tuple[str, ...]
    """Words of the guidance where it chooses, numbers where a router does."""


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What a model can be asked for."""

    tasks: tuple[str, ...]
    languages: tuple[str, ...]
    """Spoken."""
    translations: tuple[tuple[str, str], ...]
    """Pairs: from, to."""
    bandwidths: tuple[str, ...]
    """Those that it tells apart; none where it makes no difference."""
    domains: tuple[str, ...]
    adapters: tuple[str, ...]
    word_timestamps: bool
    prompts: bool
    """Whether it takes an initial prompt, and previous text."""
    attempts: bool
    """Whether temperatures and what refuses a text mean something to it, as to Whisper's."""
    encoder: RoutingFacts | None
    """None where it is dense."""
    decoder: RoutingFacts | None
    memory_bytes: int
    """Once it is loaded; worked out, not measured."""


def facts_of(
    config: ModelConfig, tokenizer: Tokenizer, memory_bytes: int, adapters: tuple[str, ...] = ()
) -> ModelFacts:
    """What a model of this shape can be asked for."""
    vocabulary, translates = config.vocabulary, config.decoder.num_layers > 0
    tells = config.bandwidth_token or config.guided_by(Guide.BANDWIDTH)
    return ModelFacts(
        tasks=tuple(
            str(task)
            for task in config.tasks
            if task is Task.TRANSCRIBE or (translates and vocabulary.translations)
        ),
        languages=tuple(vocabulary.languages),
        translations=tuple(vocabulary.translations) if translates else (),
        bandwidths=tuple(map(str, Bandwidth)) if tells else (),
        domains=config.domains if config.guided_by(Guide.DOMAIN) else (),
        adapters=adapters,
        word_timestamps=config.ctc or len(config.decoder.alignment_heads) > 0,
        prompts=tokenizer.previous is not None,
        attempts=samples(config, tokenizer),
        encoder=routing_facts(config, config.encoder.routing),
        decoder=routing_facts(config, config.decoder.routing) if translates else None,
        memory_bytes=memory_bytes,
    )


def samples(config: ModelConfig, tokenizer: Tokenizer) -> bool:
    """Whether a text that is refused is attempted again at another temperature, as by Whisper."""
    return not config.ctc and tokenizer.no_speech is not None


def routing_facts(config: ModelConfig, routing: RoutingConfig) -> RoutingFacts | None:
    """Of a stack; None where it is dense."""
    if routing.kind == "dense":
        return None
    guided_by = tuple(map(str, routing.guided_by)) if routing.guided else ()
    names = expert_names(config, routing)
    return RoutingFacts(kind=routing.kind, guided_by=guided_by, experts=names)


def silence(config: ModelConfig) -> Utterance:
    """A second of it, and a request that the model can serve."""
    samples = np.zeros(round(SAMPLE_RATE * min(WARM_SECONDS, config.window_seconds)), np.float32)
    language = next(iter(config.vocabulary.languages), None)
    target = None
    if language is not None and Task.TRANSCRIBE not in config.tasks:
        target = next(iter(config.vocabulary.targets_of(language)), None)
    request = Request(tasks=config.tasks[:1], language=language, target_language=target)
    frames = num_frames(len(samples), config.features)
    return Utterance(model_features(samples, config), request, num_frames=frames)


def memory_of(folder: ModelFolder, paths: int) -> int:
    """Bytes that a model takes: its weights in float32, or int8 where they are that, once for each
    path that it has."""
    if not folder.has(WEIGHTS):
        files = (folder.path / name for name in (ENCODER, DECODER) if folder.has(name))
        return sum(file.stat().st_size for file in files)
    place = f"model folder {folder.path}: {WEIGHTS}"
    tensors = shapes_in(folder.path, WEIGHTS, place, KINDS_OF_MODELS).values()
    sizes = (prod(one.shape) * (1 if one.kind == "I8" else FLOAT_BYTES) for one in tensors)
    return paths * sum(sizes)
