"""Small models in Whisper's settings with random weights, and transformers' twins of them."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tests.byte_level import LANGUAGES, tokenizer
from turnout.backends.torch import TorchBackend
from turnout.config import ModelConfig, VocabularyConfig, preset
from turnout.decoding.requests import DecodingOptions, Request, Utterance
from turnout.hub.names import whisper_state
from turnout.model.build import build_model
from turnout.model.convert import fit_state
from turnout.text.whisper import WhisperTokenizer

FRAMES, MOST_TOKENS = 100, 40
WIDTH, LAYERS, HEADS = 32, 2, 2


@cache
def whisper_tokenizer() -> WhisperTokenizer:
    """Three languages, of which two are translated to English."""
    translations = (("zh", "en"), ("haw", "en"))
    vocabulary = VocabularyConfig(size=512, languages=LANGUAGES, translations=translations)
    return WhisperTokenizer.from_bytes(tokenizer().to_str().encode(), vocabulary)


def whisper_config(**changes: Any) -> ModelConfig:
    """A window of one second; `changes` are the decoder's."""
    shape, ids = preset("whisper-tiny"), whisper_tokenizer()
    sizes = {"num_layers": LAYERS, "num_heads": HEADS, "d_feedforward": 2 * WIDTH}
    vocabulary = replace(ids.vocabulary, size=ids.size)
    decoder = replace(shape.decoder, max_tokens=MOST_TOKENS, **sizes, **changes)
    encoder = replace(shape.encoder, d_model=WIDTH, **sizes)
    return replace(
        shape, vocabulary=vocabulary, encoder=encoder, decoder=decoder, window_seconds=1.0
    )


@cache
def twin(seed: int = 0) -> Any:
    """transformers' model of that shape."""
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    ids = whisper_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = WhisperForConditionalGeneration(
            WhisperConfig(
                vocab_size=ids.size,
                d_model=WIDTH,
                encoder_layers=LAYERS,
                decoder_layers=LAYERS,
                encoder_attention_heads=HEADS,
                decoder_attention_heads=HEADS,
                encoder_ffn_dim=2 * WIDTH,
                decoder_ffn_dim=2 * WIDTH,
                max_source_positions=FRAMES // 2,
                max_target_positions=MOST_TOKENS,
                pad_token_id=ids.end,
                bos_token_id=ids.end,
                eos_token_id=ids.end,
                decoder_start_token_id=ids.start,
                attn_implementation="eager",
            )
        ).eval()
        # Louder: near-ties and uniform distributions hide mistakes.
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "embed_positions" not in name or "decoder" in name:
                    parameter.mul_(8 if parameter.ndim > 1 else 1)
    return model


def backend(seed: int = 0, **changes: Any) -> TorchBackend:
    """Ours with the twin's weights."""
    model = build_model(whisper_config(**changes))
    fitted = fit_state(model, whisper_state(twin(seed).state_dict()))
    assert not fitted.missing and not fitted.mismatched and not fitted.unexpected
    return TorchBackend(model)


def heard(index: int) -> NDArray[np.float32]:
    """What stands for log-mel frames [frames, mels]."""
    return np.random.default_rng(index).standard_normal((FRAMES, 80)).astype(np.float32)


def utterance(index: int, request: Request, **options: Any) -> Utterance:
    """Bounded by the decoder's positions alone."""
    asked = DecodingOptions(**{"max_tokens_per_second": 1000.0, **options})
    return Utterance(heard(index), request, asked)


@torch.no_grad()
def logits(index: int, tokens: list[int], seed: int = 0) -> torch.Tensor:
    """The twin's log-probabilities [tokens, vocabulary] behind each of these."""
    features = torch.from_numpy(heard(index)).T[None]
    output = twin(seed)(input_features=features, decoder_input_ids=torch.tensor([tokens]))
    return output.logits[0].log_softmax(dim=-1)
