"""What training will leave out, as far as `prepare` can tell: then it can still be mended."""

from collections.abc import Iterator, Sequence

from turnout.config import ModelConfig
from turnout.corpora.entry import MeasuredEntry
from turnout.decoding.requests import CHARACTERS_PER_SECOND, most_characters

NAMED = 5
"""Ids in one remark."""


def remarks_on(entries: Sequence[MeasuredEntry]) -> Iterator[str]:
    """A line on utterances longer than a model's window, and one on texts longer than their audio.

    The window is the one that models have by default; which texts CTC cannot align is known once
    there is a tokenizer, when training begins.
    """
    window = ModelConfig().window_seconds
    longer = [one for one in entries if one.duration > window]
    if longer:
        yield (
            f"{_which(longer)} longer than {window:g} s, the window of a model unless "
            "model.window_seconds says otherwise: training leaves such out, so give them as "
            "shorter segments"
        )
    # Counted as training counts it.
    hasty = [one for one in entries if len(one.entry.text or "") > most_characters(one.duration)]
    if hasty:
        yield (
            f"{_which(hasty)} too short for the text, which has more than {CHARACTERS_PER_SECOND} "
            "characters a second: training leaves such out, so look whether text and audio belong "
            "together"
        )


def _which(entries: Sequence[MeasuredEntry]) -> str:
    names = ", ".join(one.entry.id for one in entries[:NAMED])
    more = ", ..." if len(entries) > NAMED else ""
    count = len(entries)
    return f"{count} utterance{'s' * (count != 1)} ({names}{more}) {'are' if count != 1 else 'is'}"
