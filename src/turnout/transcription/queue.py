"""Many recordings through batches of their stretches: whoever's turn it is, whatever fails.

A recording whose language is not known yet gives one stretch at a time, until one holds words; its
language is then forced on the others.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace

from turnout.audio.waveform import Source, open_recording
from turnout.config import ModelConfig, TranscriptionOptions
from turnout.decoding.request import Decoded, Request, Utterance
from turnout.errors import TurnoutError
from turnout.text.transcript import Transcript
from turnout.transcription.compose import Heard, compose
from turnout.transcription.hearing import Hearing, Stretch
from turnout.transcription.options import request_of

Decode = Callable[[Sequence[Utterance]], list[Decoded]]


class Job:
    """One recording on its way; `result` is set once it is through or has failed."""

    def __init__(self, source: Source, options: TranscriptionOptions, config: ModelConfig) -> None:
        self.options = options
        self.language = options.stated_language
        self.result: Transcript | TurnoutError | None = None
        self._findable = config.decoder.num_layers > 0 and len(config.vocabulary.languages) > 1
        self._pieces: list[tuple[Stretch, Decoded]] = []
        self._waiting = 0
        self._hearing: Hearing | None = None
        self._stretches: Iterator[Stretch] = iter(())
        try:
            recording = open_recording(
                source, max_duration=options.max_duration, channel=options.channel
            )
        except TurnoutError as error:
            self.result = error
            return
        self._hearing = Hearing(recording, config, options.stated_bandwidth)
        self._stretches = iter(self._hearing)

    def take(self) -> tuple[Stretch, Request] | None:
        """The next stretch with something to hear, if it may be decoded now."""
        if self.result is not None or self._hearing is None:
            return None
        if self._waiting and self.language is None and self._findable:
            return None
        try:
            stretch = next((s for s in self._stretches if s.log_mel is not None), None)
        except TurnoutError as error:
            self.fail(error)
            return None
        if stretch is None:
            self._finish()
            return None
        self._waiting += 1
        return stretch, request_of(self.options, self._hearing.bandwidth, self.language)

    def give(self, stretch: Stretch, decoded: Decoded) -> None:
        """The answer for a stretch that was taken."""
        self._waiting -= 1
        if self.result is not None:
            return
        if decoded.error is not None:
            self.fail(decoded.error)
            return
        # Without its features: of hours they would be gigabytes.
        self._pieces.append((replace(stretch, log_mel=None), decoded))
        if any(hypothesis.text.strip() for hypothesis in decoded.hypotheses):
            self.language = self.language or decoded.language

    def fail(self, error: TurnoutError) -> None:
        """Give this recording up; the others go on."""
        self.result = error
        self.close()

    def close(self) -> None:
        """Release the recording."""
        if self._hearing is not None:
            self._hearing.close()

    def _finish(self) -> None:
        """Compose the transcript, once nothing is being decoded any more."""
        if self._waiting or self._hearing is None:
            return
        hearing = self._hearing
        self.result = compose(
            Heard(
                pieces=self._pieces,
                tasks=self.options.tasks,
                language=self.language,
                target_language=self.options.target_language,
                duration_seconds=hearing.duration_seconds,
                bandwidth=hearing.bandwidth,
                warnings=hearing.recording.warnings,
            )
        )


class Queue:
    """Recordings in the order of their sources, a batch's worth of them open at a time."""

    def __init__(
        self, sources: Iterable[Source], options: TranscriptionOptions, config: ModelConfig
    ) -> None:
        self._sources = iter(sources)
        self._options = options
        self._config = config
        self._jobs: deque[Job] = deque()

    def results(self, decode: Decode) -> Iterator[Transcript | TurnoutError]:
        """What became of each recording, in order, as soon as it is known."""
        with closing(self):
            while True:
                batch = self._batch()
                if batch:
                    self._decode(batch, decode)
                while self._jobs and self._jobs[0].result is not None:
                    result = self._jobs.popleft().result
                    assert result is not None
                    yield result
                if not batch and not self._jobs:
                    return

    def close(self) -> None:
        """Release every recording that is still open."""
        for job in self._jobs:
            job.close()

    def _batch(self) -> list[tuple[Job, Stretch, Request]]:
        """Stretches of as many recordings as it takes to fill a batch."""
        batch: list[tuple[Job, Stretch, Request]] = []
        for job in self._open_jobs():
            while len(batch) < self._options.batch_size and (taken := job.take()):
                batch.append((job, *taken))
            if len(batch) == self._options.batch_size:
                break
        return batch

    def _open_jobs(self) -> Iterator[Job]:
        """Those that are open, then new ones."""
        yield from list(self._jobs)
        for source in self._sources:
            job = Job(source, self._options, self._config)
            self._jobs.append(job)
            yield job

    def _decode(self, batch: Sequence[tuple[Job, Stretch, Request]], decode: Decode) -> None:
        utterances = [
            Utterance(stretch.log_mel, request)
            for _, stretch, request in batch
            if stretch.log_mel is not None
        ]
        for (job, stretch, _), answer in zip(batch, decode(utterances), strict=True):
            job.give(stretch, answer)
