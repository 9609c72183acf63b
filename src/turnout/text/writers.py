"""Transcript -> the text of a file, as whisper's command writes it: txt, srt, vtt, tsv, json.

Where files go and what they are called is the caller's affair.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, get_args

from turnout.errors import UsageError
from turnout.text.spacing import spaced
from turnout.text.transcript import Segment, Transcript, Word

Format = Literal["txt", "vtt", "srt", "tsv", "json"]
FORMATS: tuple[Format, ...] = get_args(Format)
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
ARROW = re.compile("-{2,}>")
"""However long: a part of a longer one must not become one."""


def render(transcript: Transcript, kind: Format) -> str:
    """The content of a file of this kind; a translation is rendered apart, but for json, where it
    stands inside. Raises UsageError for an unknown kind."""
    if kind not in WRITERS:
        raise UsageError(f"no output format '{kind}': choose one of {', '.join(FORMATS)}")
    return WRITERS[kind](transcript)


def files_of(transcript: Transcript, kinds: Iterable[Format]) -> Iterator[tuple[str, bytes]]:
    """The ending and the content of each file of a transcript; a translation has files of its own,
    but for JSON, which holds both."""
    for kind in kinds:
        yield f".{kind}", render(transcript, kind).encode()
        if transcript.translation is not None and kind != "json":
            yield f".translation.{kind}", render(transcript.translation, kind).encode()


def as_txt(transcript: Transcript) -> str:
    """One line per segment."""
    return "".join(f"{row(segment.text)}\n" for segment in transcript.segments)


def as_srt(transcript: Transcript) -> str:
    """SubRip subtitles."""
    return "".join(
        f"{number}\n{clock(segment.start, True, ',')} --> {clock(segment.end, True, ',')}\n"
        f"{cue(segment)}\n\n"
        for number, segment in enumerate(spoken(transcript), start=1)
    )


def as_vtt(transcript: Transcript) -> str:
    """WebVTT subtitles; hours only where there are any."""
    cues = (
        f"{clock(segment.start)} --> {clock(segment.end)}\n{escaped(cue(segment))}\n\n"
        for segment in spoken(transcript)
    )
    return "WEBVTT\n\n" + "".join(cues)


def as_tsv(transcript: Transcript) -> str:
    """Start and end in whole milliseconds, and the text."""
    rows = (
        f"{milliseconds(segment.start)}\t{milliseconds(segment.end)}\t{row(segment.text)}\n"
        for segment in transcript.segments
    )
    return "start\tend\ttext\n" + "".join(rows)


def as_json(transcript: Transcript) -> str:
    """Text, segments and language; the translation's beside them where there is one."""
    content = document(transcript)
    if transcript.translation is not None:
        content["translation"] = document(transcript.translation)
    if transcript.warnings:
        content["warnings"] = list(transcript.warnings)
    return json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n"


WRITERS: dict[str, Callable[[Transcript], str]] = {
    "txt": as_txt,
    "vtt": as_vtt,
    "srt": as_srt,
    "tsv": as_tsv,
    "json": as_json,
}


def document(transcript: Transcript) -> dict[str, Any]:
    """What whisper's json says of one text."""
    content: dict[str, Any] = {
        "text": transcript.text,
        "segments": [entry(segment) for segment in transcript.segments],
        "language": transcript.language,
    }
    if transcript.language_probability is not None:
        content["language_probability"] = transcript.language_probability
    return content


def entry(segment: Segment) -> dict[str, Any]:
    """One segment; its words where there are any, as whisper's."""
    content: dict[str, Any] = {
        "id": segment.id,
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
    }
    for name in ("temperature", "avg_logprob", "compression_ratio", "no_speech_prob"):
        if getattr(segment, name) is not None:
            content[name] = getattr(segment, name)
    if segment.cut:
        content["cut"] = True
    if segment.words:
        space = " " if spaced(segment.language) else ""
        content["words"] = [word_entry(word, space) for word in segment.words]
    return content


def word_entry(word: Word, space: str) -> dict[str, Any]:
    """One word, with the space before it, and the model's confidence where it is known."""
    content: dict[str, Any] = {"word": space + word.word, "start": word.start, "end": word.end}
    if word.probability is not None:
        content["probability"] = word.probability
    return content


def spoken(transcript: Transcript) -> Iterator[Segment]:
    """The segments that a subtitle can show: those with text."""
    return (segment for segment in transcript.segments if row(segment.text))


def row(text: str) -> str:
    """The text on one line, without control characters, so that it is one row of a file."""
    return " ".join(CONTROLS.sub(" ", text).split())


def cue(segment: Segment) -> str:
    """The segment's text as subtitles can hold it: an arrow would begin a new cue."""
    return ARROW.sub("->", row(segment.text))


def escaped(text: str) -> str:
    """WebVTT reads markup in its texts."""
    return text.replace("&", "&amp;").replace("<", "&lt;")


def milliseconds(seconds: float) -> int:
    """Whole milliseconds."""
    return round(seconds * 1000)


def clock(seconds: float, always_hours: bool = False, decimal_mark: str = ".") -> str:
    """[hh:]mm:ss.mmm"""
    rest, thousandths = divmod(milliseconds(max(seconds, 0.0)), 1000)
    minutes, second = divmod(rest, 60)
    hours, minute = divmod(minutes, 60)
    head = f"{hours:02d}:" if always_hours or hours else ""
    return f"{head}{minute:02d}:{second:02d}{decimal_mark}{thousandths:03d}"
