"""What two models make of the same recordings, number by number: proof that one was made of the
other without a change."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from math import inf
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from turnout.audio.features import SAMPLE_RATE, model_features
from turnout.audio.waveform import open_recording
from turnout.decoding.backend import Backend, StepQuery
from turnout.decoding.encoded_batch import padded
from turnout.errors import ExportError, UsageError, amount
from turnout.export.parity import OF_THE_LARGEST, TOLERANCE, tolerated
from turnout.guidance import Guidance, Window
from turnout.text.tokenizer import Tokenizer
from turnout.transcription.segments import AudioSegments

Floats = NDArray[np.float32]
MOST_RECORDINGS = 4
"""In the batch that both models are given."""
MOST_WAYS = 6
"""Each is a pass over all of the recordings."""
STEPS = 4
"""Tokens written behind the prompt, each the most probable to the first model."""
BEST = 16
"""Ids whose log-probabilities are compared at each of them."""


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What was compared, and by how much it differs."""

    recordings: int
    seconds: float
    ways: int
    """How they were asked: each guidance is one."""
    of: int
    """Ways that could have been taken."""
    numbers: int
    """Log-probabilities, in natural logarithms."""
    difference: float
    """The largest of any two."""
    same: bool
    """To the last bit, tokens and masks as well."""
    close: bool
    """As far as `parity.tolerated` lets two graphs of a model differ: by 1e-4, or 1e-5 of the
    largest log-probability of a place where that is more."""

    def __str__(self) -> str:
        """One line."""
        found = (
            "equal to the last bit"
            if self.same
            else f"the largest difference {self.difference:.1g}"
        )
        heard, ways = amount(self.recordings, "recording"), amount(self.of, "way")
        some = f"{self.ways} of {ways}" if self.ways < self.of else ways
        return (
            f"receipt: both models on {heard} ({self.seconds:.1f} s), "
            f"asked in {some}, {self.numbers:,} log-probabilities: {found}"
        )


def compared(
    before: Backend,
    after: Backend,
    tokenizer: Tokenizer,
    audio: Sequence[Path],
    guidance: Sequence[Guidance],
) -> Receipt:
    """Both models' log-probabilities of the same batch, once for each guidance, or for some of
    many. Raises AudioError, and UsageError for recordings in which nobody speaks."""
    sounds = [spoken(path, before) for path in audio[:MOST_RECORDINGS]]
    some = [guidance[int(i)] for i in np.linspace(0, len(guidance) - 1, MOST_WAYS)]
    some = list(dict.fromkeys(some))
    numbers, worst, same, close = 0, 0.0, True, True
    for known in some:
        batch = batch_of(sounds, known, before)
        expected = outputs_of(before, tokenizer, batch, known)
        found = outputs_of(after, tokenizer, batch, known, expected.tokens)
        same &= expected.to_bytes() == found.to_bytes()
        for first, second in zip(expected.log_probs, found.log_probs, strict=True):
            numbers += first.size
            far = np.abs(first - second)
            gap = float(far.max(initial=0.0))
            worst = max(worst, gap if np.isfinite(gap) else inf)
            close &= bool((far <= tolerated(first)).all())  # false of NaN
    return Receipt(
        recordings=len(sounds),
        seconds=sum(map(len, sounds)) / SAMPLE_RATE,
        ways=len(some),
        of=len(guidance),
        numbers=numbers,
        difference=worst,
        same=same,
        close=close,
    )


def confirm(receipt: Receipt, *, exact: bool) -> None:
    """Raise ExportError where the models are not `close`, or, where that is `exact`, not the
    same."""
    if receipt.same or (receipt.close and not exact):
        return
    wanted = "nothing" if exact else f"{TOLERANCE:g}, or {OF_THE_LARGEST:g} of the largest,"
    raise ExportError(
        f"the models differ by {receipt.difference:.2g} where {wanted} is allowed: nothing was "
        "written"
    )


def spoken(path: Path, backend: Backend) -> Floats:
    """The samples of the first window with speech; raises AudioError and UsageError."""
    with closing(AudioSegments(open_recording(path), backend.config)) as segments:
        found = next(iter(segments), None)
    if found is None or found.samples is None:
        raise UsageError(f"{path}: nobody speaks in it, so that nothing can be compared")
    return found.samples


@dataclass(frozen=True)
class Outputs:
    """What a model says of a batch."""

    mask: NDArray[np.bool_]
    log_probs: list[Floats]
    """CTC's, then for each token the decoder's of the likeliest ids and of the end."""
    tokens: list[NDArray[np.int64]]
    """The likeliest ids at each of them."""

    def to_bytes(self) -> bytes:
        """All of it."""
        return b"".join(part.tobytes() for part in (self.mask, *self.log_probs, *self.tokens))


Batch = tuple[Floats, NDArray[np.bool_]]


def batch_of(sounds: Sequence[Floats], guidance: Guidance, backend: Backend) -> Batch:
    """Features as the model takes them, and their mask."""
    window = guidance.window or Window.PADDED
    return padded([model_features(one, backend.config, window) for one in sounds])


def outputs_of(
    backend: Backend,
    tokenizer: Tokenizer,
    batch: Batch,
    guidance: Guidance,
    chosen: Sequence[NDArray[np.int64]] = (),
) -> Outputs:
    """A model's outputs; what it writes are the first ids of each of `chosen`, or its own."""
    asked = [guidance] * len(batch[0])
    encoded = backend.encode(*batch, asked)
    found = Outputs(encoded.frame_mask, [], [])
    if encoded.ctc_log_probs is not None:
        there = encoded.frame_mask[..., None]
        found.log_probs.append(np.where(there, encoded.ctc_log_probs, np.float32(0)))
    if backend.config.decoder.num_layers == 0:
        return found
    rows = np.arange(len(asked))
    prompt = [tokenizer.prompt(one, backend.config.task_token) for one in asked]
    new, state = np.array(prompt), backend.start(encoded, rows, asked)
    for step in range(STEPS + 1):
        query = best_after(new, backend.config.vocabulary.size, tokenizer.end)
        answer, state = backend.step(state, new, np.full(len(rows), new.shape[1]), query)
        found.log_probs.extend((answer.log_probs, answer.scored))
        found.tokens.append(answer.tokens)
        new = (chosen[step] if chosen else answer.tokens)[:, 0, :1]
    return found


def best_after(tokens: NDArray[np.int64], size: int, end: int) -> StepQuery:
    """Asks for the likeliest ids behind the last of these tokens [rows, new], and for the end."""
    last = np.full((len(tokens), 1), tokens.shape[1] - 1)
    return StepQuery(
        positions=last,
        allowed=np.ones((len(tokens), size), dtype=np.bool_),
        best=min(BEST, size),
        scored=np.full_like(last, end),
    )
