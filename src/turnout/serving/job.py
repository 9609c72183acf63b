"""One request on its way: read and cut in a thread of its own, decoded among others, its segments
handed to whoever awaits them in the server's loop."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from functools import partial
from queue import SimpleQueue
from threading import Lock
from uuid import uuid4

from turnout.audio.waveform import Recording, Waveform
from turnout.config import TranscriptionOptions
from turnout.decoding.requests import Decoded
from turnout.decoding.wishes import options_for_model
from turnout.errors import (
    Cancelled,
    EngineError,
    GuidanceError,
    ModelUnavailable,
    ServingError,
    TookTooLong,
    TurnoutError,
)
from turnout.serving.engine import Engine
from turnout.serving.model_facts import samples
from turnout.serving.readers import Readers
from turnout.serving.reading import Reading
from turnout.text.transcript import Segment, Transcript
from turnout.transcription.recordings import OpenRecording
from turnout.transcription.segments import AudioSegment
from turnout.transcription.transcriber import Transcriber, check_previous

Answer = tuple[AudioSegment, Decoded]
log = logging.getLogger(__name__)


def asked_of(options: TranscriptionOptions, transcriber: Transcriber) -> TranscriptionOptions:
    """The options in this model's spelling; raises GuidanceError or MissingExtra where it cannot do
    what they ask."""
    config, tokenizer = transcriber.backend.config, transcriber.tokenizer
    asked = options_for_model(options, config)
    check_previous(asked, tokenizer)
    if asked.temperature and not samples(config, tokenizer):
        raise GuidanceError(
            f"the temperature is {asked.temperature:g}, and this model samples no texts: leave it "
            "out, or take one of Whisper's"
        )
    return asked


def loaded(hold: Callable[[], Engine]) -> Engine:
    """The model; what is wrong with it is no client's mistake, whatever its error is called."""
    try:
        return hold()
    except ServingError:
        raise
    except (TurnoutError, OSError, MemoryError) as error:
        raise ModelUnavailable(f"a model cannot be loaded: {error}") from error


