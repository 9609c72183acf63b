"""A run small enough to be trained, killed and trained again inside a test."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from turnout.config import (
    DataConfig,
    DecoderConfig,
    EncoderConfig,
    FeatureConfig,
    ModelConfig,
    OptimizerConfig,
    RoutingConfig,
    TrainConfig,
    VocabularyConfig,
)
from turnout.data.batch import IGNORED, Batch, Clean, padded_ids
from turnout.data.epoch import WHOLE, Part
from turnout.decoding.encoded_batch import padded
from turnout.evaluation.validation import Validation
from turnout.guidance import Guide
from turnout.model.speech_model import SpeechModel
from turnout.training import step
from turnout.training.distributed import Ranks, StopSignals, open_fabric
from turnout.training.loop import Trainer
from turnout.training.step import Stepper
from turnout.training.train import begin_or_resume, first_model, open_log

WORDS, BATCHES, MELS = 12, 5, 8


def toy_model(
    encoder: RoutingConfig | None = None,
    decoder: RoutingConfig | None = None,
    dropout: float = 0.1,
) -> ModelConfig:
    """A few thousand parameters; routed by bandwidth and task unless told otherwise."""
    return ModelConfig(
        features=FeatureConfig(num_mels=MELS),
        vocabulary=VocabularyConfig(
            size=20 + WORDS, languages=("en",), translations=(("en", "de"),)
        ),
        encoder=EncoderConfig(
            num_layers=2,
            d_model=16,
            num_heads=2,
            d_feedforward=24,
            conv_kernel=3,
            dropout=dropout,
            routing=encoder or RoutingConfig(kind="supervised", guided_by=(Guide.BANDWIDTH,)),
        ),
        decoder=DecoderConfig(
            num_layers=1,
            num_heads=2,
            d_feedforward=24,
            dropout=dropout,
            routing=decoder or RoutingConfig(kind="supervised", guided_by=(Guide.TASK,)),
        ),
    )


def toy_config(output: Path, **changes: object) -> TrainConfig:
    """Twelve steps with everything on: accumulation, dropout, validations, checkpoints."""
    settings: dict[str, object] = {
        "output": str(output),
        "model": toy_model(),
        "data": DataConfig(),
        "optimizer": OptimizerConfig(accumulate=2, warmup_steps=3, learning_rate=1e-2),
        "max_steps": 12,
        "validate_every": 4,
        "checkpoint_every": 2,
        "keep_checkpoints": 2,
        "average_last": 2,
        "log_every": 3,
        "device": "cpu",
        "threads": 1,
        **changes,
    }
    return TrainConfig(**settings)  # pyright: ignore[reportArgumentType]


def toy_batch(name: str, utterances: int = 4) -> Batch:
    """Random words, each a bump in one mel band; everything from the name."""
    rng = np.random.default_rng(int(hashlib.sha256(name.encode()).hexdigest()[:8], 16))
    words = [rng.integers(0, WORDS, rng.integers(1, 4)).tolist() for _ in range(utterances)]
    mels = []
    for utterance in words:
        frames = rng.normal(0, 0.3, (12 * len(utterance) + 4, MELS)).astype(np.float32)
        for place, word in enumerate(utterance):
            frames[12 * place + 2 : 12 * place + 10, word % MELS] += 2 + word // MELS
        mels.append(frames)
    log_mel, frame_mask = map(torch.from_numpy, padded(mels))
    rows = [index for index in range(utterances) for _ in range(2)]
    tasks = [task for _ in range(utterances) for task in range(2)]
    targets = [[20 + word for word in utterance] for utterance in words]
    tokens = [
        [2, 16, 4 + task, 16 + task, *targets[row]] for row, task in zip(rows, tasks, strict=True)
    ]
    labels = [[16, IGNORED, IGNORED, *targets[row], 3] for row in rows]
    bandwidth = torch.tensor([index % 2 for index in range(utterances)])
    return Batch(
        log_mel=log_mel,
        frame_mask=frame_mask,
        encoder_guide=bandwidth,
        bandwidth=bandwidth,
        ctc_targets=padded_ids(targets, 0),
        ctc_lengths=torch.tensor([len(t) for t in targets]),
        rows=torch.tensor(rows),
        decoder_guide=torch.tensor(tasks),
        tokens=padded_ids(tokens, 0),
        token_counts=torch.tensor([len(t) for t in tokens]),
        labels=padded_ids(labels, IGNORED),
        utterance_ids=tuple(f"{name}-{index}" for index in range(utterances)),
        texts=(),
        guidance=(),
        seconds=float(frame_mask.sum()) / 100,
    )


def clean_batch(name: str, louder: float = 0.0) -> Batch:
    """The same, and a teacher that hears it, so much louder."""
    batch = toy_batch(name)
    clean = Clean(
        batch.log_mel + louder,
        batch.frame_mask,
        batch.encoder_guide,
        batch.bandwidth,
        batch.decoder_guide,
        torch.ones_like(batch.frame_mask[:, 0]),
    )
    return replace(batch, clean=clean)


def joined(first: Batch, second: Batch) -> Batch:
    """Two batches as one."""

    def stack(name: str, padding: float = 0) -> torch.Tensor:
        tensors = getattr(first, name), getattr(second, name)
        if tensors[0].ndim == 1:
            return torch.cat(tensors)
        longest = max(t.shape[1] for t in tensors)
        rest = (0, 0) * (tensors[0].ndim - 2)
        wide = [functional.pad(t, (*rest, 0, longest - t.shape[1]), value=padding) for t in tensors]
        return torch.cat(wide)

    names = ("log_mel", "frame_mask", "encoder_guide", "bandwidth", "ctc_targets", "ctc_lengths")
    more = ("decoder_guide", "tokens", "token_counts")
    return replace(
        first,
        **{name: stack(name) for name in (*names, *more)},
        labels=stack("labels", -100),
        rows=torch.cat([first.rows, second.rows + len(first.log_mel)]),
        utterance_ids=first.utterance_ids + second.utterance_ids,
        seconds=first.seconds + second.seconds,
    )


class ToySource:
    """Five batches an epoch; each rank has its own."""

    fingerprint = "toy"
    parts = 1
    unread = ()

    def __init__(self, rank: int = 0) -> None:
        self.rank = rank

    def parts_on(self, _: int) -> int:
        """As of `Loader`."""
        return self.parts

    def plan(self, epoch: int, progress: float, _: Part = WHOLE) -> list[str]:
        """Names of the batches."""
        name = f"epoch{epoch}-share{progress:.3f}-rank{self.rank}"
        return [f"{name}-batch{index}" for index in range(BATCHES)]

    def batches(self, epoch: int, start: int, progress: float, _: Part = WHOLE) -> Iterator[Batch]:
        """As planned."""
        yield from map(toy_batch, self.plan(epoch, progress)[start:])


def toy_validate(model: SpeechModel, cancelled: Callable[[], bool]) -> Validation | None:
    """A score that follows from the weights alone."""
    if cancelled():
        return None
    return Validation(sum(float(p.detach().abs().sum()) for p in model.parameters()), ())


def toy_trainer(config: TrainConfig, stop: StopSignals | None = None) -> Trainer:
    """A trainer at step 0."""
    ranks = Ranks(open_fabric(config))
    stepper = Stepper(config, first_model(config, config.model), ranks)
    source = ToySource(ranks.rank)
    return Trainer(config, stepper, source, toy_validate, stop or StopSignals())


def run_toy(config: TrainConfig, *, seeded: bool = True) -> Trainer:
    """Begin a run or go on with it, to its end; `seeded=False` leaves the random state out."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    trainer = toy_trainer(config)
    trainer.folder.mkdir(parents=True, exist_ok=True)
    if not seeded:
        step.seed_step = lambda *_: None
    lengths = begin_or_resume(trainer, lambda _: None)
    with trainer.stop, open_log(trainer, lengths) as log:
        trainer.run(log)
    return trainer
