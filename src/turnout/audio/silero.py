"""Silero's voice activity detector (version 6.2, 16 kHz) in NumPy: samples -> how probable it is
that somebody speaks, for every 32 ms.

Its network: the magnitudes of a short Fourier transform, four convolutions over the time of one
chunk, an LSTM from chunk to chunk, a sigmoid. The weights are Silero's, under the MIT licence
(`silero.LICENSE.txt` beside them); `scripts/voice_weights.py` says where they are from. Chunks go
through all but the LSTM many at a time, which is what makes this quick.
"""

from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load

from turnout.audio.bandwidth import is_silent
from turnout.errors import ModelFolderError

Floats = NDArray[np.float32]

WEIGHTS = Path(__file__).with_name("silero.safetensors")
WEIGHTS_SHA256 = "c5fe46a9132e472ce5022198d68e56d289be718d79727bde5f347e8d1456acc1"
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
"""Chunks that are transformed at once, two seconds: always so many, the last ones of a recording
with zeros behind them, since sums of another shape round otherwise."""
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


@lru_cache(maxsize=1)
def network() -> Network:
    """As it ships; raises ModelFolderError where the file is not the one that shipped."""
    data = WEIGHTS.read_bytes()
    if sha256(data).hexdigest() != WEIGHTS_SHA256:
        raise ModelFolderError(f"{WEIGHTS}: is damaged: install turnout again")
    arrays = {name: array.astype(np.float32) for name, array in load(data).items()}
    position = np.arange(FFT_SAMPLES)
    layers = ((arrays[f"conv{i}.weight"], arrays[f"conv{i}.bias"]) for i in range(4))
    return Network(
        window=(0.5 - 0.5 * np.cos(2 * np.pi * position / FFT_SAMPLES)).astype(np.float32),
        convolutions=tuple(
            (np.ascontiguousarray(weight.transpose(2, 1, 0).reshape(-1, len(weight))), bias, stride)
            for (weight, bias), stride in zip(layers, (1, 2, 2, 1), strict=True)
        ),
        inputs=np.ascontiguousarray(arrays["lstm.weight_ih"].T),
        hidden=np.ascontiguousarray(arrays["lstm.weight_hh"]),
        bias=arrays["lstm.bias_ih"] + arrays["lstm.bias_hh"],
        output=arrays["output.weight"],
        output_bias=arrays["output.bias"],
    )


class SpeechProbabilities:
    """Hears one recording in blocks; what it says does not depend on where they are cut."""

    def __init__(self) -> None:
        self._network = network()
        self._waiting = np.zeros(CONTEXT_SAMPLES, np.float32)
        """The context of the next chunk, and the samples that do not fill a batch yet."""
        self._peak = LOUD / MOST_GAIN
        """Of all that was heard."""
        self._state = np.zeros((2, UNITS), np.float32)
        """The LSTM's output and its cell."""

    def add(self, samples: Floats) -> Floats:
        """Hear what follows, mono at 16 kHz: the probabilities that are known now, [chunks]."""
        waiting = np.concatenate((self._waiting, samples))
        size = BATCH * CHUNK_SAMPLES
        batches = (len(waiting) - CONTEXT_SAMPLES) // size
        found = [self._batch(waiting[i * size :][: size + CONTEXT_SAMPLES]) for i in range(batches)]
        # A copy: a view would keep what was before it in memory.
        self._waiting = waiting[batches * size :].copy()
        return np.concatenate([np.zeros(0, np.float32), *found])

    def finish(self) -> Floats:
        """The probabilities of the rest, silence behind it, [chunks]."""
        left = len(self._waiting) - CONTEXT_SAMPLES
        missing = -left % (BATCH * CHUNK_SAMPLES)
        return self.add(np.zeros(missing, np.float32))[: -(-left // CHUNK_SAMPLES)]

    def _batch(self, samples: Floats) -> Floats:
        """The probabilities of a batch of chunks, led by the context of the first one."""
        if is_silent(samples):  # for hours, perhaps
            self._state = np.zeros_like(self._state)
            return np.zeros(BATCH, np.float32)
        self._peak = max(self._peak, float(np.abs(samples).max()))
        heard = samples * np.float32(max(1.0, LOUD / self._peak))
        gates = _encoded(heard, self._network) @ self._network.inputs + self._network.bias
        output, cell = self._state
        outputs = np.empty((BATCH, UNITS), np.float32)
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