class Job:
    """A request that was accepted; made by `Service.submit`, and awaited in the loop in which that
    was called."""

    def __init__(
        self,
        model: str,
        source: int | Waveform,
        options: TranscriptionOptions,
        name: str,
        end: "Callable[[Job, TurnoutError], None]",
    ) -> None:
        """`source` is an open file, which becomes this job's to close, or samples; `end` ends a job
        that nobody wants any more, wherever it is."""
        self.id = uuid4().hex
        self.name = name
        self.model = model
        self.options = options
        self.audio_seconds = 0.0
        """Of sound that was read so far."""
        self.is_file = isinstance(source, int)
        self.began = 0.0
        """When it got its place, on the clock that never goes back."""
        self._source: int | Waveform | None = source
        self._end = end
        self._deadline: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        """Replaced by another each time that it is set: any number of tasks may await it."""
        self._segments: list[Segment] = []
        self._result: Transcript | TurnoutError | None = None
        self._inbox: SimpleQueue[Answer | None] = SimpleQueue()
        """What the engine answered; None wakes whoever waits for it."""
        self._lock = Lock()
        self._why: TurnoutError | None = None
        """Why it is given up; whoever says so first is right."""
        self._reading: Reading | None = None
        self._engine: Engine | None = None

    async def segments(self) -> AsyncIterator[Segment]:
        """As they are finished, in order of time; a translation comes behind its transcript. Raises
        the error that ended the request, behind what was found before it."""
        given = 0
        while True:
            changed = self._changed
            while given < len(self._segments):
                yield self._segments[given]
                given += 1
            if isinstance(self._result, TurnoutError):
                raise self._result
            if self._result is not None:
                return
            await changed.wait()

    async def transcript(self) -> Transcript:
        """All of it; raises the error that ended the request."""
        while self._result is None:
            await self._changed.wait()
        if isinstance(self._result, TurnoutError):
            raise self._result
        return self._result

    def token_bytes(self, segment: Segment) -> list[bytes]:
        """UTF-8 of each of a segment's tokens, which may be a part of a letter."""
        assert self._engine is not None, "no segment was found yet"
        return self._engine.transcriber.tokenizer.bytes_of(segment.tokens)

    def cancel(self) -> None:
        """Nobody wants it any more: its place is free within a step of decoding."""
        self._end(self, Cancelled("the request was cancelled"))

    def end_after(self, seconds: float) -> None:
        """Let it end with TookTooLong, where it has not come to its end by then."""
        why = TookTooLong(f"the request took longer than {seconds:g} s: give a shorter recording")
        self._deadline = self._loop.call_later(seconds, self._end, self, why)

    def give_up(self, why: TurnoutError) -> None:
        """Let its thread leave with this error, unless it has ended; from any thread."""
        with self._lock:
            if self._why is None:
                self._why = why
            if self._reading is not None:
                self._reading.stop()
        self._inbox.put(None)

    def run(self, hold: Callable[[], Engine], readers: Readers) -> Transcript | TurnoutError:
        """Do the work, in a thread of its own: what becomes of it. `hold` gives the model, which
        may take as long as it takes to load it."""
        try:
            self._check_wanted()
            self._engine = engine = loaded(hold)
            found = self._run(engine, readers)
        except TurnoutError as error:
            found = error
        except Exception:
            log.exception("the request %s failed", self.id)
            found = EngineError("the server failed on this request: its log says more")
        self._release()
        if isinstance(found, Cancelled) and self._why is not None:
            return self._why
        return found

    def finish(self, result: Transcript | TurnoutError) -> None:
        """Let whoever awaits it know what became of it; from any thread."""
        self._release()
        self._soon(partial(self._finish, result))

    def _run(self, engine: Engine, readers: Readers) -> Transcript | TurnoutError:
        config = engine.transcriber.backend.config
        asked = asked_of(self.options, engine.transcriber)
        source = self._opened(asked, readers)
        recording = OpenRecording(source, asked, config, self._is_given_up)
        turn = engine.join()
        waiting = 0
        with closing(recording):
            try:
                while recording.result is None:
                    # What is answered goes first: it may be all that a next segment waits for.
                    while waiting < engine.most_ahead and self._inbox.empty():
                        taken = recording.take()
                        self.audio_seconds = recording.seconds
                        if taken is None:
                            break
                        segment, utterance = taken
                        engine.put(turn, utterance, partial(self._answer, segment))
                        waiting += 1
                    if recording.result is None:
                        segment, decoded = self._next()
                        waiting -= 1
                        for found in recording.give(segment, decoded):
                            self._soon(partial(self._add, found))
            finally:
                engine.leave(turn)
        return recording.result

    def _opened(self, options: TranscriptionOptions, readers: Readers) -> Waveform | Recording:
        """The samples, or the file as another process reads it."""
        source, self._source = self._source, None
        if not isinstance(source, int):
            assert source is not None, "this job has run already"
            return source
        reading = readers.open(source, self.name, options)
        with self._lock:
            self._reading = reading
        self._check_wanted()
        return reading.recording(options.max_duration)

    def _next(self) -> Answer:
        """The engine's next answer; raises Cancelled where nobody wants it any more."""
        answer = self._inbox.get()
        if answer is None:
            raise Cancelled("the request was given up")
        return answer

    def _answer(self, segment: AudioSegment, decoded: Decoded) -> None:
        self._inbox.put((segment, decoded))

    def _is_given_up(self) -> bool:
        return self._why is not None

    def _check_wanted(self) -> None:
        if self._why is not None:
            raise Cancelled("the request was given up")

    def _release(self) -> None:
        """Close what is open."""
        if isinstance(self._source, int):
            os.close(self._source)  # of a job that never had its place
        self._source = None
        if self._reading is not None:
            self._reading.close()

    def _soon(self, act: Callable[[], None]) -> None:
        """Do it in the server's loop, if that still runs."""
        if not self._loop.is_closed():
            try:
                self._loop.call_soon_threadsafe(act)
            except RuntimeError:  # closed in between
                log.debug("the loop of the request %s is closed", self.id)

    def _add(self, segment: Segment) -> None:
        self._segments.append(segment)
        self._tell()

    def _finish(self, result: Transcript | TurnoutError) -> None:
        self._result = result
        if self._deadline is not None:
            self._deadline.cancel()
        self._tell()

    def _tell(self) -> None:
        before, self._changed = self._changed, asyncio.Event()
        before.set()
