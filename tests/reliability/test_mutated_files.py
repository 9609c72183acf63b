"""T9: files damaged in many ways are read, or refused with one line; nothing else happens."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from subprocess import CompletedProcess

import pytest

from tests.reliability.command import SAYS, lines_about, transcribe
from tests.reliability.examples import examples
from tests.reliability.mutations import mutate
from tests.reliability.reader import SOURCES, Reader
from tests.reliability.seeds import FAMILIES, Form, num_seeds, seed
from tests.reliability.tally import Tally

MOST_GROWTH_MB = 64.0
MOST_KEPT_MB = 8.0
"""Growth of what is resident between two good files, with damaged ones between them."""
WARM_UP = 20, 60
"""Files, before memory is taken to be at its level: of the small size, and of the full one."""
MOST_CPU_SECONDS = 2.0
LONGEST_SECONDS = 600.0
BATCH = 10


def damaged_file(folder: Path, name: str, forms: tuple[Form, ...], random: Random) -> Path:
    """A new file: its name says what was done to it."""
    form, other = random.choice(forms), random.choice(forms)
    data, ending, kind = mutate(
        seed(form, random.randrange(num_seeds())),
        form.ending,
        seed(other, random.randrange(num_seeds())),
        random,
    )
    path = folder / f"{name}-{form.name.replace(' ', '-')}-{kind}{ending}"
    path.write_bytes(data)
    return path


@pytest.mark.counts("T9", "decoder")
@pytest.mark.parametrize("family", FAMILIES)
def test_damaged_files_are_read_or_refused(tally: Tally, family: str, tmp_path: Path) -> None:
    outcomes: Counter[str] = Counter()
    slowest = growth = level = kept = 0.0
    starts = 0
    warm_up = tally.size(*WARM_UP)
    with Reader(tmp_path) as reader:
        for number in range(tally.size(25, 200)):
            if number == warm_up or (number > warm_up and reader.starts != starts):
                level, starts = reader.resident_mb(), reader.starts
            random = tally.random(number)
            path = damaged_file(tmp_path, f"{number:04}", FAMILIES[family], random)
            with tally.trial(path.name):
                answer = reader.read(path, random.choice(SOURCES), limit=LONGEST_SECONDS)
                outcomes[answer.outcome] += 1
                slowest = max(slowest, answer.cpu_seconds)
                growth = max(growth, answer.peak_mb - reader.idle_mb)
                answer.check()
            path.unlink()
        if reader.starts == starts:
            kept = reader.resident_mb() - level
        with tally.trial("time"):
            assert slowest <= MOST_CPU_SECONDS, f"one took {slowest:.1f} s of CPU"
        with tally.trial("memory"):
            assert growth <= MOST_GROWTH_MB, f"it grew by {growth:.0f} MB"
        with tally.trial("memory that is kept"):
            assert kept <= MOST_KEPT_MB, f"{kept:.1f} MB more than after {warm_up} files"
        with tally.trial("temporary files"):
            assert not reader.left_behind(), f"left behind: {reader.left_behind()}"
        tally.measure(**outcomes, starts=reader.starts)
        tally.measure(slowest_cpu_seconds=round(slowest, 3), rss_growth_mb=round(growth, 1))
        tally.measure(kept_mb=round(kept, 1))
        tally.controlled(crash_and_leak_are_seen(reader, tmp_path))


def crash_and_leak_are_seen(reader: Reader, folder: Path) -> bool:
    """The negative control: the faults, planted in the process."""
    before = reader.resident_mb()
    reader.read(folder / "good.wav", fault="leak", leaked_mb=24)
    kept = reader.resident_mb() - before
    crash = reader.read(folder / "good.wav", fault="crash")
    reader.restart()
    idle = reader.idle_mb
    leak = reader.read(folder / "good.wav", fault="leak", leaked_mb=80)
    leaks = kept > MOST_KEPT_MB and leak.peak_mb - idle > MOST_GROWTH_MB
    return crash.outcome == "died" and leaks


@pytest.mark.counts("T9", "command line")
@pytest.mark.parametrize("part", range(2))
def test_damaged_files_leave_the_good_one_beside_them(
    tally: Tally, part: int, tmp_path: Path
) -> None:
    temporary = tmp_path / "temporary"
    forms = tuple(form for family in FAMILIES.values() for form in family)
    good = examples()[part].path
    text = transcribe([good], temporary).stdout.strip()
    outcomes: Counter[str] = Counter()
    for batch in range(tally.size(1, 10)):
        random = tally.random(batch)
        files = [
            damaged_file(tmp_path, f"{batch}-{number}", forms, random) for number in range(BATCH)
        ]
        place = random.randrange(BATCH + 1)
        result = transcribe([*files[:place], good, *files[place:]], temporary)
        errors = result.stderr.count(SAYS[0])
        outcomes["refused"] += errors
        outcomes["read"] += BATCH - errors
        for path in files:
            with tally.trial(path.name):
                check_said(path, result)
        with tally.trial(f"{batch}: the good file"):
            assert lines_about(good, result) == [f"{good}: {text}"]
        with tally.trial(f"{batch}: exit status and stderr"):
            check_end(result)
        if batch == 0:
            tally.controlled(faults_are_seen(result, files))
    with tally.trial("temporary files"):
        assert not list(temporary.iterdir()), "some were left behind"
    tally.measure(**outcomes)


def check_said(path: Path, result: CompletedProcess[str]) -> None:
    """One line, of its text or of what is wrong with it."""
    assert len(lines_about(path, result)) == 1, f"said of it: {result.stderr}"


def check_end(result: CompletedProcess[str]) -> None:
    """The exit status says whether a file was refused; turnout alone wrote to stderr."""
    strange = [line for line in result.stderr.splitlines() if not line.startswith(SAYS)]
    assert not strange, f"lines that turnout did not write: {strange}"
    assert result.returncode == int(SAYS[0] in result.stderr), f"status {result.returncode}"


def faults_are_seen(result: CompletedProcess[str], files: list[Path]) -> bool:
    """The negative control: the answers of a command that left files out, that ended in a
    traceback, and that was killed."""
    out, said, status = result.stdout, result.stderr, result.returncode
    faults: list[tuple[Callable[..., None], tuple[object, ...]]] = [
        *((check_said, (path, CompletedProcess([], status, "", ""))) for path in files),
        (check_end, (CompletedProcess([], status, out, f"{said}Traceback:\n"),)),
        (check_end, (CompletedProcess([], -11, out, said),)),
    ]
    return all(is_seen(check, given) for check, given in faults)


def is_seen(check: Callable[..., None], given: tuple[object, ...]) -> bool:
    """Whether the check fails."""
    try:
        check(*given)
    except AssertionError:
        return True
    return False
