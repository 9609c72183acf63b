"""A dense model of Whisper's shape -> a folder that Transformers' WhisperForConditionalGeneration
loads, and that `convert` makes the same model of again."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.config import ModelConfig
from turnout.config.cutting import few
from turnout.errors import MissingExtra, StorageError, UsageError
from turnout.files import whole_folder, write_synced
from turnout.guidance import BASE, Task
from turnout.hub.checkpoint import POSITIONS_PER_SECOND, TASKS, sinusoids
from turnout.hub.convert import GENERATION
from turnout.hub.names import tensor_shapes
from turnout.hub.stored import StoredTensor
from turnout.hub.transformers_folder import ARCHITECTURE, CONFIG, WEIGHTS, read_header
from turnout.hub.weights import float_parts, weights_parts
from turnout.hub.whisper_graphs import check_shape
from turnout.model_folder import DECODER, ENCODER, ModelFolder
from turnout.text.whisper import (
    LANGUAGE,
    NO_TIMESTAMPS,
    WhisperTokenizer,
    languages_of,
    read_tokenizer,
)

TOKENIZER_CONFIG, PREPROCESSOR = "tokenizer_config.json", "preprocessor_config.json"
POSITIONS = "model.encoder.embed_positions.weight"
"""Which Transformers stores, and every other computes."""
SAMPLE_RATE, HOP, WINDOW = 16_000, 160, 400
RULES: tuple[tuple[str, str], ...] = (
    (r"^decoder\.output\.", "proj_out."),
    (r"^(encoder|decoder)\.", r"model.\1."),
    (r"\.subsampling\.first\.", ".conv1."),
    (r"\.subsampling\.second\.", ".conv2."),
    (r"^(model\.\w+)\.norm\.", r"\1.layer_norm."),
    (r"\.embedding\.", ".embed_tokens."),
    (r"\.positions\.", ".embed_positions."),
    (r"\.blocks\.(\d+)\.", r".layers.\1."),
    (r"\.(attention|self)_norm\.", ".self_attn_layer_norm."),
    (r"\.(self_)?attention\.", ".self_attn."),
    (r"\.cross_norm\.", ".encoder_attn_layer_norm."),
    (r"\.cross_attention\.", ".encoder_attn."),
    (r"\.feed_forward_norm\.", ".final_layer_norm."),
    (r"\.feed_forward\.bank\.experts\.0\.up\.", ".fc1."),
    (r"\.feed_forward\.bank\.experts\.0\.down\.", ".fc2."),
    (r"\.query\.", ".q_proj."),
    (r"\.key\.", ".k_proj."),
    (r"\.value\.", ".v_proj."),
    (r"\.output\.", ".out_proj."),
)
"""The way back from `turnout.hub.names.own_name`, in turn."""


@dataclass(frozen=True)
class Sinusoids(StoredTensor):
    """The encoder's positions, which are computed instead of read."""

    def read(self) -> NDArray[np.float32]:
        """[positions, width]"""
        positions, width = self.shape
        return sinusoids(positions, width)


def their_name(name: str) -> str:
    """What Transformers calls a tensor of a dense model in Whisper's settings."""
    return reduce(lambda found, rule: re.sub(*rule, found), RULES, name)


def to_transformers(folder: ModelFolder, output: Path) -> list[str]:
    """Write the folder's model as Transformers has it, whole or not at all, its tensors as they are
    stored; licence and notices go along. A line where there is something of the model that
    Transformers cannot be told.

    Raises UsageError for models that no Whisper is, ModelFolderError for a damaged one, and
    StorageError where it cannot be written or something is there.
    """
    check_convertible(folder)
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise StorageError(f"{output}: exists: choose another folder with -o")
    files: dict[str, bytes | Iterable[bytes]] = {
        **carried(folder),
        **written_anew(folder),
        WEIGHTS: weights_parts(float_parts(their_tensors(folder), half=False)),
    }
    try:
        with whole_folder(output.resolve(), ()) as partial:
            for name, data in files.items():
                write_synced(partial / name, data)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StorageError(f"{output}: the model cannot be written: {reason}") from error
    return untold(folder)


def untold(folder: ModelFolder) -> list[str]:
    """A line where the model is for less than its tokenizer has names for, as one path of a model
    with experts is: asked for more, it says something all the same."""
    config, spoken = folder.config, languages_of(folder.tokenizer_bytes)
    parts = (
        ("languages", config.vocabulary.languages, spoken if config.task_token else ("en",)),
        ("tasks", config.tasks, tuple(Task)),
        ("domains", config.domains, (BASE,)),
    )
    lost = [f"the {what} {few(now)}" for what, now, every in parts if now != every]
    if not lost:
        return []
    return [
        f"the model is for {', '.join(lost)} alone, which Transformers cannot be told: whoever "
        "loads it is to ask for nothing else"
    ]


def check_convertible(folder: ModelFolder) -> None:
    """Raise UsageError where Transformers' Whisper computes something else than this model."""
    config, place = folder.config, f"model folder {folder.path}"
    folder.require_floats("'--to transformers' takes")
    stacks = (config.encoder.routing, config.decoder.routing)
    if any(routing.kind != "dense" for routing in stacks):
        raise UsageError(
            f"{place}: has experts, which Transformers' Whisper has not: cut one path out with "
            "'turnout specialise' first"
        )
    if config.features.padding != "window":
        raise UsageError(
            f"{place}: hears windows of the speech alone, and Transformers' Whisper pads them all"
        )
    try:
        check_shape(config)
    except MissingExtra as error:
        reason = str(error).partition(": graphs")[0]
        raise UsageError(f"{place}: is no Whisper: {reason}") from error
    if folder.tokenizer.kind != "whisper" or config.features.kind != "whisper":
        raise UsageError(f"{place}: is no Whisper: its features and tokenizer must be Whisper's")
    folder.require(WEIGHTS)


