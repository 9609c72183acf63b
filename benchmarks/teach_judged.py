"""The figures of the teaching benchmark: word error rates and what they differ by from the base's,
by column, with intervals; BLEU and chrF of translations.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from teach_speech import FEWEST_WORDS, GERMAN, SETS, name_of, normalised
from whisper_speech import Spoken
from word_errors import Counts, rate, word_errors

from turnout.evaluation.intervals import RESAMPLES, interval


def errors_of(spoken: Spoken, text: str) -> Counts:
    """Word errors and words."""
    reference, found = (normalised(one, spoken.language) for one in (spoken.text, text))
    return word_errors(reference, found)


def difference(total: NDArray[np.float64]) -> float:
    """Of two rates over the same words, in percent points."""
    return 100 * float(total[0] - total[2]) / max(float(total[1]), 1.0)


def group_of(spoken: Spoken) -> str:
    """What an interval resamples: speakers, but of German, which has one, utterances, and of
    prompts their ids, those of all languages together, since they say the same."""
    if spoken.source.startswith("prompts-"):
        return name_of(spoken)
    return spoken.id if spoken.source == SETS[GERMAN] else spoken.speaker


def judged(
    spoken: Sequence[Spoken], counts: Sequence[Counts], beside: Mapping[str, Sequence[Counts]]
) -> dict[str, Any]:
    """The error rate, and the paired difference to each of `beside`, with their intervals."""
    if not spoken:
        return {"utterances": 0}
    groups = [group_of(one) for one in spoken]
    own = np.array(counts, float)
    found: dict[str, Any] = {"utterances": len(spoken), "words": int(own[:, 1].sum())}
    figures = {"wer": (rate, own)}
    for name, theirs in beside.items():
        figures[f"difference to {name}"] = (
            difference,
            np.column_stack((own, np.array(theirs, float)[:, 0])),
        )
    for name, (figure, table) in figures.items():
        ends = interval(table, figure, groups, RESAMPLES)
        assert ends is not None
        found[name] = round(figure(table.sum(axis=0)), 2)
        found[f"{name}, interval"] = [round(end, 2) for end in ends]
    return found


def columns_of(spoken: Sequence[Spoken], taught: Sequence[str]) -> dict[str, list[int]]:
    """The utterances of each column, by their places: each source; all in taught
    languages, "taught"; and those of some words of each of these."""
    columns: dict[str, list[int]] = {}
    for place, one in enumerate(spoken):
        names = [one.source]
        if is_taught(one, taught):
            names.append("taught")
        for name in names:
            columns.setdefault(name, []).append(place)
            if one.source.startswith("prompts-") and len(one.text.split()) >= FEWEST_WORDS:
                columns.setdefault(f"{name}, {FEWEST_WORDS}+ words", []).append(place)
    return columns


def is_taught(spoken: Spoken, taught: Sequence[str]) -> bool:
    """Whether it is in a taught language, or of a taught source."""
    return spoken.language in taught or spoken.source in taught


def translated(references: Sequence[str], texts: Sequence[str]) -> dict[str, Any]:
    """BLEU and chrF as sacrebleu counts them, case and marks kept."""
    figures: dict[str, Any] = {}
    for name, metric in (("bleu", BLEU()), ("chrf", CHRF())):
        figures[name] = round(metric.corpus_score(list(texts), [list(references)]).score, 2)
        figures[f"{name}, signature"] = str(metric.get_signature())
    return figures
