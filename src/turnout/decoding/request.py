"""What decoding is asked and what it answers: values that no backend and no file knows of."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turnout.errors import ConfigError, GuidanceError
from turnout.guidance import Bandwidth, Task
from turnout.text.transcript import Word

CHARACTERS_PER_SECOND = 25
"""Longest text of a second of audio, transcript or translation: nobody speaks as fast."""


def most_characters(seconds: float) -> int:
    """Longest text of so much audio; less than a second counts as one, since a word's translation
    may be longer than the word."""
    return int(CHARACTERS_PER_SECOND * max(seconds, 1.0))


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is wanted of one utterance."""

    tasks: tuple[Task, ...] = (Task.TRANSCRIBE,)
    """One hypothesis each, in this order; one encoder pass serves all of them."""
    bandwidth: Bandwidth = Bandwidth.WIDEBAND
    """Measured, or said by the caller."""
    language: str | None = None
    """Spoken language; found by the decoder where it is None."""
    target_language: str | None = None
    """Of the translation; where None, the only one the model has for the spoken language."""


@dataclass(frozen=True)
class Utterance:
    """One stretch of audio, ready for the encoder, with its request."""

    log_mel: NDArray[np.float32]
    """[frames, mels], of this utterance alone: padding is `decode`'s."""
    request: Request


@dataclass(frozen=True, kw_only=True)
class DecodingOptions:
    """How hypotheses are searched for."""

    beam_size: int = 1
    """Hypotheses kept per row; 1 is greedy."""
    ctc_weight: float = 0.3
    """Share of CTC in the score of transcription rows in beam search; translations have none."""
    word_timestamps: bool = False
    """Whether the transcript's words get times (by CTC alignment)."""
    max_tokens_per_second: float = 12.0
    """Longest text per second of audio; a few tokens more are allowed to short utterances."""

    def __post_init__(self) -> None:
        if self.beam_size < 1:
            raise ConfigError(f"beam_size is {self.beam_size}: it must be at least 1 (greedy)")
        if not 0 <= self.ctc_weight <= 1:
            raise ConfigError(f"ctc_weight is {self.ctc_weight}: it must lie between 0 and 1")
        if not self.max_tokens_per_second > 0:
            raise ConfigError(
                f"max_tokens_per_second is {self.max_tokens_per_second}: it must be above 0"
            )


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """What one decoder row wrote, or CTC alone."""

    task: Task
    language: str | None
    """Of the text: the spoken or the target language; None where a CTC-only model was not told."""
    tokens: tuple[int, ...]
    """Ids of the text alone: no prompt, no end."""
    text: str
    log_prob: float
    """Natural logarithm of the probability of the tokens, end included, under the decoder (under
    CTC where there is no decoder)."""
    words: tuple[Word, ...] = ()
    """Transcripts only, where word times were asked for; seconds from the utterance's start."""
    start: float | None = None
    """Where speech begins by CTC, in seconds; None without text or without a CTC head."""
    end: float | None = None
    """Where speech ends by CTC, in seconds."""


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """The answer for one utterance."""

    language: str | None
    """Spoken: given, or found by the decoder; None where a CTC-only model was not told."""
    hypotheses: tuple[Hypothesis, ...]
    """One per task, in the request's order; none where there is an error."""
    error: GuidanceError | None = None
    """Why nothing was decoded: the language that was found cannot be translated as asked. (What
    can be known beforehand is raised instead.)"""
