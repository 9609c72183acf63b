"""Where somebody speaks, and into what: a room, noise behind the voice, a microphone.

All at one sampling rate, whichever it is; as many samples come out as go in.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def in_room(samples: Floats, response: Floats) -> Floats:
    """Speech in the room of this impulse response, as loud as before and in step with it."""
    if not (len(samples) and np.any(response)):
        return samples
    # What comes straight from the mouth comes first, and loudest.
    direct = int(np.abs(response).argmax())
    length = len(samples) + len(response) - 1
    size = 1 << (length - 1).bit_length()
    spectrum = np.fft.rfft(samples, size) * np.fft.rfft(response, size)
    wet = np.fft.irfft(spectrum, size)[direct : direct + len(samples)]
    power = float(np.square(wet).mean())
    level = np.sqrt(float(np.square(samples, dtype=np.float64).mean()) / max(power, 1e-20))
    return (wet * level).astype(np.float32)


def with_noise(samples: Floats, noise: Floats, snr_db: float, first: int) -> Floats:
    """The noise from its sample `first` on, again from its beginning where it ends, so many
    decibels below the speech: both as mean powers. Where either is silent, nothing is added."""
    if not (len(samples) and len(noise)):
        return samples
    behind = noise.take(np.arange(first, first + len(samples)), mode="wrap").astype(np.float64)
    behind -= behind.mean()
    speech = float(np.square(samples, dtype=np.float64).mean())
    power = float(np.square(behind).mean())
    if power < 1e-20:
        return samples
    gain = np.sqrt(speech / power * 10.0 ** (-snr_db / 10.0))
    return (samples + gain * behind).astype(np.float32)


def clipped(samples: Floats, share: float) -> Floats:
    """The loudest `share` of the samples cut off at one height."""
    if not len(samples):
        return samples
    height = np.quantile(np.abs(samples), 1.0 - share)
    return np.clip(samples, -height, height).astype(np.float32)


def at_level(samples: Floats, gain_db: float) -> Floats:
    """Louder or quieter; what goes beyond full scale is cut off."""
    return np.clip(samples * np.float32(10.0 ** (gain_db / 20.0)), -1.0, 1.0)
