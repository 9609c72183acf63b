"""Every published shape at full width: what is converted of Transformers computes what it computes,
step by step, with caches."""

import zlib
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pytest
import safetensors.torch
import torch
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration
from transformers.models.whisper.modeling_whisper import sinusoids

from tests import whispers
from tests.doubles import whole_step
from turnout.backends.onnx import OnnxBackend
from turnout.backends.rows import OnnxRows
from turnout.guidance import Guidance, Task
from turnout.hub.convert import convert
from turnout.hub.sources import PUBLISHED
from turnout.model_folder import ModelFolder

FEW = 2000
"""Ids of the wide ones: with all of theirs they would take most of the time, and show no more than
the narrow ones do."""


class Shape(NamedTuple):
    """What one size of Whisper has; the encoder has two layers here."""

    width: int
    heads: int
    ids: int
    mels: int = 80
    decoder_layers: int = 2
    positions: int = 60
    """Of the encoder's window."""


SHAPES = {
    "tiny": Shape(384, 6, 51_865, positions=1500),
    # As many layers of the decoder as large-v3-turbo has, which is distil-large-v3 but for them.
    "tiny.en": Shape(384, 6, 51_864, decoder_layers=4),
    "base": Shape(512, 8, 51_866),  # as many as large-v3 has
    "small": Shape(768, 12, FEW),
    "medium": Shape(1024, 16, FEW),
    "large-v2": Shape(1280, 20, FEW),
    # Two layers are all that the decoder of distil-large-v3 has; with two, large-v3 is the same.
    "distil-large-v3": Shape(1280, 20, FEW, mels=128),
}
SAME = ("large-v3", "large-v3-turbo", "base.en", "small.en", "medium.en")
"""What differs from one of these in the number of layers alone, or in ids as tiny.en from tiny."""
ALIGNMENT = [[1, 5], [0, 1], [1, 0]]
HEARD, ROWS = 2, np.array([1, 0, 1])
STEPS = (4, 1, 1, 2)
"""New tokens: a prompt, single ones with caches, several."""
TOLERANCE = 3e-5
"""Of log-probabilities, keys and values, which are up to 20, and of attention weights; 1e-5 was
found."""


def test_every_published_name_has_its_shape() -> None:
    names = {name.removeprefix("whisper-") for name in PUBLISHED}
    assert names == {*SHAPES, *SAME}


@cache
def noise() -> torch.Tensor:
    """Enough for the largest tensor."""
    size = SHAPES["base"].ids * SHAPES["base"].width + 2**20
    return torch.randn(size, generator=torch.Generator().manual_seed(5))


def checkpoint(shape: Shape, folder: Path) -> WhisperForConditionalGeneration:
    """A folder of Transformers, in float16, and the model that it reads there."""
    config = configuration(shape)
    with torch.device("meta"):
        parameters = dict(WhisperForConditionalGeneration(config).named_parameters())
    state = {}
    for name, parameter in parameters.items():
        # Places in the same noise, of which none equals another: drawing all takes longer.
        begin = zlib.crc32(name.encode()) % 2**20
        values = noise()[begin : begin + parameter.numel()].view(parameter.shape)
        gain = 1.5 * shape.width**-0.5 if parameter.ndim > 1 else 0.1
        state[name] = (values * gain + ("norm.weight" in name)).half()
    # As they are computed: stored ones are only looked at.
    state["model.encoder.embed_positions.weight"] = sinusoids(shape.positions, shape.width)
    config.save_pretrained(folder)
    GenerationConfig(alignment_heads=ALIGNMENT, is_multilingual=True).save_pretrained(folder)
    safetensors.torch.save_file(state, folder / "model.safetensors", {"format": "pt"})
    whispers.tokenizer().save(str(folder / "tokenizer.json"))
    return WhisperForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def configuration(shape: Shape) -> WhisperConfig:
    """Transformers' configuration of a shape."""
    end = whispers.token("<|endoftext|>")
    return WhisperConfig(
        vocab_size=shape.ids,
        num_mel_bins=shape.mels,
        d_model=shape.width,
        encoder_layers=2,
        decoder_layers=shape.decoder_layers,
        encoder_attention_heads=shape.heads,
        decoder_attention_heads=shape.heads,
        encoder_ffn_dim=4 * shape.width,
        decoder_ffn_dim=4 * shape.width,
        max_source_positions=shape.positions,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=whispers.token("<|startoftranscript|>"),
        begin_suppress_tokens=[end],
        architectures=["WhisperForConditionalGeneration"],
    )


@pytest.mark.parametrize("name", SHAPES)
@torch.no_grad()
def test_it_computes_what_transformers_computes(name: str) -> None:
    shape = SHAPES[name]
    with TemporaryDirectory() as place:  # gone at once: all of them are gigabytes
        model = checkpoint(shape, Path(place) / "source")
        folder = ModelFolder.open(convert(Path(place) / "source", Path(place) / "model"))
        backend = OnnxBackend.open(folder, threads=1)
    random = np.random.default_rng(1)
    frames = (HEARD, 2 * shape.positions, shape.mels)
    log_mel = random.standard_normal(frames, np.float32)
    guidance = [Guidance(task=Task.TRANSCRIBE, language="en")] * HEARD
    encoded = backend.encode(log_mel, np.ones(frames[:2], np.bool_), guidance)
    state = backend.start(encoded, ROWS, [guidance[0]] * len(ROWS))
    hidden = model.model.encoder(torch.from_numpy(log_mel).mT).last_hidden_state[ROWS]
    past, weights, tokens = None, [], random.integers(0, shape.ids, (len(ROWS), sum(STEPS)))
    for new in np.split(tokens, np.cumsum(STEPS)[:-1], axis=1):
        found, state = whole_step(backend, state, new, np.full(new.shape[:1], new.shape[1]))
        wanted = model(
            encoder_outputs=(hidden,),
            decoder_input_ids=torch.from_numpy(new),
            past_key_values=past,
            use_cache=True,
            output_attentions=True,
        )
        past = wanted.past_key_values
        weights.append([wanted.cross_attentions[layer][:, head] for layer, head in ALIGNMENT])
        log_probs = wanted.logits.log_softmax(-1).numpy()
        np.testing.assert_allclose(found, log_probs, rtol=0, atol=TOLERANCE)
    check_caches(state.cache, past)
    aligned = torch.cat([torch.stack(step, 1) for step in weights], 2).numpy()
    given = ([guidance[0]] * len(ROWS), tokens, np.full(len(ROWS), tokens.shape[1]))
    attention = backend.attention(encoded, ROWS, *given)
    np.testing.assert_allclose(attention, aligned, rtol=0, atol=TOLERANCE)
    assert aligned.max() > 5 / shape.positions, "who looks everywhere alike hides mistakes"


def check_caches(held: OnnxRows, past: Any) -> None:
    """Keys and values of what is heard and of what is written."""
    rows = held.layout.shown
    for part, places, theirs in (
        (held.cross, rows // held.each, past.cross_attention_cache),
        (held.past, rows, past.self_attention_cache),
    ):
        ours = [array[:, places] for array in part[:2]]
        for layer, wanted in enumerate(theirs.layers):
            for name, found in zip(("keys", "values"), ours, strict=True):
                np.testing.assert_allclose(
                    found[layer], getattr(wanted, name), rtol=0, atol=TOLERANCE
                )
