"""T11: speech is heard whatever its rate, sample format, channels and length."""

import os
import threading
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.containers import (
    CONTAINERS,
    Track,
    encode,
    encode_av,
    encode_tracks,
    with_id3,
    with_wav_rate,
    with_wav_size,
)
from tests.reliability.command import SAYS, transcribe
from tests.reliability.examples import Example, commands, error_rate, examples, heard
from tests.reliability.odd_audio import (
    CHANNELS,
    LAYOUTS,
    PACKED,
    RATES,
    SUBTYPES,
    Layout,
    in_form,
    of_length,
    resampled,
)
from tests.reliability.tally import Tally

MOST_CHANGE = 0.2
"""Of the rate of word errors, absolute."""
FULL_BAND = 16_000
"""Hz; speech stored below lost what lies above half the rate, and may be understood less well."""


@cache
def original(example: Example) -> str:
    """What it writes of the example at 16 kHz in 16 bits."""
    return heard(in_form(example.samples, 16_000, "PCM_16")).text


def change(chosen: Sequence[Example], texts: Sequence[str]) -> float:
    """Rate of word errors of these texts, less that of the originals'."""
    references = [example.text for example in chosen]
    return error_rate(references, texts) - error_rate(references, [*map(original, chosen)])


@pytest.mark.counts("T11", "forms")
@pytest.mark.parametrize("channels", CHANNELS, ids="in {}".format)
def test_rates_and_sample_formats(tally: Tally, channels: int) -> None:
    every = [(rate, subtype) for rate in RATES for subtype in SUBTYPES]
    cases = tally.random("cases").sample(every, tally.size(4, len(every)))
    changes: dict[bool, list[float]] = {True: [0.0], False: [0.0]}
    for rate, subtype in cases:
        chosen = tally.random(rate, subtype).sample(examples(), tally.size(3, 6))
        with tally.trial(f"{rate} Hz {subtype}"):
            files = [in_form(example.samples, rate, subtype, channels) for example in chosen]
            changed = change(chosen, [heard(file).text for file in files])
            changes[rate >= FULL_BAND].append(changed)
            assert rate < FULL_BAND or abs(changed) <= MOST_CHANGE, f"WER changed by {changed:.2f}"
    tally.measure(
        largest_wer_change=round(max(changes[True], key=abs), 3),
        largest_wer_change_below_16_khz=round(max(changes[False], key=abs), 3),
    )
    too_fast = [with_wav_rate(in_form(one.samples, 16_000, "PCM_16"), 32_000) for one in examples()]
    tally.controlled(change(examples(), [heard(file).text for file in too_fast]) > MOST_CHANGE)


@pytest.mark.counts("T11", "lengths")
def test_lengths(tally: Tally) -> None:
    window = commands().backend.config.window_seconds
    for rate in RATES if tally.full else (FULL_BAND,):
        for length in (1, 159, 160, 399, 400, 401):
            check_length(tally, length, rate)
        for edge in (round(window * rate), round(30 * rate)):
            texts = {step: check_length(tally, edge + step, rate) for step in (-1, 0, 1)}
            for step in (-1, 1):
                with tally.trial(f"text of {edge + step} samples at {rate} Hz"):
                    assert texts[0], "nothing was heard"
                    changed = error_rate([texts[0]], [texts[step]])
                    assert changed <= MOST_CHANGE, f"WER changed by {changed:.2f}"
    tally.controlled(not is_of_length(with_wav_rate(encode(of_length(800, 16_000)), 32_000), 0.05))


def check_length(tally: Tally, length: int, rate: int) -> str:
    """The text of so many samples, once their duration is what it must be."""
    subtype = tally.random(rate, length).choice(SUBTYPES)
    data = encode(of_length(length, rate), rate, "WAV", subtype)
    with tally.trial(f"{length} samples at {rate} Hz, {subtype}"):
        assert is_of_length(data, length / rate), f"{heard(data).duration_seconds} s were heard"
        return heard(data).text
    return ""


def is_of_length(data: bytes, seconds: float) -> bool:
    """To the sample at 16 kHz."""
    return abs(heard(data).duration_seconds - seconds) <= 1.5 / 16_000


SPOILT: dict[str, Layout] = {
    "right channel dead": lambda channels: channels[:, 1],
    "opposed channels": lambda channels: channels.mean(axis=1),
    "nearly opposed channels": lambda channels: channels @ np.array([0.8, 1.0], np.float32),
    "speech in one of six": lambda channels: channels[:, 0],
    "opposed behind in phase": lambda channels: channels.mean(axis=1),
}
"""What a worse mixer would make of them."""


@pytest.mark.counts("T11", "channels")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_channels_that_are_dead_or_opposed(tally: Tally, layout: str) -> None:
    arrange, speaking = LAYOUTS[layout]
    chosen = tally.random().sample(examples(), tally.size(3, len(examples())))
    files = [encode(arrange(example.samples)) for example in chosen]
    with tally.trial("mixed"):
        changed = change(chosen, [heard(file).text for file in files])
        tally.measure(wer_change=round(changed, 3))
        assert abs(changed) <= MOST_CHANGE, f"WER changed by {changed:.2f}"
    for example, file in zip(chosen, files, strict=True):
        with tally.trial(f"channel {speaking} of {example.path.name}"):
            assert heard(file, channel=speaking).text == original(example)
    spoilt = [encode(SPOILT[layout](arrange(example.samples))) for example in chosen]
    tally.controlled(change(chosen, [heard(file).text for file in spoilt]) > MOST_CHANGE)


