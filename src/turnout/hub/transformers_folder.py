"""A Transformers folder -> a checkpoint: configuration, tokenizer, safetensors in one or in shards.

Nothing of it is executed: no remote code, no pickle. The tensors' headers are read here, since the
safetensors library maps files, and NumPy knows no bfloat16.
"""

import struct
from pathlib import Path
from typing import Any

from turnout.errors import ModelFolderError, shown
from turnout.hub.checkpoint import Checkpoint, Facts, checked, head_list, id_list, whole_number
from turnout.hub.names import own_name
from turnout.hub.stored import (
    INTEGERS,
    KINDS,
    StoredTensor,
    parse_object,
    read_object,
    read_part,
    read_small,
    refused,
    size_of,
)
from turnout.hub.tokenizer_files import read_tokenizer_file
from turnout.text.whisper import END, NO_TIMESTAMPS, START

CONFIG, GENERATION = "config.json", "generation_config.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
ARCHITECTURE = "WhisperForConditionalGeneration"
MOST_HEADER = 4 << 20
"""Bytes of a safetensors header: large-v3's 1,259 tensors have 0.15 million."""
FLOATS = tuple(kind for kind in KINDS if kind not in INTEGERS)


def read_transformers(folder: Path) -> Checkpoint:
    """The checkpoint of a folder; raises ModelFolderError."""
    config = read_object(folder / CONFIG)
    check_architecture(folder / CONFIG, config)
    generation, content = None, {}
    if (folder / GENERATION).exists():
        generation = read_small(folder / GENERATION)
        content = parse_object(folder / GENERATION, generation)
    facts = facts_of(folder, config, content)
    tokenizer = read_tokenizer_file(folder)
    stored = stored_tensors(folder)
    tensors: dict[str, StoredTensor] = {}
    for theirs, tensor in stored.items():
        name = own_name(theirs)
        if name in tensors:
            raise refused(folder, f"has the tensor {theirs} twice, under two names")
        tensors[name] = tensor
    return checked(folder, "Transformers", tensors, facts, (tokenizer, generation))


def check_architecture(path: Path, config: dict[str, Any]) -> None:
    """Raise ModelFolderError where a configuration is not that of Whisper as it is built here."""
    if config.get("model_type") == "turnout":
        raise refused(path.parent, "is a model folder of turnout: there is nothing to convert")
    if config.get("model_type") != "whisper":
        found = shown(config.get("model_type"))
        raise refused(path, f"model_type is {found}: checkpoints of 'whisper' are taken")
    found = config.get("architectures")
    if found and ARCHITECTURE not in found:
        raise refused(path, f"is a {shown(found)}: {ARCHITECTURE} is taken")
    for key, wanted in (("activation_function", "gelu"), ("scale_embedding", False)):
        if config.get(key, wanted) != wanted:
            raise refused(path, f"{key} is {shown(config[key])}: Whisper's is {wanted!r}")
    if config.get("quantization_config"):
        raise refused(path, "its weights are quantised: take the checkpoint that was quantised")


