"""Needles, the mates they are decoded with, and what both have to do with each other: nothing."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from math import ceil
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.reliability.around import Around
from turnout.audio.features import SAMPLE_RATE, log_mel
from turnout.audio.waveform import read_audio
from turnout.backends.torch import TorchBackend
from turnout.config import FeatureConfig
from turnout.decoding.backend import Backend, DecoderState, Encoded, StepOutput, StepQuery
from turnout.decoding.decode import decode_batch
from turnout.decoding.encoded_batch import encode
from turnout.decoding.requests import Request, Utterance
from turnout.experts.bank import ExpertBank
from turnout.experts.routing import Router
from turnout.guidance import Bandwidth, Guidance, Task
from turnout.text.tokenizer import Tokenizer

EXAMPLES = Path(__file__).parents[2] / "examples"
LONGEST_SECONDS = 6.0
"""The longest segment that the shipped model takes at once."""
MOST_MATES = 32
MOST_PADDING = 100
"""Frames by which a batch is padded beyond its longest utterance."""
NEAR_TIE = 1e-5
"""Two best router logits closer than this are a matter of rounding."""
NOISE = 1e-5
"""A tenth of what a log-probability may change by."""
KINDS = ("silence", "noise", "longest", "same expert", "other language", "other task")


@dataclass(frozen=True)
class Speech:
    """A recording, and what is known of it."""

    samples: NDArray[np.float32]
    language: str
    bandwidth: Bandwidth


@cache
def examples() -> tuple[Speech, ...]:
    """The repository's recordings."""
    files = sorted(EXAMPLES.glob("*-*.*"))
    return tuple(
        Speech(
            read_audio(path).samples[: round(LONGEST_SECONDS * SAMPLE_RATE)],
            "ar" if path.name.startswith("arabic") else "en",
            Bandwidth.NARROWBAND if "telephone" in path.name else Bandwidth.WIDEBAND,
        )
        for path in files
    )


