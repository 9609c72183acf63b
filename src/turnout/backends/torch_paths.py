"""A dense model and its adapters on PyTorch: a model for each path, which shares all tensors with
the base's but those that its expert changes. The changes are NumPy's, the same bits as those of the
graphs."""

from copy import deepcopy
from functools import partial

import numpy as np
import torch
from torch import nn

from turnout.adapters.compose import STACKS, Adapted, Stack, stack_of
from turnout.backends.paths import PathBackend, Paths
from turnout.backends.torch import TorchBackend, open_backend
from turnout.decoding.backend import Backend
from turnout.model.speech_model import SpeechModel
from turnout.model_folder import ModelFolder


def open_torch(
    folder: ModelFolder,
    device: str = "auto",
    threads: int | None = None,
    adapted: Adapted | None = None,
) -> Backend:
    """The folder's model, with the experts of its adapters where there are such, on a device as
    `open_backend` takes it. Raises as that does."""
    base = open_backend(folder, device, threads)
    return base if adapted is None else open_torch_paths(base, adapted)


def open_torch_paths(base: TorchBackend, adapted: Adapted) -> PathBackend:
    """The base's model with the experts of its adapters, on the base's device."""

    def opened(stack: Stack, number: int) -> TorchBackend:
        return TorchBackend(path_of(base.model, adapted, stack, number), base.device)

    paths = {stack: Paths(partial(opened, stack), base) for stack in STACKS}
    return PathBackend(adapted.config, paths["encoder"], paths["decoder"])


def path_of(base: SpeechModel, adapted: Adapted, stack: Stack, number: int) -> SpeechModel:
    """The model of one path of a stack; what the other stack's experts change is the base's."""
    shared = [*base.parameters(), *base.buffers()]
    model = deepcopy(base, {id(tensor): tensor for tensor in shared})
    expert = getattr(adapted, stack)[number - 1]
    names = [name for name in expert.changes if stack_of(name) == stack]
    stored = {name: base.get_parameter(name).detach().cpu().numpy() for name in names}
    changed = adapted.path(stack, number, stored)
    for name in names:
        module, _, last = name.rpartition(".")
        device = base.get_parameter(name).device
        # A copy of PyTorch's own: where NumPy's begins in memory would change the last bits.
        values = torch.from_numpy(np.ascontiguousarray(changed[name])).clone().to(device)
        parameter = nn.Parameter(values, requires_grad=False)
        setattr(model.get_submodule(module), last, parameter)
    return model
