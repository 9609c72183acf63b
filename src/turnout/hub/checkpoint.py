"""A Whisper checkpoint, whoever stored it: its tensors by this project's names, and its facts."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.config import (
    DecoderConfig,
    EncoderConfig,
    FeatureConfig,
    ModelConfig,
    VocabularyConfig,
)
from turnout.config.plain import read_value
from turnout.errors import ConfigError, ModelFolderError
from turnout.hub.names import OUTPUT, SINUSOIDS, tensor_shapes
from turnout.hub.stored import StoredTensor, refused
from turnout.text.whisper import END, NO_TIMESTAMPS, START, languages_of, read_tokenizer

ENGLISH_VOCABULARY = 51_864
"""Ids of the published checkpoints for English alone, whose tokenizers name all languages too: by
their number openai/whisper and CTranslate2 tell them apart."""
TASKS = ("<|transcribe|>", "<|translate|>")
POSITIONS_PER_SECOND = 50
ROUNDING = 5e-3
"""Of a sinusoid that was stored as float16 or bfloat16."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a checkpoint says of itself; sizes are not yet held against the tensors."""

    num_mels: int
    vocabulary_size: int
    d_model: int
    encoder_layers: int
    encoder_heads: int
    encoder_feedforward: int
    decoder_layers: int
    decoder_heads: int
    decoder_feedforward: int
    max_positions: int
    """Hidden frames of the encoder's window."""
    max_tokens: int
    tied: bool
    """Whether the output layer is the embedding."""
    multilingual: bool | None
    """None: it is not said."""
    suppressed: tuple[int, ...]
    suppressed_first: tuple[int, ...]
    alignment_heads: tuple[tuple[int, int], ...]
    """Empty where they are not known."""
    special: Mapping[str, int]
    """Ids of special tokens by name, where the checkpoint says them beside its tokenizer."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a folder holds, nothing of its tensors read yet."""

    path: Path
    kind: str
    """Who stored it: 'Transformers' or 'CTranslate2'."""
    tensors: Mapping[str, StoredTensor]
    """By this project's names."""
    config: ModelConfig
    tokenizer: bytes
    """A tokenizer.json."""
    generation: bytes | None
    """The generation_config.json, where there is one."""


def checked(
    path: Path,
    kind: str,
    tensors: dict[str, StoredTensor],
    facts: Facts,
    files: tuple[bytes, bytes | None],
) -> Checkpoint:
    """The checkpoint of these tensors, facts, tokenizer and generation configuration, where they
    go together: each tensor is there, of the shape that the configuration says, and no other.

    Raises ModelFolderError, naming what does not fit.
    """
    tokenizer, generation = files
    config = model_config(path, facts, tokenizer)
    left = {name: tensor for name, tensor in tensors.items() if name != SINUSOIDS}
    if facts.tied:
        left.pop(OUTPUT, None)
    wanted: dict[str, StoredTensor] = {}
    for name, shape in tensor_shapes(config):
        tensor = left.pop(name, None)
        if tensor is None:
            raise refused(path, f"has no tensor {name}, which its configuration asks for")
        if tensor.shape != shape:
            raise refused(
                path,
                f"its tensor {name} is {list(tensor.shape)}, and its configuration says "
                f"{list(shape)}",
            )
        wanted[name] = tensor
    if left:
        raise refused(path, f"has the tensor {min(left)}, which Whisper has not")
    if SINUSOIDS in tensors:
        check_sinusoids(path, tensors[SINUSOIDS], (facts.max_positions, facts.d_model))
    return Checkpoint(
        path=path,
        kind=kind,
        tensors=wanted,
        config=with_alignment(config, facts.alignment_heads),
        tokenizer=tokenizer,
        generation=generation,
    )


