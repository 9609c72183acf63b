"""The loop: read, step, log, validate, save, until the run has reached its end or is told to stop.

Whatever happens between two steps follows from `RunState` alone, so that a run that was killed
and started again does the same things in the same order.
"""

import itertools
import json
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from turnout.backends.torch_memory import memory_asked
from turnout.config import TrainConfig
from turnout.config.plain import to_plain
from turnout.data.batch import Batch
from turnout.data.epoch import Part
from turnout.data.loader import Loader
from turnout.errors import ConfigError, RunStopped, TrainingError
from turnout.evaluation.validation import Validation
from turnout.model.speech_model import SpeechModel
from turnout.training.checkpoints import Checkpoint, Checkpoints, all_finite
from turnout.training.distributed import StopSignals
from turnout.training.log import RunLog, add_to_window
from turnout.training.run_folder import CHECKPOINTS, VALIDATED
from turnout.training.sharding import is_sharded
from turnout.training.state import RunState, restore_tensors, run_tensors
from turnout.training.step import Stepper
from turnout.training.trainable import frozen_digest
from turnout.training.validated import ValidatedWeights, best

MOST_SKIPPED = 10

Validate = Callable[[SpeechModel, Callable[[], bool]], Validation | None]
"""The scores of a model, the same on every rank; None where any rank was told to stop, which the
second argument says of this one."""


