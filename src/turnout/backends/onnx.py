"""A model folder's graphs on ONNX Runtime, as a Backend. No torch here."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as runtime  # type: ignore[attr-defined]

from turnout.backends.rows import Layout, OnnxRows, of_rows
from turnout.backends.sessions import Weights, open_sessions
from turnout.config import ModelConfig
from turnout.decoding.backend import (
    DecoderState,
    Encoded,
    StepOutput,
    StepQuery,
    from_whole_vocabulary,
)
from turnout.errors import ModelFolderError, shown
from turnout.guidance import Guidance, bandwidth_indices
from turnout.model_folder import DECODER, ENCODER, WEIGHTS, ModelFolder

Floats = NDArray[np.float32]
PAST_NAMES = ("past_keys", "past_values", "past_mask")
ENCODER_INPUTS = ("log_mel", "frame_mask", "guide", "bandwidth")
CROSS_NAMES = ("cross_keys", "cross_values", "cross_mask")
QUERY_NAMES = ("positions", "allowed", "scored", "ranks")
DECODER_INPUTS = ("tokens", "counts", "guide", *QUERY_NAMES, *CROSS_NAMES, *PAST_NAMES)
ENTRIES = "entries"
"""What a graph calls the first dimension of its cross-attention inputs where equally many rows in
succession may share an entry; others want one for each row."""
LAYERED = CROSS_NAMES[:2]
"""What a decoder's graph may also take layer by layer, under names that `of_layer` gives."""
STEP_NAMES = ("best_tokens", "best_log_probs", "scored_log_probs")
WHOLE_VOCABULARY = "log_probs"
"""What graphs of format version 1 give instead of an answer: [rows, new, vocabulary]."""
GROWN_NAMES = ("keys", "values", "mask")
ATTENTION = "attention"
"""Of decoders whose shape has alignment heads: their weights, which only `attention` asks for."""
DECODER_OUTPUTS = (*STEP_NAMES, *GROWN_NAMES)
OUTPUT_KINDS: dict[str, tuple[type[np.generic], int]] = {
    "hidden_mask": (np.bool_, 2),
    "ctc_log_probs": (np.float32, 3),
    "expert_index": (np.int64, 3),
    "cross_keys": (np.float32, 5),
    "cross_values": (np.float32, 5),
    "best_tokens": (np.int64, 3),
    "best_log_probs": (np.float32, 3),
    "scored_log_probs": (np.float32, 2),
    WHOLE_VOCABULARY: (np.float32, 3),
    "keys": (np.float32, 5),
    "values": (np.float32, 5),
    "mask": (np.bool_, 2),
    ATTENTION: (np.float32, 4),
}
"""Type and number of dimensions of what the graphs give."""


