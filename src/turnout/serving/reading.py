"""An upload -> an open Recording whose sound comes from another process, which is bounded.

The errors are those of the command line, with the client's name of the file.
"""

import json
import logging
import os
import select
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from turnout.audio.features import SAMPLE_RATE
from turnout.audio.waveform import HIGHEST_RATE, LOWEST_RATE, Recording
from turnout.config.serving import ServingConfig
from turnout.errors import (
    AudioError,
    AudioTooLong,
    Busy,
    Cancelled,
    EngineError,
    MissingExtra,
    TurnoutError,
    UsageError,
    one_line,
)
from turnout.serving.processor_time import STARVED_SECONDS, Question
from turnout.serving.reading_child import FRAME

PROCESS = "the process that decodes uploads"
STEP_SECONDS = 0.25
"""How often a reader that waits asks whether it is still wanted."""
SAMPLE_BYTES = 4
LONGEST_SAID = 2000
LARGEST_FRAME = 2**26
"""Bytes: far above a block of a few seconds."""

Floats = NDArray[np.float32]
log = logging.getLogger(__name__)


class Forks(Protocol):
    """What begins readings: see `readers.py`."""

    def kill(self, number: int) -> None:
        """End a child, if it has not ended."""
        ...

    def are_stuck(self) -> bool:
        """Whether no child would be begun; mended then."""
        ...

    def have_lost(self, number: int) -> bool:
        """Whether a child is gone because of what forked it, which is no file's doing."""
        ...


class ReadElsewhere(Recording):
    """A Recording whose samples come as they are meant to be heard."""

    def __init__(
        self, reading: "Reading", name: str, max_duration: float, native_rate: int
    ) -> None:
        super().__init__(reading, BytesIO(), name, max_duration, None)
        self.native_rate = native_rate

    def blocks(self, *, settled: bool = True) -> Iterator[Floats]:  # noqa: ARG002
        """See `Recording.blocks`; what is constant at the beginning became zero where they were
        resampled, and never twice."""
        return super().blocks(settled=False)


class Reading:
    """The sound of one upload as an AudioDecoder: at 16 kHz, of one channel, as it comes."""

    channels = 1
    rate = SAMPLE_RATE

    def __init__(
        self, readers: Forks, number: int, pipe: int, name: str, config: ServingConfig
    ) -> None:
        self.warnings: list[str] = []
        self._readers = readers
        self._number = number
        self._pipe: int | None = pipe
        self._name = name
        self._config = config
        self._wanted = True
        self._ended = False
        self._begun = time.monotonic()
        self._heard = False  # anything at all
        self._child: int | None = None

    def recording(self, max_duration: float) -> Recording:
        """The recording, once its header was read; raises what `open_recording` does, Cancelled and
        EngineError."""
        kind, data = self._frame()
        if kind == b"p":
            self._child = self._said(data).get("process")
            kind, data = self._frame()
        rate = self._said(data).get("native_rate") if kind == b"h" else None
        if not isinstance(rate, int) or not LOWEST_RATE <= rate <= HIGHEST_RATE:
            raise self._broken("its header is none")
        return ReadElsewhere(self, self._name, max_duration, rate)

    def blocks(self) -> Iterator[Floats]:
        """Blocks [samples, 1]; raises as `recording` does."""
        while True:
            kind, data = self._frame()
            if kind == b"z":
                self._ended = True
                found = self._said(data).get("warnings")
                self.warnings += map(plain, found if isinstance(found, list) else ())
                return
            if kind != b"b" or len(data) % SAMPLE_BYTES:
                raise self._broken(f"a frame of kind {kind!r} and {len(data)} bytes came")
            # Of a bytearray: whoever reads a block may change it.
            yield np.frombuffer(data, np.float32)[:, None]

    def stop(self) -> None:
        """Whoever waits for sound is told Cancelled; from any thread."""
        self._wanted = False

    def close(self) -> None:
        """End the child; whoever reads must have come back."""
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None
            if not self._ended:
                self._readers.kill(self._number)

    def _frame(self) -> tuple[bytes, bytearray]:
        """The next frame; raises what an error's frame says."""
        kind, length = FRAME.unpack(self._exactly(FRAME.size))
        if length > LARGEST_FRAME:
            raise self._broken(f"a frame of {length} bytes came")
        data = self._exactly(length)
        if kind == b"e":
            raise error_of(self._name, self._said(data))
        if kind == b"x":
            raise self._broken(data.decode("utf-8", "replace"))
        return kind, data

    def _said(self, data: bytearray) -> dict[str, Any]:
        """What a child says; one that a file has taken over says anything."""
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise self._broken("what it says is no object")
        return found

    def _exactly(self, length: int) -> bytearray:
        """So many bytes of the pipe."""
        data = bytearray(length)
        left = memoryview(data)
        while left:
            self._wait()
            assert self._pipe is not None
            came = os.readv(self._pipe, [left])
            if not came:
                if self._readers.have_lost(self._number):
                    raise EngineError(f"{PROCESS} has ended: send it again")
                raise self._broken("it ended before the recording did")
            self._heard = True
            left = left[came:]
        return data

    def _wait(self) -> None:
        """Until something can be read."""
        until, asked = time.monotonic() + self._config.reading_stall_seconds, None
        poll = select.poll()  # unlike select, it takes files of any number
        if self._pipe is not None:
            poll.register(self._pipe, select.POLLIN)
        while self._wanted and self._pipe is not None:
            if poll.poll(1000 * STEP_SECONDS):
                return
            if asked is None and isinstance(self._child, int):
                asked = Question.to(self._child)
            if time.monotonic() > until and not (asked is not None and asked.may_wait()):
                until = self._more_time()
        raise Cancelled("reading was cancelled")

    def _more_time(self) -> float:
        """Until when a child is waited for that is not begun yet, which has read nothing of the
        file; raises why it is not."""
        stall = self._config.reading_stall_seconds
        if not self._heard:
            if self._readers.are_stuck():
                raise EngineError(f"{PROCESS} was stuck: send it again")
            if time.monotonic() - self._begun < STARVED_SECONDS:
                return time.monotonic() + stall
            raise EngineError(f"{PROCESS} began nothing for {STARVED_SECONDS:g} s: send it again")
        raise AudioError(
            self._name,
            f"decoding it gave no sound for {stall:g} s: give it in another format, such as WAV or "
            "FLAC",
        )

    def _broken(self, why: str) -> AudioError:
        """The error of a child that did not end well, which is the file's doing; the log says
        more."""
        log.warning("a child that decodes an upload failed: %s", plain(why))
        config = self._config
        return AudioError(
            self._name,
            f"decoding it failed, or took more than {config.reading_memory_mb} MB or "
            f"{config.reading_cpu_seconds} s: give it in another format, such as WAV or FLAC",
        )


def error_of(name: str, said: dict[str, Any]) -> TurnoutError:
    """The error that a child's words stand for."""
    match said.get("kind"):
        case "AudioTooLong":
            return AudioTooLong(name, plain(said.get("reason")))
        case "MissingExtra":
            return MissingExtra(plain(said.get("what")), plain(said.get("extra")))
        case "Busy":
            return Busy("no process can be begun to read this: try again later", 5)
        case "UsageError":
            return UsageError(plain(said.get("message")))
        case _:
            return AudioError(name, plain(said.get("reason")))


def plain(said: object) -> str:
    """A child's words on one line of some length."""
    return one_line(str(said))[:LONGEST_SAID]


def opened_file(path: Path, name: str) -> int:
    """The upload, open; raises AudioError."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise AudioError(name, f"cannot be read ({error.strerror or error})") from error
