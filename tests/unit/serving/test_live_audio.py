"""A live stream's bytes: the standard's values, the sound of a file, and what is refused."""

from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.audio.waveform import open_recording
from turnout.errors import ConfigError
from turnout.serving.live_audio import (
    MOST_FRAME_BYTES,
    SampleFormat,
    StreamReader,
    g711_values,
    samples_of,
)
from turnout.serving.live_messages import FormatName, StreamError

SUBTYPES: dict[FormatName, str] = {"pcm16": "PCM_16", "mulaw": "ULAW", "alaw": "ALAW"}


def as_file(data: bytes, form: SampleFormat) -> BytesIO:
    """The same bytes with a header before them."""
    file = BytesIO()
    raw = soundfile.SoundFile(
        BytesIO(data),
        samplerate=form.rate,
        channels=1,
        format="RAW",
        subtype=SUBTYPES[form.name],
        endian="LITTLE" if form.name == "pcm16" else "FILE",
    )
    soundfile.write(file, raw.read(dtype="int16"), form.rate, format="WAV", subtype="PCM_16")
    file.seek(0)
    return file


@pytest.mark.parametrize("name", ["mulaw", "alaw"])
def test_every_byte_of_g711_is_what_libsndfile_makes_of_it(name: FormatName) -> None:
    data = bytes(range(256))
    raw = soundfile.SoundFile(
        BytesIO(data), samplerate=8000, channels=1, format="RAW", subtype=SUBTYPES[name]
    )
    assert samples_of(data, name).tolist() == raw.read(dtype="float32").tolist()
    # ITU-T G.711: the loudest values of each law, on the 16-bit scale.
    loudest = {"mulaw": 32124, "alaw": 32256}[name]
    assert round(float(g711_values(name).max() * 32768)) == loudest  # type: ignore[arg-type]
    assert g711_values(name).min() == -g711_values(name).max()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "form",
    [
        SampleFormat("pcm16", 8_000),
        SampleFormat("pcm16", 16_000),
        SampleFormat("pcm16", 24_000),
        SampleFormat("mulaw", 8_000),
        SampleFormat("alaw", 8_000),
    ],
)
@given(cuts=st.lists(st.integers(0, 24_000), max_size=8), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=10)
def test_a_stream_is_the_same_sound_as_its_file_wherever_its_frames_are_cut(
    form: SampleFormat, cuts: list[int], seed: int
) -> None:
    data = np.random.default_rng(seed).bytes(24_000 * form.sample_bytes)
    places = sorted({0, *(cut * form.sample_bytes for cut in cuts), len(data)})
    reader = StreamReader(form)
    parts = [reader.read(data[first:last]) for first, last in pairwise(places)]
    heard = np.concatenate([*parts, reader.finish()])
    assert reader.seconds == 24_000 / form.rate
    # As it comes: what a stream begins with is not known to be an offset.
    blocks = open_recording(as_file(data, form)).blocks(settled=False)
    np.testing.assert_allclose(heard, np.concatenate(list(blocks)), atol=1e-6)


def test_a_stream_without_sound_has_no_samples() -> None:
    for rate in (8_000, 16_000):
        reader = StreamReader(SampleFormat("pcm16", rate))
        assert len(reader.finish()) == 0
        assert len(reader.read(b"")) == 0
        assert reader.seconds == 0


@pytest.mark.parametrize(
    ("name", "rate", "said"),
    [
        ("pcm16", 44_100, "rate is 44100: pcm16 is taken at 8000, 16000, 24000 Hz; resample it"),
        ("pcm16", 0, "rate is 0: pcm16 is taken at"),
        ("mulaw", 16_000, "rate is 16000: mulaw is taken at 8000 Hz"),
    ],
)
def test_other_rates_are_refused(name: FormatName, rate: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        SampleFormat.of(name, rate)


def test_a_rate_that_is_not_named_is_the_usual_one() -> None:
    assert [SampleFormat.of(name, None).rate for name in SUBTYPES] == [16_000, 8_000, 8_000]


@pytest.mark.parametrize(
    ("frame", "said", "closing"),
    [
        (bytes(3), "3 bytes, which are no whole samples of pcm16: send a multiple of 2", 1007),
        (bytes(MOST_FRAME_BYTES + 2), "at most 65536 are taken at once", 1009),
        (b"RIFF" + bytes(40), "begins like a file", 1007),
        (b"OggS" + bytes(40), "begins like a file", 1007),
    ],
)
def test_frames_that_are_not_what_was_said_are_refused(
    frame: bytes, said: str, closing: int
) -> None:
    with pytest.raises(StreamError, match=said) as refused:
        StreamReader(SampleFormat()).read(frame)
    assert refused.value.closing == closing
    assert "\n" not in str(refused.value)


def test_only_a_stream_begins_like_a_file_not_its_frames() -> None:
    reader = StreamReader(SampleFormat())
    reader.read(bytes(200))
    assert len(reader.read(b"RIFF" + bytes(40))) == 22