def their_tensors(folder: ModelFolder) -> dict[str, StoredTensor]:
    """The tensors by Transformers' names, the positions among them; raises ModelFolderError."""
    config = folder.config
    own = read_header(folder.path / WEIGHTS)
    if lost := [name for name, _ in tensor_shapes(config) if name not in own]:
        raise UsageError(f"model folder {folder.path}: {WEIGHTS} lacks the tensor {lost[0]}")
    found = {their_name(name): own[name] for name, _ in tensor_shapes(config)}
    like = own["encoder.subsampling.second.weight"]
    shape = (positions_of(config), config.encoder.d_model)
    return {**found, POSITIONS: Sinusoids(like.path, 0, like.kind, shape)}


def positions_of(config: ModelConfig) -> int:
    """Hidden frames of the window."""
    return round(config.window_seconds * POSITIONS_PER_SECOND)


def carried(folder: ModelFolder) -> dict[str, bytes]:
    """The files that go along as they are: tokenizer, card, licences, what is not turnout's."""
    own = (CONFIG, WEIGHTS, ENCODER, DECODER)
    return {
        **{name: folder.read(name) for name in folder.digests if name not in own},
        **folder.card(),
    }


def written_anew(folder: ModelFolder) -> dict[str, bytes]:
    """The configurations: of the model, the tokenizer and the features, and of generation where the
    checkpoint came without one."""
    tokenizer = folder.tokenizer
    assert isinstance(tokenizer, WhisperTokenizer)
    content = {
        CONFIG: config_of(folder, tokenizer),
        TOKENIZER_CONFIG: tokenizer_config_of(tokenizer),
        PREPROCESSOR: preprocessor_of(folder.config),
    }
    if not folder.has(GENERATION):
        content[GENERATION] = generation_of(folder.config, tokenizer)
    return {
        name: (json.dumps(one, indent=2, ensure_ascii=False) + "\n").encode()
        for name, one in content.items()
    }


def ids_of(config: ModelConfig, tokenizer: WhisperTokenizer) -> dict[str, Any]:
    """What both configurations of a model say of its ids."""
    return {
        "bos_token_id": tokenizer.end,
        "decoder_start_token_id": tokenizer.start,
        "eos_token_id": tokenizer.end,
        "pad_token_id": tokenizer.end,
        "suppress_tokens": list(config.decoder.suppressed) or None,
        "begin_suppress_tokens": list(config.decoder.suppressed_first) or None,
    }


def config_of(folder: ModelFolder, tokenizer: WhisperTokenizer) -> dict[str, Any]:
    """Transformers' config.json of the model."""
    config = folder.config
    encoder, decoder = config.encoder, config.decoder
    kinds = {tensor.kind for tensor in read_header(folder.path / WEIGHTS).values()}
    return {
        "architectures": [ARCHITECTURE],
        "model_type": "whisper",
        "is_encoder_decoder": True,
        "vocab_size": config.vocabulary.size,
        "num_mel_bins": config.features.num_mels,
        "d_model": encoder.d_model,
        "encoder_layers": encoder.num_layers,
        "encoder_attention_heads": encoder.num_heads,
        "encoder_ffn_dim": encoder.d_feedforward,
        "decoder_layers": decoder.num_layers,
        "decoder_attention_heads": decoder.num_heads,
        "decoder_ffn_dim": decoder.d_feedforward,
        "max_source_positions": positions_of(config),
        "max_target_positions": decoder.max_tokens,
        "activation_function": "gelu",
        "scale_embedding": False,
        "tie_word_embeddings": decoder.tie_embeddings,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "torch_dtype": "float16" if kinds == {"F16"} else "float32",
        **ids_of(config, tokenizer),
    }


def generation_of(config: ModelConfig, tokenizer: WhisperTokenizer) -> dict[str, Any]:
    """A generation_config.json, as openai's checkpoints have it."""
    _, special = read_tokenizer(tokenizer.to_bytes())
    multilingual = config.task_token
    content = {
        **ids_of(config, tokenizer),
        "is_multilingual": multilingual,
        "max_length": config.decoder.max_tokens,
        "max_initial_timestamp_index": POSITIONS_PER_SECOND,
        "no_timestamps_token_id": special[NO_TIMESTAMPS],
        "prev_sot_token_id": tokenizer.previous,
        "return_timestamps": False,
        "alignment_heads": [list(pair) for pair in config.decoder.alignment_heads],
    }
    if multilingual:
        content["lang_to_id"] = {n: i for n, i in special.items() if LANGUAGE.fullmatch(n)}
        content["task_to_id"] = {name.strip("<|>"): special[name] for name in TASKS}
    return content


def tokenizer_config_of(tokenizer: WhisperTokenizer) -> dict[str, Any]:
    """What of Transformers' tokenizer is not in tokenizer.json."""
    end = tokenizer.pieces[tokenizer.end]
    return {
        "tokenizer_class": "WhisperTokenizer",
        "processor_class": "WhisperProcessor",
        "add_prefix_space": False,
        "errors": "replace",
        **dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), end),
    }


def preprocessor_of(config: ModelConfig) -> dict[str, Any]:
    """The features, as Transformers' extractor is told them."""
    samples = round(config.window_seconds * SAMPLE_RATE)
    return {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "processor_class": "WhisperProcessor",
        "feature_size": config.features.num_mels,
        "sampling_rate": SAMPLE_RATE,
        "hop_length": HOP,
        "n_fft": WINDOW,
        "chunk_length": round(config.window_seconds),
        "n_samples": samples,
        "nb_max_frames": samples // HOP,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
    }
