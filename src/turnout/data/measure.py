"""What only the audio itself can tell: how long it is, and how wide its band."""

from dataclasses import dataclass

import numpy as np
import soundfile

from turnout.data.entry import Entry
from turnout.errors import ManifestError
from turnout.guidance import Bandwidth


@dataclass(frozen=True, kw_only=True)
class Measured:
    """An entry's audio: of the file, and of the stretch that the entry means."""

    native_rate: int
    num_samples: int
    channels: int
    start: float
    duration: float
    bandwidth: Bandwidth


def measure(entry: Entry, max_duration: float) -> Measured:
    if not entry.audio.is_file():
        raise entry.place.error(entry.audio_field, f"names '{entry.audio}', which is not there")
    info = soundfile.info(entry.audio)
    duration = entry.duration if entry.offset else info.duration
    band = Bandwidth.NARROWBAND if info.samplerate <= 8000 else Bandwidth.WIDEBAND
    return Measured(native_rate=info.samplerate, num_samples=info.frames, channels=info.channels,
                    start=entry.offset, duration=info.duration - entry.offset, bandwidth=band)
