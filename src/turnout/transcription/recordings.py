"""Recordings on their way: segments out to be decoded, answers in, transcripts at the end.

A recording whose language is not known yet gives one segment at a time, until one holds words; its
language is then forced on the others. So does one whose segments read what was written before them.
A segment whose decoding failed, or passed over speech before its last words, is decoded anew in two
parts.
"""

from bisect import insort
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from turnout.audio.waveform import Recording, Source, open_recording
from turnout.config import ModelConfig, TranscriptionOptions
from turnout.decoding.requests import Decoded, DecodingOptions, Hypothesis, Utterance
from turnout.decoding.wishes import request_of
from turnout.errors import Cancelled, TurnoutError
from turnout.guidance import Task, Window
from turnout.text.transcript import Segment, Transcript
from turnout.transcription.ahead import Reader, SegmentsAhead, one_at_a_time
from turnout.transcription.builder import TranscriptBuilder
from turnout.transcription.segments import AudioSegment, AudioSegments, IsCancelled

LEAST_HALVED_SECONDS = 6.0
"""A segment that is no longer is not cut in two: what fails on so little fails on less."""
LEAST_REST_SECONDS = 2.5
"""Behind the last word that was attended to, where its own end and what is heard behind speech lie
in any case: what is longer holds more words."""
LEAST_REST_IN_SPEECH_SECONDS = 1.5
"""The same where a full window was cut in the midst of speech, so that nothing lies behind that
word: of 8 windows that were heard to such an end none had 1.1 (counted by hand)."""
LEAST_UNHEARD_SECONDS = 4.0
"""Between words that were attended to, where a segment's longest pause, of 2 s, lies in any case.
Of 117 windows, pauses among them, in which nothing was left out none had 2.7 (counted by hand)."""
LEAST_HEARD_SECONDS = 0.5
MOST_TEMPERATURE = 0.5
"""What was sampled more wildly is no previous text for what follows, as in openai/whisper."""


def has_failed(decoded: Decoded) -> bool:
    """Whether a text of it was stopped before its end, or is not to be believed."""
    return any(hypothesis.cut or hypothesis.failed for hypothesis in decoded.hypotheses)


def passed_over(segment: AudioSegment, decoded: Decoded) -> float | None:
    """Where in a segment, in seconds, what the decoder passed over begins: Whisper may end a text
    at a pause, with whole sentences behind it. None where it heard all of it."""
    (first, *others) = decoded.hypotheses
    if others or first.heard_until is None:
        return None
    rest = segment.end - segment.start - first.heard_until
    of_speech = 0.0 if segment.spoken is None else segment.spoken - first.heard_until
    if rest < LEAST_REST_SECONDS and of_speech < LEAST_REST_IN_SPEECH_SECONDS:
        return None
    # Each rest is shorter than what it was the rest of, by so much that there are few.
    return first.heard_until if first.heard_until >= LEAST_HEARD_SECONDS else None


def unheard(decoded: Decoded) -> tuple[float, float] | None:
    """The stretch of a segment, in seconds, in which the least is heard before its last words;
    None where nothing is known of that, or where a translation would have to be parted as well."""
    (first, *others) = decoded.hypotheses
    return None if others else first.unheard


def opened(source: Source | Recording, options: TranscriptionOptions) -> Recording:
    """The recording, as it is asked for, or as whoever opened it did; raises AudioError."""
    if isinstance(source, Recording):
        return source
    return open_recording(
        source, max_duration=options.max_duration, channel=options.channel, track=options.track
    )


