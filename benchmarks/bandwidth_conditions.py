"""What may happen to speech before it is a file: noise, rooms, levels, telephone lines, codecs.

The project's own choice of them, drawn by a generator that the caller seeds. Codecs are those that
PyAV's wheel encodes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import soundfile
import soxr

# After soundfile: the other way round, the two libraries' copies of a codec have crashed.
import av  # isort: skip
from numpy.typing import NDArray

from turnout.audio import surroundings
from turnout.audio.codecs import recode
from turnout.audio.features import SAMPLE_RATE
from turnout.audio.telephone import TELEPHONE_RATE, add_noise, random_channel
from turnout.audio.waveform import read_audio

Floats = NDArray[np.float32]
Stored = tuple[Floats, int]
"""Samples at 16 kHz, and the rate of the file that they were read from."""

STORED_RATES = (16_000, 44_100)
OPUS_RATES = (16_000, 48_000)
OPUS_KINDS = ("voip", "audio", "lowdelay")
LINE_CODECS: Mapping[str, tuple[str, Sequence[int]]] = {
    "G.711 mu-law": ("mulaw", (64_000,)),
    "G.711 A-law": ("alaw", (64_000,)),
    "G.726": ("g726", (16_000, 24_000, 32_000, 40_000)),
    "G.723.1": ("g723_1", (6_300,)),
    "AMR-NB": ("amr_nb", (4_750, 5_900, 7_400, 12_200)),
}
"""Name -> codec, bits a second. GSM is real: see the prompts."""


@dataclass(frozen=True)
class Trial:
    """Speech as it is found in a file, and whether it is wideband in truth."""

    condition: str
    wide: bool
    samples: Floats
    native_rate: int


@dataclass(frozen=True)
class Surroundings:
    """Recorded noises and rooms of one split, each at 16 kHz."""

    noises: Sequence[Floats]
    rooms: Sequence[Floats]


def encode(
    samples: Floats, codec: str, container: str, rate: int, kind: str = "s16", **options: Any
) -> bytes:
    """The file that PyAV writes of mono samples at `rate`."""
    file = BytesIO()
    bits = options.pop("bit_rate")
    whole = np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)
    values = whole if kind.startswith("s16") else (whole / np.float32(32768)).astype(np.float32)
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, options=options)
        stream.layout, stream.format, stream.bit_rate = "mono", kind, bits
        size = stream.codec_context.frame_size or 1024
        for position in range(0, len(values), size):
            part = values[position : position + size]
            padded = np.pad(part, (0, size - len(part)))[None]
            frame = av.AudioFrame.from_ndarray(padded, format=kind, layout="mono")
            frame.sample_rate, frame.pts = rate, position
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


def decode(file: bytes | str, container: str | None = None) -> tuple[Floats, int]:
    """Samples and their rate, of any format that PyAV reads."""
    parts: list[Floats] = []
    with av.open(BytesIO(file) if isinstance(file, bytes) else file, format=container) as stream:
        rate = stream.streams.audio[0].rate
        for frame in stream.decode(audio=0):
            values = frame.to_ndarray().reshape(-1)
            scale = 32768.0 if values.dtype == np.int16 else 1.0
            parts.append(values.astype(np.float32) / np.float32(scale))
    return np.concatenate(parts), rate


def by_opus(samples: Floats, rate: int, bits: int, rng: np.random.Generator) -> bytes:
    """In any of Opus' three ways, from 16 or 48 kHz."""
    other = int(rng.choice(OPUS_RATES))
    resampled = soxr.resample(samples, rate, other)
    kind = str(rng.choice(OPUS_KINDS))
    return encode(resampled, "libopus", "ogg", other, bit_rate=bits, application=kind)


def by_mp3(samples: Floats, rate: int, bits: int, rng: np.random.Generator) -> bytes:
    """At 16, 22.05 or 44.1 kHz."""
    other = int(rng.choice((16_000, 22_050, 44_100)))
    return encode(
        soxr.resample(samples, rate, other), "libmp3lame", "mp3", other, "s16p", bit_rate=bits
    )


def by_aac(samples: Floats, rate: int, bits: int, rng: np.random.Generator) -> bytes:
    """At 16 or 44.1 kHz."""
    other = int(rng.choice(STORED_RATES))
    return encode(soxr.resample(samples, rate, other), "aac", "ipod", other, "fltp", bit_rate=bits)


def by_soundfile(
    samples: Floats, rate: int, rng: np.random.Generator, container: str, subtype: str
) -> bytes:
    """At 16 or 44.1 kHz."""
    file = BytesIO()
    other = int(rng.choice(STORED_RATES))
    resampled = soxr.resample(samples, rate, other)
    soundfile.write(file, resampled, other, format=container, subtype=subtype)
    return file.getvalue()