@pytest.mark.counts("T11", "FLAC and WAV")
def test_flac_and_wav_give_the_same_text(tally: Tally) -> None:
    every = [(rate, bits, channels) for rate in RATES for bits in (16, 24) for channels in CHANNELS]
    for rate, bits, channels in tally.random("cases").sample(every, tally.size(3, len(every))):
        example = tally.random(rate, bits, channels).choice(examples())
        mono = resampled(example.samples, rate)
        samples = np.repeat(mono[:, None], channels, axis=1)
        wav, flac = (encode(samples, rate, kind, f"PCM_{bits}") for kind in ("WAV", "FLAC"))
        with tally.trial(f"{rate} Hz, {bits} bits, {channels} channels of {example.path.name}"):
            text = heard(wav).text
            assert text, "nothing was heard"
            assert text == heard(flac).text
    one, other = (encode(example.samples, container="FLAC") for example in examples()[:2])
    tally.controlled(heard(one).text != heard(other).text)


@pytest.mark.skipif(find_spec("av") is None, reason="PyAV writes them")
@pytest.mark.counts("T11", "containers")
def test_containers_give_the_text_of_the_wav(tally: Tally) -> None:
    chosen = tally.random().sample(examples(), tally.size(1, len(examples())))
    for (container, codec), rate in PACKED.items():
        with tally.trial(f"{container} {codec}"):
            files = [
                encode_av(resampled(one.samples, rate), rate, container, codec) for one in chosen
            ]
            for one, file in zip(chosen, files, strict=True):
                seconds = heard(file).duration_seconds - len(one.samples) / 16_000
                assert -0.01 < seconds < 2 * 1152 / rate, f"{seconds:.3f} s too long"
                assert heard(with_id3(file, 999)).text == heard(file).text
            changed = change(chosen, [heard(file).text for file in files])
            assert abs(changed) <= MOST_CHANGE, f"WER changed by {changed:.2f}"
    for one in chosen:
        silence = Track(samples=0 * one.samples, default=True)
        file = encode_tracks([silence, Track(samples=one.samples)], 16_000, "matroska", "aac")
        with tally.trial(f"second track of {one.path.name}"):
            said = heard(file)
            assert said.text == ""
            assert said.warnings[0].startswith("of its 2 audio tracks 0 was heard, and not 1")
            assert heard(file, track=1).text == original(one)
        with tally.trial(f"{one.path.name} behind a tag"):
            wav = with_id3(in_form(one.samples, 16_000, "PCM_16"), 1677)
            assert heard(wav).text == original(one)
    tally.controlled(change(chosen, [""] * len(chosen)) > MOST_CHANGE)


@pytest.mark.counts("T11", "pipes")
def test_pipes_and_unknown_lengths(tally: Tally, tmp_path: Path) -> None:
    chosen = tally.random().sample(examples(), tally.size(1, len(examples())))
    for example in chosen:
        whole = in_form(example.samples, 16_000, "PCM_16")
        for size in (0, 0xFFFF_FFFF, 0x7FFF_F024):
            file = with_wav_size(whole, size)
            for source in (file, written(tmp_path, file), fifo(tmp_path, file)):
                kind = "bytes" if isinstance(source, bytes) else source.name
                with tally.trial(f"{example.path.name}, {size:#x}, {kind}"):
                    assert heard(source).text == original(example)
        for container, subtype in (("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS")):
            file = encode(example.samples, 16_000, container, subtype)
            with tally.trial(f"{example.path.name}, {container} {subtype}, a pipe"):
                piped = heard(fifo(tmp_path, file)).text
                assert piped and piped == heard(file).text
    with tally.trial("the command line's stdin"):
        file = with_wav_size(in_form(chosen[0].samples, 16_000, "PCM_16"), 0xFFFF_FFFF)
        result = transcribe([Path("/dev/stdin")], tmp_path / "temporary", piped=file)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.strip() == original(chosen[0])
    cut = in_form(chosen[0].samples[: len(chosen[0].samples) // 3], 16_000, "PCM_16")
    tally.controlled(heard(fifo(tmp_path, with_wav_size(cut, 0))).text != original(chosen[0]))


def written(folder: Path, data: bytes) -> Path:
    """An ordinary file."""
    path = folder / "file.wav"
    path.write_bytes(data)
    return path


def fifo(folder: Path, data: bytes) -> Path:
    """A named pipe that somebody writes into."""
    path = folder / "pipe.wav"
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    threading.Thread(target=path.write_bytes, args=(data,), daemon=True).start()
    return path


@pytest.mark.counts("T11", "no samples")
def test_recordings_without_a_sample_are_refused(tally: Tally, tmp_path: Path) -> None:
    nothing: Any = np.zeros(0, np.float32)
    files = [tmp_path / f"{number}" for number in range(len(CONTAINERS))]
    for path, (container, subtype) in zip(files, CONTAINERS, strict=True):
        path.write_bytes(encode(nothing, 16_000, container, subtype))
    result = transcribe(files, tmp_path / "temporary")
    for path, pair in zip(files, CONTAINERS, strict=True):
        with tally.trial(" ".join(pair)):
            said = [line for line in result.stderr.splitlines() if f"{path}: " in line]
            assert len(said) == 1, f"{len(said)} lines about it"
            assert said[0].startswith(SAYS[0]), said[0]
    with tally.trial("nothing else"):
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr.count("\n") == len(files)