class OpenRecording:
    """One recording on its way, with options of its own; `result` is set once it is through or has
    failed."""

    def __init__(
        self,
        source: Source | Recording,
        options: TranscriptionOptions,
        config: ModelConfig,
        is_cancelled: IsCancelled | None = None,
    ) -> None:
        self.result: Transcript | TurnoutError | None = None
        self.language = options.stated_language or config.vocabulary.only_language
        self._options = options
        self._window = Window(options.window)
        self._search = DecodingOptions.of(options)
        self._probability: float | None = None
        self._most_before = config.decoder.max_tokens
        self._before: dict[Task, tuple[int, ...]] = {}
        self._is_cancelled = is_cancelled
        self._config = config
        self._findable = config.decoder.num_layers > 0
        self._builder = TranscriptBuilder(options)
        self._waiting = 0
        """How many segments were taken and have no answer yet."""
        self._halves: deque[AudioSegment] = deque()
        """Of segments that failed, to be taken before any other."""
        self._open: list[float] = []
        """Where those begin that no text was added of yet, in order."""
        self._answers: dict[float, tuple[AudioSegment, Decoded]] = {}
        """By that beginning: those that wait for what lies before them."""

        def audio(asked: IsCancelled) -> AudioSegments:
            recording, bandwidth = opened(source, options), options.stated_bandwidth
            return AudioSegments(recording, config, bandwidth, asked, window=self._window)

        self.segments = SegmentsAhead(audio, is_cancelled)

    @property
    def one_by_one(self) -> bool:
        """Whether a segment may be taken only when the one before it has its answer."""
        finding = self.language is None and self._findable
        return finding or self._options.condition_on_previous_text

    def take(self) -> tuple[AudioSegment, Utterance] | None:
        """The next segment, ready for decoding, if it may be decoded now."""
        if self.result is not None or (self._waiting and self.one_by_one):
            return None
        try:
            segment = self._next()
        except TurnoutError as error:
            self.fail(error)
            return None
        audio = self.segments.audio
        assert audio is not None  # for the type checker
        if segment is None:
            self._finish(audio)
            return None
        assert segment.log_mel is not None
        self._waiting += 1
        before = tuple(self._before.get(task, ()) for task in self._options.tasks)
        request = request_of(self._options, audio.bandwidth, self.language, before)
        frames = segment.num_frames
        utterance = Utterance(segment.log_mel, request, self._search, frames, self._is_cancelled)
        # Without its features, which are larger than the samples.
        return replace(segment, log_mel=None), utterance

    def give(self, segment: AudioSegment, decoded: Decoded) -> list[Segment]:
        """The answer for a segment that was taken; the segments of text that are now known, in
        order of time: none while one before them is decoded anew."""
        self._waiting -= 1
        if self.result is not None:
            return []
        if decoded.error is not None:
            self.fail(decoded.error)
            return []
        if parts := self._in_two(segment, decoded):
            self._halves.extendleft(reversed(parts))
            insort(self._open, parts[1].start)
            return []
        segment = self._without_rest(segment, decoded)
        spoken = any(hypothesis.text.strip() for hypothesis in decoded.hypotheses)
        if spoken and self.language is None:
            self.language, self._probability = decoded.language, decoded.language_probability
        if self._options.condition_on_previous_text:
            for hypothesis in decoded.hypotheses:
                self._remember(hypothesis)
        self._answers[segment.start] = replace(segment, samples=None), decoded
        return self._added()

    def so_far(self) -> Transcript | None:
        """What is known of its text, with a warning that says how far that goes; None where it is
        nothing yet."""
        audio = self.segments.audio
        if audio is None or not self._builder.has_text:
            return None
        known = self._builder.transcript(audio, self.language, self._probability)
        behind = self._open[0] if self._open else self.segments.begins
        end = known.duration_seconds if behind is None else behind
        said = f"it was stopped before its end: this is its text up to {end:.1f} s"
        inner = known.translation and replace(known.translation, warnings=(said,))
        return replace(known, warnings=(*known.warnings, said), translation=inner)

    def _in_two(
        self, segment: AudioSegment, decoded: Decoded
    ) -> tuple[AudioSegment, AudioSegment] | None:
        """The parts in which a segment is to be decoded anew, if it is."""
        if has_failed(decoded) and segment.end - segment.start > LEAST_HALVED_SECONDS:
            return segment.halves(self._config, self._window)
        (begin, end) = unheard(decoded) or (0.0, 0.0)
        if end - begin < LEAST_UNHEARD_SECONDS:
            return None
        if begin < LEAST_REST_SECONDS:  # of which a word or two may have been written unheard
            return segment.parted_before(end, self._config, self._window)
        return segment.parted(begin, self._config, self._window)

    def _without_rest(self, segment: AudioSegment, decoded: Decoded) -> AudioSegment:
        """The segment as far as its text goes; what the decoder passed over behind that is decoded
        next, as a segment of its own."""
        point = passed_over(segment, decoded)
        if point is None:
            return segment
        first, rest = segment.parted(point, self._config, self._window)
        self._halves.appendleft(rest)
        insort(self._open, rest.start)
        return first

    def _next(self) -> AudioSegment | None:
        """The next segment, if there is one; raises as AudioSegments does."""
        if self._halves:
            return self._halves.popleft()
        segment = self.segments.take()
        if segment is not None:
            self._open.append(segment.start)
        return segment

    def _added(self) -> list[Segment]:
        """The text of the answers before which nothing is missing."""
        added: list[Segment] = []
        while self._open and self._open[0] in self._answers:
            added += self._builder.add(*self._answers.pop(self._open.pop(0)))
        return added

    def _remember(self, hypothesis: Hypothesis) -> None:
        """Let what is written next know of this; but what went wrong must not go on."""
        unsure = hypothesis.failed or (hypothesis.temperature or 0) > MOST_TEMPERATURE
        text = () if unsure else self._before.get(hypothesis.task, ()) + hypothesis.tokens
        self._before[hypothesis.task] = text[-self._most_before :]

    def fail(self, error: TurnoutError) -> None:
        """Give this recording up; the others go on."""
        self.result = error
        self.close()

    @property
    def seconds(self) -> float:
        """Of sound that was read so far."""
        audio = self.segments.audio
        return 0.0 if audio is None else audio.duration_seconds

    def close(self) -> None:
        """Release the recording."""
        self.segments.close()

    def _finish(self, audio: AudioSegments) -> None:
        """Compose the transcript, once nothing is being decoded any more."""
        if not self._waiting:
            self.result = self._builder.transcript(audio, self.language, self._probability)