class Trainer:
    """One run in its folder."""

    def __init__(
        self,
        config: TrainConfig,
        stepper: Stepper,
        loader: Loader,
        validate: Validate,
        stop: StopSignals,
    ) -> None:
        self.config = config
        self.stepper = stepper
        self.model = stepper.model
        self.ranks = stepper.ranks
        self.loader = loader
        self.validate = validate
        self.stop = stop
        self.state = RunState()
        self.folder = Path(config.output)
        self.checkpoints = Checkpoints(self.folder / CHECKPOINTS, self.ranks)
        self.validated = ValidatedWeights(self.folder / VALIDATED, self.ranks)
        self.saved_step = -1
        self.frozen = ""
        """Digest of what is frozen, from where the run begins or goes on."""
        self.taught_by = ""
        """Digest of the teacher, where there is one."""
        self.log: RunLog | None = None
        self._planned: tuple[tuple[int, int, float], int] | None = None

    def begin(self) -> None:
        """Step 0, at the weights that the model has now."""
        self._note_unmoved()
        if self.config.tie_experts_until:
            self.stepper.gradients.make_equal()
        self._share_out()

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from what was read back, the frozen weights and the teacher being there already;
        raises ConfigError where they or the data changed since."""
        self._note_unmoved()
        for field, what, now in (
            ("frozen", "what is not trained", self.frozen),
            ("teacher", "the teacher", self.taught_by),
        ):
            if checkpoint.fields.get(field, "") != now:
                raise ConfigError(
                    f"{self.folder}: {what} is not what this run began with: put back the model "
                    f"that init_from names ({self.config.init_from}), or choose another output"
                )
        if checkpoint.fields["data"] != self.loader.fingerprint:
            raise ConfigError(
                f"{self.folder}: the training data changed since this run began: put it "
                "back to go on, or choose another output"
            )
        state = RunState.from_fields(checkpoint.fields["state"])
        self._share_out()
        restore_tensors(checkpoint.tensors, self.model, self.stepper.optimizer, state.updates)
        self.state = state
        self.saved_step = state.step

    def dealt_anew(self, before: int) -> None:
        """Go to about the same place in the epoch, which was dealt to so many ranks before."""
        state, now = self.state, self.ranks.size
        parts, had = self.loader.parts, self.loader.parts_on(before)
        state.position = state.position * before // now if parts == had else 0
        state.part = state.part * parts // had
        state.unread = []

    def _share_out(self) -> None:
        """Give the ranks their parts of the model, where they are to hold no more."""
        if is_sharded(self.config, self.ranks):
            self.stepper.shard()

    def make_whole(self) -> None:
        """Put the whole model on every rank in the place of its part: no step is taken then."""
        self.model = self.stepper.whole_model()

    def _note_unmoved(self) -> None:
        """What the run keeps, but no checkpoint holds."""
        self.frozen = frozen_digest(self.model)
        self.taught_by = "" if self.stepper.teacher is None else self.stepper.teacher.digest

    def run(self, log: RunLog | None) -> None:
        """Train to the end. Raises RunStopped, after a checkpoint, when a signal asks for it."""
        self.log = log
        batches = self._batches()
        while True:
            self._validate_if_due()
            self._save_if_due()
            if self.share() >= 1.0:
                self._told_of_lost()
                return
            # The batches have no end: a step's may begin in one epoch and end in the next.
            self._step(list(itertools.islice(batches, self.config.optimizer.accumulate)))

    def share(self) -> float:
        """How much of the run is done, from 0 to 1: of whichever limit is reached first."""
        config, state = self.config, self.state
        done = [(state.step, config.max_steps), (state.seconds / 3600, config.max_hours)]
        if config.max_epochs is not None:
            part = (state.part + state.position / self._plan_length()) / self.loader.parts
            done.append((state.epoch + part, config.max_epochs))
        shares = [now / limit if limit else 1.0 for now, limit in done if limit is not None]
        return min(max(shares), 1.0)

    def _plan_length(self) -> int:
        """Batches of this part of the epoch, the same number on every rank."""
        state = self.state
        key = (state.epoch, state.part, state.epoch_share)
        if self._planned is None or self._planned[0] != key:
            length = len(self.loader.plan(state.epoch, state.epoch_share, self._part()))
            self._note_unread()
            longest, shortest = self.ranks.largest(length), -self.ranks.largest(-length)
            if not longest:
                raise TrainingError("data.train: no batch is left to learn from")
            if shortest != longest:
                raise TrainingError(
                    f"the ranks planned from {shortest} to {longest} batches: give every rank the "
                    "same cuts and recordings"
                )
            self._planned = (key, length)
        return self._planned[1]

    def _part(self) -> Part:
        return Part(self.state.part, tuple(self.state.unread))

    def _note_unread(self) -> None:
        """Tell of the shards that the plan goes without, and keep it to that."""
        for one in self.loader.unread:
            self.state.unread.append(one.key)
            self._tell_of_lost(one.utterances, (one.line,))

    def _tell_of_lost(self, count: int, reasons: Sequence[str]) -> None:
        self.state.lost += count
        if self.log is not None:
            self.log.lost(self.state, count, reasons)

    def _told_of_lost(self) -> None:
        """A part of an epoch, or the run, has ended."""
        if self.log is not None:
            self.log.lost_for_known_reasons(self.state)

    def _batches(self) -> Iterator[Batch]:
        """Batches without end, epoch after epoch; what was handed out is counted in `state`."""
        state = self.state
        while True:
            self._plan_length()
            place = state.epoch, state.position, state.epoch_share, self._part()
            for batch in self.loader.batches(*place):
                state.position += 1
                yield batch
            self._told_of_lost()
            share = self.share()
            state.position = 0
            state.unread = []
            state.part += 1
            if state.part == self.loader.parts:
                state.part = 0
                state.epoch += 1
                state.epoch_share = share

    def _step(self, batches: list[Batch]) -> None:
        state = self.state
        share = self.share()
        if state.step == self.config.optimizer.warmup_steps:
            # The rate falls by shares of the run, and where a limit is of hours or epochs nobody
            # knows beforehand at which share the warm-up ends.
            state.warm_share = share
        try:
            with memory_asked():
                report = self.stepper(batches, state, share)
        except MemoryError as error:
            longest = max(batch.seconds for batch in batches)
            raise TrainingError(
                f"step {state.step + 1}: a batch of {longest:.0f} s of speech needs more memory "
                f"than {self.ranks.device.type} has: a smaller data.batch_seconds needs less, and "
                "optimizer.accumulate adds as many to a step"
            ) from error
        state.step += 1
        state.seconds += report.seconds
        state.updates += int(report.finite)
        state.skipped += int(not report.finite)
        state.skipped_in_a_row = 0 if report.finite else state.skipped_in_a_row + 1
        add_to_window(state.window, report)
        if self.log is not None:
            self.log.step(state, report)
        if report.lost:
            self._tell_of_lost(report.lost, report.reasons)
        if not report.finite:
            self._skipped(batches, report.own_finite)
        if state.step % self.config.log_every == 0:
            if self.log is not None:
                self.log.window(state, report.rate, self.share(), self._idle_experts())
            state.window = {}

    def _skipped(self, batches: list[Batch], own_finite: bool) -> None:
        """Say which utterances a step had that was not finite: those of the ranks whose losses were
        not, or of all where only the gradient was not. End the run where nothing else happens."""
        state = self.state
        names = [name for batch in batches for name in batch.utterance_ids]
        own = f"{', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
        told = self.ranks.gather_text(json.dumps([own_finite, own]))
        everybody = [json.loads(text) for text in told]
        guilty = [said for fine, said in everybody if not fine]
        first = "; ".join(guilty or [said for _, said in everybody])
        if self.log is not None:
            self.log.say(
                f"warning: step {state.step} skipped: loss or gradient is not finite ({first})"
            )
        if state.skipped_in_a_row >= MOST_SKIPPED:
            raise TrainingError(
                f"{MOST_SKIPPED} steps in a row had a loss or gradient that is not finite, the "
                f"last with the utterances {first}: check them, or lower optimizer.learning_rate"
            )

    def _idle_experts(self) -> tuple[str, ...]:
        """Experts that got no frame since the last line of the log."""
        names = self.stepper.objective.experts
        counts = self.state.window.get("frames", [])
        return tuple(
            f"{name.replace('.', ' ', 1)} expert {expert}"
            for name, frames in zip(names, counts, strict=True)
            for expert, count in enumerate(frames)
            if not count
        )

    def _save_if_due(self) -> None:
        """Save every so many steps, at the end, and when asked to stop (which then happens)."""
        step = self.state.step
        if step and (step % self.config.checkpoint_every == 0 or self.share() >= 1.0):
            self.save()
        self.stop_if_asked()

    def stop_if_asked(self) -> None:
        """Raise RunStopped, the step saved, where any rank received a signal."""
        number = self.ranks.largest(self.stop.received)
        if number:
            self.save()
            raise RunStopped(
                f"stopped by {signal.Signals(number).name} at step {self.state.step}, checkpoint "
                "saved: the same command goes on from there",
                number,
            )

    def save(self) -> None:
        """Write a checkpoint of this step, unless it is already there."""
        step = self.state.step
        if step == self.saved_step:
            return
        tensors = run_tensors(self.model, self.stepper.optimizer, self.state.updates)
        if self.ranks.largest(int(not all_finite(tensors))):
            raise TrainingError(
                f"weights or moments are not finite at step {step}: no checkpoint was written; "
                "start again to go on from the last one, with a lower optimizer.learning_rate"
            )
        fields: dict[str, Any] = {
            "state": asdict(self.state),
            "log": {} if self.log is None else self.log.lengths(),
            "ranks": self.ranks.size,
            "data": self.loader.fingerprint,
            "frozen": self.frozen,
            "teacher": self.taught_by,
            "config": to_plain(self.config),
        }
        self.checkpoints.save(step, tensors, fields)
        self.saved_step = step
        if self.ranks.first:
            self._forget_old(step)
        self.ranks.barrier()

    def _forget_old(self, step: int) -> None:
        """Delete old checkpoints, and validated weights that no checkpoint needs any more."""
        kept = self.checkpoints.rotate(self.config.keep_checkpoints, step)
        needed: set[str] = set()
        for manifest in self.checkpoints.manifests(kept):
            needed.update(entry["file"] for entry in manifest["fields"]["state"]["validated"])
        self.validated.forget(needed)

    def _validate_if_due(self) -> None:
        """Validate every so many steps and at the end; a stop in the middle leaves it undone."""
        state = self.state
        due = state.step % self.config.validate_every == 0 or self.share() >= 1.0
        if not due or not state.step or state.validated_step == state.step:
            return
        # Whole: how many steps a decoder takes is each rank's own affair.
        found = self.validate(self.stepper.whole_model(), lambda: self.stop.received != 0)
        # Asked whatever was found: every rank takes part.
        if self.ranks.largest(self.stop.received) or found is None:
            return
        entry = self.validated.keep(self.model, state.step, found.score)
        newest = [*state.validated, entry]
        kept = {e.step for e in newest[-self.config.average_last :]} | {best(newest).step}
        state.validated = [e for e in newest if e.step in kept]
        state.validated_step = state.step
        if self.log is not None:
            self.log.validation(state, found.score, found.to_plain())
