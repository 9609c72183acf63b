"""The process that decodes uploads, from the server's side: begun, watched, and begun again.

It forks a child for each upload; what comes of one is read in `reading.py`. It is looked at all the
time, not when an upload needs it: a server that is asked whether it is well must know.
"""

import json
import logging
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from threading import Event, Lock, Thread

from turnout.config import TranscriptionOptions
from turnout.config.serving import ServingConfig
from turnout.errors import EngineError
from turnout.serving.processor_time import Question
from turnout.serving.reading import PROCESS, STEP_SECONDS, Reading
from turnout.serving.reading_child import LENGTH

START_SECONDS = 60.0
"""On a machine that does much else."""
WATCH_SECONDS = 2.0
SLOW_SECONDS = 2.0
"""Without an answer, after which it is told: one that is well answers at once, since it only
forks."""
PING_SECONDS = 6.0
"""Without an answer, after which it is ended, unless it only waits for a processor."""
LOST_SECONDS = 0.1
"""For the system to tell that a process has ended whose children have."""
SINGLE_THREADED = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""A process with threads cannot be forked safely."""
NEEDED = (
    "PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL",
    "LC_CTYPE", "TMPDIR",
)  # fmt: skip
"""Variables that a decoder of strangers' files is given: any other may be a secret."""

log = logging.getLogger(__name__)


class Readers:
    """The process that decodes uploads; thread-safe."""

    def __init__(self, config: ServingConfig) -> None:
        self._config = config
        self._lock = Lock()
        self._next = 0
        """Number of the next child."""
        self._first = 0
        """Number of the first child that is not lost."""
        self._process: subprocess.Popen[bytes] | None = None
        self._orders: socket.socket | None = None
        self._asked: Question | None = None
        """What it has not answered."""
        self._trouble = ""
        self._closed = Event()

    def start(self) -> None:
        """Begin the process and look after it; raises EngineError where it does not come up."""
        with self._lock:
            self._living()
        Thread(target=self._watch, name="readers", daemon=True).start()

    def open(self, file: int, name: str, options: TranscriptionOptions) -> Reading:
        """Begin to decode a file, which becomes this call's to close; raises EngineError."""
        ours, theirs = os.pipe()
        order = {
            "kill": False,
            "name": name,
            "max_duration": options.max_duration,
            "channel": options.channel,
            "track": options.track,
            "memory_bytes": self._config.reading_memory_mb * 2**20,
            "cpu_seconds": self._config.reading_cpu_seconds,
        }
        try:
            with self._lock:
                orders, number = self._living(), self._next
                self._next += 1
                self._tell(orders, {"number": number, **order}, [file, theirs])
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(file)
            os.close(theirs)
        return Reading(self, number, ours, name, self._config)

    def kill(self, number: int) -> None:
        """End a child, if it has not ended; those of a process that has ended are gone with it."""
        with self._lock, suppress(EngineError):
            if self._orders is not None and self._is_alive():
                self._tell(self._orders, {"number": number, "kill": True}, [])

    def trouble(self) -> str:
        """Why no upload can be expected to be decoded; empty where all is well."""
        process = self._process
        if process is not None and process.poll() is not None:
            return f"{PROCESS} has ended: another is begun"
        if self._is_behind():
            return f"{PROCESS} does not answer"
        return self._trouble

    def are_stuck(self) -> bool:
        """Whether the process is there and does nothing, since somebody stopped it, say: it is
        ended then, and another begun by who looks after it, or for the next upload."""
        with self._lock:
            if not self._is_alive() or self._answers():
                return False
            self._end()
        return True

    def _is_behind(self) -> bool:
        """Whether the process has not answered yet."""
        asked = self._asked
        return asked is not None and time.monotonic() - asked.at > SLOW_SECONDS

    def have_lost(self, number: int) -> bool:
        """Whether this child is gone because the process that forked it is."""
        with self._lock:
            if self._process is not None:
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(LOST_SECONDS)
                    self._end()
            return number < self._first

    def close(self) -> None:
        """End the process, and with it all children."""
        self._closed.set()
        with self._lock:
            self._end()

    def _watch(self) -> None:
        while not self._closed.wait(WATCH_SECONDS):
            with self._lock:
                if not self._closed.is_set():
                    self._look()

    def _look(self) -> None:
        """See whether the process answers; another takes the place of one that does not."""
        try:
            if self._is_alive() and not self._answers():
                self._trouble = f"{PROCESS} did not answer, and is ended"
                self._end()
            self._living()
            self._trouble = ""
        except (EngineError, OSError) as error:
            self._trouble = f"{PROCESS} does not come up"
            log.error("%s: %r", self._trouble, error)

    def _answers(self) -> bool:
        """Whether the process, which is there, does what it is told, or will: where it waits for a
        processor the question stands, and others may give orders meanwhile."""
        assert self._process is not None
        try:
            if self._asked is None:
                self._ask()
            answered = self._has_answered()
        except (EngineError, OSError):  # it has ended
            answered = False
        if not answered and self._asked is not None and self._asked.may_wait():
            return True
        self._asked = None
        if not answered:
            log.error("%s does not answer", PROCESS)
        return answered

    def _ask(self) -> None:
        assert self._orders is not None
        assert self._process is not None
        self._asked = Question.to(self._process.pid)
        self._tell(self._orders, {"number": 0, "kill": False, "ping": True}, [])

    def _has_answered(self) -> bool:
        """Whether an answer comes in time; where all is closed meanwhile, nobody waits for it."""
        assert self._orders is not None
        assert self._asked is not None
        self._orders.settimeout(STEP_SECONDS)
        try:
            while not self._closed.is_set():
                with suppress(TimeoutError):
                    return self._orders.recv(1) == b"p"
                if time.monotonic() > self._asked.at + PING_SECONDS:
                    return False
        finally:
            self._orders.settimeout(START_SECONDS)
        return True

    def _tell(self, orders: socket.socket, order: dict[str, object], files: list[int]) -> None:
        data = json.dumps(order).encode()
        try:
            # The files come with the first bytes; both fit into the socket's buffer.
            socket.send_fds(orders, [LENGTH.pack(len(data))], files)
            orders.sendall(data)
        except OSError as error:
            self._end()
            raise EngineError(f"{PROCESS} has ended: try again") from error

    def _is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _living(self) -> socket.socket:
        if self._orders is not None and self._is_alive():
            return self._orders
        if self._process is not None:
            log.error("%s has ended: another is started", PROCESS)
        self._end()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._orders = ours  # closed with the next, where none can be begun now
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "turnout.serving.reading_child", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=surroundings(),
                start_new_session=True,  # Ctrl-C in a terminal is the server's
            )
        ours.settimeout(START_SECONDS)
        try:
            ready = ours.recv(1)
        except OSError:
            ready = b""
        if ready != b"r":
            self._end()
            raise EngineError(f"{PROCESS} does not come up")
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
        self._orders = self._process = self._asked = None
        self._first = self._next


def surroundings() -> dict[str, str]:
    """What a decoder needs of the environment, which also holds what others must not know."""
    kept = {name: os.environ[name] for name in NEEDED if name in os.environ}
    return {**kept, **SINGLE_THREADED}
