"""The same recording has the same bandwidth in a corpus, in training, in evaluation and when it is
transcribed."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import soxr

from tests.doubles import hears_every_sound, model_config
from tests.unit.data.words import cut_of
from turnout.audio.bandwidth import BandwidthMeter, measure_bandwidth
from turnout.audio.waveform import Source, open_recording, read_audio
from turnout.config import TranscriptionOptions
from turnout.corpora.clips import read_clips
from turnout.corpora.prepare import prepare
from turnout.evaluation.sources import sources_of
from turnout.transcription import segments
from turnout.transcription.segments import AudioSegments

RATE = 16_000


def wide(seconds: float, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(round(RATE * seconds))


def narrow(seconds: float) -> np.ndarray:
    return soxr.resample(soxr.resample(wide(seconds), RATE, 8000), 8000, RATE)


SOUNDS = {
    "wide": wide(3.0),
    "narrow": narrow(3.0),
    "short": wide(0.2),
    "shorter than a frame": narrow(0.03),
    "silent": np.zeros(RATE),
    # More silence than is measured of sound, and then what counts.
    "late": np.concatenate((np.zeros(RATE * 150), wide(2.0))),
    # The first two minutes count, of hours.
    "narrow, then wide": np.concatenate((narrow(140.0), wide(260.0))),
    "wide, then narrow": np.concatenate((wide(20.0), np.zeros(RATE * 60), narrow(120.0))),
}


@pytest.fixture(autouse=True)
def noises_are_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording is read no further than its first segment."""
    monkeypatch.setattr(segments, "finder", hears_every_sound)


def heard(source: Source) -> str:
    """As a transcription hears it."""
    audio = AudioSegments(open_recording(source), model_config())
    next(iter(audio), None)
    return audio.bandwidth


def label_taken_away(cuts: Path) -> None:
    rows = [json.loads(row) for row in gzip.decompress(cuts.read_bytes()).splitlines()]
    for row in rows:
        for part in (row, *row["supervisions"]):
            part.pop("custom", None)
    cuts.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))


@pytest.mark.parametrize("name", SOUNDS)
def test_a_recording_has_one_bandwidth_wherever_it_goes(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, SOUNDS[name], RATE)
    manifest = tmp_path / "m.jsonl"
    manifest.write_text(json.dumps({"audio_filepath": "a.wav", "text": "yes", "lang": "en"}))
    prepare(manifest, tmp_path)
    cuts = tmp_path / "cuts.jsonl.gz"
    (labelled,) = read_clips(cuts)
    label_taken_away(cuts)
    (unlabelled,) = read_clips(cuts)
    expected = "narrowband" if name.startswith(("narrow", "silent", "shorter")) else "wideband"
    assert labelled.bandwidth == unlabelled.bandwidth == heard(path) == expected


def test_a_segment_is_judged_by_its_own_samples_everywhere(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.concatenate((narrow(1.5), wide(1.5))), RATE)
    manifest = tmp_path / "m.jsonl"
    said = {"audio_filepath": "a.wav", "text": "yes", "lang": "en", "duration": 1.4}
    rows = [json.dumps({**said, "offset": offset}) for offset in (0, 1.55)]
    manifest.write_text("\n".join(rows))
    prepare(manifest, tmp_path)
    clips = read_clips(tmp_path / "cuts.jsonl.gz")
    assert [clip.bandwidth for clip in clips] == ["narrowband", "wideband"]
    scored = dict(sources_of(clips, TranscriptionOptions()))
    for number, clip in enumerate(clips):
        assert heard(scored[number]) is clip.bandwidth  # type: ignore[arg-type]


def test_a_cut_without_a_bandwidth_is_measured(tmp_path: Path) -> None:
    lines = []
    for name, samples in (("a", wide(1.0)), ("b", narrow(1.0))):
        soundfile.write(tmp_path / f"{name}.wav", samples, RATE)
        lines.append(json.dumps(cut_of(tmp_path / f"{name}.wav", "uno", "s", RATE).to_dict()))
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    found = [clip.bandwidth for clip in read_clips(tmp_path / "c.jsonl.gz")]
    assert found == ["wideband", "narrowband"]


def test_what_lhotse_would_resample_is_judged_as_it_is_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", wide(1.0), RATE)
    cut = cut_of(tmp_path / "a.wav", "uno", "s", RATE).resample(8000)
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(json.dumps(cut.to_dict()).encode()))
    (clip,) = read_clips(tmp_path / "c.jsonl.gz")
    assert clip.bandwidth == "wideband"


@pytest.mark.parametrize("size", [100, 512, 16_000, 80_000, 10**7])
def test_the_verdict_does_not_depend_on_blocks(size: int) -> None:
    samples = np.concatenate((wide(40.0), np.zeros(RATE * 70), narrow(50.0))).astype(np.float32)
    if size < 1000:
        samples = samples[RATE * 38 : RATE * 40]
    whole, parts = BandwidthMeter(RATE), BandwidthMeter(RATE)
    whole.add(samples)
    for start in range(0, len(samples), size):
        parts.add(samples[start : start + size])
    assert parts.statistics() == whole.statistics()


def test_clicks_in_hours_of_silence_do_not_keep_them_in_memory() -> None:
    read = 0

    def blocks() -> Iterator[np.ndarray]:
        nonlocal read
        for _ in range(720):
            read += 5
            block = np.zeros(RATE * 5, np.float32)
            block[0] = 0.5
            yield block

    recording = SimpleNamespace(native_rate=RATE, blocks=blocks)
    next(iter(AudioSegments(recording, model_config())))  # type: ignore[arg-type]
    assert read < 170


def test_the_rate_of_a_narrowband_file_is_enough(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", wide(1.0), 8000)
    wave = read_audio(tmp_path / "a.wav")
    assert measure_bandwidth(wave.samples, wave.native_rate) == "narrowband"
    assert BandwidthMeter(wave.native_rate).enough