@dataclass(frozen=True)
class Taken:
    """A segment that is being decoded."""

    recording: OpenRecording
    segment: AudioSegment
    utterance: Utterance


class OpenRecordings:
    """Recordings in the order of their sources, a batch's worth of them open at a time, and
    another read ahead; but of an iterator none is asked for before it is wanted."""

    def __init__(
        self,
        sources: Iterable[Source],
        options: TranscriptionOptions,
        config: ModelConfig,
        is_cancelled: IsCancelled | None = None,
    ) -> None:
        asked = None if is_cancelled is None else one_at_a_time(is_cancelled)
        self._opened = (OpenRecording(source, options, config, asked) for source in sources)
        self.batch_size = options.batch_size
        self._most_coming = options.batch_size if isinstance(sources, Sequence) else 0
        self._coming: deque[OpenRecording] = deque()
        """Those of which nothing was taken yet."""
        self._reader = Reader(options.batch_size)
        self.waiting: deque[OpenRecording] = deque()
        """Those that were opened and whose result was not handed out yet."""

    def take(self) -> list[Taken]:
        """Segments of as many recordings as it takes to fill a batch; none where all are done. From
        now on those behind them are read."""
        batch: list[Taken] = []
        for recording in self._recordings():
            while len(batch) < self.batch_size and (taken := recording.take()):
                batch.append(Taken(recording, *taken))
            # Whoever cancelled wants no other recording opened.
            if len(batch) == self.batch_size or isinstance(recording.result, Cancelled):
                break
        self._read_ahead()
        return batch

    def give(self, batch: Sequence[Taken], answers: Sequence[Decoded]) -> None:
        """The answers for a batch that was taken."""
        for taken, answer in zip(batch, answers, strict=True):
            taken.recording.give(taken.segment, answer)

    def finished(self) -> Iterator[Transcript | TurnoutError]:
        """What became of recordings, in order, as far as it is known of the first ones."""
        while self.waiting and self.cancelled is None:
            result = self.waiting[0].result
            if result is None:
                return
            self.waiting.popleft()
            yield result

    @property
    def cancelled(self) -> Cancelled | None:
        """Why the first that is not handed out yet was given up, where its caller wanted that."""
        result = self.waiting[0].result if self.waiting else None
        return result if isinstance(result, Cancelled) else None

    def begun(self) -> Iterator[Transcript | TurnoutError]:
        """What is there of those that were opened and not handed out yet, in order."""
        self._stop()
        for recording in self.waiting:
            kept = recording.result
            if kept is None or isinstance(kept, Cancelled):
                kept = recording.so_far() or Cancelled("it was stopped before anything was heard")
            yield kept

    def close(self) -> None:
        """Release every recording that is still open."""
        self._stop()
        for recording in (*self.waiting, *self._coming):
            recording.close()

    def _stop(self) -> None:
        """Read nothing more."""
        for recording in (*self.waiting, *self._coming):
            recording.segments.stop()
        self._reader.close()

    def _read_ahead(self) -> None:
        """Let what is wanted next be read meanwhile."""
        if self.cancelled is not None:
            return
        missing = self._most_coming - len(self._coming)
        self._coming.extend(islice(self._opened, missing))
        self._reader.plan(
            [
                (recording.segments, 1 if recording.one_by_one else self.batch_size)
                for recording in (*self.waiting, *self._coming)
            ]
        )

    def _recordings(self) -> Iterator[OpenRecording]:
        """Those that are open, then new ones."""
        yield from list(self.waiting)
        while (recording := self._next()) is not None:
            self.waiting.append(recording)
            yield recording

    def _next(self) -> OpenRecording | None:
        return self._coming.popleft() if self._coming else next(self._opened, None)