LOSSY: Mapping[str, Callable[[Floats, int, np.random.Generator], bytes]] = {
    "Opus 12 kbit/s": lambda samples, rate, rng: by_opus(samples, rate, 12_000, rng),
    "Opus 16 kbit/s": lambda samples, rate, rng: by_opus(samples, rate, 16_000, rng),
    "Opus 24 kbit/s": lambda samples, rate, rng: by_opus(samples, rate, 24_000, rng),
    "MP3 32 kbit/s": lambda samples, rate, rng: by_mp3(samples, rate, 32_000, rng),
    "AAC 32 kbit/s": lambda samples, rate, rng: by_aac(samples, rate, 32_000, rng),
    "Vorbis": lambda samples, rate, rng: by_soundfile(samples, rate, rng, "OGG", "VORBIS"),
}


def opus_bands(file: bytes) -> set[str]:
    """Which bands its packets are coded in (RFC 6716, table 2): what it is in truth."""
    with av.open(BytesIO(file)) as stream:
        kinds = [bytes(packet)[0] >> 3 for packet in stream.demux(audio=0) if packet.size]
    narrow = {*range(4), *range(16, 20)}
    medium = set(range(4, 8))
    return {"narrow" if k in narrow else "medium" if k in medium else "wide" for k in kinds}


def trials(
    samples: Floats, stored: Stored | None, around: Surroundings, rng: np.random.Generator
) -> Iterator[Trial]:
    """One utterance at 16 kHz in every condition; `stored` where it is wideband itself."""
    if stored is not None:
        yield from wideband_trials(samples, stored, around, rng)
    for codec in (None, *LINE_CODECS):
        line = telephoned(spoilt(samples, around, rng), codec, rng)
        name = f"telephone, {codec}" if codec else "telephone"
        yield found(name, False, by_soundfile(line, TELEPHONE_RATE, rng, "WAV", "PCM_16"))
    for name, write in LOSSY.items():
        codec = str(rng.choice([*LINE_CODECS])) if rng.random() < 0.5 else None
        line = telephoned(spoilt(samples, around, rng), codec, rng)
        yield found(f"telephone, {name}", False, write(line, TELEPHONE_RATE, rng))


def wideband_trials(
    samples: Floats, stored: Stored, around: Surroundings, rng: np.random.Generator
) -> Iterator[Trial]:
    """Speech that is wideband before and after."""
    yield Trial("as recorded", True, *stored)
    white = add_noise(samples, float(rng.uniform(5, 40)), rng)
    quiet = samples * np.float32(10 ** (-rng.uniform(10, 35) / 20) / np.abs(samples).max())
    changes = {
        "white noise, 5 to 40 dB": white,
        "recorded noise, 5 to 30 dB": in_noise(samples, around, rng),
        "rooms": in_room(samples, around, rng),
        "peaks at -10 to -35 dB": quiet,
    }
    for name, changed in changes.items():
        file = by_soundfile(np.clip(changed, -1, 1), SAMPLE_RATE, rng, "WAV", "PCM_16")
        yield found(name, True, file)
    for name, write in LOSSY.items():
        yield found(name, True, write(spoilt(samples, around, rng), SAMPLE_RATE, rng))
    file = encode(spoilt(samples, around, rng), "g722", "wav", SAMPLE_RATE, bit_rate=64_000)
    yield Trial("G.722", True, *decode(file))
    file = by_opus(spoilt(samples, around, rng), SAMPLE_RATE, 8_000, rng)
    bands = opus_bands(file)
    if bands == {"narrow"}:
        yield found("Opus 8 kbit/s, of wideband", False, file)


def found(condition: str, wide: bool, file: bytes) -> Trial:
    """The trial of a file, read as any recording is."""
    wave = read_audio(file)
    return Trial(condition, wide, wave.samples, wave.native_rate)


def telephoned(samples: Floats, codec: str | None, rng: np.random.Generator) -> Floats:
    """At 8 kHz: through a line as training draws it or a mere resampler, then a codec."""
    if rng.random() < 0.7:
        line = random_channel(rng).at_8khz(samples, rng)
    else:
        line = soxr.resample(samples, SAMPLE_RATE, TELEPHONE_RATE)
    if codec is None:
        return line.astype(np.float32)
    name, bits = LINE_CODECS[codec]
    return recode(line, name, int(rng.choice(bits)))


def spoilt(samples: Floats, around: Surroundings, rng: np.random.Generator) -> Floats:
    """Half as it is; else in white or recorded noise or in a room."""
    match rng.choice(["as it is", "white", "noise", "room"], p=(0.5, 0.17, 0.17, 0.16)):
        case "white":
            samples = add_noise(samples, float(rng.uniform(5, 40)), rng)
        case "noise":
            samples = in_noise(samples, around, rng)
        case "room":
            samples = in_room(samples, around, rng)
    return np.clip(samples, -1, 1).astype(np.float32)


def in_noise(samples: Floats, around: Surroundings, rng: np.random.Generator) -> Floats:
    """A recorded noise added, 5 to 30 dB below the speech's mean power."""
    noise = around.noises[rng.integers(len(around.noises))]
    first = int(rng.integers(max(1, len(noise) - len(samples))))
    return surroundings.with_noise(samples, noise, float(rng.uniform(5, 30)), first)


def in_room(samples: Floats, around: Surroundings, rng: np.random.Generator) -> Floats:
    """In one of the rooms."""
    return surroundings.in_room(samples, around.rooms[rng.integers(len(around.rooms))])
