"""Which parts of a model are trained. The rest is frozen: it has no gradient, no optimizer state
and no place in a checkpoint, and is afterwards what it was, to the last bit.
"""

import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from turnout.config import ObjectiveConfig
from turnout.errors import ConfigError
from turnout.experts.bank import ExpertBank
from turnout.model.speech_model import SpeechModel
from turnout.training.parts import trained_names


def freeze(model: SpeechModel, patterns: Sequence[str]) -> None:
    """Leave what `patterns` name to be trained, and freeze the rest; without any, all is trained.

    Raises ConfigError for a pattern that names nothing, and where they name everything.
    """
    if not patterns:
        return
    names = [name for name, _ in model.named_parameters()]
    trained = trained_names(model.config, names, patterns)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)


def freeze_unreached(model: SpeechModel, objective: ObjectiveConfig) -> None:
    """Freeze what the objective never reaches: without a gradient, or with one of zeros, weight
    decay would still move it.

    Raises ConfigError where nothing is left to be trained.
    """
    alone = model.ctc_head is None or model.decoder is None  # whose weight is 1, whatever is said
    weight, texts = objective.ctc_weight, objective.text_weight > 0
    heard = texts and (alone or weight > 0)
    written = (texts and (alone or weight < 1)) or objective.distil_decoder > 0
    for part, reached in ((model.ctc_head, heard), (model.decoder, written)):
        if part is not None and not reached:
            part.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(
            "nothing is left to be trained: with objective.text_weight or ctc_weight 0 the CTC "
            "head is not reached, and with text_weight 0 or ctc_weight 1, without distil_decoder, "
            "no decoder is: let trainable name parts of the encoder, such as encoder.experts, or "
            "change the objective"
        )


def check_tied(model: nn.Module) -> None:
    """Raise ConfigError where only some experts of a bank are trained: none could be as one."""
    for name, bank in model.named_modules():
        if not isinstance(bank, ExpertBank):
            continue
        trained = {
            frozenset(n for n, p in expert.named_parameters() if p.requires_grad)
            for expert in bank.experts
        }
        if len(trained) > 1:
            raise ConfigError(
                "tie_experts_until trains the experts of a layer as one, and trainable leaves some "
                f"of {name} as they are: name all of a layer, such as {name.partition('.')[0]}"
                ".experts, or leave tie_experts_until out"
            )


def is_frozen(model: nn.Module) -> bool:
    """Whether anything in it is."""
    return not all(parameter.requires_grad for parameter in model.parameters())


def to_train(module: nn.Module, training: bool = True) -> None:
    """Training mode for what is trained, evaluation for what is frozen: no dropout is drawn there,
    no noise added. A part without parameters goes with the one that it belongs to."""
    parameters = list(module.parameters())
    if parameters:
        training = any(parameter.requires_grad for parameter in parameters)
    module.training = training
    for child in module.children():
        to_train(child, training)


def frozen_digest(model: nn.Module) -> str:
    """SHA-256 over names, shapes and values of what is frozen; empty where nothing is."""
    frozen = {name: p for name, p in model.named_parameters() if not p.requires_grad}
    return digest_of(frozen) if frozen else ""


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        values = tensor.detach().to("cpu", torch.float32).contiguous()
        digest.update(f"{name} {list(values.shape)}\n".encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()
