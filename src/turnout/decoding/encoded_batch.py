"""Utterances after the encoder, the decoder rows that they become, and what bounds a row.

Every search works on these.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from turnout.config import ModelConfig
from turnout.decoding.alignment import BestPath, best_path
from turnout.decoding.backend import Backend, Encoded
from turnout.decoding.ctc import PrefixScorer
from turnout.decoding.requests import (
    Request,
    Utterance,
    average_log_prob,
    guides_of,
    known_language,
    row_guidance,
)
from turnout.guidance import Guidance, Guide, Task
from turnout.text.tokenizer import Tokenizer

LONGEST_LOOP = 8
"""Tokens of the longest n-gram whose repetition is watched."""


@dataclass(frozen=True)
class Prompts:
    """What rows are forced to begin with: left-aligned, padding behind."""

    tokens: NDArray[np.int64]
    """[rows, longest]"""
    counts: NDArray[np.int64]
    """[rows]: tokens of each."""
    starts: NDArray[np.int64]
    """[rows]: where the token `start` stands, behind a previous text."""

    def lists(self) -> list[list[int]]:
        """Each row's tokens."""
        return [row[:n].tolist() for row, n in zip(self.tokens, self.counts, strict=True)]


@dataclass(frozen=True, kw_only=True)
class DecoderRow:
    """One task of one utterance."""

    utterance: int
    """Position among the utterances that are decoded."""
    entry: int
    """Position in the encoded batch."""
    guidance: Guidance
    """The whole request of this row; its language is known."""


@dataclass(frozen=True)
class EncoderEntries:
    """What the encoder is given: one entry per utterance, or one per task where the task or the
    target language chooses the encoder's experts."""

    utterances: tuple[int, ...]
    guidance: tuple[Guidance, ...]

    def find(self, utterance: int, task: Task) -> int:
        """The entry that serves this task of this utterance."""
        served = [i for i, position in enumerate(self.utterances) if position == utterance]
        exact = (i for i in served if self.guidance[i].task is task)
        return next(exact, served[0])


def plan_entries(requests: Sequence[Request], config: ModelConfig) -> EncoderEntries:
    """What to encode."""
    per_task = guides_of(config.encoder.routing) & {Guide.TASK, Guide.TARGET_LANGUAGE}
    utterances: list[int] = []
    guidance: list[Guidance] = []
    for position, request in enumerate(requests):
        language = known_language(request, config)
        tasks = request.tasks if per_task else request.tasks[:1]
        if per_task and language is None and config.decoder.num_layers:
            tasks = tuple(dict.fromkeys((*tasks, Task.TRANSCRIBE)))  # finds the language
        for task in tasks:
            utterances.append(position)
            guidance.append(row_guidance(request, task, language, config))
    return EncoderEntries(tuple(utterances), tuple(guidance))


