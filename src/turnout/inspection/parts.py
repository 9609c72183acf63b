"""Segments that went through a model -> the record of their recording.

Knows nothing of transcribers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64

from turnout.audio.features import FRAME_SECONDS
from turnout.config import ModelConfig
from turnout.config.transcription import TranscriptionOptions
from turnout.guidance import Guidance, Task, Window
from turnout.inspection.labels import Decode, Span
from turnout.inspection.record import Layout, RoutingRecord
from turnout.text.transcript import Transcript


@dataclass(frozen=True)
class Part:
    """What a segment did inside the model."""

    start: float
    """In seconds."""
    log_mel: Float[np.ndarray, "frames mels"]
    """Of its sound alone, in half precision."""
    expert_index: Int64[np.ndarray, "feed_forwards hidden"]
    probabilities: Float32[np.ndarray, "feed_forwards hidden experts"] | None = None
    silent: Bool[np.ndarray, " hidden"] | None = None
    letters: tuple[Span, ...] = ()
    """In seconds from the recording's start, as tokens are."""
    tokens: tuple[Span, ...] = ()
    token_probabilities: Float32[np.ndarray, "feed_forwards tokens experts"] | None = None
    language: str | None = None
    """That is spoken."""


@dataclass(frozen=True)
class Way:
    """What is asked of a model, and how its answers are read."""

    asked: TranscriptionOptions
    config: ModelConfig
    decode_text: Decode
    tokens_told: bool = False
    """Whether the backend tells of a decoder's learned routers."""

    @property
    def decoder(self) -> Layout:
        """What is known of the decoder."""
        return Layout.of(self.config, "decoder", self.tokens_told)

    @property
    def factor(self) -> int:
        """Frames of features of a hidden frame."""
        return self.config.encoder.subsampling_factor

    @property
    def frame_seconds(self) -> float:
        """Length of a hidden frame."""
        return FRAME_SECONDS * self.factor


def record_of(name: str, transcript: Transcript, parts: Sequence[Part], way: Way) -> RoutingRecord:
    """What became of a recording, with its parts laid out."""
    config = way.config
    log_mel, expert_index = laid_out(parts, config)
    hidden = expert_index.shape[1]
    spoken = transcript.language
    if transcript.task is Task.TRANSLATE:  # whose text is in another
        spoken = next((part.language for part in parts if part.language), None)
    guidance = Guidance(
        bandwidth=transcript.bandwidth,
        task=transcript.task,
        language=spoken,
        target_language=transcript.language,
        domain=way.asked.domain or config.domains[0],
        window=Window(way.asked.window),
    )
    told = [part.token_probabilities for part in parts if part.token_probabilities is not None]
    return RoutingRecord(
        name=name,
        log_mel=log_mel,
        expert_index=expert_index,
        guidance=guidance,
        transcript=transcript,
        probabilities=joined_probabilities(parts, hidden, way),
        silent=joined_silence(parts, hidden, way),
        letters=tuple(letter for part in parts for letter in part.letters),
        tokens=tuple(token for part in parts for token in part.tokens),
        token_probabilities=np.concatenate(told, axis=1) if told else None,
        decoder_index=with_tokens(written(transcript, guidance, hidden, way), parts, way),
    )


def written(
    transcript: Transcript, guidance: Guidance, hidden: int, way: Way
) -> Int64[np.ndarray, "feed_forwards hidden"]:
    """The decoder's expert, which guidance chose, in the frames of each word, or of each segment
    whose words have no times; -1 between them."""
    layout, routing = way.decoder, way.config.decoder.routing
    index = np.full((len(layout.feed_forwards), hidden), -1, np.int64)
    if layout.learned or not layout.feed_forwards or not transcript.segments:
        return index
    expert = way.config.expert_map(routing).index(guidance)
    for segment in transcript.segments:
        for span in segment.words or (segment,):
            index[:, frames_of(span.start, span.end, layout)] = expert
    return index


def with_tokens(
    index: Int64[np.ndarray, "feed_forwards hidden"], parts: Sequence[Part], way: Way
) -> Int64[np.ndarray, "feed_forwards hidden"]:
    """The same with the experts that a decoder's learned routers chose, in each token's frames."""
    for part in parts:
        if part.token_probabilities is None:
            continue
        chosen = part.token_probabilities.argmax(axis=-1)
        for place, token in enumerate(part.tokens):
            frames = frames_of(token.start, token.end, way.decoder)
            index[:, frames] = chosen[:, place : place + 1]
    return index


def frames_of(start: float, end: float, layout: Layout) -> slice:
    """The hidden frames between two times, one at least."""
    first, last = (round(time / layout.frame_seconds) for time in (start, end))
    return slice(first, max(last, first + 1))


def laid_out(
    parts: Sequence[Part], config: ModelConfig
) -> tuple[Float[np.ndarray, "frames mels"], Int64[np.ndarray, "feed_forwards hidden"]]:
    """Log-mel and experts of a whole recording, each part where it belongs in time.

    Between them lie the least value there is, and experts -1.
    """
    factor, mels = config.encoder.subsampling_factor, config.features.num_mels
    placed = [(round(part.start / FRAME_SECONDS), part) for part in parts]
    frames = max((first + len(part.log_mel) for first, part in placed), default=0)
    floor = min((float(part.log_mel.min(initial=0.0)) for part in parts), default=0.0)
    joined = np.full((frames, mels), floor, np.float16)
    rows = len(Layout.of(config).feed_forwards)
    index = np.full((rows, -(-frames // factor)), -1, np.int64)
    for first, part in placed:
        joined[first : first + len(part.log_mel)] = part.log_mel
        # What overhangs is cut to fit.
        place = index[:, first_of(part, factor) :][:, : part.expert_index.shape[1]]
        place[:] = part.expert_index[:, : place.shape[1]]
    return joined, index


def joined_probabilities(
    parts: Sequence[Part], hidden: int, way: Way
) -> Float32[np.ndarray, "feed_forwards hidden experts"] | None:
    """Those of a whole recording, zeros between the parts; None where they are not told."""
    layout = Layout.of(way.config)
    if not parts or any(part.probabilities is None for part in parts):
        return None
    shape = (len(layout.feed_forwards), hidden, len(layout.experts))
    joined = np.zeros(shape, np.float32)
    for part in parts:
        assert part.probabilities is not None
        place = joined[:, first_of(part, way.factor) :][:, : part.probabilities.shape[1]]
        place[:] = part.probabilities[:, : place.shape[1]]
    return joined


def joined_silence(
    parts: Sequence[Part], hidden: int, way: Way
) -> Bool[np.ndarray, " hidden"] | None:
    """Where a whole recording has no sound; None where that was not measured."""
    if any(part.silent is None for part in parts):
        return None
    joined = np.ones(hidden, np.bool_)
    for part in parts:
        assert part.silent is not None
        place = joined[first_of(part, way.factor) :][: len(part.silent)]
        place[:] = part.silent[: len(place)]
    return joined


def first_of(part: Part, factor: int) -> int:
    """The hidden frame where a part begins: the nearest, since it may begin between two."""
    return round(round(part.start / FRAME_SECONDS) / factor)
