"""Utterances that go through the model together, after the encoder: what every search works on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turnout.config import ModelConfig
from turnout.decoding.backend import Backend, Encoded
from turnout.decoding.ctc import BestPath, best_path
from turnout.decoding.plan import Entries, Row, plan_entries
from turnout.decoding.prefix import PrefixScorer
from turnout.decoding.request import DecodingOptions, Utterance
from turnout.errors import Cancelled
from turnout.text.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One encoder pass and what was learned from it before the decoder's first step."""

    backend: Backend
    tokenizer: Tokenizer
    utterances: Sequence[Utterance]
    options: DecodingOptions
    cancelled: Callable[[], bool] | None
    entries: Entries
    encoded: Encoded
    text: NDArray[np.bool_]
    """[vocabulary]: True for the ids that a text is made of."""
    paths: tuple[BestPath, ...] | None
    """CTC's best path of each entry; None for a model without a CTC head."""
    scorer: PrefixScorer | None
    """CTC's prefix scores; None for a model without a CTC head."""

    @classmethod
    def encode(
        cls,
        backend: Backend,
        tokenizer: Tokenizer,
        utterances: Sequence[Utterance],
        options: DecodingOptions,
        cancelled: Callable[[], bool] | None,
    ) -> "Batch":
        """Pad, encode and read CTC's best paths; every utterance has a frame at least."""
        entries = plan_entries([utterance.request for utterance in utterances], backend.config)
        log_mel, mask = padded([utterances[i].log_mel for i in entries.utterances])
        encoded = backend.encode(log_mel, mask, entries.guidance)
        text = np.zeros(backend.config.vocabulary.size, dtype=bool)
        text[: tokenizer.size] = tokenizer.text_mask
        paths = scorer = None
        if encoded.ctc_log_probs is not None:
            scorer = PrefixScorer(encoded.ctc_log_probs, encoded.frame_mask, tokenizer.blank)
            paths = tuple(
                best_path(log_probs[mask], text, tokenizer.blank)
                for log_probs, mask in zip(encoded.ctc_log_probs, encoded.frame_mask, strict=True)
            )
        return cls(
            backend=backend,
            tokenizer=tokenizer,
            utterances=utterances,
            options=options,
            cancelled=cancelled,
            entries=entries,
            encoded=encoded,
            text=text,
            paths=paths,
            scorer=scorer,
        )

    @property
    def config(self) -> ModelConfig:
        """The model's shape."""
        return self.backend.config

    @property
    def bias(self) -> NDArray[np.float32]:
        """[vocabulary]: 0 for text and the end, minus infinity for what a row never writes."""
        bias = np.where(self.text, np.float32(0), np.float32(-np.inf))
        bias[self.tokenizer.end] = 0
        return bias

    def check(self) -> None:
        """Raise Cancelled where the caller has asked decoding to stop."""
        if self.cancelled is not None and self.cancelled():
            raise Cancelled("decoding was cancelled")

    def emissions(self, entry: int) -> NDArray[np.float32]:
        """CTC's log-probabilities of one entry [frames, vocabulary], without padding."""
        assert self.encoded.ctc_log_probs is not None
        return self.encoded.ctc_log_probs[entry][self.encoded.frame_mask[entry]]

    def prompts(self, rows: Sequence[Row]) -> NDArray[np.int64]:
        """[rows, prompt]: what each row is forced to begin with."""
        task_token = self.config.task_token
        return np.array([self.tokenizer.prompt(row.guidance, task_token) for row in rows])


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
