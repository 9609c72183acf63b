"""`turnout plan` from its words to its lines."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.planning.shapes import routed, run_of
from turnout.cli import main
from turnout.config import (
    DataConfig,
    FeatureConfig,
    ModelConfig,
    ObjectiveConfig,
    OptimizerConfig,
    TrainConfig,
    preset,
)
from turnout.config.planning import PlanConfig
from turnout.errors import ConfigError
from turnout.guidance import Window
from turnout.planning.disk import run_bytes
from turnout.planning.micro_batch import micro_batch_of, taught_batch_of
from turnout.planning.operations import operations_of, taught_operations
from turnout.planning.plan import plan_run
from turnout.planning.weights import weights_of
from turnout.planning.words import lines_of

ROOT = Path(__file__).resolve().parents[3]
OMNI = ["plan", "--config", str(ROOT / "recipes" / "omni_613m.yaml"), "--hours", "50000"]
BASE = {"--preset": "tiny", "--hours": "1"}
TINY = ["plan", *(word for pair in BASE.items() for word in pair)]


def planned(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """What `--json` prints."""
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_published_omni_router_on_eight_devices(capsys: pytest.CaptureFixture[str]) -> None:
    found = planned(capsys, *OMNI, "--devices", "8", "--tflops", "139")
    numbers = found["parameters"]
    assert (numbers["total"], numbers["active"]) == (613_153_796, 210_254_852)
    assert found["steps"]["per_epoch"] == 50_000 * 3600 / (900 * 8)
    assert found["steps"]["total"] == 5 * found["steps"]["per_epoch"]
    assert [shared["fits"] for shared in found["sharing"].values()] == [True] * 3
    seconds = found["work"]["per_step"] / 139e12
    assert found["duration"]["days"] == pytest.approx(seconds * 125_000 / 86_400)
    assert found["duration"]["source"] == "given: 139 TFLOP/s a device"


def test_it_is_told_in_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*OMNI, "--devices", "8", "--memory-gb", "40"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "parameters: 613.2M in total, 210.3M active, 613.2M trained"
    assert any(line.startswith("time: unknown without a speed") for line in lines)
    (fits,) = [line for line in lines if line.startswith("  fits 40 GB")]
    assert fits.split()[-3:] == ["no", "yes", "yes"]
    assert all(len(line) < 140 for line in lines)


def test_steps_end_at_the_first_limit() -> None:
    run = run_of(
        routed("dense"),
        data=DataConfig(batch_seconds=100),
        optimizer=OptimizerConfig(accumulate=2),
        max_steps=50,
        max_epochs=3,
    )
    plan = PlanConfig(hours=1.0, devices=2, utterance_seconds=10.0)
    steps = plan_run(run, plan).steps
    assert (steps.per_epoch, steps.audio_seconds) == (9, 400.0)
    assert (steps.total, steps.limit, steps.epochs) == (27, "max_epochs", 3.0)


def test_padded_windows_hold_less_speech_than_they_cost() -> None:
    features = FeatureConfig(kind="whisper", normalization="whisper", padding="window")
    plan = PlanConfig(hours=1.0, utterance_seconds=10.0)
    run = TrainConfig(model=ModelConfig(features=features), data=DataConfig(batch_seconds=90))
    batch = micro_batch_of(run, plan)
    assert (batch.utterances, batch.audio_seconds, batch.feature_frames) == (3, 30.0, 3000)
    # Where the window ends with the speech, a teacher still hears all of it.
    spoken = replace(run, data=replace(run.data, window=Window.SPEECH))
    batch = micro_batch_of(spoken, plan)
    assert (batch.utterances, batch.audio_seconds, batch.feature_frames) == (9, 90.0, 1000)
    assert taught_batch_of(spoken, batch).feature_frames == 3000


def test_a_teacher_takes_memory_time_and_disk() -> None:
    objective = ObjectiveConfig(text_weight=0.0, distil_encoder=1.0, teacher_cache_gb=3.0)
    alone = TrainConfig(model=preset("small"), max_epochs=1)
    taught = replace(alone, init_from="a-model", objective=objective)
    plan = PlanConfig(hours=10.0, devices=2, tflops=1.0)
    before, now = plan_run(alone, plan), plan_run(taught, plan)
    assert now.micro_batch.tokens == 0 < before.micro_batch.tokens  # nothing is written
    for name in ("ddp", "fsdp"):
        assert now.sharing[name].memory.teacher == 4 * now.parameters.total
        assert before.sharing[name].memory.teacher == 0
    without = replace(objective, distil_encoder=0.0, text_weight=1.0)
    assert plan_run(replace(taught, objective=without), plan).work == before.work
    forward = taught_operations(taught, now.micro_batch)
    student = operations_of(alone.model, weights_of(taught), now.micro_batch).all
    assert now.work.per_step == forward + student and 0.3 < forward / student < 0.5
    assert now.duration and now.duration.step_seconds == now.work.per_step / 1e12
    assert "teacher" in "".join(lines_of(now)) and "teacher" not in "".join(lines_of(before))
    assert run_bytes(taught, weights_of(alone)) - run_bytes(alone, weights_of(alone)) == 3e9


@pytest.mark.parametrize("kind", ["whole", "scaled"])
def test_a_speed_is_measured_on_this_machine(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--measure", kind, "--device", "cpu", "--data.batch-seconds", "2"]
    found = planned(capsys, *TINY, *words, "--utterance-seconds", "1")
    measured, duration = found["measured"], found["duration"]
    assert measured["seconds"] > 0
    assert measured["audio_seconds"] == {"whole": 2.0, "scaled": 1.0}[kind]
    assert {"whole": "measured", "scaled": "scaled"}[kind] in duration["source"]
    rate = found["work"]["per_step"] / measured["operations"]
    assert duration["step_seconds"] == pytest.approx(measured["seconds"] * rate)
    assert (rate == 1) == (kind == "whole")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--devices", "0"], "devices is 0: it must be at least 1"),
        (["--hours", "-3"], "hours is -3.0: it must be above 0"),
        (["--hours", "inf"], "hours is inf: it must be above 0, and finite"),
        (["--hours", "1", "--data.batch-seconds", "1e309"], "must be above 0, and finite"),
        (["--tflops", "100", "--speed", "9"], "tflops and speed each say how fast a device is"),
        (["--utterance-seconds", "60"], "utterance_seconds is 60, and the model's window has 30 s"),
        (["--trainable", "encoder.expert", "--init-from", "commands"], "did you mean"),
        (["--config", "no-such.yaml"], "--config no-such.yaml: no such file or directory"),
        (["--preset", "huge"], "no preset 'huge': choose one of"),
    ],
)
def test_bad_input_gets_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [word for pair in BASE.items() if pair[0] not in words for word in pair]
    assert main(["plan", *given, *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("turnout: error: ")
    assert captured.err.count("\n") == 1
    assert said in captured.err


def test_two_speeds_are_refused_with_a_measurement_too() -> None:
    with pytest.raises(ConfigError, match="speed and measure each say"):
        PlanConfig(hours=1.0, speed=3.0, measure="whole")


def test_a_plan_needs_no_pytorch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; from turnout.cli import main; "
        "status = main(sys.argv[1:]); assert 'lhotse' not in sys.modules; sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *TINY], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("parameters: 0.1M in total")
