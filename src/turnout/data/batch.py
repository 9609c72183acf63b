"""Batch: padded utterances and the decoder rows that belong to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from turnout.audio.features import FRAME_SECONDS
from turnout.config import ModelConfig
from turnout.decoding.encoded_batch import padded
from turnout.guidance import Bandwidth, Guidance, Guide, Task, Window, bandwidth_indices
from turnout.text.tokenizer import Tokenizer

IGNORED = -100
"""Label of a position that is not trained."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One utterance, ready for the model, with all that is to be written of it."""

    id: str
    log_mel: NDArray[np.float32]
    """[frames, mels]"""
    num_frames: int
    """Of the utterance itself, without the silence that its features may be padded with."""
    bandwidth: Bandwidth
    language: str
    transcript: str
    texts: Mapping[Guidance, str]
    """What each decoder row writes."""
    clean: "Recorded | None" = None
    """The recording as it was, for a teacher."""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What a teacher hears of an utterance, in the whole window."""

    log_mel: NDArray[np.float32]
    """[frames, mels]"""
    bandwidth: Bandwidth
    """That it was recorded in, whatever the student hears it by."""
    lasting: bool = True
    """Whether it can be heard again: noise in the place of words is new in every epoch."""


class Clean(NamedTuple):
    """What a teacher hears of a batch, and on which path: the recordings as they were."""

    log_mel: Float[Tensor, "batch clean mels"]
    frame_mask: Bool[Tensor, "batch clean"]
    encoder_guide: Int64[Tensor, " batch"]
    bandwidth: Int64[Tensor, " batch"]
    decoder_guide: Int64[Tensor, " rows"]
    lasting: Bool[Tensor, " batch"]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one step of training reads. Padding is 0 everywhere but in `labels`."""

    log_mel: Float[Tensor, "batch frames mels"]
    frame_mask: Bool[Tensor, "batch frames"]
    encoder_guide: Int64[Tensor, " batch"]
    """The encoder's expert (or group) of each utterance; 0 where nothing guides it."""
    bandwidth: Int64[Tensor, " batch"]
    """0 narrowband, 1 wideband."""
    ctc_targets: Int64[Tensor, "batch pieces"]
    """Always what is spoken."""
    ctc_lengths: Int64[Tensor, " batch"]
    rows: Int64[Tensor, " rows"]
    """The utterance of each decoder row; no rows for a model with CTC alone."""
    decoder_guide: Int64[Tensor, " rows"]
    tokens: Int64[Tensor, "rows tokens"]
    """Start, language, task, target language, pieces."""
    token_counts: Int64[Tensor, " rows"]
    labels: Int64[Tensor, "rows tokens"]
    """What follows each token; -100 where that is forced (task, target) or padding."""
    utterance_ids: tuple[str, ...]
    """[batch]"""
    texts: tuple[str, ...]
    """[rows]"""
    guidance: tuple[Guidance, ...]
    """[rows]"""
    seconds: float
    """Audio, without padding."""
    clean: Clean | None = None
    """The recordings as they were, where a teacher hears them."""
    lost: tuple[str, ...] = ()
    """A line for each utterance that should be in it and could not be read."""

    def to(self, device: torch.device | str) -> "Batch":
        """The same with its tensors on `device`."""
        moved: dict[str, Tensor | Clean] = {
            field.name: value.to(device, non_blocking=True)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        if self.clean is not None:
            moved["clean"] = Clean(*(t.to(device, non_blocking=True) for t in self.clean))
        return replace(self, **moved)

    def without_texts(self) -> "Batch":
        """The same with no row for a decoder."""
        rows = ("rows", "decoder_guide", "tokens", "token_counts", "labels")
        clean = self.clean and self.clean._replace(decoder_guide=self.clean.decoder_guide[:0])
        return replace(self, clean=clean, **{name: getattr(self, name)[:0] for name in rows})

    def with_a_row(self) -> "Batch":
        """The same with a row for the decoder where it has none: one without tokens, of which
        nothing is learned."""
        if len(self.rows):
            return self
        one = self.rows.new_zeros(1)
        return replace(
            self,
            clean=self.clean and self.clean._replace(decoder_guide=one),
            rows=one,
            decoder_guide=one,
            tokens=one.unsqueeze(1),
            token_counts=one,
            labels=one.unsqueeze(1) + IGNORED,
        )


class Collator:
    """Examples -> Batch for one model."""

    def __init__(self, model: ModelConfig, tokenizer: Tokenizer) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._encoder_map = model.expert_map(model.encoder.routing)
        self._decoder_map = model.expert_map(model.decoder.routing)

    @property
    def encoder_knows_task(self) -> bool:
        """Whether the encoder's experts depend on the task, so that no pass serves two of them."""
        return not {Guide.TASK, Guide.TARGET_LANGUAGE}.isdisjoint(self._encoder_map.guides)

    def batch(self, examples: Sequence[Example]) -> Batch:
        """The padded batch, in the order of the examples.

        Where the encoder's experts depend on the task, an utterance stands in the batch once for
        each of its rows.
        """
        passes: list[tuple[Example, Guidance]] = []
        rows: list[tuple[int, Guidance, str]] = []
        for example in examples:
            for number, (guidance, text) in enumerate(example.texts.items()):
                if number == 0 or (self.encoder_knows_task and self._model.decoder.num_layers):
                    passes.append((example, guidance))
                rows.append((len(passes) - 1, guidance, text))
        return self._padded(passes, rows if self._model.decoder.num_layers else [])

    def _padded(
        self,
        passes: Sequence[tuple[Example, Guidance]],
        rows: Sequence[tuple[int, Guidance, str]],
    ) -> Batch:
        examples = [example for example, _ in passes]
        log_mel, frame_mask = padded([example.log_mel for example in examples])
        targets = [self._tokenizer.encode(example.transcript) for example in examples]
        tokens, labels = self._tokens(examples, rows)
        asked = [guidance for _, guidance in passes]
        return Batch(
            clean=self._clean(passes, rows),
            log_mel=torch.from_numpy(log_mel),
            frame_mask=torch.from_numpy(frame_mask),
            encoder_guide=torch.tensor(self._encoder_map.indices(asked)),
            bandwidth=torch.tensor(bandwidth_indices(asked, needed=True)),
            ctc_targets=padded_ids(targets, 0),
            ctc_lengths=_lengths(targets),
            rows=torch.tensor([row for row, _, _ in rows], dtype=torch.int64),
            decoder_guide=torch.tensor(
                self._decoder_map.indices([guidance for _, guidance, _ in rows]), dtype=torch.int64
            ),
            tokens=padded_ids(tokens, 0),
            token_counts=_lengths(tokens),
            labels=padded_ids(labels, IGNORED),
            utterance_ids=tuple(example.id for example in examples),
            texts=tuple(text for _, _, text in rows),
            guidance=tuple(guidance for _, guidance, _ in rows),
            seconds=sum(example.num_frames for example in examples) * FRAME_SECONDS,
        )

    def _clean(
        self,
        passes: Sequence[tuple[Example, Guidance]],
        rows: Sequence[tuple[int, Guidance, str]],
    ) -> Clean | None:
        """For a teacher, guided as the recordings themselves would be."""
        recorded = [example.clean for example, _ in passes if example.clean is not None]
        if not recorded:
            return None
        log_mel, mask = padded([one.log_mel for one in recorded])
        asked = [
            _as_recorded(guidance, one) for (_, guidance), one in zip(passes, recorded, strict=True)
        ]
        written = [_as_recorded(guidance, recorded[row]) for row, guidance, _ in rows]
        return Clean(
            torch.from_numpy(log_mel),
            torch.from_numpy(mask),
            torch.tensor(self._encoder_map.indices(asked)),
            torch.tensor(bandwidth_indices(asked, needed=True)),
            torch.tensor(self._decoder_map.indices(written), dtype=torch.int64),
            torch.tensor([one.lasting for one in recorded]),
        )

    def _tokens(
        self, examples: Sequence[Example], rows: Sequence[tuple[int, Guidance, str]]
    ) -> tuple[list[list[int]], list[list[int]]]:
        """Inputs and labels of each row."""
        tokens: list[list[int]] = []
        labels: list[list[int]] = []
        languages = set(self._tokenizer.language_ids.values())
        for row, guidance, text in rows:
            prompt = self._tokenizer.prompt(guidance, self._model.task_token)
            pieces = self._tokenizer.encode(text)
            # Nobody can tell the language of an utterance without words, nor is it asked of a model
            # of one language whose prompt names none.
            told = examples[row].transcript and prompt[1] in languages
            language = prompt[1] if told else IGNORED
            tokens.append([*prompt, *pieces])
            # What else the prompt forces is nothing to be learned.
            forced = [IGNORED] * (len(prompt) - 2)
            labels.append([language, *forced, *pieces, self._tokenizer.end])
        return tokens, labels


def padded_ids(ids: Sequence[Sequence[int]], padding: int) -> Int64[Tensor, "rows longest"]:
    """Ids side by side."""
    padded = np.full((len(ids), max(map(len, ids), default=0)), padding, np.int64)
    for row, values in zip(padded, ids, strict=True):
        row[: len(values)] = values
    return torch.from_numpy(padded)


def text_guidance(
    bandwidth: Bandwidth,
    language: str,
    target_language: str | None,
    domain: str | None = None,
    window: Window = Window.PADDED,
) -> Guidance:
    """Of one text; without a target it is the transcript, in the spoken language."""
    return Guidance(
        bandwidth=bandwidth,
        task=Task.TRANSCRIBE if target_language is None else Task.TRANSLATE,
        language=language,
        target_language=target_language or language,
        domain=domain,
        window=window,
    )


def _as_recorded(guidance: Guidance, recorded: Recorded) -> Guidance:
    return replace(guidance, bandwidth=recorded.bandwidth, window=Window.PADDED)


def _lengths(ids: Sequence[Sequence[int]]) -> Int64[Tensor, " rows"]:
    return torch.tensor([len(values) for values in ids], dtype=torch.int64)
