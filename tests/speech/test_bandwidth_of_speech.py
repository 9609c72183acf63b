"""The measured bandwidth of real speech, as recorded and through a telephone."""

import tarfile
from pathlib import Path

import numpy as np
import pytest

from turnout.audio.bandwidth import measure_bandwidth
from turnout.audio.telephone import random_channel
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