class OnnxBackend:
    """Both graphs in memory, or the one that is all that it is asked for; threads may share one."""

    def __init__(
        self,
        config: ModelConfig,
        graphs: Mapping[str, bytes],
        weights: Weights,
        threads: int | None = None,
        *,
        place: str = "",
    ) -> None:
        """`graphs` by the names of their files; `weights` gives model.safetensors, or its tensors,
        to graphs that want some; `place` is what errors begin with, such as where the graphs come
        from."""
        self._config = config
        self._encoder_experts = config.expert_map(config.encoder.routing)
        self._decoder_experts = config.expert_map(config.decoder.routing)
        sessions = open_sessions(graphs, weights, threads, f"{place}{WEIGHTS}")
        if ENCODER in graphs:
            file, outputs = f"{place}{ENCODER}", encoder_outputs(config)
            self._encode = runner(sessions[ENCODER], file, ENCODER_INPUTS, outputs, "expert_index")
        if DECODER in graphs:
            self._open_decoder(sessions[DECODER], f"{place}{DECODER}")

    def _open_decoder(self, session: onnxruntime.InferenceSession, file: str) -> None:
        # No more than the graph can want: config.json may lie.
        layers = range(min(self.config.decoder.num_layers, len(session.get_inputs())))
        layered = [of_layer(name, layer) for name in LAYERED for layer in layers]
        known = (*DECODER_INPUTS, *layered)
        given = {value.name for value in session.get_outputs()}
        whole = (WHOLE_VOCABULARY, *GROWN_NAMES)
        needed = whole if WHOLE_VOCABULARY in given else DECODER_OUTPUTS
        self._decode = runner(session, file, known, needed)
        self._attend = runner(session, file, known, (ATTENTION,)) if ATTENTION in given else None
        self._decoder_file = file
        shapes = {value.name: value.shape for value in session.get_inputs()}
        self._shared = ENTRIES in shapes.get(CROSS_NAMES[2], [])[:1]

    @classmethod
    def open(cls, folder: ModelFolder, threads: int | None = None) -> "OnnxBackend":
        """The folder's graphs; raises ModelFolderError."""
        with its_graphs(folder) as (graphs, place):
            return cls(folder.config, graphs, lambda: folder.read(WEIGHTS), threads, place=place)

    @property
    def config(self) -> ModelConfig:
        """The model's shape."""
        return self._config

    def encode(
        self, log_mel: Floats, frame_mask: NDArray[np.bool_], guidance: Sequence[Guidance]
    ) -> Encoded:
        """See `Backend.encode`."""
        bandwidths = bandwidth_indices(guidance, needed=self.config.bandwidth_token)
        found = self._encode(
            {
                "log_mel": log_mel,
                "frame_mask": frame_mask,
                "guide": np.array(self._encoder_experts.indices(guidance), dtype=np.int64),
                "bandwidth": np.array(bandwidths, dtype=np.int64),
            }
        )
        mask = found["hidden_mask"]
        nowhere = np.zeros((0, *mask.shape), dtype=np.int64)
        cross = None
        if "cross_keys" in found:
            cross = (found["cross_keys"], found["cross_values"], mask)
        return Encoded(mask, found.get("ctc_log_probs"), found.get("expert_index", nowhere), cross)

    def start(
        self, encoded: Encoded, rows: NDArray[np.int64], guidance: Sequence[Guidance]
    ) -> DecoderState:
        """See `Backend.start`."""
        layout = Layout.of(rows, shared=self._shared)
        cross = of_rows(encoded.hidden, layout.entries)
        layers, _, heads, _, dim = cross[1].shape
        guide = np.array(self._decoder_experts.indices(guidance), dtype=np.int64)[layout.given]
        empty = np.zeros((layers, len(guide), heads, 0, dim), dtype=np.float32)
        past = (empty, empty, np.zeros((len(guide), 0), dtype=np.bool_))
        own = cross is not encoded.hidden
        return DecoderState(rows, OnnxRows(layout, guide, cross, past, own))

    def step(
        self,
        state: DecoderState,
        tokens: NDArray[np.int64],
        counts: NDArray[np.int64],
        query: StepQuery,
    ) -> tuple[StepOutput, DecoderState]:
        """See `Backend.step`."""
        held: OnnxRows = state.cache
        found = self._decode(decoder_arrays(held, tokens, counts, query))
        keys, values, mask = (found[name] for name in GROWN_NAMES)
        grown = DecoderState(state.rows, replace(held, past=(keys, values, mask)))
        if WHOLE_VOCABULARY in found:
            return from_whole_vocabulary(found[WHOLE_VOCABULARY], query), grown
        return StepOutput(*(held.shown(found[name]) for name in STEP_NAMES)), grown

    def keep(self, state: DecoderState, counts: NDArray[np.int64]) -> DecoderState:
        """See `Backend.keep`."""
        held: OnnxRows = state.cache
        return DecoderState(state.rows, held.keep(counts))

    def attention(
        self,
        encoded: Encoded,
        rows: NDArray[np.int64],
        guidance: Sequence[Guidance],
        tokens: NDArray[np.int64],
        counts: NDArray[np.int64],
    ) -> Floats:
        """See `Backend.attention`; raises ModelFolderError where the graph does not give it."""
        if self._attend is None:
            raise ModelFolderError(
                f"{self._decoder_file} lacks the output '{ATTENTION}', from which words have their "
                "times: write the graphs with 'turnout convert' or 'turnout export'"
            )
        held: OnnxRows = self.start(encoded, rows, guidance).cache
        nothing = np.zeros((len(rows), 1), dtype=np.int64)
        allowed = np.zeros((len(rows), self.config.vocabulary.size), dtype=np.bool_)
        query = StepQuery(positions=nothing, allowed=allowed, best=0, scored=nothing)
        return held.shown(self._attend(decoder_arrays(held, tokens, counts, query))[ATTENTION])

    def select(self, state: DecoderState, rows: NDArray[np.int64]) -> DecoderState:
        """See `Backend.select`."""
        held: OnnxRows = state.cache
        utterances = state.rows[rows]
        # A beam's hypotheses trade places inside their utterance: what they attend to stays.
        moved = not np.array_equal(utterances, state.rows)
        return DecoderState(utterances, held.select(rows, shared=self._shared, moved=moved))


