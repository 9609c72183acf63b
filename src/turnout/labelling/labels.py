"""What was heard of an input -> cuts with a text, each as long as a model's window at most.

An input that fits the window is one cut; a longer one is a cut for each segment with text.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from turnout.corpora.cuts import is_less_than_a_frame
from turnout.corpora.entry import MeasuredEntry
from turnout.corpora.spelling import plain_text
from turnout.corpora.writing import cut_of
from turnout.labelling.hearing import HeardInput
from turnout.text.transcript import Segment

MARGIN = 0.25
"""Seconds kept before and behind the words of a segment, where nobody else's are: their times are
of peaks of CTC, which come late and leave early."""
DIGITS = 4
"""Of probabilities and their logarithms."""


@dataclass(frozen=True, kw_only=True)
class Label:
    """A cut with the text that was heard in it, and what else there is to choose by."""

    cut: Mapping[str, Any]
    """As lhotse writes it; what the text is worth lies in its supervision's `custom`."""
    stopped: bool = False
    """Whether the text was stopped before its end: too long for its sound, or in a loop."""
    stated_language: str | None = None
    """Where the input said what is spoken."""

    @property
    def _said(self) -> Mapping[str, Any]:
        return self.cut["supervisions"][0]

    @property
    def id(self) -> str:
        """The cut's."""
        return self.cut["id"]

    @property
    def shard(self) -> tuple[int, int] | None:
        """The shard, by its number, and the place of its utterance in that, where it is of one."""
        found = self.cut.get("custom")
        return found and (found["shard"], found["utterance"])

    @property
    def span(self) -> tuple[float, float]:
        """From where to where it lies in what it is of, in seconds."""
        return self.cut["start"], self.cut["start"] + self.seconds

    @property
    def text(self) -> str:
        """Empty where no speech was found."""
        return self._said["text"]

    @property
    def language(self) -> str | None:
        """Told or found; None where the model cannot find it."""
        return self._said.get("language")

    @property
    def seconds(self) -> float:
        """Of the cut."""
        return self.cut["duration"]

    @property
    def confidence(self) -> float | None:
        """Mean log-probability of the text; None without one."""
        return self._said["custom"].get("confidence")

    @property
    def language_probability(self) -> float | None:
        """None where the language was not found by the model, but told."""
        return self._said["custom"].get("language_probability")


def labels_of(heard: HeardInput, window_seconds: float, model: str) -> Iterator[Label]:
    """The labels of an input, one at least, written by the model of this name; without speech the
    only one has no text."""
    segments = heard.transcript.segments
    if heard.measured.duration <= window_seconds or not segments:
        yield _label(heard, heard.measured, segments, model)
        return
    for segment, (start, end) in zip(segments, _spans(heard, window_seconds), strict=True):
        if is_less_than_a_frame(end - start):
            continue  # no utterance is shorter
        begin = heard.measured.start + start
        entry = replace(heard.measured.entry, id=f"{heard.measured.entry.id}-{segment.id:05d}")
        place = replace(heard.measured, entry=entry, start=begin, duration=end - start)
        yield _label(heard, place, [segment], model)


def _spans(heard: HeardInput, window_seconds: float) -> Iterator[tuple[float, float]]:
    """From where to where each segment is cut out, in seconds of the input: with a margin as far as
    half of the pauses beside it, and the window, have room for it."""
    segments, end = heard.transcript.segments, heard.measured.duration
    for number, segment in enumerate(segments):
        before = segments[number - 1].end if number else -segment.start
        after = segments[number + 1].start if number + 1 < len(segments) else 2 * end - segment.end
        spare = max(window_seconds - (segment.end - segment.start), 0.0) / 2
        left = min(MARGIN, spare, max(segment.start - before, 0.0) / 2)
        right = min(MARGIN, spare, max(after - segment.end, 0.0) / 2)
        yield max(segment.start - left, 0.0), min(segment.end + right, end)


def _label(
    heard: HeardInput, place: MeasuredEntry, segments: Sequence[Segment], model: str
) -> Label:
    transcript, stated = heard.transcript, place.entry.language
    text = transcript.text if place is heard.measured else segments[0].text
    language = transcript.language or stated
    translations = {to: said for to, said in place.entry.translations.items() if to != language}
    # Those of a whole input are of all of its segments.
    translations = translations if place is heard.measured else {}
    entry = replace(
        place.entry, text=plain_text(text), language=language, translations=translations
    )
    more: dict[str, object] = {"labelled_by": model}
    worth = confidence(segments)
    if worth is not None:
        more["confidence"] = round(worth, DIGITS)
    if transcript.language_probability is not None:
        more["language_probability"] = round(transcript.language_probability, DIGITS)
    cut = cut_of(replace(place, entry=entry), more).to_dict()
    if heard.origin is not None:
        cut["custom"] = {"shard": heard.origin.number, "utterance": heard.origin.utterance}
        cut["recording"]["sources"][0]["source"] = str(entry.audio)  # no place of this machine
    return Label(
        cut=cut,
        stopped=any(segment.cut for segment in segments),
        stated_language=stated,
    )


def confidence(segments: Sequence[Segment]) -> float | None:
    """Mean log-probability over the tokens of segments; None where there are none."""
    known = [(one.avg_logprob, max(len(one.tokens), 1)) for one in segments]
    weighed = [(mean * tokens, tokens) for mean, tokens in known if mean is not None]
    tokens = sum(count for _, count in weighed)
    return sum(total for total, _ in weighed) / tokens if tokens else None
