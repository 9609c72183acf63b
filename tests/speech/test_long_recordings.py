"""Where long recordings of real speech are cut, and what is left out of them."""

import json
import tarfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.doubles import model_config
from turnout.audio.waveform import Waveform, open_recording, read_audio
from turnout.guidance import Bandwidth
from turnout.transcription.segments import AudioSegments
from turnout.transcription.windows import LONGEST_PAUSE, PADDING

DATA = Path(__file__).resolve().parents[2] / "../shared/data"
RATE = 16_000
PAUSES = (0.2, 0.5, 1.0, 5.0, 20.0, 0.3, 3.0)
Spans = list[tuple[int, int]]


@pytest.fixture(scope="module")
def utterances() -> list[np.ndarray]:
    """Of LibriSpeech's dev speakers, 4 to 13 s each, without the silence at their ends."""
    archive = DATA / "librispeech.tar"
    if not archive.is_file():
        pytest.skip("real recordings are needed: librispeech.tar in ../shared/data")
    found: list[np.ndarray] = []
    with tarfile.open(archive) as tar:
        manifest = tar.extractfile("librispeech/manifest.jsonl")
        assert manifest is not None
        for row in map(json.loads, manifest.read().decode().splitlines()):
            if row["split"] == "dev" and 4 < row["duration"] < 13 and len(found) < len(PAUSES):
                file = tar.extractfile(f"librispeech/{row['audio_filepath']}")
                assert file is not None
                samples = read_audio(file.read()).samples
                loud = np.flatnonzero(np.abs(samples) > 0.1 * np.abs(samples).max())
                found.append(samples[loud[0] : loud[-1] + 1])
    return found


def joined(parts: list[np.ndarray], pauses: tuple[float, ...]) -> tuple[np.ndarray, Spans]:
    """The utterances with a pause before each, and where they lie."""
    pieces: list[np.ndarray] = []
    spans: Spans = []
    place = 0
    for part, pause in zip(parts, pauses, strict=True):
        silence = np.zeros(round(pause * RATE))
        spans.append((place + len(silence), place + len(silence) + len(part)))
        pieces += [silence, part]
        place = spans[-1][1]
    samples = np.concatenate(pieces)
    line = 1e-4 * np.random.default_rng(0).standard_normal(len(samples))
    line[0] = -samples[0]  # what a recording begins with is read as zero
    return (samples + line).astype(np.float32), spans


def segments(samples: np.ndarray, seconds: float = 30.0, *, ctc: bool = False) -> Spans:
    """Where the segments lie, which have passed what holds of all."""
    recording = open_recording(Waveform(samples, RATE))
    config = model_config(window_seconds=seconds, ctc=ctc)
    audio = AudioSegments(recording, config, Bandwidth.WIDEBAND)
    found: Spans = []
    for segment in audio:
        place = (round(segment.start * RATE), round(segment.end * RATE))
        assert segment.samples is not None
        assert np.array_equal(segment.samples, samples[slice(*place)])
        assert 0 < place[1] - place[0] <= seconds * RATE
        found.append(place)
    assert audio.duration_seconds == len(samples) / RATE
    assert all(end <= begin for (_, end), (begin, _) in pairwise(found))
    return found


def heard_of(span: tuple[int, int], found: Spans) -> float:
    """The share of it that lies in segments."""
    inside = sum(max(0, min(span[1], end) - max(span[0], begin)) for begin, end in found)
    return inside / (span[1] - span[0])


@pytest.mark.parametrize("noisy", [False, True], ids=["clean", "noise"])
@pytest.mark.parametrize("ctc", [False, True])
def test_all_speech_is_heard_and_long_pauses_are_not(
    utterances: list[np.ndarray], noisy: bool, ctc: bool
) -> None:
    samples, spans = joined(utterances, PAUSES)
    if noisy:
        behind = np.random.default_rng(1).standard_normal(len(samples)).astype(np.float32)
        behind = np.convolve(behind, np.full(8, 1 / 8, np.float32), "same")  # mostly below 2 kHz
        behind[0] = 0
        power = np.mean([np.square(part).mean() for part in utterances])
        samples += behind * np.float32(np.sqrt(power / np.square(behind).mean()) / 10)
    found = segments(samples, ctc=ctc)
    assert len(found) >= 3
    assert min(heard_of(span, found) for span in spans) > (0.95 if noisy else 0.99)
    gaps = [(end, begin) for (_, end), (begin, _) in pairwise(spans)]
    for (end, begin), pause in zip(gaps, PAUSES[1:], strict=True):
        if pause * RATE > LONGEST_PAUSE + RATE and not (ctc and noisy):
            assert heard_of((end, begin), found) < 3 * PADDING / (begin - end)


def test_speech_without_a_pause_is_cut_where_it_is_quiet(utterances: list[np.ndarray]) -> None:
    samples, _ = joined(utterances, (0.0,) * len(utterances))
    samples = samples[: 42 * RATE]
    found = segments(samples)
    assert len(samples) == 42 * RATE and len(found) == 2
    assert heard_of((0, len(samples)), found) > 0.99
    (_, cut), _ = found
    around = np.square(samples[15 * RATE : 30 * RATE].astype(np.float64))
    level = np.square(samples[cut - 1_600 : cut + 1_600].astype(np.float64)).mean()
    assert level < around.mean() / 10


def test_where_segments_fall_does_not_depend_on_blocks(utterances: list[np.ndarray]) -> None:
    samples, _ = joined(utterances[:3], PAUSES[:3])
    expected = segments(samples, 6.0)

    class Blocks:
        native_rate, warnings = RATE, ()

        def blocks(self):  # type: ignore[no-untyped-def]
            sizes = np.random.default_rng(2).integers(1, 9_000, 200)
            yield from np.split(samples, np.minimum(np.cumsum(sizes), len(samples)))

    audio = AudioSegments(Blocks(), model_config(window_seconds=6.0, ctc=False))  # type: ignore[arg-type]
    found = [(round(each.start * RATE), round(each.end * RATE)) for each in audio]
    assert found == expected
