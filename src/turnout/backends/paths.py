"""A supervised model as what it is: one dense model for each guidance, of which each utterance
takes its own.

A batch of several paths is one batch of each dense model, so an utterance comes out as it does
among those of its path alone, to the last bit, whoever its batch-mates are. Encoder and decoder are
chosen apart: one pass of an encoder serves the decoders of both tasks. What a path is opened from,
and what runs it, is not known here.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.config import ModelConfig
from turnout.decoding.backend import Backend, DecoderState, Encoded, StepOutput, StepQuery
from turnout.guidance import Guidance

Index = NDArray[np.int64]
MOST_OPEN = 16
"""Paths of a stack that stay open, all of them where there are no more: of whisper-base, an
encoder's takes 94 MB and a decoder's 343 MB (counted by hand). Fewer than are in use would be
opened for each batch anew."""


class Paths:
    """The dense models of one stack by number, each opened when it is first asked for."""

    def __init__(
        self, open_path: Callable[[int], Backend], first: Backend, most: int = MOST_OPEN
    ) -> None:
        """`first` is number 0, the base's, which is never closed."""
        self._open_path = open_path
        self._first = first
        self._most = most
        self._open: OrderedDict[int, Backend] = OrderedDict()
        self._lock = Lock()

    def get(self, path: int) -> Backend:
        """The path's model. Of more than `most`, the one that was asked for longest ago is closed,
        once nobody is at work with it."""
        if path == 0:
            return self._first
        with self._lock:
            if path not in self._open:
                self._open[path] = self._open_path(path)
            self._open.move_to_end(path)
            found = self._open[path]
            while len(self._open) > self._most - 1:
                self._open.popitem(last=False)
            return found

    def open_all(self, count: int) -> None:
        """Open the first `count` now, or as many as stay open."""
        for path in range(min(count, self._most)):
            self.get(path)


@dataclass(frozen=True)
class Part:
    """The utterances of one path after the encoder."""

    entries: Index
    """Their positions in the batch."""
    encoded: Encoded


@dataclass(frozen=True)
class Piece:
    """The decoder rows of one path, of utterances of one path."""

    rows: Index
    """Their positions in the state."""
    backend: Backend
    """Held here, so that it stays open as long as it is in use."""
    state: DecoderState