@contextmanager
def its_graphs(folder: ModelFolder) -> Iterator[tuple[dict[str, bytes], str]]:
    """A folder's graphs and what errors about them begin with; what ONNX Runtime raises of them is
    a ModelFolderError then."""
    names = (ENCODER, DECODER) if folder.config.decoder.num_layers else (ENCODER,)
    place = f"model folder {folder.path}: "
    try:
        yield {name: folder.read(name) for name in names}, place
    except (*RUNTIME_ERRORS, RuntimeError) as error:
        raise ModelFolderError(
            f"{place}ONNX Runtime cannot take its graphs: {reason(error)}"
        ) from error


def of_layer(name: str, layer: int) -> str:
    """The name of an input that is one layer's part of what has this name."""
    return f"{name}.{layer}"


def decoder_arrays(
    held: OnnxRows, tokens: NDArray[np.int64], counts: NDArray[np.int64], query: StepQuery
) -> dict[str, NDArray[Any]]:
    """What a decoder's graph can ask for, by name."""
    # A graph's sizes come from its inputs: the number of best ids is the length of this one.
    ranks, rows = np.arange(query.best), held.layout.given
    asked = (query.positions[rows], query.allowed[rows], query.scored[rows], ranks)
    arrays = {
        "tokens": tokens[rows],
        "counts": counts[rows],
        "guide": held.guide,
        **dict(zip(QUERY_NAMES, asked, strict=True)),
        **dict(zip(CROSS_NAMES, held.cross, strict=True)),
        **dict(zip(PAST_NAMES, held.past, strict=True)),
    }
    for name in LAYERED:  # views, of which nothing is copied
        arrays |= {of_layer(name, layer): part for layer, part in enumerate(arrays[name])}
    return arrays


RUNTIME_ERRORS = (
    runtime.Fail,
    runtime.InvalidArgument,
    runtime.InvalidGraph,
    runtime.InvalidProtobuf,
    runtime.NotImplemented,
)
RUNNING_ERRORS = (*RUNTIME_ERRORS, runtime.EPFail, runtime.NotFound, runtime.RuntimeException)
FOREIGN = "it is no graph of turnout's: write the graphs with 'turnout export'"
LONGEST_REASON = 400
"""Characters: a graph's own names can be of any length."""


def reason(error: Exception) -> str:
    """What ONNX Runtime says, in one line."""
    return " ".join(str(error).split())[:LONGEST_REASON]


def encoder_outputs(config: ModelConfig) -> tuple[str, ...]:
    """What the encoder's graph must give; which experts were taken may be left out."""
    ctc = ("ctc_log_probs",) if config.ctc else ()
    cross = CROSS_NAMES[:2] if config.decoder.num_layers else ()
    return ("hidden_mask", *ctc, *cross)


def runner(
    session: onnxruntime.InferenceSession,
    file: str,
    known: Sequence[str],
    needed: Sequence[str],
    *optional: str,
) -> Callable[[dict[str, NDArray[Any]]], dict[str, NDArray[Any]]]:
    """Arrays by name -> those that are needed, and optional ones where the graph gives them; inputs
    that it does not use are left out.

    Raises ModelFolderError where the graph wants an input that is not known or lacks an output
    that is needed; so does what is returned where the graph cannot be run or gives other arrays.
    """
    inputs = [value.name for value in session.get_inputs()]
    given = [value.name for value in session.get_outputs()]
    outputs = [*needed, *(name for name in optional if name in given)]
    for name in inputs:
        if name not in known:
            raise ModelFolderError(
                f"{file} has the input {shown(name)}: inputs are {', '.join(known)}; {FOREIGN}"
            )
    for name in needed:
        if name not in given:
            raise ModelFolderError(f"{file} lacks the output '{name}'; {FOREIGN}")

    def run(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        try:
            fed = {name: np.ascontiguousarray(arrays[name]) for name in inputs}
            found: list[Any] = session.run(outputs, fed)  # type: ignore[assignment]
        except KeyError as error:
            raise ModelFolderError(
                f"{file} has the input {error}, for which {ENCODER} gives too few layers; {FOREIGN}"
            ) from error
        except RUNNING_ERRORS as error:
            if "alloc" in str(error):  # the recordings' fault, or the machine's
                raise MemoryError(reason(error)) from error
            raise ModelFolderError(f"{file} cannot be run: {reason(error)}; {FOREIGN}") from error
        for name, array in zip(outputs, found, strict=True):
            kind, dimensions = OUTPUT_KINDS[name]
            if getattr(array, "dtype", None) != kind or array.ndim != dimensions:
                raise ModelFolderError(
                    f"{file} gives another '{name}' than {kind.__name__} of {dimensions} "
                    f"dimensions; {FOREIGN}"
                )
        return dict(zip(outputs, found, strict=True))

    return run
