"""Small Whispers with random weights, and the folders in which others store them."""

import copy
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

from tests.byte_level import LANGUAGES, tokenizer

VOCABULARY, WIDTH, HEADS, INNER, POSITIONS, TOKENS = 352, 32, 4, 48, 100, 64
ALIGNMENT = [[0, 1], [1, 3]]


def token(name: str) -> int:
    """A special token's id."""
    return tokenizer().token_to_id(name)


def whisper(seed: int = 0, **changes: Any) -> WhisperForConditionalGeneration:
    """A model whose every number counts: no bias is zero, no norm does nothing."""
    torch.manual_seed(seed)
    shape = {
        "vocab_size": VOCABULARY,
        "d_model": WIDTH,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": HEADS,
        "decoder_attention_heads": HEADS,
        "encoder_ffn_dim": INNER,
        "decoder_ffn_dim": INNER,
        "max_source_positions": POSITIONS,
        "max_target_positions": TOKENS,
        "pad_token_id": token("<|endoftext|>"),
        "bos_token_id": token("<|endoftext|>"),
        "eos_token_id": token("<|endoftext|>"),
        "decoder_start_token_id": token("<|startoftranscript|>"),
        "suppress_tokens": [1, 7],
        "begin_suppress_tokens": [3, token("<|endoftext|>")],
    }
    model = WhisperForConditionalGeneration(WhisperConfig(**{**shape, **changes})).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("embed_positions.weight") and "encoder" in name:
                continue
            weight.normal_(std=0.25)
            if "layer_norm.weight" in name:
                weight.add_(1.0)
    model.generation_config = GenerationConfig(
        is_multilingual=True,
        lang_to_id={f"<|{code}|>": token(f"<|{code}|>") for code in LANGUAGES},
        no_timestamps_token_id=token("<|notimestamps|>"),
        decoder_start_token_id=token("<|startoftranscript|>"),
        eos_token_id=token("<|endoftext|>"),
        suppress_tokens=[1, 7],
        begin_suppress_tokens=[3, token("<|endoftext|>")],
        alignment_heads=ALIGNMENT,
    )
    return model


def save_transformers(
    folder: Path, model: WhisperForConditionalGeneration, shard: str = "1GB"
) -> Path:
    """The folder that Transformers writes, with its tokenizer.json."""
    model.save_pretrained(folder, max_shard_size=shard)
    tokenizer().save(str(folder / "tokenizer.json"))
    return folder


STACKED = {
    "encoder_attn.q_proj": ("attention/linear_0", 0),
    "encoder_attn.k_proj": ("attention/linear_1", 0),
    "encoder_attn.v_proj": ("attention/linear_1", 1),
    "encoder_attn.out_proj": ("attention/linear_2", 0),
    "encoder_attn_layer_norm": ("attention/layer_norm", 0),
    "self_attn.q_proj": ("self_attention/linear_0", 0),
    "self_attn.k_proj": ("self_attention/linear_0", 1),
    "self_attn.v_proj": ("self_attention/linear_0", 2),
    "self_attn.out_proj": ("self_attention/linear_1", 0),
    "self_attn_layer_norm": ("self_attention/layer_norm", 0),
    "fc1": ("ffn/linear_0", 0),
    "fc2": ("ffn/linear_1", 0),
    "final_layer_norm": ("ffn/layer_norm", 0),
}


def place_of(name: str) -> tuple[str, int]:
    """Which variable of CTranslate2's holds a tensor of Transformers', and in which of its parts
    (WhisperLoader of ctranslate2/converters/transformers.py)."""
    _, stack, rest = name.split(".", 2)
    place, _, end = rest.rpartition(".")
    if "layer_norm" in place:
        end = {"weight": "gamma", "bias": "beta"}[end]
    if not place.startswith("layers."):
        if place == "embed_positions":
            return f"{stack}/position_encodings/encodings", 0
        return f"{stack}/{'embeddings' if place == 'embed_tokens' else place}/{end}", 0
    _, layer, inside = place.split(".", 2)
    where, row = STACKED[inside]
    return f"{stack}/layer_{layer}/{where}/{end}", row


def ctranslate2_variables(model: WhisperForConditionalGeneration) -> dict[str, np.ndarray]:
    """What CTranslate2's converter makes of a model."""
    parts: dict[str, dict[int, np.ndarray]] = {}
    for name, tensor in model.state_dict().items():
        if name != "proj_out.weight":
            place, row = place_of(name)
            parts.setdefault(place, {})[row] = tensor.float().numpy()
    for name, rows in parts.items():
        if name.endswith("self_attention/linear_0/bias"):
            rows[1] = np.zeros_like(rows[0])  # the keys'
        if name.endswith("/attention/linear_1/bias"):
            rows[0] = np.zeros_like(rows[1])
    found = {name: np.concatenate([rows[i] for i in sorted(rows)]) for name, rows in parts.items()}
    settings = {"encoder/num_heads": np.int16(HEADS), "decoder/num_heads": np.int16(HEADS)}
    settings |= {"decoder/activation": np.int8(3), "decoder/pre_norm": np.int8(1)}
    return {**found, **settings, "decoder/scale_embeddings": np.int8(0)}  # type: ignore[dict-item]