class PathBackend:
    """A Backend of dense ones; threads may share one."""

    def __init__(self, config: ModelConfig, encoders: Paths, decoders: Paths | None) -> None:
        """`config` is the supervised model's, by which paths are numbered."""
        self._config = config
        self._encoders, self._decoders = encoders, decoders
        self._encoder_experts = config.expert_map(config.encoder.routing)
        self._decoder_experts = config.expert_map(config.decoder.routing)
        halves = 2 if config.encoder.block == "conformer" else 1
        routed = map(config.encoder.routing.routes, range(config.encoder.num_layers))
        self._routings = halves * sum(routed)

    @property
    def config(self) -> ModelConfig:
        """The model's shape."""
        return self._config

    def open_all(self) -> None:
        """Open every path now, as far as they stay open: what becomes of the files afterwards is
        then nobody's concern. Raises ModelFolderError."""
        self._encoders.open_all(self._encoder_experts.num_groups)
        if self._decoders is not None:
            self._decoders.open_all(self._decoder_experts.num_groups)

    def encode(
        self,
        log_mel: NDArray[np.float32],
        frame_mask: NDArray[np.bool_],
        guidance: Sequence[Guidance],
    ) -> Encoded:
        """See `Backend.encode`."""
        paths = np.array(self._encoder_experts.indices(guidance), dtype=np.int64)
        parts: list[Part] = []
        for path in np.unique(paths).tolist():
            entries = np.flatnonzero(paths == path)
            # As long as its longest: padding for others' sake changes the last bits.
            frames = widest(frame_mask[entries])
            encoded = self._encoders.get(path).encode(
                log_mel[entries, :frames],
                frame_mask[entries, :frames],
                [guidance[i] for i in entries.tolist()],
            )
            parts.append(Part(entries, encoded))
        return joined(parts, paths, self._routings)

    def start(self, encoded: Encoded, rows: Index, guidance: Sequence[Guidance]) -> DecoderState:
        """See `Backend.start`."""
        pieces = [
            Piece(where, backend, backend.start(part, inside, known))
            for where, backend, part, inside, known in self._split(encoded, rows, guidance)
        ]
        return DecoderState(rows, tuple(pieces))

    def step(
        self, state: DecoderState, tokens: Index, counts: Index, query: StepQuery
    ) -> tuple[StepOutput, DecoderState]:
        """See `Backend.step`."""
        asked = query.positions.shape
        found = StepOutput(
            np.zeros((*asked, query.best), dtype=np.int64),
            np.zeros((*asked, query.best), dtype=np.float32),
            np.zeros(asked, dtype=np.float32),
        )
        pieces: list[Piece] = []
        for piece in pieces_of(state):
            rows = piece.rows
            new = tokens[rows, : max(counts[rows].max(), 1)]
            own = StepQuery(
                # Behind a row's tokens anything may be asked for, and nothing is meant.
                positions=np.minimum(query.positions[rows], new.shape[1] - 1),
                allowed=query.allowed[rows],
                best=query.best,
                scored=query.scored[rows],
            )
            answer, grown = piece.backend.step(piece.state, new, counts[rows], own)
            for name in ("tokens", "log_probs", "scored"):
                getattr(found, name)[rows] = getattr(answer, name)
            pieces.append(Piece(rows, piece.backend, grown))
        return found, DecoderState(state.rows, tuple(pieces))

    def keep(self, state: DecoderState, counts: Index) -> DecoderState:
        """See `Backend.keep`."""
        pieces = [
            Piece(one.rows, one.backend, one.backend.keep(one.state, counts[one.rows]))
            for one in pieces_of(state)
        ]
        return DecoderState(state.rows, tuple(pieces))

    def attention(
        self,
        encoded: Encoded,
        rows: Index,
        guidance: Sequence[Guidance],
        tokens: Index,
        counts: Index,
    ) -> NDArray[np.float32]:
        """See `Backend.attention`."""
        heads, frames = len(self.config.decoder.alignment_heads), encoded.frame_mask.shape[1]
        found = np.zeros((len(rows), heads, tokens.shape[1], frames), dtype=np.float32)
        for where, backend, part, inside, known in self._split(encoded, rows, guidance):
            own = counts[where]
            weights = backend.attention(part, inside, known, tokens[where, : own.max()], own)
            found[where, :, : weights.shape[2], : weights.shape[3]] = weights
        return found

    def select(self, state: DecoderState, rows: Index) -> DecoderState:
        """See `Backend.select`."""
        pieces: list[Piece] = []
        for piece in pieces_of(state):
            inside = np.full(len(state.rows), -1)
            inside[piece.rows] = np.arange(len(piece.rows))
            chosen = inside[rows]
            where = np.flatnonzero(chosen >= 0)
            if len(where):
                own = piece.backend.select(piece.state, chosen[where])
                pieces.append(Piece(where, piece.backend, own))
        return DecoderState(state.rows[rows], tuple(pieces))

    def _split(
        self, encoded: Encoded, rows: Index, guidance: Sequence[Guidance]
    ) -> Iterator[tuple[Index, Backend, Encoded, Index, list[Guidance]]]:
        """For each path of an encoder and a decoder: the positions of its rows, the decoder, and
        the utterances, rows and guidance that it is given."""
        assert self._decoders is not None, "this model has no decoder"
        paths = np.array(self._decoder_experts.indices(guidance), dtype=np.int64)
        parts: Sequence[Part] = encoded.hidden
        for part in parts:
            inside = np.full(len(encoded.frame_mask), -1)
            inside[part.entries] = np.arange(len(part.entries))
            own = inside[rows]
            for path in np.unique(paths[own >= 0]).tolist():
                where = np.flatnonzero((own >= 0) & (paths == path))
                known = [guidance[i] for i in where.tolist()]
                yield where, self._decoders.get(path), part.encoded, own[where], known


def pieces_of(state: DecoderState) -> Sequence[Piece]:
    """What a PathBackend keeps in a state."""
    return state.cache


def widest(mask: NDArray[np.bool_]) -> int:
    """Frames up to the last one that any of these has."""
    return int(np.flatnonzero(mask.any(axis=0)).max(initial=0)) + 1


def joined(parts: Sequence[Part], paths: Index, routings: int) -> Encoded:
    """The batch that the parts are of; `paths` [batch] are the experts in each of `routings`."""
    batch, frames = len(paths), max(part.encoded.frame_mask.shape[1] for part in parts)

    def together(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
        whole = np.zeros((batch, frames, *arrays[0].shape[2:]), dtype=arrays[0].dtype)
        for part, array in zip(parts, arrays, strict=True):
            whole[part.entries, : array.shape[1]] = array
        return whole

    mask = together([part.encoded.frame_mask for part in parts])
    emissions = [part.encoded.ctc_log_probs for part in parts]
    given = [found for found in emissions if found is not None]
    taken = np.broadcast_to(paths[:, None], (routings, *mask.shape)).copy()
    return Encoded(mask, together(given) if given else None, taken, tuple(parts))
