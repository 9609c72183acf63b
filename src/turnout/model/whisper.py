"""The names of Whisper's weights (arXiv 2212.04356), as transformers stores them, in this model."""

import re
from collections.abc import Mapping

from torch import Tensor

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


def whisper_name(name: str) -> str:
    """This model's name of a Whisper tensor; empty for the two that it computes or ties."""
    for pattern, replacement in RULES:
        name = re.sub(pattern, replacement, name)
    return name


def whisper_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A `WhisperForConditionalGeneration` state dict under this model's names, for `fit_state`.

    The encoder's sinusoids are computed here and the output layer is the embedding: both are
    left out.
    """
    named = {whisper_name(name): tensor for name, tensor in state.items()}
    named.pop("", None)
    return named