def facts_of(folder: Path, config: dict[str, Any], generation: dict[str, Any]) -> Facts:
    """What both configurations say; what the newer one, of generation, has not is looked for in
    the older."""
    path = folder / CONFIG
    said = {**config, **{key: value for key, value in generation.items() if value is not None}}
    multilingual = generation.get("is_multilingual")
    special = {START: "decoder_start_token_id", END: "eos_token_id"}
    special[NO_TIMESTAMPS] = "no_timestamps_token_id"
    return Facts(
        num_mels=whole_number(path, config, "num_mel_bins"),
        vocabulary_size=whole_number(path, config, "vocab_size"),
        d_model=whole_number(path, config, "d_model"),
        encoder_layers=whole_number(path, config, "encoder_layers"),
        encoder_heads=whole_number(path, config, "encoder_attention_heads"),
        encoder_feedforward=whole_number(path, config, "encoder_ffn_dim"),
        decoder_layers=whole_number(path, config, "decoder_layers"),
        decoder_heads=whole_number(path, config, "decoder_attention_heads"),
        decoder_feedforward=whole_number(path, config, "decoder_ffn_dim"),
        max_positions=whole_number(path, config, "max_source_positions"),
        max_tokens=whole_number(path, config, "max_target_positions"),
        tied=config.get("tie_word_embeddings", True) is not False,
        multilingual=multilingual if isinstance(multilingual, bool) else None,
        suppressed=id_list(path, said, "suppress_tokens"),
        suppressed_first=id_list(path, said, "begin_suppress_tokens"),
        alignment_heads=head_list(path, said),
        special={name: said[key] for name, key in special.items() if type(said.get(key)) is int},
    )


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """The tensors of a folder by Transformers' names; raises ModelFolderError."""
    if (folder / WEIGHTS).exists():
        return read_header(folder / WEIGHTS)
    if not (folder / INDEX).exists():
        raise refused(folder, f"has neither {WEIGHTS} nor {INDEX}: one of them is needed")
    shards = read_object(folder / INDEX).get("weight_map")
    if not isinstance(shards, dict):
        raise refused(folder / INDEX, "has no object 'weight_map': fetch it again")
    for name, shard in shards.items():
        if not isinstance(shard, str) or Path(shard).name != shard:
            raise refused(
                folder / INDEX, f"{shown(name)} lies in {shown(shard)}: a file of the folder "
                "is needed"
            )  # fmt: skip
    tensors: dict[str, StoredTensor] = {}
    for shard in sorted(set(shards.values())):
        held = read_header(folder / shard)
        for name in held:
            if shards.get(name) != shard:
                raise refused(folder / shard, f"has {shown(name)}, which {INDEX} says elsewhere")
        tensors.update(held)
    if lost := shards.keys() - tensors.keys():
        name = min(lost)
        raise refused(folder / shards[name], f"lacks {shown(name)}, which {INDEX} says is there")
    return tensors


def read_header(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a safetensors file by name; raises ModelFolderError where its header does not
    describe exactly the bytes behind it."""
    size = size_of(path)
    damaged = refused(path, "is damaged or cut off: fetch it again")
    if size < 8:
        raise damaged
    (length,) = struct.unpack("<Q", read_part(path, 0, 8))
    if length > min(size - 8, MOST_HEADER):
        raise damaged
    content = parse_object(path, read_part(path, 8, length))
    content.pop("__metadata__", None)
    tensors, end = {}, 8 + length
    for name, tensor in sorted(
        ((name, header_entry(path, name, entry, 8 + length)) for name, entry in content.items()),
        key=lambda pair: pair[1].offset,
    ):
        if tensor.offset != end:
            raise damaged
        tensors[name] = tensor
        end += tensor.nbytes
    if end != size:
        raise damaged
    return tensors


def header_entry(path: Path, name: str, entry: Any, begin: int) -> StoredTensor:
    """A tensor of a header; raises ModelFolderError."""
    try:
        kind, shape, (first, last) = entry["dtype"], entry["shape"], entry["data_offsets"]
        whole = all(type(number) is int and number >= 0 for number in (*shape, first, last))
    except (KeyError, TypeError, ValueError) as error:
        raise entry_error(path, name) from error
    if kind not in FLOATS:
        raise refused(
            path, f"{shown(name)} holds numbers of type {shown(kind)}: {', '.join(FLOATS)} are "
            "taken"
        )  # fmt: skip
    if not whole:
        raise entry_error(path, name)
    tensor = StoredTensor(path, begin + first, kind, tuple(shape))
    if tensor.nbytes != last - first:
        raise entry_error(path, name)
    return tensor


def entry_error(path: Path, name: str) -> ModelFolderError:
    """The error for a header's line that cannot be."""
    return refused(path, f"its header says of {shown(name)} what cannot be: fetch it again")
