"""T10: files that unpack to hours or lie about themselves cost little, whatever becomes of them."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.reliability.bombs import BOMBS, HOUR, Bomb
from tests.reliability.examples import ROOT, examples
from tests.reliability.reader import SOURCES, Answer, Reader
from tests.reliability.tally import Tally

LIMIT_SECONDS = 600.0
MOST_CPU_SECONDS = 6.0
"""An hour of Opus or AMR takes 1 to 3, by the processor; what costs more than it holds, minutes."""
MOST_MB = 100.0
"""Above idle."""
MOST_SILENT_MB = 32.0
"""Above the same command on the speech alone: 20 minutes of samples are 77 MB."""
LEVELS = {"silence": 0.0, "an offset": 0.1}


def check(bomb: Bomb, answer: Answer) -> None:
    """What became of it is what must."""
    answer.check()
    stopped = "longer than the allowed" in answer.message
    outcome = "stopped" if stopped else answer.outcome
    assert outcome == bomb.outcome, f"{outcome}: {answer.message}"
    seconds = answer.samples / 16_000
    if outcome == "read":
        assert abs(seconds - bomb.seconds) < 0.001, f"{seconds} s were read"
    else:
        assert seconds <= LIMIT_SECONDS, f"{seconds} s were read before it was given up"


def check_cost(reader: Reader, answer: Answer) -> None:
    """Neither time nor memory."""
    assert answer.cpu_seconds <= MOST_CPU_SECONDS, f"{answer.cpu_seconds:.1f} s of CPU"
    growth = answer.peak_mb - reader.idle_mb
    assert growth <= MOST_MB, f"{growth:.0f} MB above idle"


@pytest.mark.skipif(find_spec("av") is None, reason="PyAV makes some of them")
@pytest.mark.counts("T10", "bombs")
def test_bombs_cost_little(tally: Tally, tmp_path: Path) -> None:
    costs: dict[str, list[float]] = {}
    with Reader(tmp_path) as reader:
        for name, bomb in BOMBS.items():
            path = tmp_path / f"bomb{bomb.ending}"
            path.write_bytes(bomb.make())
            for source in SOURCES[: tally.size(1, len(SOURCES))]:
                with tally.trial(f"{name}, by {source}"):
                    answer = reader.read(path, source, limit=LIMIT_SECONDS)
                    growth = answer.peak_mb - reader.idle_mb
                    if growth > MOST_MB:
                        reader.restart()  # the next one is not to blame
                    costs.setdefault(name, [round(answer.cpu_seconds, 2), round(growth, 1)])
                    check(bomb, answer)
                    check_cost(reader, answer)
            path.unlink()
        tally.measure(cpu_seconds_and_mb=costs)
        leak = reader.read(tmp_path / "good.wav", fault="leak", leaked_mb=120)
        try:
            check_cost(reader, leak)
        except AssertionError:
            tally.controlled(True)
        else:
            tally.controlled(False)


@pytest.mark.counts("T10", "memory of the command")
def test_hours_without_sound_take_the_command_no_memory(tally: Tally, tmp_path: Path) -> None:
    seconds = tally.size(HOUR // 3, 3 * HOUR)
    speech = examples()[0].samples
    idle, text = transcribed(written(tmp_path, [speech]))
    growths: dict[str, float] = {}
    for name, level in LEVELS.items():
        quiet = [np.full(16_000, level, np.float32)] * seconds
        orders = {"alone": quiet, "before speech": [*quiet, speech], "behind it": [speech, *quiet]}
        if not tally.full:  # one command for each level
            orders.pop("alone")
            orders.pop("before speech" if level else "behind it")
        for order, parts in orders.items():
            with tally.trial(f"{name} {order}"):
                peak, heard = transcribed(written(tmp_path, parts))
                growths[f"{name} {order}"] = growth = round(peak - idle, 1)
                assert heard == (text if len(parts) > seconds else ""), f"heard: {heard}"
                assert growth <= MOST_SILENT_MB, f"{growth} MB more than the speech alone"
    tally.measure(mb_more_than_speech_alone=growths)
    if tally.full:
        held, _ = transcribed(tmp_path / "long.flac", held_mb=64)
        tally.controlled(held - idle > MOST_SILENT_MB)


def written(folder: Path, parts: list[np.ndarray]) -> Path:
    """A recording of these, one after the other."""
    path = folder / "long.flac"
    with soundfile.SoundFile(path, "w", 16_000, 1) as file:
        for part in parts:
            file.write(part)
    return path


def transcribed(path: Path, held_mb: int = 0) -> tuple[float, str]:
    """The most memory that `turnout transcribe` had, in MB, and what it wrote; it holds so much
    more for the negative control."""
    words = ["transcribe", str(path), "--threads", "1"]
    command = [sys.executable, "-m", "tests.reliability.peak_child", str(held_mb), *words]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, env=os.environ)
    return float(result.stderr.split()[-1]), result.stdout.decode().strip()
