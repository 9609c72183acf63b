"""The measured bandwidth of real speech, as recorded and through a telephone."""

import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soxr

from turnout.audio.bandwidth import measure_bandwidth
from turnout.audio.telephone import TELEPHONE_RATE, random_channel
from turnout.audio.waveform import Waveform, read_audio
from turnout.guidance import Bandwidth

DATA = Path(__file__).resolve().parents[2] / "../shared/data"


def recordings(name: str, count: int) -> list[Waveform]:
    """The first recordings of a set that last a second or longer."""
    archive = DATA / f"{name}.tar"
    if not archive.is_file():
        pytest.skip(f"real recordings are needed: {name}.tar in ../shared/data")
    found = []
    with tarfile.open(archive) as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is not None and member.name.endswith((".opus", ".flac")):
                found.append(read_audio(file.read()))
                if len(found) == count:
                    break
    return found


@pytest.mark.parametrize("name", ["arabic_commands", "librispeech", "kathleen_en"])
def test_wideband_speech_is_wideband_until_it_is_telephoned(name: str) -> None:
    for number, wave in enumerate(recordings(name, 20)):
        assert measure_bandwidth(wave.samples, wave.native_rate) is Bandwidth.WIDEBAND
        rng = np.random.default_rng(number)
        telephoned = random_channel(rng).apply(wave.samples, rng)
        assert measure_bandwidth(telephoned, 44_100) is Bandwidth.NARROWBAND


def test_real_8_khz_speech_is_narrowband_at_any_rate() -> None:
    for wave in recordings("fsdd", 20):
        assert wave.native_rate == 8000
        for rate in (8000, 16_000):
            assert measure_bandwidth(wave.samples, rate) is Bandwidth.NARROWBAND


def through_opus(samples: np.ndarray, rate: int, bits: int, kind: str) -> Waveform:
    """Coded at 48 kHz and read again."""
    av = pytest.importorskip("av")
    wide = np.clip(soxr.resample(samples, rate, 48_000), -1, 1)
    whole = np.pad(wide, (0, -len(wide) % 960)).astype(np.float32)
    file = BytesIO()
    with av.open(file, "w", format="ogg") as output:
        stream = output.add_stream("libopus", rate=48_000, options={"application": kind})
        stream.layout, stream.format, stream.bit_rate = "mono", "flt", bits
        for start in range(0, len(whole), 960):
            frame = av.AudioFrame.from_ndarray(whole[None, start : start + 960], "flt", "mono")
            frame.sample_rate, frame.pts = 48_000, start
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return read_audio(file.getvalue())


@pytest.mark.parametrize(
    ("bits", "kind"), [(12_000, "voip"), (16_000, "audio"), (24_000, "lowdelay")]
)
def test_opus_changes_no_verdict(bits: int, kind: str) -> None:
    """It fills the band above a telephone's with noise, 30 dB below the speech."""
    right: list[bool] = []
    for name in ("arabic_commands", "librispeech", "kathleen_en"):
        for number, wave in enumerate(recordings(name, 5)):
            rng = np.random.default_rng(number)
            samples = wave.samples[: 2 * 16_000]
            line = random_channel(rng).at_8khz(samples, rng)
            narrow = through_opus(line, TELEPHONE_RATE, bits, kind)
            wide = through_opus(samples, 16_000, bits, kind)
            right += [measure_bandwidth(narrow.samples, 48_000) is Bandwidth.NARROWBAND]
            right += [measure_bandwidth(wide.samples, 48_000) is Bandwidth.WIDEBAND]
    assert sum(right) >= len(right) - 1
