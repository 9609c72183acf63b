"""Going on takes as long at step 100,000 as at step 100: nothing is replayed."""

import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any

import pytest

from tests.reliability.corpus import config_of, write_corpus
from tests.reliability.tally import Tally
from turnout.config import TrainConfig
from turnout.corpora.clips import read_corpora
from turnout.data.batch import Batch
from turnout.data.loader import Loader
from turnout.text.sentencepieces import SentencePieceTokenizer
from turnout.training.distributed import Ranks, open_fabric
from turnout.training.log import silent
from turnout.training.loop import Trainer
from turnout.training.state import RunState
from turnout.training.train import begin_or_resume, build_trainer, training_texts

Measure = Callable[[TrainConfig, int], float]
Profiler = Callable[[FrameType, str, object], object]
EARLY, LATE = 100, 100_000
REPEATS = 9
MOST_TIMES = 1.25


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    """An epoch of several hundred batches."""
    monkeypatch.chdir(tmp_path)
    config = config_of(write_corpus(tmp_path / "corpus", 36), max_steps=2 * LATE)
    return replace(config, data=replace(config.data, epoch_hours=0.1, dev_utterances=1))


def trainer_of(config: TrainConfig) -> Trainer:
    """A trainer at step 0."""
    ranks = Ranks(open_fabric(config))
    vocabulary = config.model.vocabulary
    clips = read_corpora(config.data.train)
    data = SentencePieceTokenizer.train(training_texts(config.data, clips), vocabulary).to_bytes()
    return build_trainer(
        config, clips, SentencePieceTokenizer.from_bytes(data, vocabulary), ranks, silent
    )


def plant(config: TrainConfig, step: int, *, late: bool) -> int:
    """A run's checkpoint of this step, in its first epoch or at the end of a later one; the number
    of batches of an epoch."""
    trainer = trainer_of(replace(config, output=str(step)))
    trainer.folder.mkdir(exist_ok=True)
    take_a_step(trainer)
    batches = len(trainer.loader.plan(0, 0.0))
    epoch, position = divmod(step, batches)
    trainer.state = RunState(
        step=step, updates=step, epoch=epoch, position=batches - 3 if late else position
    )
    trainer.save()
    return batches


def take_a_step(trainer: Trainer) -> None:
    """The next step of the run."""
    batches = trainer._batches()
    trainer._step(list(itertools.islice(batches, trainer.config.optimizer.accumulate)))


@contextmanager
def profiled(profiler: Profiler | None) -> Iterator[None]:
    """This thread's calls, and those of threads that begin meanwhile, are told to it."""
    sys.setprofile(profiler)
    threading.setprofile(profiler)
    try:
        yield
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def go_on(config: TrainConfig, step: int, profiler: Profiler | None = None) -> float:
    """CPU time from a trainer at step 0 to the first step after the checkpoint."""
    trainer = trainer_of(replace(config, output=str(step)))
    started = time.process_time()
    with profiled(profiler):
        begin_or_resume(trainer, silent)
        take_a_step(trainer)
    taken = time.process_time() - started
    assert trainer.state.step == step + 1
    return taken


def calls_to_go_on(config: TrainConfig, step: int) -> float:
    """The same as a number of calls of functions: what other tests do at the time adds none."""
    calls = itertools.count()
    go_on(config, step, lambda *_: next(calls))
    return float(next(calls))


def early_and_late(config: TrainConfig, measure: Measure, repeats: int) -> tuple[float, float]:
    """Medians of several tries by turns: what slows the machine down for a while slows both."""
    tries = [(measure(config, EARLY), measure(config, LATE)) for _ in range(repeats)]
    early, late = zip(*tries, strict=True)
    return median(early), median(late)


def replaying(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loader that makes every batch of the epoch before the one it is asked for."""
    original: Callable[..., Iterator[Batch]] = Loader.batches

    def batches(self: Loader, epoch: int, start: int, *more: Any) -> Iterator[Batch]:
        return itertools.islice(original(self, epoch, 0, *more), start, None)

    monkeypatch.setattr(Loader, "batches", batches)


@pytest.mark.counts("T1", "resuming late")
def test_going_on_late_takes_no_longer_than_early(
    tally: Tally, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = plant(config, EARLY, late=False)
    plant(config, LATE, late=True)
    measure, unit = (go_on, "seconds") if tally.full else (calls_to_go_on, "calls")
    early, late = early_and_late(config, measure, REPEATS if tally.full else 1)
    with tally.trial(f"step {LATE} against step {EARLY}"):
        assert late <= MOST_TIMES * early, f"{late:.3f} {unit} against {early:.3f}"
    replaying(monkeypatch)
    replayed = measure(config, LATE)
    tally.controlled(replayed > MOST_TIMES * early)
    tally.measure(
        **{f"{unit}_at_step_100": round(early, 4), f"{unit}_at_step_100000": round(late, 4)}
    )
    tally.measure(
        ratio=round(late / early, 3),
        ratio_where_batches_are_replayed=round(replayed / early, 2),
        batches_of_an_epoch=batches,
    )
