"""What each hidden frame holds, apart from its expert: a letter of the text, or no sound.

Letters have their times from the alignment: inside a word's time, a token ends halfway to the next
one's frames, and the letters of a token share its time evenly.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np
from numpy.typing import NDArray

from turnout.decoding.requests import Hypothesis
from turnout.decoding.words import LOUD, loudness_and_change
from turnout.text.transcript import Word

NOTHING = -1
Decode = Callable[[Sequence[int]], str]


@dataclass(frozen=True)
class Span:
    """A letter, or a token's text, with its time in seconds."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Labels:
    """A label of each hidden frame."""

    names: tuple[str, ...]
    codes: NDArray[np.int64]
    """[hidden]: which of the names; NOTHING where there is none."""


def letters_of(hypothesis: Hypothesis, decode: Decode, frame_seconds: float) -> list[Span]:
    """The letters of a text whose words have times, in order; `decode` is the tokenizer's."""
    frames = hypothesis.token_frames
    owners = token_of_letters(hypothesis.tokens, decode) if frames is not None else []
    if frames is None or len(owners) != sum(len(spoken(word.word)) for word in hypothesis.words):
        return [span for word in hypothesis.words for span in spread(spoken(word.word), word)]
    spans: list[Span] = []
    left = iter(owners)
    for word in hypothesis.words:
        pairs = zip(spoken(word.word), left, strict=False)
        of_tokens = [
            (token, "".join(letter for letter, _ in some))
            for token, some in groupby(pairs, key=lambda pair: pair[1])
        ]
        if not of_tokens:  # a mark that stands alone
            continue
        own = frames[:, [token for token, _ in of_tokens]] + [[0], [1]]
        edges = edges_of(word, own * frame_seconds)
        for (_, text), (start, end) in zip(of_tokens, pairwise(edges), strict=True):
            spans += spread(text, Word(start=start, end=end, word=text))
    return spans


def spoken(text: str) -> str:
    """The letters and digits of a text, in small letters: what has a sound of its own."""
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def token_of_letters(tokens: Sequence[int], decode: Decode) -> list[int]:
    """Which token each letter of the text is of: the one that completes it."""
    owners: list[int] = []
    for count in range(1, len(tokens) + 1):
        # Half a letter is decoded to a replacement character, which is no letter.
        letters = len(spoken(decode(tokens[:count])))
        owners += [count - 1] * (letters - len(owners))
    return owners


def edges_of(word: Word, seconds: NDArray[np.floating]) -> list[float]:
    """Where a word's tokens part, whose frames begin and end at `seconds` [2, tokens]: one more
    than there are tokens."""
    between = (seconds[0, 1:] + seconds[1, :-1]) / 2
    inner = np.clip(between, word.start, word.end) if between.size else between
    return [word.start, *np.maximum.accumulate(inner).tolist(), word.end]


def spread(letters: str, span: Word) -> list[Span]:
    """The letters, one behind the other, each as long as the others."""
    edges = np.linspace(span.start, span.end, len(letters) + 1).tolist() if letters else []
    return [
        Span(letter, start, end)
        for letter, (start, end) in zip(letters, pairwise(edges), strict=True)
    ]


def labels_of(spans: Iterable[Span], hidden: int, frame_seconds: float) -> Labels:
    """The span that the middle of each frame lies in."""
    names: dict[str, int] = {}
    codes = np.full(hidden, NOTHING, np.int64)
    for span in spans:
        code = names.setdefault(span.text, len(names))
        first, last = (round(time / frame_seconds) for time in (span.start, span.end))
        codes[first:last] = code
    return Labels(tuple(names), codes)


def silent_frames(log_mel: NDArray[np.float32], factor: int, hidden: int) -> NDArray[np.bool_]:
    """[hidden]: whether a segment is no louder there than its own silence, as word times have it;
    `factor` frames of `log_mel` make a hidden one."""
    if not len(log_mel):
        return np.zeros(hidden, np.bool_)
    loudness, _ = loudness_and_change(log_mel)
    padded = np.pad(loudness, (0, max(hidden * factor - len(loudness), 0)), mode="edge")
    return padded[: hidden * factor].reshape(hidden, factor).mean(axis=1) <= LOUD
