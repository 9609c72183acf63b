"""The loss of one micro-batch, its parts kept apart.

Every part is a sum over this micro-batch of this rank divided by a count over the whole step
(all ranks, all micro-batches), so that adding gradients over both gives the gradient of the step.
The balance loss is not linear in its sums: they are added over ranks in every micro-step, and its
values are averaged over micro-steps.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from turnout.config import ModelConfig, ObjectiveConfig
from turnout.data.batch import IGNORED, Batch
from turnout.experts import FeedForward
from turnout.experts.routing import (
    Routing,
    balance_loss,
    frames_per_expert,
    probability_per_expert,
)
from turnout.model.speech_model import SpeechModel, SpeechOutput
from turnout.training.distributed import Ranks


@dataclass(frozen=True)
class StepCounts:
    """What the losses of one step are divided by."""

    ctc_tokens: float
    """Target tokens of CTC in the whole step."""
    labels: float
    """Trained decoder positions in the whole step."""
    micro_steps: int


class Parts(NamedTuple):
    """The loss of one micro-batch; all but `loss` are detached, for the log."""

    loss: Float[Tensor, ""]
    """This rank's share: gradients added over ranks are the gradient of the whole."""
    local: Float[Tensor, " 4"]
    """This rank's share of CTC, attention, and counts of utterances too short for their CTC
    target and of labels predicted right: to be added over ranks and micro-steps."""
    balance: Float[Tensor, ""]
    """Sum of the balance losses, of all ranks together."""
    frames: tuple[Float[Tensor, " experts"], ...]
    """Frames of each expert of each routed feed-forward, of all ranks together."""


