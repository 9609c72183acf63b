"""Another model's weights into this one: Whisper's by their names, a dense feed-forward into every
expert."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce

import torch
from torch import Tensor, nn

EXPERT = re.compile(r"\.experts\.(\d+)\.")
RULES: tuple[tuple[str, str], ...] = (
    (r"^model\.", ""),
    (r"^proj_out\.weight$", ""),
    (r"^encoder\.conv1\.", "encoder.subsampling.first."),
    (r"^encoder\.conv2\.", "encoder.subsampling.second."),
    (r"^encoder\.embed_positions\.weight$", ""),
    (r"^encoder\.layer_norm\.", "encoder.norm."),
    (r"^decoder\.layer_norm\.", "decoder.norm."),
    (r"^decoder\.embed_tokens\.", "decoder.embedding."),
    (r"^decoder\.embed_positions\.", "decoder.positions."),
    (r"\.layers\.(\d+)\.", r".blocks.\1."),
    # The norms first, since their names begin with those of what they stand before.
    (r"^(encoder\.blocks\.\d+)\.self_attn_layer_norm\.", r"\1.attention_norm."),
    (r"^(encoder\.blocks\.\d+)\.self_attn\.", r"\1.attention."),
    (r"\.self_attn_layer_norm\.", ".self_norm."),
    (r"\.self_attn\.", ".self_attention."),
    (r"\.encoder_attn_layer_norm\.", ".cross_norm."),
    (r"\.encoder_attn\.", ".cross_attention."),
    (r"\.final_layer_norm\.", ".feed_forward_norm."),
    (r"\.fc1\.", ".feed_forward.bank.experts.0.up."),
    (r"\.fc2\.", ".feed_forward.bank.experts.0.down."),
    (r"\.q_proj\.", ".query."),
    (r"\.k_proj\.", ".key."),
    (r"\.v_proj\.", ".value."),
    (r"\.out_proj\.", ".output."),
)
"""Whisper's names (arXiv 2212.04356), as transformers stores them -> this model's, in turn."""


@dataclass(frozen=True)
class Fitted:
    """What became of a state: names of this model's tensors (`unexpected`: of the source's)."""

    copied: list[str] = field(default_factory=list)
    """Experts that were filled with a dense model's feed-forward."""
    missing: list[str] = field(default_factory=list)
    """Left as they were: the source has no such tensor."""
    mismatched: list[str] = field(default_factory=list)
    """Left as they were: the source's has another shape."""
    unexpected: list[str] = field(default_factory=list)


def fit_state(model: nn.Module, state: Mapping[str, Tensor]) -> Fitted:
    """Copy into `model` every tensor of `state` that fits.

    Where the source has one expert (it is dense) and the model several, each of them becomes its
    copy: exact at step 0 for supervised routing, and for a learned one with the gate
    'straight_through'.
    """
    fitted, used = Fitted(), set[str]()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            # With a second expert the source is no dense model, and its experts keep their places.
            dense = EXPERT.search(name) and EXPERT.sub(".experts.1.", name) not in state
            source = EXPERT.sub(".experts.0.", name) if dense else name
            used.add(source)
            if source not in state:
                fitted.missing.append(name)
            elif state[source].shape != tensor.shape:
                fitted.mismatched.append(name)
            else:
                tensor.copy_(state[source])
                if source != name:
                    fitted.copied.append(name)
    fitted.unexpected.extend(name for name in state if name not in used)
    return fitted


def whisper_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A `WhisperForConditionalGeneration` state dict under this model's names, for `fit_state`.

    The encoder's sinusoids are computed here and the output layer is the embedding: both are
    left out.
    """
    named = {
        reduce(lambda name, rule: re.sub(*rule, name), RULES, name): tensor
        for name, tensor in state.items()
    }
    named.pop("", None)
    return named