def of_variables(
    model: WhisperForConditionalGeneration, variables: Mapping[str, np.ndarray]
) -> WhisperForConditionalGeneration:
    """The model with the numbers that (quantised) variables stand for."""
    found = copy.deepcopy(model)
    with torch.no_grad():
        for name, tensor in found.state_dict().items():
            if name == "proj_out.weight" or name.endswith("encoder.embed_positions.weight"):
                continue
            place, row = place_of(name)
            values = variables[place]
            if values.dtype == np.uint16:
                values = (values.astype(np.uint32) << 16).view(np.float32)
            values = values.astype(np.float32)
            scale = variables.get(f"{place}_scale")
            if scale is not None:
                values /= scale.reshape(-1, *(1,) * (values.ndim - 1)) if scale.ndim else scale
            size = len(tensor)
            tensor.copy_(torch.from_numpy(values[row * size : (row + 1) * size]))
    return found


QUANTISED = ("linear_0/weight", "linear_1/weight", "linear_2/weight", "embeddings/weight")
TYPES = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4, "uint16": 5}
"""bfloat16, which NumPy has not, as its bits."""


def quantised(variables: Mapping[str, np.ndarray], kind: str) -> dict[str, np.ndarray]:
    """As LayerSpec._quantize of ctranslate2/specs/model_spec.py stores them."""
    whole, _, rest = kind.partition("_")
    floats = rest or ("float32" if whole in ("int8", "int16") else whole)
    found: dict[str, np.ndarray] = {}
    for name, values in variables.items():
        if not values.shape:
            found[name] = values
        elif whole in ("int8", "int16") and name.endswith((*QUANTISED, "conv1/weight")):
            flat = values.reshape(len(values), -1)
            peak = np.abs(flat).max(axis=1) if whole == "int8" else np.abs(flat).max()
            scale = np.asarray((127.0 if whole == "int8" else 1024.0) / peak, np.float32)
            scaled = np.rint(flat * (scale[:, None] if whole == "int8" else scale))
            found[name] = scaled.astype(whole).reshape(values.shape)
            found[f"{name}_scale"] = scale
        elif floats == "bfloat16":
            bits = torch.from_numpy(values).bfloat16().view(torch.int16)
            found[name] = bits.numpy().view(np.uint16)
        else:
            found[name] = values.astype(floats)
    return found


def model_bin(
    variables: Mapping[str, np.ndarray],
    aliases: Mapping[str, str],
    *,
    head: tuple[int, str, int] = (6, "WhisperSpec", 3),
) -> bytes:
    """A model.bin, as ModelSpec._serialize of ctranslate2/specs/model_spec.py writes it."""

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    parts = [struct.pack("<I", head[0]), text(head[1]), struct.pack("<I", head[2])]
    parts.append(struct.pack("<I", len(variables)))
    for name, values in sorted(variables.items()):
        parts.append(text(name) + struct.pack("<B", len(values.shape)))
        parts += [struct.pack("<I", size) for size in values.shape]
        parts.append(struct.pack("<BI", TYPES[values.dtype.name], values.nbytes))
        parts.append(values.tobytes())
    parts.append(struct.pack("<I", len(aliases)))
    parts += [text(alias) + text(name) for alias, name in aliases.items()]
    return b"".join(parts)


def save_ctranslate2(
    folder: Path, model: WhisperForConditionalGeneration, kind: str = "float32"
) -> Path:
    """The folder that CTranslate2's converter writes, with the tokenizer.json that faster-whisper's
    repositories have beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    variables = quantised(ctranslate2_variables(model), kind)
    aliases = {"decoder/projection/weight": "decoder/embeddings/weight"}
    (folder / "model.bin").write_bytes(model_bin(variables, aliases))
    config = {
        "alignment_heads": ALIGNMENT,
        "lang_ids": [token(f"<|{code}|>") for code in LANGUAGES],
        "suppress_ids": [1, 7],
        "suppress_ids_begin": [3, token("<|endoftext|>")],
    }
    (folder / "config.json").write_text(json.dumps(config))
    names = [tokenizer().id_to_token(i) for i in range(tokenizer().get_vocab_size())]
    (folder / "vocabulary.json").write_text(json.dumps(names))
    tokenizer().save(str(folder / "tokenizer.json"))
    return folder
