"""T15: the same file again and again, in fresh processes and with other threads: the same tokens,
and the same JSON to the last digit from the same number of threads."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import turnout
from tests.reliability.mates import Noisy, examples
from tests.reliability.repeating import transcribed
from tests.reliability.tally import Tally
from turnout.audio.features import SAMPLE_RATE
from turnout.transcription.transcriber import Transcriber

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 300


@pytest.fixture
def recording(tmp_path: Path, tally: Tally) -> Path:
    """Several examples in a row: longer than the model takes at once."""
    path = tmp_path / "several.wav"
    samples = np.concatenate([speech.samples for speech in examples()[-tally.size(2, 3) :]])
    soundfile.write(path, samples, SAMPLE_RATE, subtype="FLOAT")
    return path


def fresh(*arguments: object) -> str:
    """What a Python process of its own prints."""
    # Whoever runs the tests may have set threads for them all; here the options must count.
    environment = {name: value for name, value in os.environ.items() if "NUM_THREADS" not in name}
    environment["OMP_WAIT_POLICY"] = "PASSIVE"  # threads that wait take no time from other tests
    done = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


THREADS = [pytest.param(1, marks=pytest.mark.full), 2]


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("backend", ["onnx", "torch"])
@pytest.mark.counts("T15", "threads")
def test_the_same_file_again_and_again(
    backend: str, threads: int, recording: Path, tally: Tally
) -> None:
    sizes = [10] * 10 if tally.full else [2, 1]  # at once, and in another process
    here = turnout.load("commands", backend=backend, threads=1)  # type: ignore[arg-type]
    tokens = transcribed(here, str(recording))["tokens"]
    assert any(map(any, tokens)), "a model that writes nothing proves nothing"
    first: dict[str, Any] | None = None
    for restart, times in enumerate(sizes):
        lines = fresh("tests.reliability.repeating", backend, threads, times, recording)
        for number, line in enumerate(lines.splitlines()):
            found: dict[str, Any] = json.loads(line)
            first = found if first is None else first
            with tally.trial(f"restart {restart} time {number}"):
                assert found["tokens"] == tokens
                assert found["json"] == first["json"]
    assert tally.trials == sum(sizes)
    tally.controlled(noise_is_noticed(here, recording))


def noise_is_noticed(transcriber: Transcriber, recording: Path) -> bool:
    """Whether log-probabilities that change a little each time make other files: the control."""
    noisy = Transcriber(Noisy(transcriber.backend), transcriber.tokenizer, transcriber.folder)
    one, other = (transcribed(noisy, str(recording)) for _ in range(2))
    return one["json"] != other["json"]


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.counts("T15", "command line, threads")
def test_the_command_line_writes_the_same_file_again(
    threads: int, recording: Path, tmp_path: Path, tally: Tally
) -> None:
    written: set[bytes] = set()
    for time in range(tally.size(2, 50)):
        folder = tmp_path / str(time)
        options = ("--task", "both", "--threads", threads, "-f", "json", "-o", folder)
        with tally.trial(f"time {time}"):
            fresh("turnout", "transcribe", recording, *options)
            written.add((folder / "several.json").read_bytes())
            assert len(written) == 1
    tally.measure(different_files=len(written))
