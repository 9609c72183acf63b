"""Windows as long as the speech, of a model that hears padded ones."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import turnout
from tests import whispers
from tests.doubles import model_config
from turnout.audio.features import log_mel, model_features, num_frames
from turnout.audio.waveform import open_recording
from turnout.config import FeatureConfig, TranscriptionOptions
from turnout.decoding.wishes import request_of
from turnout.guidance import Bandwidth, Window
from turnout.hub.convert import convert
from turnout.transcription.segments import AudioSegments

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "english-1.flac"
WHISPER = FeatureConfig(kind="whisper", normalization="whisper", padding="window")
PADDED = replace(model_config(window_seconds=6.0), features=WHISPER)


def test_features_of_the_speech_alone_are_the_padded_ones_but_for_the_end() -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 30_080).astype(np.float32)
    padded = model_features(samples, PADDED)
    speech = model_features(samples, PADDED, Window.SPEECH)
    frames = num_frames(len(samples), WHISPER)
    assert (len(padded), len(speech)) == (600, frames)
    # The last frame reaches beyond the samples, which are mirrored there or silent.
    np.testing.assert_allclose(speech[: frames - 1], padded[: frames - 1], rtol=0, atol=1e-5)
    assert np.abs(speech[frames - 1] - padded[frames - 1]).max() > 1e-3
    # As of a model whose features are not padded at all: so a path is cut out.
    plain = replace(PADDED, features=replace(WHISPER, padding="none"))
    for window in Window:
        assert np.array_equal(model_features(samples, plain, window), speech)
    assert np.array_equal(speech, log_mel(samples, WHISPER))


@pytest.mark.parametrize("window", list(Window))
def test_segments_and_their_halves_have_it(window: Window) -> None:
    recording = open_recording(str(EXAMPLE))
    segments = list(AudioSegments(recording, PADDED, window=window))
    parts = [*segments, *segments[0].halves(PADDED, window)]
    for part in parts:
        assert part.log_mel is not None
        wanted = 600 if window is Window.PADDED else part.num_frames
        assert len(part.log_mel) == wanted and part.num_frames < 600


def test_options_become_requests() -> None:
    options = TranscriptionOptions(domain="calls", window="speech")
    request = request_of(options, Bandwidth.WIDEBAND, None)
    assert (request.domain, request.window) == ("calls", Window.SPEECH)
    assert request_of(TranscriptionOptions(), Bandwidth.WIDEBAND, None).window is Window.PADDED
    with pytest.raises(turnout.ConfigError, match="'window' is 'short': one of padded, speech"):
        TranscriptionOptions(window="short")  # type: ignore[arg-type]


def test_batch_mates_of_other_lengths_change_nothing(tmp_path: Path) -> None:
    source = whispers.save_transformers(tmp_path / "source", whispers.whisper())
    model = turnout.load(convert(source, tmp_path / "model"), threads=1)
    data = EXAMPLE.read_bytes()
    sounds = [io.BytesIO(data), io.BytesIO((EXAMPLE.parent / "english-3.wav").read_bytes())]
    options = TranscriptionOptions(
        window="speech", language="en", temperature_increment_on_fallback=None
    )
    together = list(model.transcribe_files(sounds, options, batch_size=8))
    alone = list(model.transcribe_files([io.BytesIO(data)], options, batch_size=1))
    padded = list(model.transcribe_files([io.BytesIO(data)], options, window="padded"))
    texts = [
        [segment.tokens for segment in one.segments]  # type: ignore[union-attr]
        for one in (together[0], alone[0], padded[0])
    ]
    assert texts[0] == texts[1] != texts[2]
