"""What the loop does when something goes wrong, and what it writes down."""

import json
import signal
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from tests.unit.training.toy import BATCHES, ToySource, run_toy, toy_batch, toy_config, toy_trainer
from turnout.data.batch import Batch
from turnout.data.epoch import WHOLE, Part
from turnout.errors import CheckpointError, ConfigError, RunStopped, TrainingError
from turnout.evaluation.validation import Validation
from turnout.files import sha256_of, write_whole
from turnout.model.speech_model import SpeechModel
from turnout.training.finish import finish
from turnout.training.state import RunState, Validated, average, named_weights
from turnout.training.train import open_log
from turnout.training.validated import best


class Poisoned(ToySource):
    """From the third batch of the first epoch on, so many are not numbers."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.left = count

    def batches(self, epoch: int, start: int, progress: float, part: Part = WHOLE):
        for index, batch in enumerate(super().batches(epoch, start, progress, part)):
            if (epoch or index >= 2) and self.left:
                self.left -= 1
                yield replace(batch, log_mel=batch.log_mel * float("nan"))
            else:
                yield batch


def unscored(model: SpeechModel, cancelled: Callable[[], bool]) -> Validation:
    """There is no dev set."""
    return Validation(None, ())


def bits(model: torch.nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def same(one: list[torch.Tensor], two: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(tmp_path: Path) -> None:
    trainer = toy_trainer(toy_config(tmp_path))
    trainer._step([toy_batch("a")])
    before = bits(trainer.model)
    moments = [s["exp_avg"].clone() for s in trainer.stepper.optimizer.state.values()]
    bad = toy_batch("b")
    trainer._step([toy_batch("c"), replace(bad, log_mel=bad.log_mel * float("inf"))])
    assert same(before, bits(trainer.model))
    after = [s["exp_avg"] for s in trainer.stepper.optimizer.state.values()]
    assert same(moments, after)
    state = trainer.state
    assert (state.step, state.updates, state.skipped, state.skipped_in_a_row) == (2, 1, 1, 1)
    trainer._step([toy_batch("d")])
    assert not same(before, bits(trainer.model))
    assert (state.updates, state.skipped, state.skipped_in_a_row) == (2, 1, 0)


def test_ten_in_a_row_end_the_run_and_name_the_utterances(tmp_path: Path) -> None:
    config = toy_config(tmp_path, max_steps=40, validate_every=100)
    trainer = toy_trainer(config)
    trainer.loader = Poisoned(count=100)
    with pytest.raises(TrainingError, match=r"10 steps in a row .* epoch4-share.*-rank0-batch"):
        trainer.run(None)
    assert trainer.state.step == 11
    assert trainer.state.updates == 1


def test_a_step_without_memory_ends_the_run_and_says_what_needs_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    trainer = toy_trainer(toy_config(tmp_path))
    trainer._step([toy_batch("a")])
    monkeypatch.setattr(trainer, "stepper", full)
    with pytest.raises(TrainingError, match=r"step 2: .* more memory than cpu .*batch_seconds"):
        trainer._step([toy_batch("b")])
    assert trainer.state.step == 1


def test_a_few_bad_batches_do_not_end_it(tmp_path: Path) -> None:
    trainer = toy_trainer(toy_config(tmp_path))
    trainer.loader = Poisoned(count=3)
    with open_log(trainer, {}) as log:
        trainer.run(log)
    assert trainer.state.step == 12
    assert trainer.state.skipped == 2
    lines = [json.loads(line) for line in (tmp_path / "steps.jsonl").read_text().splitlines()]
    assert [line["finite"] for line in lines] == [True, False, False, *[True] * 9]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_saves_this_step_and_has_an_exit_status(
    tmp_path: Path, number: signal.Signals
) -> None:
    trainer = toy_trainer(toy_config(tmp_path))
    original, steps = trainer._step, []

    def step(batches: list[Batch]) -> None:
        original(batches)
        steps.append(1)
        if len(steps) == 3:
            signal.raise_signal(number)

    trainer._step = step
    before = signal.getsignal(number)
    with trainer.stop, pytest.raises(RunStopped, match="at step 3") as stopped:
        trainer.run(None)
    assert stopped.value.exit_status == 128 + number
    assert trainer.checkpoints.steps()[0] == 3
    assert signal.getsignal(number) is before


def test_epochs_and_hours_end_a_run_too(tmp_path: Path) -> None:
    limits = {"max_steps": None, "validate_every": 100}
    epochs = run_toy(toy_config(tmp_path / "epochs", max_epochs=2, **limits))
    assert epochs.state.step == 2 * BATCHES // 2
    hours = run_toy(toy_config(tmp_path / "hours", max_hours=5 / 3600, **limits))
    assert 5 <= hours.state.seconds < 9


def test_changed_data_is_refused(tmp_path: Path) -> None:
    run_toy(toy_config(tmp_path, max_steps=2))
    trainer = toy_trainer(toy_config(tmp_path, max_steps=2))
    checkpoint = trainer.checkpoints.newest(pytest.fail)
    assert checkpoint is not None
    trainer.loader.fingerprint = "other"  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ConfigError, match="training data changed"):
        trainer.restore(checkpoint)


def test_a_checkpoint_of_another_shape_is_refused_whole(tmp_path: Path) -> None:
    run_toy(toy_config(tmp_path, max_steps=2))
    trainer = toy_trainer(toy_config(tmp_path, max_steps=2))
    checkpoint = trainer.checkpoints.newest(pytest.fail)
    assert checkpoint is not None
    before = bits(trainer.model)
    name = next(iter(checkpoint.tensors))
    checkpoint.tensors[name] = torch.zeros(1)
    with pytest.raises(CheckpointError, match=f"do not fit the model: {name}"):
        trainer.restore(checkpoint)
    assert same(before, bits(trainer.model))


def test_a_state_of_another_version_is_refused() -> None:
    fields = asdict(RunState(step=3))
    assert RunState.from_fields(fields) == RunState(step=3)
    with pytest.raises(CheckpointError, match="another version"):
        RunState.from_fields({**fields, "unheard_of": 1})


def test_only_validated_weights_that_are_needed_stay(tmp_path: Path) -> None:
    trainer = run_toy(toy_config(tmp_path, max_steps=24))
    assert [entry.step for entry in trainer.state.validated] == [4, 20, 24]
    # Step 22's checkpoint, the one to fall back to, still averages steps 16 and 20.
    kept = sorted(int(path.stem[5:]) for path in (tmp_path / "validated").iterdir())
    assert kept == [4, 16, 20, 24]


def test_the_final_model_is_the_better_of_best_and_average(tmp_path: Path) -> None:
    trainer = run_toy(toy_config(tmp_path, max_steps=12))
    entries = trainer.state.validated
    weights = trainer.validated.read(entries, pytest.fail)
    with open_log(trainer, {"log.jsonl": 10**6, "steps.jsonl": 10**6}) as log:
        card = finish(trainer, log)
    assert card["weights"] == f"validated at step {best(entries).step}"
    assert card["dev_average_wer"] == best(entries).score
    expected = average(weights[-2:])
    trainer.validate = unscored
    assert finish(trainer, None)["weights"] == "average of steps 8, 12"
    found = named_weights(trainer.model)
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert (tmp_path / "training.png").stat().st_size > 10_000


def test_damaged_validated_weights_are_left_out(tmp_path: Path) -> None:
    trainer = run_toy(toy_config(tmp_path, max_steps=8))
    entries = trainer.state.validated
    path = tmp_path / "validated" / entries[-1].file
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    said: list[str] = []
    assert len(trainer.validated.read(entries, said.append)) == len(entries) - 1
    assert str(path) in said[0]


def test_validated_weights_that_hold_no_tensors_are_left_out(tmp_path: Path) -> None:
    trainer = toy_trainer(toy_config(tmp_path))
    data = b"whole, and no tensors"
    write_whole(tmp_path / "validated" / "none.safetensors", data)
    entry = Validated(step=4, score=None, file="none.safetensors", sha256=sha256_of(data))
    said: list[str] = []
    with pytest.raises(CheckpointError, match="no validated weights are whole"):
        trainer.validated.read([entry], said.append)
    assert "none.safetensors: holds no tensors" in said[0]


def test_best_is_the_lowest_and_the_newest_of_equals() -> None:
    def at(step: int, wer: float | None) -> Validated:
        return Validated(step=step, score=wer, file="", sha256="")

    assert best([at(1, 5.0), at(2, 3.0), at(3, 3.0), at(4, 9.0)]).step == 3
    assert best([at(1, None), at(2, None)]).step == 2


def test_experts_without_frames_are_named(tmp_path: Path, capsys) -> None:
    class Narrow(ToySource):
        def batches(self, epoch: int, start: int, progress: float, part: Part = WHOLE):
            for batch in super().batches(epoch, start, progress, part):
                none = torch.zeros_like(batch.bandwidth)
                yield replace(batch, bandwidth=none, encoder_guide=none)

    trainer = toy_trainer(toy_config(tmp_path, max_steps=6))
    trainer.loader = Narrow()
    with open_log(trainer, {}) as log:
        trainer.run(log)
    said = capsys.readouterr().err
    assert said.count("no frame since the last line of the log") == 1
    assert "encoder blocks.0.first expert 1" in said
    assert "expert 0" not in said
    first = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])
    assert len(first["idle_experts"]) == 4
