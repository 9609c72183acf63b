"""Which labels are kept, and why the others are not."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from turnout.config.labelling import LabelConfig
from turnout.decoding.requests import compression_ratio
from turnout.evaluation.counting import ERRORS, LENGTH, counted, error_rate
from turnout.labelling.labels import Label
from turnout.text.languages import CODES
from turnout.text.spacing import spaced


class Reason(StrEnum):
    """Why a label is dropped."""

    EMPTY = "no speech was found"
    STOPPED = "its text was stopped before its end"
    CONFIDENCE = "less confidence than was asked for"
    LOOP = "its text repeats itself"
    LANGUAGE = "another language than was asked for or stated"
    LANGUAGE_PROBABILITY = "its language is not sure enough"
    SLOW = "fewer characters a second than were asked for"
    FAST = "more characters a second than were asked for"
    DISAGREEMENT = "a second model wrote something else"


@dataclass(frozen=True)
class Chosen:
    """A label, and why it is dropped, if it is."""

    label: Label
    reasons: tuple[Reason, ...]
    disagreement: float | None = None
    """Error rate in percent between two models' texts; None where there is no second, or it heard
    nothing of it."""

    @property
    def kept(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.reasons


def chosen(
    label: Label, config: LabelConfig, second: str | None = None, *, compared: bool = False
) -> Chosen:
    """The label and what speaks against it; `compared` where there is a second model, whose text is
    `second`, None where it could hear nothing."""
    if not label.text:
        return Chosen(label, (Reason.EMPTY,))
    apart = None if second is None else disagreement(label.text, second, label.language)
    found = list(_reasons(label, config))
    if compared and (apart is None or apart > config.max_disagreement):
        found.append(Reason.DISAGREEMENT)
    return Chosen(label, tuple(found), apart)


def disagreement(text: str, second: str, language: str | None) -> float:
    """Errors of the second text in percent of the first one's words, or of its characters where a
    language has no spaces between words."""
    metric = "wer" if spaced(language) else "cer"
    total = counted(metric, [text], [second], language).counts.sum(axis=0)
    if not total[LENGTH]:  # nothing of the text counts, such as a row of dots
        return 100.0 if total[ERRORS] else 0.0
    return error_rate(total)


def _reasons(label: Label, config: LabelConfig) -> Iterator[Reason]:
    if label.stopped:
        yield Reason.STOPPED
    if _below(label.confidence, config.min_confidence):
        yield Reason.CONFIDENCE
    most = config.max_compression_ratio
    if most is not None and compression_ratio(label.text) > most:
        yield Reason.LOOP
    if not _wanted(label, config):
        yield Reason.LANGUAGE
    if _below(label.language_probability, config.min_language_probability):
        yield Reason.LANGUAGE_PROBABILITY
    speed = len(label.text) / label.seconds
    if _below(speed, config.min_characters_per_second):
        yield Reason.SLOW
    if config.max_characters_per_second is not None and speed > config.max_characters_per_second:
        yield Reason.FAST


def _below(value: float | None, least: float | None) -> bool:
    """Whether a value that is known is less than what is asked for."""
    return value is not None and least is not None and value < least


def _wanted(label: Label, config: LabelConfig) -> bool:
    """Whether the language is known, what the input stated, and among those that are asked for."""
    if label.language is None:
        return False
    found = base_of(label.language)
    stated = label.stated_language
    if stated is not None and base_of(stated) != found:
        return False
    return not config.languages or found in map(base_of, config.languages)


def base_of(language: str) -> str:
    """'en' of 'en-US' and of 'English': models know no regions."""
    folded = language.casefold()
    return CODES.get(folded, folded).replace("_", "-").split("-")[0]
