"""The files that the page gives are those that the command line writes, whatever the texts hold."""

import json
import random
from dataclasses import replace
from itertools import accumulate

import pytest

from tests.page.stand_in import Answers, serving
from turnout.config import TranscriptionOptions
from turnout.guidance import Bandwidth, Task
from turnout.serving.events import Deltas, ends
from turnout.serving.forms import Asked
from turnout.text.spacing import joined_text, spaced
from turnout.text.transcript import Segment, Transcript, Word
from turnout.text.writers import Format, render

COUNT = 60
PIECES = (
    "seven", "zwei", "نعم", "أربعة", "你好", "--->", "-->", "a&b", "<i>", "tab\there", "bell\x07",
    "1,5", "“quoted”", "…", "👩‍🚀", "e\u0301", "x" * 40,
)  # fmt: skip
LANGUAGES = ("en", "ar", "zh", "ja-Latn", None)
KINDS: tuple[Format, ...] = ("txt", "srt", "vtt", "json")
WRITE = """
const [tasks, streams] = arguments;
const { Result } = await import('/page/result.js');
return streams.map((events, place) => {
  const result = new Result(tasks[place]);
  for (const event of events) result.take(event);
  return result.tasks.map((task) => Object.fromEntries(
    page.KINDS.map((kind) => [kind, page.written(kind, result, task)])));
});
"""


def drawn(rng: random.Random, task: Task, language: str | None, starts: list[float]) -> Transcript:
    """A text of a few segments; times fall on halves of a millisecond now and then."""
    segments = []
    for number, start in enumerate(starts):
        pieces = rng.choices(PIECES, k=rng.randint(1, 5))
        words = tuple(
            Word(word=piece, start=start + i / 16, end=start + (i + 1) / 16, probability=0.5)
            for i, piece in enumerate(pieces)
        )
        segments.append(
            Segment(
                id=number, start=start, end=start + len(pieces) / 16, task=task, language=language,
                text=(" " if spaced(language) else "").join(pieces), avg_logprob=-0.25,
                words=words if task is Task.TRANSCRIBE else (),
            )
        )  # fmt: skip
    text = joined_text((segment.text for segment in segments), language)
    return Transcript(
        text=text, language=language, task=task, duration_seconds=9000.0, segments=tuple(segments),
        bandwidth=Bandwidth.NARROWBAND, language_probability=0.75,
        warnings=("a < b",) if rng.random() < 0.3 else (),
    )  # fmt: skip


def transcripts():
    rng = random.Random(13)
    for _ in range(COUNT):
        # Now and then a segment begins before the one before it ends.
        steps = [rng.choice((1, 2, 30, 60_000)) for _ in range(4)]
        starts = [place / 16 for place in accumulate(steps)]
        first = drawn(rng, Task.TRANSCRIBE, rng.choice(LANGUAGES), starts)
        second = None
        if rng.random() < 0.5:
            second = drawn(rng, Task.TRANSLATE, rng.choice(LANGUAGES[:3]), starts)
        yield first, second


def events_of(first, second):
    """As the server sends them."""
    task = "transcribe" if second is None else "both"
    options = TranscriptionOptions(task=task, word_timestamps=True)
    asked = Asked(options=options, model=None, format="verbose_json", stream=True, words=True)
    deltas = Deltas(asked, lambda _: ())
    segments = [*first.segments, *(second.segments if second else ())]
    ordered = sorted(segments, key=lambda one: (one.start, one.task))
    whole = replace(first, translation=second)
    return task, [*map(deltas.of, ordered), *ends(asked, whole, lambda _: ())]


@pytest.fixture(scope="module")
def address():
    with serving(Answers()) as url:
        yield url


def test_the_page_writes_what_the_command_line_writes(browser, address):
    browser.open(address)
    drawn_now = list(transcripts())
    tasks, streams = zip(*(events_of(*one) for one in drawn_now), strict=True)
    found = browser.import_and("downloads.js", WRITE, list(tasks), list(streams))
    assert len(found) == COUNT
    for (first, second), texts in zip(drawn_now, found, strict=True):
        for kind in KINDS[:3]:
            assert texts[0][kind] == render(first, kind)
            if second is not None:
                assert texts[1][kind] == render(second, kind)
            expected = json.loads(render(replace(first, translation=second), "json"))
        assert known(json.loads(texts[0]["json"])) == expected


def known(content):
    """Without what the server's answer states as 0 where the model does not say."""
    for text in (content, content.get("translation", {})):
        for segment in text.get("segments", ()):
            for name in ("temperature", "compression_ratio", "no_speech_prob"):
                segment.pop(name, None)
    return content
