"""Utterances -> one encoder pass, which every search works on, and the rows that are decoded."""

from collections.abc import Sequence
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
class Entries:
    """What the encoder is given: one entry per utterance, or one per task where the task or the
    target language chooses the encoder's experts."""

    utterances: tuple[int, ...]
    guidance: tuple[Guidance, ...]

    def find(self, utterance: int, task: Task) -> int:
        """The entry that serves this task of this utterance."""
        served = [i for i, position in enumerate(self.utterances) if position == utterance]
        exact = (i for i in served if self.guidance[i].task is task)
        return next(exact, served[0])


def plan_entries(requests: Sequence[Request], config: ModelConfig) -> Entries:
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
    return Entries(tuple(utterances), tuple(guidance))


@dataclass(frozen=True, kw_only=True)
class EncodedBatch:
    """Utterances after the encoder, with what is worked out of it once for all of their rows."""

    backend: Backend
    tokenizer: Tokenizer
    utterances: Sequence[Utterance]
    entries: Entries
    encoded: Encoded
    given_up: set[int] = field(default_factory=set)
    """Utterances that were cancelled: whoever said so once is not asked again."""

    @property
    def config(self) -> ModelConfig:
        """The model's shape."""
        return self.backend.config

    @cached_property
    def text(self) -> NDArray[np.bool_]:
        """[vocabulary]: True for the ids that a text is made of."""
        text = np.zeros(self.config.vocabulary.size, dtype=bool)
        text[: self.tokenizer.size] = self.tokenizer.text_mask
        return text

    @cached_property
    def paths(self) -> tuple[BestPath, ...] | None:
        """CTC's best path of each entry; None for a model without a CTC head."""
        if self.encoded.ctc_log_probs is None:
            return None
        return tuple(
            best_path(self.emissions(entry), self.text, self.tokenizer.blank)
            for entry in range(len(self.encoded.ctc_log_probs))
        )

    @cached_property
    def scorer(self) -> PrefixScorer | None:
        """CTC's prefix scores; None for a model without a CTC head."""
        log_probs, mask = self.encoded.ctc_log_probs, self.encoded.frame_mask
        return None if log_probs is None else PrefixScorer(log_probs, mask, self.tokenizer.blank)

    def emissions(self, entry: int) -> NDArray[np.float32]:
        """CTC's log-probabilities of one entry [frames, vocabulary], without padding."""
        assert self.encoded.ctc_log_probs is not None
        return self.encoded.ctc_log_probs[entry][self.encoded.frame_mask[entry]]

    def prompts(self, rows: Sequence[DecoderRow]) -> NDArray[np.int64]:
        """[rows, prompt]: what each row is forced to begin with."""
        task_token = self.config.task_token
        return np.array([self.tokenizer.prompt(row.guidance, task_token) for row in rows])

    def log_mel(self, row: DecoderRow) -> NDArray[np.float32]:
        """The frames of a row's sound, without silence behind it."""
        utterance = self.utterances[row.utterance]
        return utterance.log_mel[: utterance.frames]

    def wanted(self, rows: Sequence[DecoderRow]) -> NDArray[np.bool_]:
        """[rows]: False where the caller has given the row's utterance up."""
        for position in {row.utterance for row in rows} - self.given_up:
            cancelled = self.utterances[position].cancelled
            if cancelled is not None and cancelled():
                self.given_up.add(position)
        return np.array([row.utterance not in self.given_up for row in rows], dtype=bool)


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
