"""What comes out: text with its segments and words, in seconds from the recording's start."""

from dataclasses import dataclass

from turnout.guidance import Bandwidth, Task


@dataclass(frozen=True, kw_only=True)
class Word:
    """One word of the transcript, its times from CTC or from what the decoder attended to."""

    start: float
    end: float
    word: str
    probability: float | None = None
    """How sure the model is of it, 0 to 1: the geometric mean of its tokens' probabilities."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One part of a recording; `words` is empty unless asked for, and for translations."""

    id: int
    start: float
    end: float
    text: str
    words: tuple[Word, ...] = ()
    avg_logprob: float | None = None
    """Mean natural logarithm of the probabilities of the tokens, and of the end behind them where
    the model has one and the text was not cut."""
    tokens: tuple[int, ...] = ()
    """Ids of the text."""
    token_logprobs: tuple[float, ...] = ()
    """Natural logarithm of the probability of each; of what CTC alone wrote, in the frame where it
    is surest of it."""
    task: Task = Task.TRANSCRIBE
    """Whether the text is what was said, or its translation."""
    language: str | None = None
    """Of the text."""
    cut: bool = False
    """Whether the text stops early: it was longer than its audio has room for, or repeated itself.
    The transcript's warnings say so too."""
    temperature: float | None = None
    """Of the attempt that wrote the text: 0 is the search, above it texts are sampled. This and
    what follows is None of models other than Whisper's."""
    compression_ratio: float | None = None
    """Bytes of the text for each that zlib needs for it; high where the text repeats itself."""
    no_speech_prob: float | None = None
    """How probable the model finds it that nothing is said; None where it has no token for that."""


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
    language_probability: float | None = None
    """Of the spoken language among the model's, in the segment that it was found in; None where it
    was given."""
    warnings: tuple[str, ...] = ()
    """What a listener should know: of the file, and of texts that were cut; a line each."""

    def __repr__(self) -> str:
        """One line: language, length, text, and the translation behind an arrow."""
        head = f"{self.language or 'unknown'}, {self.duration_seconds:.1f} s, {self.bandwidth}"
        tail = f" -> {self.translation.text!r}" if self.translation is not None else ""
        return f"Transcript({head}: {self.text!r}{tail})"
