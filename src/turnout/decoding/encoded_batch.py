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
from turnout.decoding.requests import Request, Utterance, guides_of, known_language, row_guidance
from turnout.guidance import Guidance, Guide, Task
from turnout.text.tokenizer import Tokenizer

LONGEST_LOOP = 8
"""Tokens of the longest n-gram whose repetition is watched."""


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

    @cached_property
    def text_mask(self) -> NDArray[np.bool_]:
        """[vocabulary]: True for the ids that a text is made of."""
        # A checkpoint's vocabulary may be padded beyond its tokenizer's ids.
        mask = np.zeros(self.config.vocabulary.size, dtype=bool)
        mask[: self.tokenizer.size] = self.tokenizer.text_mask
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

    def prompts(self, rows: Sequence[DecoderRow]) -> NDArray[np.int64]:
        """[rows, prompt]: what each row is forced to begin with."""
        task_token = self.config.task_token
        return np.array([self.tokenizer.prompt(row.guidance, task_token) for row in rows])

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


@dataclass(frozen=True)
class Limits:
    """Where rows are stopped that do not end by themselves."""

    tokens: NDArray[np.int64]
    """[rows]: most tokens."""
    repeats: NDArray[np.int64]
    """[rows]: how often an n-gram may stand in succession."""


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


@dataclass(frozen=True)
class Loops:
    """How long each row has been repeating itself, for every length of n-gram."""

    limits: NDArray[np.int64]
    """[rows]: how often an n-gram may stand in succession."""
    runs: NDArray[np.int64]
    """[rows, LONGEST_LOOP]: tokens in succession that equal the one n before."""

    @classmethod
    def start(cls, limits: NDArray[np.int64]) -> "Loops":
        """No token yet."""
        return cls(limits, np.zeros((len(limits), LONGEST_LOOP), dtype=np.int64))

    def extend(self, tokens: NDArray[np.int64]) -> tuple["Loops", NDArray[np.int64]]:
        """After the newest column of `tokens` [rows, length]; and, for each row, how many tokens
        the repetition that is one too many has (0 where there is none)."""
        widths = np.arange(1, LONGEST_LOOP + 1)
        same = np.zeros(self.runs.shape, dtype=bool)
        known = min(LONGEST_LOOP, tokens.shape[1] - 1)
        if known:
            earlier = tokens[:, -2 : -2 - known : -1]
            same[:, :known] = earlier == tokens[:, -1:]
        runs = np.where(same, self.runs + 1, 0)
        looping = runs >= widths * self.limits[:, None]
        surplus = np.where(looping.any(axis=1), widths[looping.argmax(axis=1)], 0)
        return Loops(self.limits, runs), surplus

    def select(self, rows: NDArray[np.int64]) -> "Loops":
        """These rows."""
        return Loops(self.limits[rows], self.runs[rows])


def most_repeats(tokens: Sequence[int]) -> int:
    """How often an n-gram stands in succession, at most, in these tokens."""
    ids = np.array(tokens, dtype=np.int64)
    most = 1
    for width in range(1, min(LONGEST_LOOP, len(ids) - 1) + 1):
        same = ids[width:] == ids[:-width]
        breaks = np.flatnonzero(np.concatenate([[True], ~same, [True]]))
        most = max(most, 1 + int(np.diff(breaks).max() - 1) // width)
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
