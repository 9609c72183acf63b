"""The loss of one micro-batch, its parts kept apart.

Every part is a sum over this micro-batch of this rank divided by a count over the whole step
(all ranks, all micro-batches), so that adding gradients over both gives the gradient of the step.
The balance loss is not linear in its sums: they are added over ranks in every micro-step, and its
values are averaged over micro-steps.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from turnout.config import ObjectiveConfig
from turnout.data.batch import IGNORED, Batch
from turnout.experts.feed_forward import FeedForward
from turnout.experts.routing import (
    Routing,
    balance_loss,
    frames_per_expert,
    probability_per_expert,
)
from turnout.model.decoder import DecoderOutput
from turnout.model.speech_model import EncoderOutput, SpeechModel
from turnout.training.distributed import Ranks
from turnout.training.teacher import Taught, decoder_loss, encoder_loss


@dataclass(frozen=True)
class StepCounts:
    """What the losses of one step are divided by."""

    ctc_tokens: float
    """Target tokens of CTC in the whole step."""
    labels: float
    """Trained decoder positions in the whole step."""
    micro_steps: int
    frames: float = 1.0
    """Hidden frames of the encoder in the whole step."""


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
    distilled: Float[Tensor, " 2"]
    """This rank's share of the encoder's and the decoder's difference to the teacher's."""


class Objective:
    """CTC, label-smoothed attention and balance losses of a model's outputs."""

    def __init__(self, config: ObjectiveConfig, model: SpeechModel, ranks: Ranks) -> None:
        self.config = config
        self.ranks = ranks
        shape = model.config
        self.ctc_weight = (
            0.0 if not shape.ctc else config.ctc_weight if shape.decoder.num_layers else 1.0
        )
        self.experts = routed_feed_forwards(model)
        self.group_sizes: list[int | None] = []
        for name in self.experts:
            routing = (shape.encoder if name.startswith("encoder") else shape.decoder).routing
            self.group_sizes.append(routing.num_experts if routing.learned else None)

    def __call__(
        self,
        output: tuple[EncoderOutput, DecoderOutput | None],
        batch: Batch,
        counts: StepCounts,
        taught: Taught | None = None,
    ) -> Parts:
        """The parts for one micro-batch; `counts` are those of the whole step, `taught` what a
        teacher makes of it."""
        encoded, decoded = output
        zero = batch.log_mel.new_zeros(())
        ctc, too_short, attention, right = zero, zero, zero, zero
        if encoded.ctc_logits is not None:
            ctc, too_short = ctc_loss(encoded.ctc_logits, encoded.frame_mask, batch)
        if decoded is not None:
            attention, right = attention_loss(
                decoded.logits, batch.labels, self.config.label_smoothing
            )
        ctc = ctc / max(counts.ctc_tokens, 1.0)
        attention = attention / max(counts.labels, 1.0)
        routings = [*encoded.routings, *(() if decoded is None else decoded.routings)]
        balance, frames = self._balance(routings, zero)
        distilled = self._distilled(output, batch, counts, taught)
        loss = self.config.text_weight * (self.ctc_weight * ctc + (1 - self.ctc_weight) * attention)
        loss = loss + self.config.balance_weight * balance / counts.micro_steps
        if taught is not None:
            weights = self.config.distil_encoder, self.config.distil_decoder
            loss = loss + (distilled * distilled.new_tensor(weights)).sum()
        local = torch.stack([ctc, attention, too_short, right]).detach()
        return Parts(loss, local, balance.detach(), frames, distilled.detach())

    def _distilled(
        self,
        output: tuple[EncoderOutput, DecoderOutput | None],
        batch: Batch,
        counts: StepCounts,
        taught: Taught | None,
    ) -> Float[Tensor, " 2"]:
        encoded, decoded = output
        zero = batch.log_mel.new_zeros(())
        parts = [zero, zero]
        if taught is not None and self.config.distil_encoder:
            parts[0] = encoder_loss(encoded, taught.hidden) / max(counts.frames, 1.0)
        if taught is not None and taught.log_probs is not None and decoded is not None:
            found = decoder_loss(decoded.logits, taught.log_probs, batch.labels)
            parts[1] = found / max(counts.labels, 1.0)
        return torch.stack(parts)

    def _balance(
        self, routings: list[Routing], zero: Tensor
    ) -> tuple[Float[Tensor, ""], tuple[Tensor, ...]]:
        """Switch adds the loss of every routed layer, and so does this."""
        if not self.experts:
            return zero, ()
        frames = [frames_per_expert(routing) for routing in routings]
        probabilities = [probability_per_expert(routing) for routing in routings]
        sizes = list(self.experts.values())
        # A decoder that this rank's batch did not use: other ranks may have used theirs.
        unused = [zero.new_zeros(size) for size in sizes[len(routings) :]]
        own = [*probabilities, *unused]
        totals = self.ranks.sum(torch.cat([*frames, *unused, *(part.detach() for part in own)]))
        summed = totals.split(sizes * 2)
        taken, shares = summed[: len(sizes)], summed[len(sizes) :]
        total = zero
        for index, group_size in enumerate(self.group_sizes):
            if group_size is not None:
                # The value of the sum over ranks, the gradient of this rank's part of it.
                whole = own[index] + (shares[index] - own[index].detach())
                total = total + balance_loss(taken[index], whole, group_size)
        return total, taken


def routed_feed_forwards(model: SpeechModel) -> dict[str, int]:
    """Each routed feed-forward's name and number of experts, in order of depth."""
    return {
        name: len(module.bank.experts)
        for name, module in model.named_modules()
        if isinstance(module, FeedForward) and module.rule is not None
    }


def count_step(
    batches: list[Batch], ranks: Ranks, subsampling: int = 1
) -> tuple[StepCounts, float]:
    """The normalisers of a step and its seconds of audio, over all ranks and micro-steps."""
    own = torch.zeros(4, dtype=torch.float64)
    for batch in batches:
        own[0] += int(batch.ctc_lengths.sum())
        own[1] += int((batch.labels != IGNORED).sum())
        own[2] += batch.seconds
        own[3] += float((batch.frame_mask.sum(dim=1) / subsampling).ceil().sum())
    ctc_tokens, labels, seconds, frames = ranks.sum(own.to(ranks.device)).tolist()
    return StepCounts(ctc_tokens, labels, len(batches), frames), seconds


def ctc_loss(
    logits: Float[Tensor, "batch hidden vocabulary"],
    frame_mask: Bool[Tensor, "batch hidden"],
    batch: Batch,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """CTC summed over utterances, in float32, and how many were too short for their target; these
    add zero (id 0 is the blank)."""
    log_probs = logits.float().log_softmax(dim=-1).transpose(0, 1)
    frames, lengths = frame_mask.sum(dim=1), batch.ctc_lengths
    loss = functional.ctc_loss(
        log_probs, batch.ctc_targets, frames, lengths, reduction="sum", zero_infinity=True
    )
    return loss, (frames_needed(batch.ctc_targets, lengths) > frames).sum().float()


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
    flat, wanted = logits.float().flatten(0, 1), labels.flatten()
    loss = functional.cross_entropy(
        flat, wanted, ignore_index=IGNORED, label_smoothing=label_smoothing, reduction="sum"
    )
    return loss, (flat.argmax(dim=-1) == wanted).sum().float()
