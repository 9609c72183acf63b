"""Validation: the dev utterances through the decoding that everybody uses."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Protocol

import torch

from turnout.backends.torch import TorchBackend
from turnout.decoding.decode import decode
from turnout.evaluation.dev_set import DevUtterance
from turnout.evaluation.validation_scores import Pair, Validation, score
from turnout.model.speech_model import SpeechModel
from turnout.text.tokenizer import Tokenizer

BATCH_FRAMES = 20_000


class Ranks(Protocol):
    """What validation asks of the ranks of a run."""

    rank: int
    size: int

    @property
    def device(self) -> torch.device:
        """Where this rank's model lies."""
        ...

    def largest(self, value: int) -> int:
        """The largest value of any rank."""
        ...

    def gather_text(self, text: str) -> list[str]:
        """Every rank's text, in their order."""
        ...


class Validator:
    """The dev set of a run, each rank's share of it decoded there."""

    def __init__(
        self, utterances: Sequence[DevUtterance], tokenizer: Tokenizer, ranks: Ranks
    ) -> None:
        self.batches = batches_of(utterances[ranks.rank :: ranks.size])
        self.tokenizer = tokenizer
        self.ranks = ranks

    def __call__(self, model: SpeechModel, cancelled: Callable[[], bool]) -> Validation | None:
        """The scores, the same on every rank; None where any rank was told to stop."""
        model.eval()
        pairs: list[Pair] = []
        with torch.no_grad():
            for batch in self.batches:
                if cancelled():
                    break
                pairs.extend(self._decode(model, batch))
        if self.ranks.largest(int(cancelled())):
            return None
        gathered = self.ranks.gather_text(json.dumps([asdict(pair) for pair in pairs]))
        return score([Pair(**fields) for text in gathered for fields in json.loads(text)])

    def _decode(self, model: SpeechModel, batch: Sequence[DevUtterance]) -> list[Pair]:
        backend = TorchBackend(model, self.ranks.device)
        answers = decode(backend, self.tokenizer, [item.utterance for item in batch])
        return [
            Pair(
                item.utterance.request.bandwidth.value,
                hypothesis.task.value,
                hypothesis.language or "unknown",
                reference,
                hypothesis.text,
            )
            for item, answer in zip(batch, answers, strict=True)
            for reference, hypothesis in zip(item.references, answer.hypotheses, strict=True)
        ]


def batches_of(utterances: Sequence[DevUtterance]) -> list[list[DevUtterance]]:
    """Batches of like lengths, of a bounded number of padded frames."""
    batches: list[list[DevUtterance]] = []
    for item in sorted(utterances, key=lambda item: len(item.utterance.log_mel)):
        frames = len(item.utterance.log_mel)
        if not batches or frames * (len(batches[-1]) + 1) > BATCH_FRAMES:
            batches.append([])
        batches[-1].append(item)
    return batches
