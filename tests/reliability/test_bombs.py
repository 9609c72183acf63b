"""T10: files that unpack to hours or lie about themselves cost little, whatever becomes of them."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.reliability.bombs import BOMBS, Bomb
from tests.reliability.reader import SOURCES, Answer, Reader
from tests.reliability.tally import Tally

LIMIT_SECONDS = 600.0
MOST_CPU_SECONDS = 2.0
MOST_MB = 100.0
"""Above idle."""


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
