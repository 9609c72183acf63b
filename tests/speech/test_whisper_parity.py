"""tiny.en, whole, on real speech: it writes here what Transformers writes with the same weights."""

import json
import os
import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.whisper_oracle import Oracle
from numpy.typing import NDArray

import turnout
from tests.doubles import whole_step
from turnout.audio.features import model_features
from turnout.audio.waveform import read_audio
from turnout.config import TranscriptionOptions
from turnout.decoding.requests import DecodingOptions, Request, Utterance
from turnout.guidance import Guidance, Task
from turnout.hub.convert import convert

WEIGHTS = Path(os.environ.get("TURNOUT_TEST_WHISPER", "nowhere")) / "tiny.en"
CORPUS = Path(__file__).resolve().parents[3] / "shared" / "data" / "librispeech.tar"
COUNT, STEP_BY_STEP = 5, 1
GUIDANCE = Guidance(task=Task.TRANSCRIBE, language="en", target_language="en")
TOLERANCE = 2e-4
"""Of log-probabilities, which go down to -40; 4e-5 was found."""

pytestmark = [
    pytest.mark.skipif(
        not WEIGHTS.is_dir(), reason="TURNOUT_TEST_WHISPER names no folder of Whisper's weights"
    ),
    pytest.mark.skipif(not CORPUS.is_file(), reason="../shared/data has no librispeech.tar"),
]


def heard(model: turnout.Transcriber) -> list[NDArray[np.float32]]:
    """The log-mel windows of the shortest utterances, each of another speaker."""
    with tarfile.open(CORPUS) as archive:
        manifest = archive.extractfile("librispeech/manifest.jsonl")
        assert manifest is not None
        rows = [json.loads(line) for line in manifest.read().decode().splitlines()]
        rows.sort(key=lambda row: row["duration"])
        first = {row["speaker"]: row["audio_filepath"] for row in reversed(rows)}
        files = [archive.extractfile(f"librispeech/{path}") for path in sorted(first.values())]
        data = [file.read() for file in files[:COUNT] if file is not None]
    waveforms = [read_audio(BytesIO(each)) for each in data]
    return [model_features(each.samples, model.backend.config) for each in waveforms]


def test_tokens_and_log_probabilities_are_those_of_transformers(tmp_path: Path) -> None:
    model = turnout.load(convert(WEIGHTS, tmp_path / "model"), threads=1)
    oracle, windows = Oracle(tmp_path / "model"), heard(model)
    options = DecodingOptions.of(TranscriptionOptions(temperature_increment_on_fallback=None))
    found = model.decode([Utterance(window, Request(), options) for window in windows])
    assert len(found) == COUNT
    for place, (window, decoded) in enumerate(zip(windows, found, strict=True)):
        (ours,) = decoded.hypotheses
        expected = oracle.write(window)
        assert ours.tokens == expected.tokens
        assert len(ours.tokens) > 2
        assert ours.no_speech_prob == pytest.approx(expected.no_speech, abs=1e-5)
        if place < STEP_BY_STEP:
            tokens = [*model.tokenizer.prompt(GUIDANCE, task_token=False), *ours.tokens]
            with torch.no_grad():
                features = torch.from_numpy(window).T[None]
                hidden = oracle.model.model.encoder(features).last_hidden_state
            wanted = oracle.after(hidden, tokens)
            written = steps(model, window, tokens)
            np.testing.assert_allclose(written, wanted, rtol=0, atol=TOLERANCE)


def steps(
    model: turnout.Transcriber, window: NDArray[np.float32], tokens: list[int]
) -> NDArray[np.float32]:
    """[tokens, vocabulary]: log-probabilities behind each token, given one at a time."""
    backend = model.backend
    encoded = backend.encode(window[None], np.ones((1, len(window)), np.bool_), [GUIDANCE])
    state, found = backend.start(encoded, np.array([0]), [GUIDANCE]), []
    for token in tokens:
        step, state = whole_step(backend, state, np.array([[token]]), np.array([1]))
        found.append(step[0, 0])
    return np.array(found)
