"""Recordings are read while the model runs: a thread finds the next segments, as many as a batch
takes, and whoever asks for one that it has not reached yet reads it himself.

Decoding files, resampling, finding speech and features leave Python's lock to others most of the
time. What is read ahead is what would be read then: no segment depends on who reads it, or when.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

from turnout.transcription.segments import AudioSegment, AudioSegments, IsCancelled

Opened = Callable[[IsCancelled], AudioSegments]
"""Opens a recording, whose reading asks whether to go on; raises AudioError."""


class SegmentsAhead:
    """The segments of a recording, which is opened with the first of them; from any thread."""

    def __init__(self, opened: Opened, is_cancelled: IsCancelled | None = None) -> None:
        self.audio: AudioSegments | None = None
        """Once it is open."""
        self.ended = False
        """Whether nothing more is to be read."""
        self._opened: Opened | None = opened
        self._is_cancelled = is_cancelled
        self._stopped = False
        self._segments: Iterator[AudioSegment] = iter(())
        self._ready: deque[AudioSegment | Exception] = deque()
        self._reading = Lock()

    @property
    def ready(self) -> int:
        """How many segments were read and not taken yet."""
        return len(self._ready)

    @property
    def begins(self) -> float | None:
        """Where the next segment begins, in seconds, if it was read."""
        following = next(iter(self._ready), None)
        return following.start if isinstance(following, AudioSegment) else None

    def take(self) -> AudioSegment | None:
        """The next segment, if there is one; raises what reading it raised."""
        with self._reading:
            if not self._ready:
                self._read()
            found = self._ready.popleft() if self._ready else None
        if isinstance(found, Exception):
            raise found
        return found

    def read(self) -> None:
        """Read another segment ahead, if there is one."""
        with self._reading:
            self._read()

    def stop(self) -> None:
        """Let whoever reads it end soon; nothing more is taken."""
        self._stopped = True

    def close(self) -> None:
        """Release the recording, and what was read ahead of it."""
        self.stop()
        with self._reading:
            self.ended = True
            self._opened = None
            self._ready.clear()
            if self.audio is not None:
                self.audio.close()

    def _read(self) -> None:
        if self.ended:
            return
        try:
            if self._opened is not None:
                self.audio = self._opened(self._asked)
                self._opened = None  # with the source: what is open need not be held twice
                self._segments = iter(self.audio)
            segment = next(self._segments, None)
        except Exception as error:  # it is raised where the segment is wanted
            self.ended = True
            self._ready.append(error)
            return
        self.ended = segment is None
        if segment is not None:
            self._ready.append(segment)

    def _asked(self) -> bool:
        return self._stopped or (self._is_cancelled is not None and self._is_cancelled())


class Reader:
    """A thread that reads ahead, as long as there is something to read."""

    def __init__(self, most: int) -> None:
        """`most` is how many segments may lie ready, of all recordings together."""
        self._most = most
        self._plan: Sequence[tuple[SegmentsAhead, int]] = ()
        self._pool = ThreadPoolExecutor(1, "reads ahead")

    def plan(self, wanted: Sequence[tuple[SegmentsAhead, int]]) -> None:
        """Read these from now on, in their order, so many segments of each at most."""
        self._plan = wanted
        if self._next() is not None:
            self._pool.submit(self._read)

    def close(self) -> None:
        """End with the segment that is being read."""
        self._plan = ()
        self._pool.shutdown()

    def _read(self) -> None:
        while (segments := self._next()) is not None:
            segments.read()

    def _next(self) -> SegmentsAhead | None:
        plan = self._plan
        if sum(segments.ready for segments, _ in plan) >= self._most:
            return None
        wanting = (one for one, most in plan if not one.ended and one.ready < most)
        return next(wanting, None)


def one_at_a_time(is_cancelled: IsCancelled) -> IsCancelled:
    """The same, asked by one thread at a time, whatever it does."""
    asking = Lock()

    def asked() -> bool:
        with asking:
            return is_cancelled()

    return asked
