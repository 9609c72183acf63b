"""The process that decodes uploads is ended where something is wrong with it, and not where it only
waits for a processor."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread, Timer

import numpy as np
import pytest

from tests.containers import encode
from tests.doubles import tone
from turnout.audio.waveform import read_audio
from turnout.config import TranscriptionOptions
from turnout.config.serving import ServingConfig
from turnout.errors import AudioError, EngineError
from turnout.serving import processor_time
from turnout.serving import readers as readers_module
from turnout.serving import reading as reading_module
from turnout.serving.processor_time import Seen, seen
from turnout.serving.readers import Readers
from turnout.serving.reading import Reading, opened_file
from turnout.serving.reading_child import framed

NAME = "a client's name.wav"
PATIENCE_SECONDS = 60.0
Processes = Callable[..., None]


def until(holds: Callable[[], object]) -> None:
    last = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < last
        time.sleep(0.02)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Processes:
    """Says of a process what the system would; one it was not told of gets no processor, since on a
    busy machine none may."""
    proc = tmp_path / "proc"
    monkeypatch.setattr(processor_time, "PROCESSES", proc)

    def seen_or_starved(process: int) -> Seen | None:
        return seen(process) if (proc / str(process)).exists() else Seen("R", 0.0)

    monkeypatch.setattr(processor_time, "seen", seen_or_starved)

    def tell(process: int, state: str | None, ticks: int = 0) -> None:
        folder = proc / str(process)
        folder.mkdir(parents=True, exist_ok=True)
        line = f"{process} (py) R (x) {state} 1 1 1 0 -1 0 9 9 9 9 {ticks} 0 9 9 20 0\n"
        part = folder / "part"
        part.write_text("" if state is None else line)
        part.rename(folder / "stat")

    return tell


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("WATCH", 0.05), ("SLOW", 0.05), ("PING", 0.3)):
        monkeypatch.setattr(readers_module, f"{name}_SECONDS", seconds)


@contextmanager
def silent(readers: Readers) -> Iterator[subprocess.Popen[bytes]]:
    """The process, which does nothing meanwhile."""
    process = readers._process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGCONT)


@pytest.fixture
def readers(impatient: None) -> Iterator[Readers]:
    found = Readers(ServingConfig(reading_stall_seconds=0.5))
    found.start()
    yield found
    found.close()


@pytest.mark.parametrize("state", ["R", "D"])
def test_a_process_that_gets_no_processor_is_waited_for_with_what_it_is_to_read(
    told: Processes, readers: Readers, state: str, tmp_path: Path
) -> None:
    path = tmp_path / "upload.wav"
    path.write_bytes(encode(tone(1.0)))
    found: list[object] = []

    def read() -> None:
        reading = readers.open(opened_file(path, NAME), NAME, TranscriptionOptions())
        try:
            found.append(np.concatenate(list(reading.recording(100.0).blocks())))
        except Exception as error:  # told below
            found.append(error)
        finally:
            reading.close()

    process = readers._process
    assert process is not None
    told(process.pid, state)
    until(lambda: readers._asked is None)  # what it was asked before it was told of
    with silent(readers):
        time.sleep(0.5)
        upload = Thread(target=read, daemon=True)
        upload.start()
        time.sleep(1.5)
        assert process.poll() is None, "it is ended"
        assert readers.trouble() == "the process that decodes uploads does not answer"
        assert not readers.are_stuck()
    upload.join(PATIENCE_SECONDS)
    assert len(found) == 1
    np.testing.assert_array_equal(found[0], read_audio(path).samples)  # type: ignore[arg-type]
    until(lambda: not readers.trouble())
    assert readers._process is process


@pytest.mark.parametrize("state", ["T", "S", "Z", None])
def test_one_that_waits_for_something_else_is_ended_and_one_of_which_nobody_tells(
    told: Processes, readers: Readers, state: str | None
) -> None:
    assert readers._process is not None
    told(readers._process.pid, state)
    with silent(readers) as process:
        until(lambda: process.poll() is not None)
    until(lambda: readers._process not in (None, process) and not readers.trouble())


def test_one_that_has_had_its_time_and_says_nothing_is_ended(
    told: Processes, readers: Readers
) -> None:
    process = readers._process
    assert process is not None
    told(process.pid, "R")
    with silent(readers):
        time.sleep(1.0)
        assert process.poll() is None
        told(process.pid, "R", 2 * os.sysconf("SC_CLK_TCK"))
        until(lambda: process.poll() is not None)


def test_nothing_is_waited_for_for_ever(
    told: Processes, readers: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor_time, "STARVED_SECONDS", 1.0)
    assert readers._process is not None
    told(readers._process.pid, "R")
    with silent(readers) as process:
        until(lambda: process.poll() is not None)


class Forked:
    """What began a child, and would begin others."""

    def kill(self, number: int) -> None:
        """Nothing is there to be ended."""

    def are_stuck(self) -> bool:
        return False

    def have_lost(self, number: int) -> bool:  # noqa: ARG002
        return False


CHILD = 4_000_000


@contextmanager
def begun(said: bytes = framed(b"p", b'{"process": %d}' % CHILD)) -> Iterator[tuple[Reading, int]]:
    """The reading of a child that has said who it is, and the pipe that it writes into."""
    ours, theirs = os.pipe()
    os.write(theirs, said)
    reading = Reading(Forked(), 1, ours, NAME, ServingConfig(reading_stall_seconds=0.5))
    try:
        yield reading, theirs
    finally:
        os.close(theirs)
        reading.close()


def test_a_child_that_gets_no_processor_is_waited_for(told: Processes) -> None:
    told(CHILD, "R")
    with begun() as (reading, theirs):

        def goes_on() -> None:
            time.sleep(1.5)
            os.write(theirs, framed(b"h", b'{"native_rate": 8000}'))

        Thread(target=goes_on, daemon=True).start()
        assert reading.recording(10.0).native_rate == 8000


def test_so_is_one_that_is_not_begun_and_has_read_nothing_of_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with begun(b"") as (reading, theirs):
        Timer(1.5, os.write, (theirs, framed(b"h", b'{"native_rate": 8000}'))).start()
        assert reading.recording(10.0).native_rate == 8000
    monkeypatch.setattr(reading_module, "STARVED_SECONDS", 1.0)
    with begun(b"") as (reading, _), pytest.raises(EngineError, match="began nothing for 1 s"):
        reading.recording(10.0)


@pytest.mark.parametrize("state", ["S", "T", None])
def test_a_child_that_waits_for_something_else_is_the_file_s_doing(
    told: Processes, state: str | None
) -> None:
    told(CHILD, state)
    with begun() as (reading, _), pytest.raises(AudioError, match="gave no sound for 0.5 s"):
        reading.recording(10.0)


def test_so_is_one_that_had_time_and_gave_no_sound(told: Processes) -> None:
    told(CHILD, "R")
    Timer(1.0, told, (CHILD, "R", 2 * os.sysconf("SC_CLK_TCK"))).start()
    began = time.monotonic()
    with begun() as (reading, _), pytest.raises(AudioError, match="gave no sound"):
        reading.recording(10.0)
    assert time.monotonic() - began > 0.9


@pytest.mark.skipif(sys.platform != "linux", reason="the system tells nothing of processes")
def test_what_the_system_tells_of_a_process_is_read() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            assert_busy(busy.pid)
            os.kill(busy.pid, signal.SIGSTOP)
            until(lambda: state_of(busy.pid) == "T")
        finally:
            busy.kill()
        until(lambda: state_of(busy.pid) == "Z")
    assert seen(busy.pid) is None


def assert_busy(process: int) -> None:
    until(lambda: state_of(process) == "R")
    before = seen(process)
    assert before is not None

    def has_had_time() -> bool:
        now = seen(process)
        return now is not None and now.seconds > before.seconds

    until(has_had_time)


def state_of(process: int) -> str | None:
    found = seen(process)
    return found and found.state
