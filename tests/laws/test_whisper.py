"""The dense model in Whisper's settings is Whisper: transformers is the oracle."""

from dataclasses import replace

import pytest
import torch

from turnout.config import preset
from turnout.hub.names import whisper_state
from turnout.model.build import build_model
from turnout.model.convert import fit_state
from turnout.model.decoder import Memory

transformers = pytest.importorskip("transformers")


def test_logits_step_by_step_with_the_cache() -> None:
    shape = preset("whisper-tiny")
    shape = replace(shape, vocabulary=replace(shape.vocabulary, size=1000))
    torch.manual_seed(0)
    oracle = transformers.WhisperForConditionalGeneration(
        transformers.WhisperConfig(
            vocab_size=1000,
            d_model=384,
            encoder_layers=4,
            decoder_layers=4,
            encoder_attention_heads=6,
            decoder_attention_heads=6,
            encoder_ffn_dim=1536,
            decoder_ffn_dim=1536,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
        )
    ).eval()
    speech = build_model(shape).eval()
    fitted = fit_state(speech, whisper_state(oracle.state_dict()))
    assert not fitted.missing and not fitted.mismatched and not fitted.unexpected

    log_mel = torch.randn(2, 3000, 80)
    tokens = torch.randint(0, 1000, (2, 7))
    zeros = torch.zeros(2, dtype=torch.int64)
    with torch.no_grad():
        wanted = oracle(input_features=log_mel.transpose(1, 2), decoder_input_ids=tokens).logits
        encoded = speech.encode(log_mel, torch.ones(2, 3000, dtype=torch.bool), zeros, zeros)
        memory = Memory(*speech.decoder.cross(encoded.hidden), encoded.frame_mask)
        cache = speech.empty_cache(2)
        for begin, end in [(0, 3), (3, 4), (4, 5), (5, 7)]:
            counts = torch.full((2,), end - begin)
            output = speech.decoder(tokens[:, begin:end], counts, zeros, memory, cache)
            cache = output.cache
            torch.testing.assert_close(output.logits, wanted[:, begin:end], rtol=0, atol=1e-4)
