"""The third step: what was decoded of a recording's stretches -> its Transcript."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from turnout.decoding.request import Decoded, Hypothesis, most_characters
from turnout.guidance import Bandwidth, Task
from turnout.text.transcript import Segment, Transcript
from turnout.transcription.hearing import Stretch


@dataclass(frozen=True, kw_only=True)
class Heard:
    """A recording after decoding."""

    pieces: Sequence[tuple[Stretch, Decoded]]
    """Those that were decoded, in order of time; silent ones are left out."""
    tasks: tuple[Task, ...]
    language: str | None
    """Spoken."""
    target_language: str | None
    duration_seconds: float
    bandwidth: Bandwidth
    warnings: tuple[str, ...] = ()


def compose(heard: Heard) -> Transcript:
    """The Transcript of the first task, with the second's inside where there is one."""
    first, *rest = (transcript_of(heard, task) for task in heard.tasks)
    return replace(first, translation=rest[0]) if rest else first


def transcript_of(heard: Heard, task: Task) -> Transcript:
    """What one task wrote; stretches without text leave no segment."""
    found = list(fitting(hypotheses(heard, task), most_characters(heard.duration_seconds)))
    segments = [
        segment_of(number, stretch, hypothesis)
        for number, (stretch, hypothesis) in enumerate(found)
    ]
    said = heard.target_language if task is Task.TRANSLATE else heard.language
    language = next((hypothesis.language for _, hypothesis in found), None)
    return Transcript(
        text=" ".join(segment.text for segment in segments),
        language=language or said,
        task=task,
        duration_seconds=heard.duration_seconds,
        bandwidth=heard.bandwidth,
        segments=tuple(segments),
        warnings=heard.warnings,
    )


def hypotheses(heard: Heard, task: Task) -> Iterator[tuple[Stretch, Hypothesis]]:
    """This task's hypotheses that have a text."""
    for stretch, decoded in heard.pieces:
        for hypothesis in decoded.hypotheses:
            if hypothesis.task is task and hypothesis.text.strip():
                yield stretch, hypothesis


def fitting(
    found: Iterable[tuple[Stretch, Hypothesis]], most: int
) -> Iterator[tuple[Stretch, Hypothesis]]:
    """Those whose texts, joined, have at most so many characters.

    Decoding holds every stretch to its share; only one of less than a second may exceed it, and is
    left out where the others leave nothing of theirs.
    """
    used = 0
    for stretch, hypothesis in found:
        after = used + bool(used) + len(hypothesis.text.strip())
        if after <= most:
            used = after
            yield stretch, hypothesis


def segment_of(number: int, stretch: Stretch, hypothesis: Hypothesis) -> Segment:
    """Times from the recording's start; the whole stretch where CTC gives none."""
    begin = stretch.start
    words = (
        replace(word, start=begin + word.start, end=min(begin + word.end, stretch.end))
        for word in hypothesis.words
    )
    return Segment(
        id=number,
        start=begin if hypothesis.start is None else begin + hypothesis.start,
        end=stretch.end if hypothesis.end is None else min(begin + hypothesis.end, stretch.end),
        text=hypothesis.text.strip(),
        words=tuple(words),
        avg_logprob=hypothesis.log_prob / (len(hypothesis.tokens) + 1),
    )
