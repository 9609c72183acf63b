"""Requests in, jobs out: who is let in, who waits, and when it ends.

The seam between the models and whatever speaks to clients. Knows no HTTP.
"""

import asyncio
import logging
import time
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from threading import Lock, Thread

from turnout.audio.waveform import Waveform
from turnout.config import TranscriptionOptions
from turnout.config.serving import ServingConfig
from turnout.errors import Busy, Stopping, TurnoutError, one_line
from turnout.serving.job import Job, asked_of
from turnout.serving.metrics import Metrics
from turnout.serving.models import Models, Opens, ServedModel
from turnout.serving.readers import Readers
from turnout.serving.reading import opened_file
from turnout.text.transcript import Transcript

LONGEST_NAME = 80
MOST_RETRY_SECONDS = 60
MOST_EXPECTED = 1000
ENDING_SECONDS = 0.5
"""How long jobs that are given up may take to leave, when the server stops."""
POLL_SECONDS = 0.02
LONG_SECONDS = 10.0
"""At work, after which a file counts as a long one."""
SOON = 5
"""Seconds, where nobody knows when there will be room."""
LIVE_JOBS = 4
"""Parts of a live stream, at most, that are in work at once."""
WEIGHT = 0.1
"""Of the newest job in how long one takes."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Status:
    """How the server is."""

    is_ready: bool
    """Whether a request would be taken to its end."""
    reason: str
    """Why not; empty where it is."""
    queued: int
    """Requests that wait for a place."""
    running: int
    """Requests that are read and decoded."""


class Service:
    """Takes requests, a few of them at a time; used from one event loop."""

    def __init__(self, config: ServingConfig, metrics: Metrics, opens: Opens | None = None) -> None:
        """`opens` makes a model ready, as `turnout.load` does by default. Raises ConfigError."""
        self._config = config
        self._metrics = metrics
        self._models = Models(config, metrics, opens)
        self._readers = Readers(config)
        self._lock = Lock()
        self._waiting: deque[Job] = deque()
        self._running: set[Job] = set()
        self._expected: deque[float] = deque(maxlen=MOST_EXPECTED)
        """When those should come again who were refused; roughly in order."""
        self._job_seconds: float | None = None
        """What a job takes from its place to its end, of late; None before the first."""
        self._started = False
        self._stopping = False

    async def start(self) -> None:
        """Load the default model and start the process that reads uploads; raises what
        `turnout.load` does, and EngineError."""
        await asyncio.to_thread(self._readers.start)
        await asyncio.to_thread(self._load_default)
        self._started = True

    def models(self) -> list[ServedModel]:
        """All that are served, the default one first."""
        return self._models.served()

    def check_room(self) -> None:
        """Raise Busy or Stopping where no request would be taken now, before its body is read."""
        with self._lock:
            self._check_room()

    def submit(
        self,
        model: str | None,
        source: Path | Waveform,
        options: TranscriptionOptions,
        *,
        name: str,
    ) -> Job:
        """Take a request. Of a file, which is opened at once and may then be deleted, errors speak
        by `name`.

        Raises UnknownModel, Busy, Stopping, AudioError, and GuidanceError or MissingExtra where the
        model is loaded and cannot do what is asked; otherwise the job says so.
        """
        asked = self._models.name_of(model)
        engine = self._models.loaded(asked)
        if engine is not None:
            asked_of(options, engine.transcriber)
        said = one_line(name)
        said = said if len(said) <= LONGEST_NAME else f"{said[: LONGEST_NAME - 3]}..."
        with self._lock:
            if isinstance(source, Waveform):
                self._check_live_room()
                job = Job(asked, source, options, said, self._end)
                self._begin(job)
            else:
                self._check_room()
                job = Job(asked, opened_file(source, said), options, said, self._end)
                self._waiting.append(job)
        self._urge(job)
        job.end_after(self._config.request_seconds)
        return job

    def status(self) -> Status:
        """How it is; cheap enough to be asked all the time."""
        with self._lock:
            queued, running = len(self._waiting), len(self._running)
        reason = self._reason()
        return Status(not reason, reason, queued, running)

    def files_at_work(self) -> int:
        """How many files wait or are in work; what live streams say is no request at the door."""
        with self._lock:
            return len(self._waiting) + self._files()

    async def stop(self, grace_seconds: float | None = None) -> None:
        """Take nothing new; what was accepted may come to its end within the grace, by default the
        configuration's, and is then ended with Stopping."""
        grace = self._config.grace_seconds if grace_seconds is None else grace_seconds
        self._stopping = True
        if not await self._emptied(grace):
            why = Stopping("the server is being stopped, and could not finish this: send it again")
            with self._lock:
                jobs = [*self._waiting, *self._running]
            log.warning("stopping ends %d requests that are not finished", len(jobs))
            for job in jobs:
                self._end(job, why)
            await self._emptied(ENDING_SECONDS)
        await asyncio.to_thread(self._close)

    def _load_default(self) -> None:
        with self._models.held(self._models.default):
            self._models.look()

    def _reason(self) -> str:
        if self._stopping:
            return "the server is being stopped"
        if not self._started:
            return "the model is being loaded"
        return self._models.trouble() or self._readers.trouble()

    def _check_room(self) -> None:
        """With the lock held."""
        self._check_going_on()
        # Where nobody may wait, only a place that is free is room.
        if len(self._waiting) >= self._config.max_queue and not (
            self._has_place() and not self._waiting
        ):
            self._metrics.refused.inc()
            after = self._retry_after()
            raise Busy(
                f"{self._files()} requests are in work and {len(self._waiting)} wait, which is all "
                f"that this server takes: try again in {after} s",
                after,
            )

    def _check_live_room(self) -> None:
        """With the lock held. A live stream waits for no file: what it says is short."""
        self._check_going_on()
        live = len(self._running) - self._files()
        if live >= LIVE_JOBS * self._config.max_live:
            self._metrics.refused.inc()
            raise Busy(f"{live} parts of live streams are in work: try again later", 1)

    def _check_going_on(self) -> None:
        if self._stopping:
            raise Stopping("the server is being stopped: send this to another, or later")

    def _files(self) -> int:
        """How many of those in work are files."""
        return sum(job.is_file for job in self._running)

    def _retry_after(self) -> int:
        """Seconds until there should be a place for one more: behind those that wait, and those who
        were told before when to come; by how long jobs took of late."""
        now = time.monotonic()
        while self._expected and self._expected[0] < now:
            self._expected.popleft()
        before = len(self._waiting) + len(self._expected) + 1
        seconds = before * (self._job_seconds or 1.0) / self._config.max_concurrent
        found = max(1, min(MOST_RETRY_SECONDS, ceil(seconds)))
        self._expected.append(now + found)
        return found

    def _urge(self, job: Job) -> None:
        """Start what can be started; again and again as long as this job waits, since a place may
        become free because who holds it does so for long."""
        with self._lock:
            self._start_next()
            waits = job in self._waiting
        if waits:
            asyncio.get_running_loop().call_later(LONG_SECONDS, self._urge, job)

    def _has_place(self) -> bool:
        """Whether one more file may be read and decoded; with the lock held. Those that have been
        at work for long leave their places to others, once: the model is shared fairly, and places
        that hours of sound hold would be lost to everybody else."""
        now, most = time.monotonic(), self._config.max_concurrent
        began = [job.began for job in self._running if job.is_file]
        return sum(now - one < LONG_SECONDS for one in began) < most and len(began) < 2 * most

    def _start_next(self) -> None:
        """Give the free places to those that wait longest; with the lock held."""
        while self._waiting and self._has_place():
            self._begin(self._waiting.popleft())
        self._metrics.queued.set(len(self._waiting))
        self._metrics.running.set(len(self._running))

    def _begin(self, job: Job) -> None:
        """Give a job its thread; with the lock held."""
        self._running.add(job)
        job.began = time.monotonic()
        self._metrics.running.set(len(self._running))
        try:
            # A daemon: one that is stuck must not keep the process from ending.
            Thread(target=self._run, args=(job,), name=f"job {job.id}", daemon=True).start()
        except RuntimeError:  # the system gives no more threads: whoever began this one goes on
            log.exception("the request %s cannot be begun", job.id)
            self._running.discard(job)
            job.finish(Busy("the server has no thread left for this: try again later", SOON))

    def _run(self, job: Job) -> None:
        """A job's thread."""
        with ExitStack() as held:
            result = job.run(
                lambda: held.enter_context(self._models.held(job.model)), self._readers
            )
        seconds = time.monotonic() - job.began
        with self._lock:
            self._running.discard(job)
            if isinstance(result, Transcript):
                before = seconds if self._job_seconds is None else self._job_seconds
                self._job_seconds = before + WEIGHT * (seconds - before)
            self._start_next()
        job.finish(result)

    def _end(self, job: Job, why: TurnoutError) -> None:
        """End a job with this error: at once where it waits, else as soon as its thread notices."""
        with self._lock:
            waits = job in self._waiting
            if waits:
                self._waiting.remove(job)
                self._metrics.queued.set(len(self._waiting))
        job.give_up(why)
        if waits:
            job.finish(why)

    async def _emptied(self, seconds: float) -> bool:
        """Whether all jobs have ended, after so long at most."""
        until = time.monotonic() + seconds
        while self._waiting or self._running:
            if time.monotonic() > until:
                return False
            await asyncio.sleep(POLL_SECONDS)
        return True

    def _close(self) -> None:
        self._models.close()
        self._readers.close()
