"""A Service with a model whose work can be held up, and what tests ask of it."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.containers import encode
from tests.reliability.around import Around
from tests.reliability.examples import FOLDER, commands
from turnout.audio.waveform import Waveform, read_audio
from turnout.config import TranscriptionOptions
from turnout.config.serving import ServingConfig
from turnout.decoding.backend import DecoderState, Encoded, StepOutput, StepQuery
from turnout.errors import TurnoutError
from turnout.guidance import Guidance
from turnout.serving.job import Job
from turnout.serving.metrics import Metrics
from turnout.serving.models import Place
from turnout.serving.service import Service
from turnout.text.transcript import Segment, Transcript
from turnout.transcription.transcriber import Transcriber

PATIENCE_SECONDS = 20.0
EXAMPLES = sorted(path for path in FOLDER.glob("*-*.*"))
OPTIONS = TranscriptionOptions()


@dataclass(frozen=True)
class Held(Around):
    """Encodes when the gate is open, and before that as many batches as it may; takes its time for
    a step."""

    gate: Event = field(default_factory=Event)
    step_seconds: float = 0.0
    batches: int = 0
    """That need no gate."""
    encoded: list[int] = field(default_factory=list)
    """The size of each batch."""
    steps: list[int] = field(default_factory=list)
    """The same, of each step of decoding."""
    began: Event = field(default_factory=Event)

    def encode(
        self,
        log_mel: NDArray[np.float32],
        frame_mask: NDArray[np.bool_],
        guidance: Sequence[Guidance],
    ) -> Encoded:
        """See `Backend.encode`."""
        self.encoded.append(len(log_mel))
        self.began.set()
        assert len(self.encoded) <= self.batches or self.gate.wait(PATIENCE_SECONDS)
        return super().encode(log_mel, frame_mask, guidance)

    def step(
        self,
        state: DecoderState,
        tokens: NDArray[np.int64],
        counts: NDArray[np.int64],
        query: StepQuery,
    ) -> tuple[StepOutput, DecoderState]:
        """See `Backend.step`."""
        self.steps.append(len(tokens))
        time.sleep(self.step_seconds)
        return super().step(state, tokens, counts, query)


def held(step_seconds: float = 0.0, *, batches: int = 0, is_open: bool = False) -> Held:
    """The shipped model, closed; its warming up is over."""
    found = Held(commands().backend, step_seconds=step_seconds, batches=batches)
    if is_open:
        found.gate.set()
    return found


@asynccontextmanager
async def serving(backend: Held | None = None, **settings: Any) -> AsyncIterator[Service]:
    """A service with the shipped model, stopped in the end."""

    def opens(_: Place) -> Transcriber:
        model = commands()
        return model if backend is None else Transcriber(backend, model.tokenizer, model.folder)

    service = Service(ServingConfig(**settings), Metrics(), opens)
    closed = backend is not None and not backend.gate.is_set()
    if backend is not None:
        backend.gate.set()
    await service.start()
    if backend is not None:
        backend.encoded.clear()
        backend.began.clear()
        if closed:
            backend.gate.clear()
    try:
        yield service
    finally:
        if backend is not None:
            backend.gate.set()
        await service.stop(0.0)


def submit(service: Service, source: Path | Waveform = EXAMPLES[0], **options: Any) -> Job:
    """A request to the default model."""
    name = source.name if isinstance(source, Path) else "live"
    return service.submit(None, source, TranscriptionOptions(**options), name=name)


def heard_seconds(service: Service) -> float:
    """Of sound, that the default model has decoded so far, for whomever."""
    return float(service._metrics.audio_seconds.labels("commands")._value.get())


@cache
def alone(source: Path, **options: Any) -> Transcript:
    """What the model makes of it by itself."""
    return commands().transcribe(source, **options)


async def until(condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> float:
    """Wait for it; how long that took. A failed assertion where it does not come."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it did not come"
        await asyncio.sleep(0.01)
    return time.monotonic() - began


def no_job() -> bool:
    """Whether the thread of every job has ended, which outlives its answer by a moment."""
    return not any(one.name.startswith("job ") for one in threading.enumerate())


def run(work: Coroutine[Any, Any, None]) -> None:
    """In a loop of its own, which does not hang."""
    asyncio.run(asyncio.wait_for(work, 60))


async def outcome(job: Job) -> Transcript | TurnoutError:
    """What became of it."""
    try:
        return await job.transcript()
    except TurnoutError as error:
        return error


async def streamed(job: Job) -> list[Segment]:
    """Its segments as they come."""
    return [segment async for segment in job.segments()]


def same(found: Transcript, wanted: Transcript) -> bool:
    """But for the last bits of probabilities, which depend on the size of a batch."""
    one, other = found.translation, wanted.translation
    assert (one is None) == (other is None)
    return (
        found.text == wanted.text
        and found.language == wanted.language
        and found.bandwidth == wanted.bandwidth
        and found.warnings == wanted.warnings
        and [segment.tokens for segment in found.segments]
        == [segment.tokens for segment in wanted.segments]
        and (one is None or other is None or same(one, other))
    )


def long_recording(folder: Path) -> Path:
    """All the Arabic examples, one after the other, three times: a minute of speech."""
    parts = [read_audio(path).samples for path in EXAMPLES if path.name.startswith("arabic")]
    path = folder / "long.wav"
    path.write_bytes(encode(np.concatenate(parts * 3)))
    return path
