"""An upload -> an open Recording whose sound comes from another process, which is bounded.

The errors are those of the command line, with the client's name of the file. One process forks the
children; it is started at the server's start, and again where it died.
"""

import json
import logging
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.audio.features import SAMPLE_RATE
from turnout.audio.waveform import HIGHEST_RATE, LOWEST_RATE, Recording
from turnout.config import TranscriptionOptions
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
from turnout.serving.reading_child import FRAME, LENGTH

START_SECONDS = 30.0
PING_SECONDS = 5.0  # one that is well answers at once: it only forks
STEP_SECONDS = 0.25
"""How often a reader that waits asks whether it is still wanted."""
SAMPLE_BYTES = 4
LONGEST_SAID = 2000
LARGEST_FRAME = 2**26
"""Bytes: far above a block of a few seconds."""
SINGLE_THREADED = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""A process with threads cannot be forked safely."""
NEEDED = (
    "PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL",
    "LC_CTYPE", "TMPDIR",
)  # fmt: skip
"""Variables that a decoder of strangers' files is given: any other may be a secret."""

Floats = NDArray[np.float32]
log = logging.getLogger(__name__)


class Readers:
    """The process that decodes uploads; thread-safe."""

    def __init__(self, config: ServingConfig) -> None:
        self._config = config
        self._lock = Lock()
        self._numbers = count()
        self._process: subprocess.Popen[bytes] | None = None
        self._orders: socket.socket | None = None

    def start(self) -> None:
        """Begin the process, where there is none; raises EngineError where it does not come up."""
        with self._lock:
            self._living()

    def open(self, file: int, name: str, options: TranscriptionOptions) -> "Reading":
        """Begin to decode a file, which becomes this call's to close; raises EngineError."""
        ours, theirs = os.pipe()
        number = next(self._numbers)
        order = {
            "number": number,
            "kill": False,
            "name": name,
            "max_duration": options.max_duration,
            "channel": options.channel,
            "track": options.track,
            "memory_bytes": self._config.reading_memory_mb * 2**20,
            "cpu_seconds": self._config.reading_cpu_seconds,
        }
        reading = Reading(self, number, ours, name, self._config)
        try:
            with self._lock:
                self._tell(self._living(), order, [file, theirs])
        except BaseException:
            reading.close()
            raise
        finally:
            os.close(file)
            os.close(theirs)
        return reading

    def kill(self, number: int) -> None:
        """End a child, if it has not ended; those of a process that has ended are gone with it."""
        with self._lock, suppress(EngineError):
            if self._orders is not None and self._is_alive():
                self._tell(self._orders, {"number": number, "kill": True}, [])

    def are_stuck(self) -> bool:
        """Whether the process is there and does nothing, since somebody stopped it, say: it is
        ended then, and the next upload begins another."""
        with self._lock, suppress(EngineError):
            if self._orders is None or not self._is_alive():
                return False
            self._tell(self._orders, {"number": 0, "kill": False, "ping": True}, [])
            self._orders.settimeout(PING_SECONDS)
            with suppress(OSError):
                if self._orders.recv(1) == b"p":
                    return False
            log.error("the process that decodes uploads does not answer: it is ended")
            self._end()
        return True

    def close(self) -> None:
        """End the process, and with it all children."""
        with self._lock:
            self._end()

    def _tell(self, orders: socket.socket, order: dict[str, object], files: list[int]) -> None:
        data = json.dumps(order).encode()
        try:
            # The files come with the first bytes; both fit into the socket's buffer.
            socket.send_fds(orders, [LENGTH.pack(len(data))], files)
            orders.sendall(data)
        except OSError as error:
            self._end()
            raise EngineError("the process that decodes uploads has ended: try again") from error

    def _is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _living(self) -> socket.socket:
        if self._orders is not None and self._is_alive():
            return self._orders
        if self._process is not None:
            log.error("the process that decodes uploads has ended: another is started")
        self._end()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "turnout.serving.reading_child", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=surroundings(),
                start_new_session=True,  # Ctrl-C in a terminal is the server's
            )
        self._orders = ours
        ours.settimeout(START_SECONDS)
        try:
            ready = ours.recv(1)
        except OSError:
            ready = b""
        if ready != b"r":
            self._end()
            raise EngineError("the process that decodes uploads does not come up")
        return ours

    def _end(self) -> None:
        if self._orders is not None:
            self._orders.close()
        if self._process is not None:
            # With its orders closed it ends by itself, and first its children.
            try:
                self._process.wait(STEP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._orders = self._process = None


def surroundings() -> dict[str, str]:
    """What a decoder needs of the environment, which also holds what others must not know."""
    kept = {name: os.environ[name] for name in NEEDED if name in os.environ}
    return {**kept, **SINGLE_THREADED}


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
        self, readers: Readers, number: int, pipe: int, name: str, config: ServingConfig
    ) -> None:
        self.warnings: list[str] = []
        self._readers = readers
        self._number = number
        self._pipe: int | None = pipe
        self._name = name
        self._config = config
        self._wanted = True
        self._ended = False
        self._heard = False  # anything at all

    def recording(self, max_duration: float) -> Recording:
        """The recording, once its header was read; raises what `open_recording` does, Cancelled and
        EngineError."""
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
                raise self._broken("it ended before the recording did")
            self._heard = True
            left = left[came:]
        return data

    def _wait(self) -> None:
        """Until something can be read."""
        until = time.monotonic() + self._config.reading_stall_seconds
        poll = select.poll()  # unlike select, it takes files of any number
        if self._pipe is not None:
            poll.register(self._pipe, select.POLLIN)
        while self._wanted and self._pipe is not None:
            if poll.poll(1000 * STEP_SECONDS):
                return
            if time.monotonic() > until:
                if not self._heard and self._readers.are_stuck():
                    raise EngineError("the process that decodes uploads was stuck: send it again")
                raise AudioError(
                    self._name,
                    f"decoding it gave no sound for {self._config.reading_stall_seconds:g} s: give "
                    "it in another format, such as WAV or FLAC",
                )
        raise Cancelled("reading was cancelled")

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