def with_alignment(config: ModelConfig, heads: tuple[tuple[int, int], ...]) -> ModelConfig:
    """The configuration with these alignment heads, or with openai/whisper's choice where it knows
    none: all of the upper half of the layers."""
    decoder = config.decoder
    layers, most = decoder.num_layers, decoder.num_heads
    # Some distilled checkpoints name those of the larger model that they come from.
    if not heads or not all(0 <= layer < layers and 0 <= head < most for layer, head in heads):
        heads = tuple((layer, head) for layer in range(layers // 2, layers) for head in range(most))
    return replace(config, decoder=replace(decoder, alignment_heads=heads))


def check_sinusoids(path: Path, tensor: StoredTensor, shape: tuple[int, int]) -> None:
    """Raise ModelFolderError where the encoder's positions are not those that are computed here."""
    if tensor.shape != shape:
        raise refused(
            path, f"the encoder's positions are {list(tensor.shape)} instead of {list(shape)}"
        )
    if np.abs(tensor.read() - sinusoids(*shape)).max(initial=0) > ROUNDING:
        raise refused(
            path, "the encoder's positions are not Whisper's sinusoids: it is another architecture"
        )


def sinusoids(positions: int, width: int) -> NDArray[np.float32]:
    """[positions, width]: all sines before all cosines (openai/whisper, model.py)."""
    half = width // 2
    rates = np.array([exp(-log(10_000) * i / max(half - 1, 1)) for i in range(half)])
    angles = np.arange(positions)[:, None] * rates
    return np.concatenate((np.sin(angles), np.cos(angles)), axis=1).astype(np.float32)


def model_config(path: Path, facts: Facts, tokenizer: bytes) -> ModelConfig:
    """The model's shape; raises ModelFolderError where facts and tokenizer cannot be a model's."""
    vocabulary = vocabulary_of(path, facts, tokenizer)
    english = vocabulary.only_language is not None
    try:
        return ModelConfig(
            features=FeatureConfig(
                kind="whisper", normalization="whisper", num_mels=facts.num_mels, padding="window"
            ),
            vocabulary=vocabulary,
            encoder=EncoderConfig(
                num_layers=facts.encoder_layers,
                block="transformer",
                d_model=facts.d_model,
                num_heads=facts.encoder_heads,
                d_feedforward=facts.encoder_feedforward,
                activation="gelu",
                subsampling="conv2",
                positions="whisper",
                dropout=0.0,
            ),
            decoder=decoder_config(facts),
            ctc=False,
            bandwidth_token=False,
            task_token=not english,
            window_seconds=facts.max_positions / POSITIONS_PER_SECOND,
        )
    except ConfigError as error:
        raise refused(path, str(error)) from error


def decoder_config(facts: Facts) -> DecoderConfig:
    """The decoder's shape; raises ConfigError."""
    return DecoderConfig(
        num_layers=facts.decoder_layers,
        num_heads=facts.decoder_heads,
        d_feedforward=facts.decoder_feedforward,
        activation="gelu",
        positions="learned",
        max_tokens=facts.max_tokens,
        tie_embeddings=facts.tied,
        dropout=0.0,
        suppressed=facts.suppressed,
        suppressed_first=facts.suppressed_first,
    )


def vocabulary_of(path: Path, facts: Facts, tokenizer: bytes) -> VocabularyConfig:
    """Ids and languages; raises ModelFolderError where the tokenizer is another model's."""
    try:
        pieces, special = read_tokenizer(tokenizer)
        spoken = languages_of(tokenizer)
    except ModelFolderError as error:
        raise refused(path, str(error)) from error
    missing = [name for name in (START, END, NO_TIMESTAMPS, *TASKS) if name not in special]
    if missing or "en" not in spoken:
        name = missing[0] if missing else "<|en|>"
        raise refused(path, f"its tokenizer has no {name}: it is not Whisper's")
    largest = max(*pieces.values(), *special.values())
    wrong = next((n for n, i in facts.special.items() if special.get(n, i) != i), None)
    if largest >= facts.vocabulary_size or wrong is not None:
        found = f"the id {largest}" if wrong is None else f"the id {special[wrong]} for {wrong}"
        wanted = f"{facts.vocabulary_size} ids" if wrong is None else f"{facts.special[wrong]}"
        raise refused(
            path, f"its tokenizer has {found}, and the model {wanted}: they do not belong together"
        )
    multilingual = facts.multilingual
    if multilingual is None:
        multilingual = facts.vocabulary_size != ENGLISH_VOCABULARY
    languages = spoken if multilingual else ("en",)
    translations = tuple((code, "en") for code in languages) if multilingual else ()
    return VocabularyConfig(
        size=facts.vocabulary_size, languages=languages, translations=translations
    )


def whole_number(path: Path, content: Mapping[str, Any], key: str) -> int:
    """A size that a configuration must say; raises ModelFolderError."""
    value = content.get(key)
    if type(value) is not int or not 0 < value < 1 << 31:
        said = "is not there" if value is None else f"is {value!r:.40}"
        raise refused(path, f"{key} {said}: a whole number above 0 is needed")
    return value


def id_list(path: Path, content: Mapping[str, Any], key: str) -> tuple[int, ...]:
    """Ids that a configuration may say; raises ModelFolderError."""
    try:
        return read_value(tuple[int, ...], content.get(key) or [], key)
    except ConfigError as error:
        raise refused(path, str(error)) from error


def head_list(path: Path, content: Mapping[str, Any]) -> tuple[tuple[int, int], ...]:
    """The alignment heads that a configuration may say; raises ModelFolderError."""
    key = "alignment_heads"
    try:
        return read_value(tuple[tuple[int, int], ...], content.get(key) or [], key)
    except ConfigError as error:
        raise refused(path, str(error)) from error