@dataclass(frozen=True, kw_only=True)
class EncodedBatch:
    """Utterances after the encoder, with what is worked out of it once for all of their rows."""

    backend: Backend
    tokenizer: Tokenizer
    utterances: Sequence[Utterance]
    entries: EncoderEntries
    encoded: Encoded
    cancelled: set[int] = field(default_factory=set)
    """Positions of utterances that were cancelled, which becomes known between steps: whoever said
    so once is not asked again."""

    @property
    def config(self) -> ModelConfig:
        """The model's shape."""
        return self.backend.config

    @property
    def whispers(self) -> bool:
        """Whether this is a model as Whisper's: nothing but its decoder hears, not even silence."""
        return self.encoded.ctc_log_probs is None and self.tokenizer.no_speech is not None

    @cached_property
    def text_mask(self) -> NDArray[np.bool_]:
        """[vocabulary]: True for the ids that a text is made of."""
        # A checkpoint's vocabulary may be padded beyond its tokenizer's ids.
        mask = np.zeros(self.config.vocabulary.size, dtype=bool)
        mask[: self.tokenizer.size] = self.tokenizer.text_mask
        return mask

    @cached_property
    def writable_mask(self) -> NDArray[np.bool_]:
        """[vocabulary]: True for the ids of text that the decoder may write."""
        mask = self.text_mask.copy()
        mask[list(self.config.decoder.suppressed)] = False
        return mask

    @cached_property
    def sound_mask(self) -> NDArray[np.bool_]:
        """[entries, hidden frames]: those that hold sound; in the silence that pads features up to
        the window, CTC has nothing to say."""
        frames = np.array([self.utterances[i].frames for i in self.entries.utterances])
        hidden = -(-frames // self.config.encoder.subsampling_factor)
        mask = self.encoded.frame_mask
        return mask & (np.arange(mask.shape[1]) < hidden[:, None])

    @cached_property
    def paths(self) -> tuple[BestPath, ...] | None:
        """CTC's best path of each entry; None for a model without a CTC head."""
        if self.encoded.ctc_log_probs is None:
            return None
        return tuple(
            best_path(self.emissions(entry), self.text_mask, self.tokenizer.blank)
            for entry in range(len(self.encoded.ctc_log_probs))
        )

    @cached_property
    def scorer(self) -> PrefixScorer | None:
        """CTC's prefix scores; None for a model without a CTC head."""
        if self.encoded.ctc_log_probs is None:
            return None
        return PrefixScorer(self.encoded.ctc_log_probs, self.sound_mask, self.tokenizer.blank)

    def emissions(self, entry: int) -> NDArray[np.float32]:
        """CTC's log-probabilities of one entry's sound [frames, vocabulary]."""
        assert self.encoded.ctc_log_probs is not None
        return self.encoded.ctc_log_probs[entry][self.sound_mask[entry]]

    def experts(self, utterance: int, task: Task) -> NDArray[np.int64]:
        """[routings, hidden frames]: the encoder's expert of each frame of an utterance's sound."""
        entry = self.entries.find(utterance, task)
        return self.encoded.expert_index[:, entry, self.sound_mask[entry]]

    def router_probabilities(self, utterance: int, task: Task) -> NDArray[np.float32] | None:
        """[routings, hidden frames, experts] of the same frames, where the backend tells."""
        found, entry = self.encoded.router_probabilities, self.entries.find(utterance, task)
        return None if found is None else found[:, entry, self.sound_mask[entry]]

    def prompts(self, rows: Sequence[DecoderRow], previous: bool = True) -> Prompts:
        """What each row is forced to begin with; with its previous text, if there is one."""
        texts = [self.previous_text(row) if previous else [] for row in rows]
        asked = [self.tokenizer.prompt(row.guidance, self.config.task_token) for row in rows]
        whole = [before + prompt for before, prompt in zip(texts, asked, strict=True)]
        counts = np.array([len(tokens) for tokens in whole])
        return Prompts(
            left_aligned(whole, self.tokenizer.blank), counts, np.array([*map(len, texts)])
        )

    def previous_text(self, row: DecoderRow) -> list[int]:
        """The token for a previous text and the end of that text, with it less than half of what
        the decoder takes, as openai/whisper has it: the initial prompt stays whole."""
        request = self.utterances[row.utterance].request
        sign, room = self.tokenizer.previous, self.config.decoder.max_tokens // 2 - 1
        initial = self.tokenizer.encode(request.initial_prompt or "") if sign is not None else []
        text = initial[-room:]
        if request.previous and row.guidance.task is not None:
            before = request.previous[request.tasks.index(row.guidance.task)]
            text += before[max(len(before) - (room - len(text)), 0) :]
        return [sign, *text] if sign is not None and text else []

    def log_mel(self, row: DecoderRow) -> NDArray[np.float32]:
        """The frames of a row's sound, without silence behind it."""
        utterance = self.utterances[row.utterance]
        return utterance.log_mel[: utterance.frames]

    def wanted(self, rows: Sequence[DecoderRow]) -> NDArray[np.bool_]:
        """[rows]: False where the row's utterance was cancelled; those that were not are asked."""
        self.ask({row.utterance for row in rows})
        return np.array([row.utterance not in self.cancelled for row in rows], dtype=bool)

    def ask(self, positions: Iterable[int]) -> None:
        """Ask whether these utterances were cancelled, those that were not yet."""
        for position in set(positions) - self.cancelled:
            is_cancelled = self.utterances[position].is_cancelled
            if is_cancelled is not None and is_cancelled():
                self.cancelled.add(position)


def encode(backend: Backend, tokenizer: Tokenizer, utterances: Sequence[Utterance]) -> EncodedBatch:
    """One encoder pass over utterances that have a frame at least."""
    entries = plan_entries([utterance.request for utterance in utterances], backend.config)
    log_mel, mask = padded([utterances[i].log_mel for i in entries.utterances])
    return EncodedBatch(
        backend=backend,
        tokenizer=tokenizer,
        utterances=utterances,
        entries=entries,
        encoded=backend.encode(log_mel, mask, entries.guidance),
    )


def padded(
    features: Sequence[NDArray[np.float32]],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """[frames, mels] each -> [batch, frames, mels] and the mask [batch, frames]."""
    lengths = np.array([len(log_mel) for log_mel in features])
    mask = np.arange(lengths.max()) < lengths[:, None]
    batch = np.zeros((*mask.shape, features[0].shape[1]), dtype=np.float32)
    for row, log_mel in enumerate(features):
        batch[row, : len(log_mel)] = log_mel
    return batch, mask


def left_aligned(rows: Sequence[Sequence[int]], padding: int) -> NDArray[np.int64]:
    """[rows, longest]: these ids, with padding behind."""
    result = np.full((len(rows), max(map(len, rows), default=0)), padding, dtype=np.int64)
    for row, tokens in enumerate(rows):
        result[row, : len(tokens)] = tokens
    return result


@dataclass(frozen=True)
class Limits:
    """Where rows are stopped that do not end by themselves."""

    tokens: NDArray[np.int64]
    """[rows]: most tokens."""
    repeats: NDArray[np.int64]
    """[rows]: how often an n-gram may stand in succession."""
    fewest: int = 0
    """Tokens that repeat the ones before, below which no repetition counts."""


@dataclass(frozen=True)
class RowResult:
    """What one row wrote."""

    tokens: tuple[int, ...]
    log_prob: float
    """Of the tokens, and of the end where the row ended by itself."""
    token_log_probs: tuple[float, ...] = ()
    """Of each token; none where CTC alone wrote them, which has no such thing."""
    ended: bool = True
    """Whether `log_prob` is also of the end."""
    cut: bool = False
    """Whether the row was stopped before its end."""
    failed: bool = False
    """Whether every attempt at it was refused."""
    temperature: float | None = None
    """Of the attempt; None where there are no attempts."""
    no_speech_prob: float | None = None
    """At the first step; None where there is no id for it, or the decoder was not asked."""
    read: "RowResult | None" = None
    """The whole draft that the decoder was given for this row, with its probability."""

    @property
    def avg_log_prob(self) -> float:
        """Mean over the tokens, and the end where it was scored."""
        return average_log_prob(self.log_prob, len(self.tokens), self.ended)


NOTHING_SAID = RowResult((), 0.0)


@dataclass(frozen=True)
class Loops:
    """How long each row has been repeating itself, for every length of n-gram."""

    limits: NDArray[np.int64]
    """[rows]: how often an n-gram may stand in succession."""
    runs: NDArray[np.int64]
    """[rows, LONGEST_LOOP]: tokens in succession that equal the one n before."""
    fewest: int = 0
    """Below which no run counts."""

    @classmethod
    def start(cls, limits: NDArray[np.int64], fewest: int = 0) -> "Loops":
        """No token yet."""
        return cls(limits, np.zeros((len(limits), LONGEST_LOOP), dtype=np.int64), fewest)

    def extend(self, tokens: NDArray[np.int64]) -> tuple["Loops", NDArray[np.int64]]:
        """After the newest column of `tokens` [rows, length]; and, for each row, how many tokens
        the repetitions that are too many have (0 where there are none)."""
        widths = np.arange(1, LONGEST_LOOP + 1)
        same = np.zeros(self.runs.shape, dtype=bool)
        known = min(LONGEST_LOOP, tokens.shape[1] - 1)
        if known:
            earlier = tokens[:, -2 : -2 - known : -1]
            same[:, :known] = earlier == tokens[:, -1:]
        runs = np.where(same, self.runs + 1, 0)
        most = widths * (self.limits[:, None] - 1)
        looping = runs >= np.maximum(most + widths, self.fewest)
        shortest = np.arange(len(runs)), looping.argmax(axis=1)
        surplus = np.where(looping.any(axis=1), (runs - most)[shortest], 0)
        return Loops(self.limits, runs, self.fewest), surplus

    def select(self, rows: NDArray[np.int64]) -> "Loops":
        """These rows."""
        return Loops(self.limits[rows], self.runs[rows], self.fewest)


def most_repeats(tokens: Sequence[int]) -> int:
    """How often an n-gram stands in succession, at most, in these tokens."""
    most = 1
    for width in range(1, min(LONGEST_LOOP, len(tokens) - 1) + 1):
        run = 0
        for earlier, later in zip(tokens, tokens[width:], strict=False):
            run = run + 1 if earlier == later else 0
            most = max(most, 1 + run // width)
    return most


def shortened(tokenizer: Tokenizer, tokens: tuple[int, ...], most: int) -> tuple[int, ...]:
    """The longest beginning of the tokens that has at most so many characters, none of them cut in
    two."""
    text = tokenizer.decode(tokens)
    if len(text) <= most:
        return tokens
    for length in range(len(tokens) - 1, 0, -1):
        beginning = tokenizer.decode(tokens[:length])
        if len(beginning) <= most and text.startswith(beginning):
            return tokens[:length]
    return ()
