"""One model at work for many requests: a thread that decodes what waits, batch by batch.

Who else is in a batch changes nothing of an answer, and a segment that makes the model fail fails
alone. Knows no recording and no client.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from threading import Condition, Thread

from turnout.decoding.requests import Decoded, Utterance
from turnout.errors import EngineError
from turnout.serving.engine_queue import FairQueue, Turn, Waiting
from turnout.serving.metrics import Metrics
from turnout.transcription.transcriber import Transcriber

IDLE_SECONDS = 1.0
"""How often a thread that has nothing to do says that it is there."""
STUCK_SECONDS = 8.0
"""Without a sign of life; the thread gives one at every step of decoding."""
SLOWER = 3.0
"""Times that a segment may take, on a machine that does much else, what it took alone."""
AHEAD_SECONDS = 120.0
"""Of sound that one request lets wait, or is being decoded: features of hours must not gather."""
WEIGHT = 0.2
"""Of the newest batch in the pace."""
CLOSING_SECONDS = 0.3
"""That a thread which is stuck may hold up the end of the server."""

log = logging.getLogger(__name__)


class Engine:
    """Decodes for many requests at once; thread-safe."""

    def __init__(
        self, name: str, transcriber: Transcriber, limit: int, metrics: Metrics, one_takes: float
    ) -> None:
        """`limit` is the most segments of a batch, `one_takes` the longest time without a sign of
        life, in seconds, that one segment alone was seen to take."""
        self.name = name
        self.transcriber = transcriber
        self._metrics = metrics
        self._one_takes = one_takes
        window = transcriber.backend.config.window_seconds
        self.most_ahead = max(2, min(2 * limit, int(AHEAD_SECONDS / window)))
        """How many segments of a request may wait or be in work."""
        self._queue = FairQueue(limit)
        self._changed = Condition()
        self._pace: float | None = None
        self._batch: Sequence[Waiting] = ()
        self._beat = time.monotonic()
        self._closed = False
        self._thread = self._started()

    def join(self) -> Turn:
        """The turn of a new request."""
        with self._changed:
            return self._queue.join()

    def put(self, turn: Turn, utterance: Utterance, answer: Callable[[Decoded], None]) -> None:
        """Let a segment be decoded; `answer` is called once, from another thread."""
        with self._changed:
            self._queue.put(turn, Waiting(utterance, answer))
            self._metrics.segments_waiting.labels(self.name).set(len(self._queue))
            self._changed.notify()

    def leave(self, turn: Turn) -> None:
        """Forget what waits of a request; what is being decoded is still answered."""
        with self._changed:
            self._queue.leave(turn)
            self._metrics.segments_waiting.labels(self.name).set(len(self._queue))

    def trouble(self) -> str:
        """Why nothing can be expected of it; empty where all is well. A thread that is dead is
        replaced by another, and said to be dead once."""
        if self._closed:
            return ""
        if not self._thread.is_alive():
            self._fail(self._batch)
            self._thread = self._started()
            return f"the thread of the model {self.name} was dead: another has taken its place"
        silent = time.monotonic() - self._beat
        if silent > max(STUCK_SECONDS, SLOWER * self._one_takes * len(self._batch)):
            return f"the model {self.name} has given no sign of life for {silent:.0f} s"
        return ""

    def close(self) -> None:
        """End the thread behind its batch; what waits then is never answered."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(CLOSING_SECONDS)

    def _started(self) -> Thread:
        self._beat = time.monotonic()
        # A daemon: one that is stuck must not keep the process from ending.
        thread = Thread(target=self._run, name=f"engine {self.name}", daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        while self._next():
            try:
                self._decode(self._batch)
            except Exception:  # a mistake of our own must not end the thread
                log.exception("the engine of the model %s failed", self.name)
                self._fail(self._batch)
            self._batch = ()

    def _next(self) -> bool:
        """Wait for a batch; False once nothing more will come."""
        with self._changed:
            while not self._closed:
                self._beat = time.monotonic()
                self._batch = self._queue.take(self._pace)
                if self._batch:
                    self._metrics.segments_waiting.labels(self.name).set(len(self._queue))
                    return True
                self._changed.wait(IDLE_SECONDS)
        return False

    def _decode(self, batch: Sequence[Waiting]) -> None:
        began = time.monotonic()
        answers = self._answers([self._watched(waiting.utterance) for waiting in batch])
        seconds = time.monotonic() - began
        pace = seconds / (len(batch) * max(0.1, *(waiting.seconds for waiting in batch)))
        self._pace = pace if self._pace is None else self._pace + WEIGHT * (pace - self._pace)
        for waiting, decoded in zip(batch, answers, strict=True):
            waiting.answer(decoded)
        self._batch = ()
        self._metrics.batch_seconds.labels(self.name).observe(seconds)
        asked = [waiting.utterance for waiting in batch]
        config = self.transcriber.backend.config
        self._metrics.decoded(self.name, config, list(zip(asked, answers, strict=True)))

    def _answers(self, utterances: Sequence[Utterance]) -> list[Decoded]:
        """One for each; where the model raises what it should not, each is decoded alone."""
        try:
            return self.transcriber.decode(utterances)
        except Exception as error:
            if len(utterances) == 1:
                # For the operator; a client is told nothing of the inside.
                log.exception("the model %s failed on a segment", self.name)
                self._metrics.failures.labels(self.name).inc()
                return [failed(utterances[0], self.name)]
            log.warning("a batch of the model %s is decoded one by one: %r", self.name, error)
        return [one for utterance in utterances for one in self._answers([utterance])]

    def _watched(self, utterance: Utterance) -> Utterance:
        """The same; each question whether it was cancelled is a sign of life."""
        asked = utterance.is_cancelled

        def is_cancelled() -> bool:
            self._beat = time.monotonic()
            return asked is not None and asked()

        return replace(utterance, is_cancelled=is_cancelled)

    def _fail(self, batch: Sequence[Waiting]) -> None:
        for waiting in batch:
            waiting.answer(failed(waiting.utterance, self.name))


def failed(utterance: Utterance, model: str) -> Decoded:
    """The answer for a segment that made the model fail."""
    error = EngineError(f"the model {model} failed on this recording: the server's log says more")
    return Decoded(language=utterance.request.language, hypotheses=(), error=error)


def longest_silence(transcriber: Transcriber, utterance: Utterance) -> float:
    """Decode it, and say how many seconds passed at most without a sign of life."""
    beats = [time.monotonic()]

    def is_cancelled() -> bool:
        beats.append(time.monotonic())
        return False

    transcriber.decode([replace(utterance, is_cancelled=is_cancelled)])
    beats.append(time.monotonic())
    return max(after - before for before, after in pairwise(beats))
