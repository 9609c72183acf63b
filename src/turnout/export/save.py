"""A SpeechModel -> a model folder with weights, and the ONNX graphs, checked against them."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from turnout.adapters.folder import AdapterFolder
from turnout.backends.onnx_paths import open_onnx
from turnout.backends.torch import TorchBackend, load_model
from turnout.backends.torch_paths import open_torch
from turnout.decoding.backend import Backend
from turnout.errors import ExportError
from turnout.export.card import render_card
from turnout.export.parity import check_parity
from turnout.export.remaking import graphs_of
from turnout.hub.adapted import open_adapter, with_adapters
from turnout.hub.copy import check_copy, copy_model
from turnout.hub.resolve import open_model, to_log
from turnout.model.speech_model import SpeechModel
from turnout.model_folder import (
    CARD,
    CONFIG,
    TOKENIZERS,
    WEIGHTS,
    ModelFolder,
    config_bytes,
    write_folder,
)
from turnout.progress import Say
from turnout.text.tokenizer import Tokenizer


def save_model(
    path: str | Path,
    model: SpeechModel,
    tokenizer: Tokenizer,
    card: str | Mapping[str, Any],
    *,
    half: bool = False,
    beside: Mapping[str, bytes] | None = None,
) -> None:
    """Write weights, configuration, tokenizer and card, whole or not at all.

    `card` is the text of README.md, or what is to be said of the training, as plain values. With
    `half` the weights are stored as float16. Files `beside` them are graphs that the caller knows
    to be of this shape. Raises StorageError, and ExportError for weights that are not finite or
    that float16 cannot hold.
    """
    text = card if isinstance(card, str) else render_card(model.config, card)
    write_folder(
        path,
        {
            CONFIG: config_bytes(model.config, tokenizer),
            WEIGHTS: weights_bytes(model, half=half),
            TOKENIZERS[tokenizer.kind].name: tokenizer.to_bytes(),
            CARD: text.encode(),
            **(beside or {}),
        },
    )


def weights_bytes(model: SpeechModel, *, half: bool) -> bytes:
    """The content of `model.safetensors`."""
    return safetensors.torch.save(stored_state(model, half=half), {"format": "pt"})


def stored_state(model: SpeechModel, *, half: bool) -> dict[str, Tensor]:
    """The model's tensors as they are stored: each with memory of its own, on the CPU."""
    state: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        plain = tensor.detach().to("cpu", copy=True).contiguous()
        if plain.is_floating_point():
            plain = plain.half() if half else plain.float()
            if not bool(torch.isfinite(plain).all()):
                what = "float16 cannot hold" if half else "that are not finite"
                raise ExportError(
                    f"{name} has values {what}: the model was not saved; look at its training"
                )
        state[name] = plain
    return state


def export_folder(
    path: str | Path,
    *,
    half: bool = False,
    adapters: Sequence[str | Path] = (),
    say: Say = to_log,
) -> Path:
    """Write `encoder.onnx` and, where there is a decoder, `decoder.onnx` into the folder, which is
    of the newest format version then: traced by PyTorch, or built as `turnout convert` builds them
    where the shape is Whisper's.

    The graphs take the weights that the folder has; `half` first rounds them to float16. With
    `adapters` they are checked on the paths of those, too. Raises ExportError, and leaves the
    folder as it was, where log-probabilities differ by more than `check_parity` allows.
    """
    folder = open_model(path, say)
    folder.require(WEIGHTS)
    experts = [open_adapter(one) for one in adapters]
    if experts:
        with_adapters(folder, experts)  # before minutes of work
    model = load_model(folder)
    files = folder.files()
    if half:
        model = model.half().float()
        files[WEIGHTS] = weights_bytes(model, half=True)
    graphs = graphs_of(folder.config)
    config = {CONFIG: config_bytes(folder.config, folder.tokenizer)}
    # What is compared with the model is what was written.
    check = partial(check_written, TorchBackend(model), experts)
    write_folder(folder.path, {**files, **graphs, **config}, check)
    return folder.path


def export_int8(
    path: str | Path,
    output: Path,
    *,
    adapters: Sequence[str | Path] = (),
    say: Say = to_log,
) -> Path:
    """Export the folder, and write the model to `output` in int8; raises as `export_folder` and
    `copy_model` do, before any work where nothing can be written there."""
    check_copy(open_model(path, say), output)
    exported = export_folder(path, adapters=adapters, say=say)
    return copy_model(ModelFolder.open(exported), output, precision="int8")


def check_written(model: Backend, adapters: Sequence[AdapterFolder], path: Path) -> None:
    """Raise ExportError where a folder's graphs do not give what PyTorch gives, with these too."""
    folder = ModelFolder.open(path)
    check_parity(model, open_onnx(folder, 1))
    if adapters:
        check_paths(adapters, folder)


def check_paths(adapters: Sequence[AdapterFolder], folder: ModelFolder) -> None:
    """Raise ExportError where a folder's graphs do not give what PyTorch gives with these."""
    adapted = with_adapters(folder, adapters)
    check_parity(open_torch(folder, "cpu", 1, adapted), open_onnx(folder, 1, adapted))