class Objective:
    """CTC, label-smoothed attention and balance losses of a model's outputs."""

    def __init__(self, config: ObjectiveConfig, model: SpeechModel, ranks: Ranks) -> None:
        self.config = config
        self.ranks = ranks
        shape: ModelConfig = model.config
        self.ctc_weight = (
            0.0 if not shape.ctc else config.ctc_weight if shape.decoder.num_layers else 1.0
        )
        self.encoder_experts = expert_counts(model.encoder)
        self.decoder_experts = expert_counts(model.decoder)
        self.group_sizes = [
            routing.num_experts if routing.learned else None
            for routing, experts in (
                (shape.encoder.routing, self.encoder_experts),
                (shape.decoder.routing, self.decoder_experts),
            )
            for _ in experts
        ]

    def __call__(self, output: SpeechOutput, batch: Batch, counts: StepCounts) -> Parts:
        """The parts for one micro-batch; `counts` are those of the whole step."""
        zero = batch.log_mel.new_zeros(())
        ctc, too_short = zero, zero
        if output.ctc_logits is not None:
            ctc, too_short = ctc_loss(output, batch)
        attention, right = zero, zero
        if output.token_logits is not None:
            attention, right = attention_loss(
                output.token_logits, batch.labels, self.config.label_smoothing
            )
        ctc = ctc / max(counts.ctc_tokens, 1.0)
        attention = attention / max(counts.labels, 1.0)
        balance, frames = self._balance(output, zero)
        loss = self.ctc_weight * ctc + (1 - self.ctc_weight) * attention
        loss = loss + self.config.balance_weight * balance / counts.micro_steps
        local = torch.stack([ctc, attention, too_short, right]).detach()
        return Parts(loss, local, balance.detach(), frames)

    def _balance(
        self, output: SpeechOutput, zero: Tensor
    ) -> tuple[Float[Tensor, ""], tuple[Tensor, ...]]:
        """Switch adds the loss of every routed layer, and so does this."""
        frames, probabilities = self._sums(output, zero)
        if not frames:
            return zero, ()
        totals = self.ranks.sum(torch.cat([*frames, *(p.detach() for p in probabilities)]))
        sizes = [len(counts) for counts in frames]
        summed = totals.split(sizes + sizes)
        total = zero
        for index, group_size in enumerate(self.group_sizes):
            if group_size is not None:
                # The value of the sum over ranks, the gradient of this rank's part of it.
                own = probabilities[index]
                whole = own + (summed[len(sizes) + index] - own.detach())
                total = total + balance_loss(summed[index], whole, group_size)
        return total, tuple(summed[: len(sizes)])

    def _sums(self, output: SpeechOutput, zero: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Frames and probabilities per expert of every routed feed-forward of the model; zeros for
        a decoder that this rank's batch did not use, since other ranks may have used theirs."""
        frames: list[Tensor] = []
        probabilities: list[Tensor] = []
        for routings, experts in (
            (output.encoder_routings, self.encoder_experts),
            (output.decoder_routings, self.decoder_experts),
        ):
            used: tuple[Routing | None, ...] = routings or (None,) * len(experts)
            for routing, count in zip(used, experts, strict=True):
                none = zero.new_zeros(count)
                frames.append(none if routing is None else frames_per_expert(routing))
                probabilities.append(none if routing is None else probability_per_expert(routing))
        return frames, probabilities


def expert_counts(part: torch.nn.Module | None) -> list[int]:
    """Experts of each routed feed-forward, in order of depth."""
    return [] if part is None else [count for _, count in routed_feed_forwards(part)]


def routed_feed_forwards(part: torch.nn.Module) -> list[tuple[str, int]]:
    """Name and number of experts of each routed feed-forward, in order of depth."""
    return [
        (name, len(module.bank.experts))
        for name, module in part.named_modules()
        if isinstance(module, FeedForward) and module.rule is not None
    ]


def count_step(batches: list[Batch], ranks: Ranks) -> tuple[StepCounts, float]:
    """The normalisers of a step and its seconds of audio, over all ranks and micro-steps."""
    own = torch.zeros(3, dtype=torch.float64)
    for batch in batches:
        own[0] += int(batch.ctc_lengths.sum())
        own[1] += int((batch.labels != IGNORED).sum())
        own[2] += batch.seconds
    ctc_tokens, labels, seconds = ranks.sum(own.to(ranks.device)).tolist()
    return StepCounts(ctc_tokens, labels, len(batches)), seconds


def ctc_loss(output: SpeechOutput, batch: Batch) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """CTC summed over utterances, in float32, and how many were too short for their target; these
    add zero (id 0 is the blank)."""
    assert output.ctc_logits is not None
    log_probs = output.ctc_logits.float().log_softmax(dim=-1).transpose(0, 1)
    frames = output.frame_mask.sum(dim=1)
    loss = functional.ctc_loss(
        log_probs,
        batch.ctc_targets,
        frames,
        batch.ctc_lengths,
        reduction="sum",
        zero_infinity=True,
    )
    return loss, (frames_needed(batch.ctc_targets, batch.ctc_lengths) > frames).sum().float()


def frames_needed(
    targets: Int[Tensor, "batch tokens"], lengths: Int[Tensor, " batch"]
) -> Int[Tensor, " batch"]:
    """Fewest frames that CTC can align: one a token, and a blank between equal neighbours."""
    # At least up to 1: a batch may have no token at all.
    index = torch.arange(1, max(targets.shape[1], 1), device=targets.device)
    repeats = (targets[:, 1:] == targets[:, :-1]) & (index < lengths.unsqueeze(1))
    return lengths + repeats.sum(dim=1)


def attention_loss(
    logits: Float[Tensor, "rows tokens vocabulary"],
    labels: Int[Tensor, "rows tokens"],
    label_smoothing: float,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Cross-entropy summed over trained positions, in float32, and how many were right."""
    flat = logits.float().flatten(0, 1)
    loss = functional.cross_entropy(
        flat,
        labels.flatten(),
        ignore_index=IGNORED,
        label_smoothing=label_smoothing,
        reduction="sum",
    )
    right = (flat.argmax(dim=-1) == labels.flatten()).sum().float()
    return loss, right