@cache
def needles() -> tuple[Speech, ...]:
    """Sixteen: the examples, and the first halves of four."""
    halves = [
        Speech(speech.samples[: len(speech.samples) // 2], speech.language, speech.bandwidth)
        for speech in examples()[::3]
    ]
    return (*examples(), *halves)


def request_of(speech: Speech, tasks: tuple[Task, ...] = tuple(Task), said: bool = True) -> Request:
    """Its request, with the language `said` or left to be found."""
    return Request(
        tasks=tasks, bandwidth=speech.bandwidth, language=speech.language if said else None
    )


def mate(kind: str, needle: Speech, rng: Random, features: FeatureConfig) -> Utterance:
    """An utterance of this kind that goes into the needle's batch."""
    samples, spoken, tasks = rng.choice(examples()).samples, needle, tuple(Task)
    match kind:
        case "silence":
            samples = np.zeros(rng.randrange(1, 2 * SAMPLE_RATE), np.float32)
        case "noise":
            noise = np.random.default_rng(rng.randrange(2**32))
            size = rng.randrange(SAMPLE_RATE // 10, 3 * SAMPLE_RATE)
            samples = (noise.normal(size=size) * 10 ** rng.uniform(-4, -0.5)).astype(np.float32)
        case "longest":
            several = np.concatenate([speech.samples for speech in rng.sample(examples(), 4)])
            samples = several[: round(LONGEST_SECONDS * SAMPLE_RATE)]
        case "same expert":
            alike = [speech for speech in examples() if speech.bandwidth == needle.bandwidth]
            samples = rng.choice(alike).samples
        case "other language":
            spoken = rng.choice([s for s in examples() if s.language != needle.language])
            samples = spoken.samples
        case _:
            tasks = (rng.choice(tuple(Task)),)
    return Utterance(log_mel(samples, features), request_of(spoken, tasks))


def put_among(
    needle: Utterance, mates: Sequence[Utterance], rng: Random
) -> tuple[list[Utterance], int]:
    """The batch, and where in it the needle lies."""
    position = rng.randrange(len(mates) + 1)
    return [*mates[:position], needle, *mates[position:]], position


@dataclass(frozen=True)
class Padded(Around):
    """Its batches are padded by some more frames, and all padding filled with noise: whoever looks
    at it answers something else."""

    more: int
    seed: int

    def encode(
        self,
        log_mel: NDArray[np.float32],
        frame_mask: NDArray[np.bool_],
        guidance: Sequence[Guidance],
    ) -> Encoded:
        """See `Backend.encode`."""
        mask = np.pad(frame_mask, ((0, 0), (0, self.more)))
        noise = np.random.default_rng(self.seed).normal(size=(*mask.shape, log_mel.shape[2])) * 50
        noise[mask] = log_mel[frame_mask]
        return self.inner.encode(noise.astype(np.float32), mask, guidance)


@dataclass(frozen=True)
class Leaking(Around):
    """Every frame holds a little of all that is in the batch."""

    def encode(
        self,
        log_mel: NDArray[np.float32],
        frame_mask: NDArray[np.bool_],
        guidance: Sequence[Guidance],
    ) -> Encoded:
        """See `Backend.encode`."""
        return self.inner.encode(log_mel + log_mel.mean() / 10, frame_mask, guidance)


@dataclass(frozen=True)
class Noisy(Around):
    """Its log-probabilities change by less than batches may change them, at random."""

    def step(
        self,
        state: DecoderState,
        tokens: NDArray[np.int64],
        counts: NDArray[np.int64],
        query: StepQuery,
    ) -> tuple[StepOutput, DecoderState]:
        """See `Backend.step`."""
        found, after = self.inner.step(state, tokens, counts, query)
        noise = np.random.default_rng().normal(size=found.log_probs.shape) * NOISE
        return replace(found, log_probs=found.log_probs + noise.astype(np.float32)), after


@dataclass(frozen=True)
class Answer:
    """What became of one utterance of a batch."""

    language: str | None
    tokens: tuple[tuple[int, ...], ...]
    """Of each task."""
    log_probs: NDArray[np.float64]
    """[tasks]"""
    ctc: NDArray[np.float32]
    """[hidden frames, vocabulary]; empty without a CTC head."""

    def difference(self, other: "Answer") -> float:
        """The largest between two log-probabilities; infinite where the frames are not as many."""
        if self.ctc.shape != other.ctc.shape or self.log_probs.shape != other.log_probs.shape:
            return float("inf")
        pairs = ((self.ctc, other.ctc), (self.log_probs, other.log_probs))
        return max(float(np.abs(one - two).max(initial=0.0)) for one, two in pairs)


def answer(
    backend: Backend,
    tokenizer: Tokenizer,
    utterances: Sequence[Utterance],
    position: int,
) -> Answer:
    """What a batch makes of the utterance at this position."""
    batch = encode(backend, tokenizer, utterances)
    decoded = decode_batch(batch)[position]
    entry = batch.entries.utterances.index(position)
    scores = batch.encoded.ctc_log_probs
    return Answer(
        decoded.language,
        tuple(hypothesis.tokens for hypothesis in decoded.hypotheses),
        np.array([hypothesis.log_prob for hypothesis in decoded.hypotheses]),
        np.zeros((0, 0), np.float32) if scores is None else batch.emissions(entry),
    )


def banks(backend: TorchBackend) -> list[ExpertBank]:
    """All experts of a model."""
    return [module for module in backend.model.modules() if isinstance(module, ExpertBank)]


@contextmanager
def router_gaps(backend: TorchBackend) -> Iterator[list[float]]:
    """The distance between the two best logits of every decision of a learned router inside."""
    gaps: list[float] = []

    def note(_: nn.Module, __: object, probabilities: Tensor) -> None:
        best = probabilities.topk(2, dim=-1).values.log()
        gaps.extend((best[..., 0] - best[..., 1]).flatten().tolist())

    routers = [module for module in backend.model.modules() if isinstance(module, Router)]
    handles = [router.register_forward_hook(note) for router in routers]
    try:
        yield gaps
    finally:
        for handle in handles:
            handle.remove()


def limit_dispatch(patch: pytest.MonkeyPatch, factor: float) -> None:
    """Let banks dispatch as others do: an expert takes `factor` times its even share of the batch's
    frames, in their order, and drops the others; where all frames are one expert's as well."""
    dropless, plain = ExpertBank.forward, ExpertBank.plain

    def forward(
        bank: ExpertBank,
        hidden: Tensor,
        expert_index: Tensor,
        frame_mask: Tensor,
        gate: Tensor | None = None,
    ) -> Tensor:
        room = ceil(factor * int(frame_mask.sum()) / len(bank.experts))
        kept = torch.zeros_like(frame_mask)
        for expert in range(len(bank.experts)):
            mine = frame_mask & (expert_index == expert)
            kept |= mine & (mine.flatten().cumsum(0).view_as(mine) <= room)
        return dropless(bank, hidden, expert_index, kept, gate)

    def of_one(
        bank: ExpertBank,
        hidden: Tensor,
        frame_mask: Tensor,
        expert: int = 0,
        gate: Tensor | None = None,
    ) -> Tensor:
        if len(bank.experts) == 1:
            return plain(bank, hidden, frame_mask, expert, gate)
        index = torch.full_like(frame_mask, expert, dtype=torch.int64)
        return forward(bank, hidden, index, frame_mask, gate)

    patch.setattr(ExpertBank, "forward", forward)
    patch.setattr(ExpertBank, "plain", of_one)
