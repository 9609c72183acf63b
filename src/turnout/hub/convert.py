"""A Whisper checkpoint on the disk -> a model folder, without torch.

The tensors go from the source's files to the folder's one at a time.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from turnout.config import ModelConfig
from turnout.errors import MissingModel
from turnout.hub.card import ROUNDED, SOURCE, license_of, papers_in, render_card
from turnout.hub.checkpoint import Checkpoint
from turnout.hub.ctranslate2_folder import MODEL, read_ctranslate2
from turnout.hub.rounding import Precision, in_precision
from turnout.hub.stored import INTEGERS, refused
from turnout.hub.transformers_folder import CONFIG as THEIR_CONFIG
from turnout.hub.transformers_folder import INDEX, WEIGHTS, read_transformers
from turnout.hub.weights import Watched, float_parts, weights_size
from turnout.hub.whisper_graphs import graphs_of
from turnout.model_folder import (
    CARD,
    CONFIG,
    TOKENIZERS,
    config_bytes,
    files_of_model,
    write_folder,
)
from turnout.text.whisper import WhisperTokenizer

GENERATION = "generation_config.json"
PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
INSTEAD = (
    "take the model.safetensors of the checkpoint's repository on the Hugging Face hub (openai's "
    "are openai/whisper-tiny, -base, -small, -medium, -large-v3), with the files beside it"
)


def convert(
    source: Path,
    folder: Path,
    *,
    origin: Mapping[str, str] | None = None,
    precision: Precision = "stored",
) -> Path:
    """Write the checkpoint in the folder `source`, of Transformers or CTranslate2, as a model
    folder, whole or not at all; another model at `folder` gives way to it.

    `origin` is written into `source.json` and the card, such as repository and commit. Raises
    ModelFolderError for what is no checkpoint of Whisper or is damaged, MissingExtra for shapes
    whose graphs need PyTorch, and StorageError, and leaves what was there.
    """
    return write_checkpoint(read_checkpoint(source), folder, origin=origin, precision=precision)


def read_checkpoint(source: Path) -> Checkpoint:
    """The checkpoint in a folder, its files checked but for the tensors' values; raises
    ModelFolderError."""
    check_place(source)
    if any((source / name).exists() for name in (WEIGHTS, INDEX)):
        return read_transformers(source)
    if (source / MODEL).exists():
        return read_ctranslate2(source)
    pickles = [path.name for path in sorted(source.iterdir()) if path.suffix in PICKLES]
    if pickles:
        raise refused(source, f"{pickles[0]} is a pickle, which could run anything: {INSTEAD}")
    raise refused(
        source,
        f"has no {WEIGHTS} and no {MODEL}: a folder of Transformers or CTranslate2 is needed, with "
        f"its {THEIR_CONFIG} and tokenizer.json",
    )


def check_place(source: Path) -> None:
    """Raise ModelFolderError where there is no folder."""
    if source.is_dir():
        return
    if not source.exists():
        raise MissingModel(f"checkpoint {source}: does not exist: give the path of its folder")
    if source.suffix in PICKLES and source.name != MODEL:
        raise refused(source, f"is a pickle, which could run anything: {INSTEAD}")
    raise refused(source, "is a file: give the folder that it lies in, with the files beside it")


def write_checkpoint(
    checkpoint: Checkpoint,
    folder: Path,
    *,
    origin: Mapping[str, str] | None = None,
    precision: Precision = "stored",
    watched: Watched = lambda names: names,
    graphs: Callable[[ModelConfig], dict[str, bytes]] = graphs_of,
) -> Path:
    """Write a checkpoint as `convert` does; `watched` sees the names of its tensors go by, and
    `graphs` are files beside its weights."""
    files_of_model(folder)  # before the work: something else than a model is not overwritten
    told = {"format": checkpoint.kind, "source": checkpoint.path.resolve().name, **(origin or {})}
    rounded = {one.kind for one in checkpoint.tensors.values()}.intersection(INTEGERS)
    kinds = {kind.lower().replace("i", "int") for kind in rounded}
    kinds |= {"int8"} if precision == "int8" else set()
    if kinds:
        told[ROUNDED] = ", ".join(sorted(kinds))
    config = checkpoint.config
    tokenizer = WhisperTokenizer.from_bytes(checkpoint.tokenizer, config.vocabulary)
    license_name = told.get("license") or license_of(checkpoint.path)
    files = {
        **papers_in(checkpoint.path),
        CONFIG: config_bytes(config, tokenizer),
        TOKENIZERS[tokenizer.kind].name: checkpoint.tokenizer,
        SOURCE: (json.dumps(told, indent=2, ensure_ascii=False) + "\n").encode(),
        CARD: render_card(config.vocabulary, told, license_name).encode(),
        **graphs(config),
    }
    if checkpoint.generation is not None:
        files[GENERATION] = checkpoint.generation
    tensors = checkpoint.tensors
    write_folder(folder, in_precision(files, tensors, precision, place=folder, watched=watched))
    return folder


def describe(checkpoint: Checkpoint, *, half: bool = False) -> str:
    """A checkpoint in one line: whose it is, what it knows, how large it becomes in floats."""
    config = checkpoint.config
    languages = len(config.vocabulary.languages)
    size = weights_size(float_parts(checkpoint.tensors, half=half)) / 1e6
    return (
        f"{checkpoint.path}: Whisper, stored by {checkpoint.kind}: {config.encoder.num_layers} and "
        f"{config.decoder.num_layers} layers of width {config.encoder.d_model}, "
        f"{'English alone' if languages == 1 else f'{languages} languages'}, "
        f"{size:.0f} MB of weights"
    )
