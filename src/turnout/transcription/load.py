"""Name or folder -> Transcriber: the model that is meant, on the backend that can run it."""

from importlib.util import find_spec
from numbers import Integral
from os import PathLike
from pathlib import Path
from types import NoneType
from typing import Literal

from turnout.decoding.backend import Backend
from turnout.errors import MissingExtra, ModelFolderError, UsageError
from turnout.model_folder import WEIGHTS, ModelFolder, resolve
from turnout.transcription.transcriber import Transcriber
from turnout.transcription.wishes import check_kind

BackendName = Literal["auto", "onnx", "torch"]


def load(
    name_or_folder: str | Path | None = None,
    *,
    backend: BackendName = "auto",
    device: str = "auto",
    threads: int | None = None,
) -> Transcriber:
    """A model by its folder or by the name of one that ships; the default one for None.

    `backend="auto"` takes ONNX Runtime, and PyTorch where the folder has no graphs or `device` is
    not the CPU. Raises ModelFolderError, UsageError and MissingExtra.
    """
    check_kind("model", name_or_folder, (str, PathLike, NoneType), "a name, a folder or None")
    check_kind("device", device, (str,), "a word")
    check_kind("threads", threads, (Integral, NoneType), "a whole number or None")
    if threads is not None and threads < 1:
        raise UsageError(f"threads is {threads}: it must be at least 1")
    folder = ModelFolder.open(resolve(name_or_folder))
    chosen = choose_backend(folder, backend, device)
    runs = open_torch(folder, device, threads) if chosen == "torch" else open_onnx(folder, threads)
    return Transcriber(runs, folder.tokenizer, folder)


def choose_backend(folder: ModelFolder, backend: str, device: str) -> str:
    """'onnx' or 'torch'; raises UsageError or ModelFolderError where the wish cannot be met."""
    if backend not in ("auto", "onnx", "torch"):
        raise UsageError(f"no backend '{backend}': choose one of auto, onnx, torch")
    on_cpu = device in ("auto", "cpu")
    if backend == "auto":
        backend = "onnx" if on_cpu and folder.has_graphs else "torch"
    if backend == "onnx" and not on_cpu:
        raise UsageError(f"the backend onnx runs on the CPU, not on '{device}': choose torch")
    if backend == "onnx" and not folder.has_graphs:
        raise ModelFolderError(
            f"model folder {folder.path}: has no ONNX graphs: write them with 'turnout export', or "
            "choose the backend torch"
        )
    if backend == "torch" and not folder.has(WEIGHTS):
        raise ModelFolderError(
            f"model folder {folder.path}: has no {WEIGHTS}, only graphs: choose the backend onnx"
        )
    return backend


def open_onnx(folder: ModelFolder, threads: int | None) -> Backend:
    """The folder's graphs on ONNX Runtime."""
    from turnout.backends.onnx import OnnxBackend  # noqa: PLC0415 - slow to import

    return OnnxBackend.open(folder, threads)


def open_torch(folder: ModelFolder, device: str, threads: int | None) -> Backend:
    """The folder's weights in PyTorch, on the device."""
    if find_spec("torch") is None or find_spec("safetensors") is None:
        raise MissingExtra("running a model on PyTorch", "train")
    from turnout.backends.torch import open_backend  # noqa: PLC0415 - the one door to the workshop

    return open_backend(folder, device, threads)
