"""What comes out: text with its segments and words, in seconds from the recording's start."""

from dataclasses import dataclass

from turnout.guidance import Bandwidth, Task


@dataclass(frozen=True, kw_only=True)
class Word:
    """One word of the transcript, its times from CTC alignment."""

    start: float
    end: float
    word: str


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One stretch of a recording; `words` is empty unless asked for, and for translations."""

    id: int
    start: float
    end: float
    text: str
    words: tuple[Word, ...] = ()
    avg_logprob: float | None = None


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """The text of one recording; with task 'both', `translation` holds the second text."""

    text: str
    language: str | None
    """Of `text`: the spoken language, or the target language of a translation."""
    task: Task
    duration_seconds: float
    bandwidth: Bandwidth
    segments: tuple[Segment, ...] = ()
    translation: "Transcript | None" = None
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """One line: language, length, text, and the translation behind an arrow."""
        head = f"{self.language or 'unknown'}, {self.duration_seconds:.1f} s, {self.bandwidth}"
        tail = f" -> {self.translation.text!r}" if self.translation is not None else ""
        return f"Transcript({head}: {self.text!r}{tail})"
