"""What was decoded of a recording -> its transcript, as far as it is known."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from turnout.config import TranscriptionOptions
from turnout.decoding.requests import CHARACTERS_PER_SECOND, Decoded, Hypothesis, most_characters
from turnout.guidance import Task
from turnout.text.spacing import joined_text, spaced
from turnout.text.transcript import Segment, Transcript
from turnout.transcription.segments import AudioSegment, AudioSegments

MOST_PLACES = 3
"""Named where texts were cut."""


class TranscriptBuilder:
    """The third step: what was decoded of a recording's segments -> its text, as far as it is
    known."""

    def __init__(self, options: TranscriptionOptions) -> None:
        self._options = options
        self._segments: dict[Task, list[Segment]] = {task: [] for task in options.tasks}
        self._cut: dict[Task, list[float]] = {task: [] for task in options.tasks}

    def add(self, audio: AudioSegment, decoded: Decoded) -> list[Segment]:
        """The segments of text that this one of sound adds, in the order of the tasks; segments
        are added in order of time, and those without text leave none."""
        added = []
        for hypothesis in decoded.hypotheses:
            before = self._segments[hypothesis.task]
            if hypothesis.cut:  # perhaps to nothing, which leaves no segment to say so
                self._cut[hypothesis.task].append(audio.start)
            if hypothesis.text.strip():
                added.append(segment_of(len(before), audio, hypothesis))
                before.append(added[-1])
        return added

    @property
    def has_text(self) -> bool:
        """Whether there is a segment of text yet."""
        return any(self._segments.values())

    def transcript(
        self, audio: AudioSegments, language: str | None, probability: float | None = None
    ) -> Transcript:
        """The Transcript of the first task, with the second's inside where there is one.

        `language` is what is spoken, where it is known, with the probability of what was found, and
        `audio` was read to its end.
        """
        texts = {task: self._of_task(task, audio, language) for task in self._segments}
        warnings = list(audio.recording.warnings)
        for task, text in texts.items():
            left_out = len(self._segments[task]) - len(text.segments)
            warnings += said_of_cuts(task, self._cut[task], left_out)
        known = {"warnings": tuple(warnings), "language_probability": probability}
        first, *rest = (replace(text, **known) for text in texts.values())
        return replace(first, translation=rest[0]) if rest else first

    def _of_task(self, task: Task, audio: AudioSegments, language: str | None) -> Transcript:
        found = self._segments[task]
        stated = self._options.target_language if task is Task.TRANSLATE else language
        written = next((segment.language for segment in found), None) or stated
        segments = fitting(found, most_characters(audio.duration_seconds), written)
        return Transcript(
            text=joined_text((segment.text for segment in segments), written),
            language=written,
            task=task,
            duration_seconds=audio.duration_seconds,
            bandwidth=audio.bandwidth,
            segments=tuple(segments),
        )


def fitting(segments: Sequence[Segment], most: int, language: str | None) -> list[Segment]:
    """Those whose texts, joined as their language is, have at most so many characters.

    Decoding holds every segment to its share; only one of less than half a second may exceed it,
    and is left out where the others leave nothing of theirs.
    """
    found: list[Segment] = []
    used, seam = 0, int(spaced(language))
    for segment in segments:
        after = used + seam * bool(used) + len(segment.text)
        if after <= most:
            used = after
            found.append(replace(segment, id=len(found)))
    return found


def segment_of(number: int, audio: AudioSegment, hypothesis: Hypothesis) -> Segment:
    """Times from the recording's start; the whole segment where CTC gives none."""
    begin = audio.start
    words = (
        replace(word, start=begin + word.start, end=min(begin + word.end, audio.end))
        for word in hypothesis.words
    )
    return Segment(
        id=number,
        start=begin if hypothesis.start is None else begin + hypothesis.start,
        end=audio.end if hypothesis.end is None else min(begin + hypothesis.end, audio.end),
        text=hypothesis.text.strip(),
        words=tuple(words),
        avg_logprob=hypothesis.avg_log_prob,
        tokens=hypothesis.tokens,
        token_logprobs=hypothesis.token_log_probs,
        task=hypothesis.task,
        language=hypothesis.language,
        cut=hypothesis.cut,
        temperature=hypothesis.temperature,
        compression_ratio=hypothesis.compression_ratio,
        no_speech_prob=hypothesis.no_speech_prob,
    )


def said_of_cuts(task: Task, places: Sequence[float], left_out: int) -> Iterator[str]:
    """A line where texts of this task were cut, from these seconds on, and one where segments were
    left out."""
    what = "text" if task is Task.TRANSCRIBE else "translation"
    why = f"longer than {CHARACTERS_PER_SECOND} characters a second of audio"
    if places:
        named = ", ".join(f"{place:.1f}" for place in places[:MOST_PLACES])
        more = f" and {len(places) - MOST_PLACES} more" if len(places) > MOST_PLACES else ""
        yield f"the {what} was cut in the segments from {named}{more} s on: {why}, or in a loop"
    if left_out:
        yield f"short segments left out of the {what}: {left_out}; with the others it is {why}"
