"""One optimizer step over its micro-batches, the same decision on every rank."""

import hashlib
import json
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_

from turnout.config import TrainConfig
from turnout.data.batch import Batch
from turnout.model.speech_model import SpeechModel
from turnout.training.distributed import Ranks
from turnout.training.objective import Objective, StepCounts, count_step
from turnout.training.optimizer import Gradients, build_optimizer, learning_rate
from turnout.training.sharding import SPREAD, Sharding
from turnout.training.state import RunState, seed_step
from turnout.training.teacher import Teacher
from turnout.training.trainable import to_train

MOST_REASONS = 3
"""Why utterances are left out, of each rank and step; the others are counted."""


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What one step did, summed over ranks and micro-steps."""

    loss: float
    ctc: float
    """Per target token."""
    attention: float
    """Per trained position."""
    balance: float
    """Per micro-step, summed over routed layers."""
    distil_encoder: float
    """Mean squared difference to the teacher's frames, per frame."""
    distil_decoder: float
    """KL divergence from the teacher's distributions, per trained position."""
    accuracy: float
    """Share of trained decoder positions predicted right."""
    too_short: int
    """Utterances with fewer hidden frames than their CTC target needs."""
    norm: float
    """Of the gradient, before clipping."""
    rate: float
    """Learning rate."""
    seconds: float
    """Audio."""
    finite: bool
    """Whether the step was taken; otherwise nothing changed."""
    own_finite: bool
    """Whether this rank had its part in that: False where its own losses were not finite."""
    utterances: str
    """Digest of the ids of all ranks' utterances, in order."""
    lost: int
    """Utterances of all ranks that could not be read."""
    reasons: tuple[str, ...]
    """Why, of each rank the first ones that differ."""
    frames: tuple[Tensor, ...]
    """Frames of each expert of each routed feed-forward."""


class Stepper:
    """Model, optimizer and what goes between them."""

    def __init__(self, config: TrainConfig, model: SpeechModel, ranks: Ranks) -> None:
        self.config = config
        self.model = model
        self.ranks = ranks
        self.objective = Objective(config.objective, model, ranks)
        self.optimizer = build_optimizer(model, config.optimizer)
        self.gradients = Gradients(model)
        self.teacher: Teacher | None = None
        self.sharding: Sharding | None = None

    def shard(self) -> None:
        """Spread the model, which is the same on all ranks and was not trained yet, over them."""
        self.sharding = Sharding(self.model, self.ranks, SPREAD[self.config.parallel])
        self.optimizer = build_optimizer(self.model, self.config.optimizer)
        self.gradients = Gradients(self.model)

    def whole_model(self) -> SpeechModel:
        """The model on this rank's device, made whole where it is spread: a copy then, which all
        ranks ask for together."""
        return self.model if self.sharding is None else self.sharding.whole_model()

    def __call__(self, batches: list[Batch], state: RunState, share: float) -> StepReport:
        """Take step `state.step`, or skip it where loss or gradient is not finite anywhere;
        `share` of the run is done before it. `state` is only read."""
        config = self.config
        ids = "\n".join(name for batch in batches for name in batch.utterance_ids)
        lost = [line for batch in batches for line in batch.lost]
        reasons = list(dict.fromkeys(lost))[:MOST_REASONS]
        counts, seconds = count_step(
            batches, self.ranks, self.model.config.encoder.subsampling_factor
        )
        rate = learning_rate(config.optimizer, state.step, share, state.warm_share)
        to_train(self.model)
        sums, balance, frames = self._gradients(batches, counts, state.step)
        tied = state.step < config.tie_experts_until
        if tied:
            self.gradients.tie()
        norm = self.gradients.norm(tied=tied)
        if self.sharding is not None:
            norm = self.sharding.norm(norm)
        ctc, attention, too_short, right, near, alike = self.ranks.sum(sums).tolist()
        weight, weights = self.objective.ctc_weight, config.objective
        loss = weights.text_weight * (weight * ctc + (1 - weight) * attention)
        loss += weights.balance_weight * balance
        loss += weights.distil_encoder * near + weights.distil_decoder * alike
        finite = bool(torch.isfinite(norm)) and abs(loss) < float("inf")
        if finite:
            clip_grads_with_norm_(
                self.gradients.parameters,
                config.optimizer.clip_norm,
                norm,
                foreach=self.sharding is not None or None,  # as the optimizer's
            )
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.step()
        told = self.ranks.gather_text(json.dumps([digest(ids), len(lost), reasons]))
        everybody = [json.loads(text) for text in told]
        return StepReport(
            loss=loss,
            ctc=ctc,
            attention=attention,
            balance=balance,
            distil_encoder=near,
            distil_decoder=alike,
            accuracy=right / max(counts.labels, 1.0),
            too_short=int(too_short),
            norm=float(norm),
            rate=rate,
            seconds=seconds,
            finite=finite,
            own_finite=bool(torch.isfinite(sums).all()),
            utterances=digest("\n".join(name for name, _, _ in everybody)),
            lost=sum(count for _, count, _ in everybody),
            reasons=tuple(line for _, _, lines in everybody for line in lines),
            frames=frames,
        )

    def _gradients(
        self, batches: list[Batch], counts: StepCounts, step: int
    ) -> tuple[Tensor, float, tuple[Tensor, ...]]:
        """Leave the step's gradient in the parameters; this rank's sums, the mean balance loss
        and the frames per expert."""
        self.optimizer.zero_grad(set_to_none=True)
        sums = torch.zeros(6, device=self.ranks.device)
        balance = 0.0
        frames: tuple[Tensor, ...] = ()
        for micro_step, batch in enumerate(batches):
            seed_step(self.config.seed, step, micro_step, self.ranks.rank)
            moved = batch.to(self.ranks.device)
            if not self.config.objective.decodes:
                moved = moved.without_texts()
            elif self.sharding is not None and self.model.decoder is not None:
                # Its layers are called by all ranks together, whatever their batches hold.
                moved = moved.with_a_row()
            with self.ranks.fabric.autocast():
                taught = None if self.teacher is None else self.teacher(moved)
                output = self.model(
                    moved.log_mel,
                    moved.frame_mask,
                    moved.encoder_guide,
                    moved.bandwidth,
                    moved.rows,
                    moved.tokens,
                    moved.token_counts,
                    moved.decoder_guide,
                )
            parts = self.objective(output, moved, counts, taught)
            # A batch may reach nothing that is trained, such as one without texts a decoder.
            if parts.loss.requires_grad:
                parts.loss.backward()
            sums += torch.cat([parts.local, parts.distilled])
            balance += float(parts.balance) / len(batches)
            frames = tuple(map(torch.add, parts.frames, frames)) if frames else parts.frames
        self.gradients.sum(self.ranks)
        return sums, balance, frames


def digest(text: str) -> str:
    """Sixteen hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
