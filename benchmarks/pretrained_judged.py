"""The figures of the benchmark from a pretrained start: word error rates by cell (language,
bandwidth, task), BLEU and chrF of translations to English, on average of what was taught and of
what was not, and what each is beside other rows, with intervals.

An interval resamples seeds, and prompt ids, those of all languages, bandwidths and tasks together
(they say the same); of LibriSpeech speakers, both bandwidths together, then their utterances; of
German, which has one speaker, utterances.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from omni_judged import RESAMPLES, Counts, Wanted, error_rate, judged, of_sacrebleu
from pretrained_speech import Asked, taught_cells
from teach_judged import errors_of

from turnout.evaluation.counting import counted
from turnout.guidance import Task

BASES = ("hard", "smoe", "base", "base-speech")
"""Rows that the others are held against."""
TRANSLATION = ("bleu", "chrf")
TAUGHT, UNTAUGHT, TRANSLATED = "taught", "not taught", "translated to English"
AVERAGES = (TAUGHT, UNTAUGHT, TRANSLATED)


def counts_of(asked: Sequence[Asked], text_of: Callable[[Asked, Task], str]) -> Counts:
    """What each metric counts of each utterance, by cell; `text_of` hears it."""
    found: dict[str, list[dict[str, Any]]] = {}
    for one in asked:
        for task in one.tasks:
            text = text_of(one, task)
            found.setdefault(one.cell(task), []).append(
                {
                    "id": one.name,
                    "speaker": one.speaker,
                    "corpus": one.corpus,
                    **metrics_of(one, task, text),
                }
            )
    return found


def metrics_of(one: Asked, task: Task, text: str) -> dict[str, Sequence[float]]:
    """What each metric of a task counts in a text."""
    if task is Task.TRANSCRIBE:
        return {"wer": errors_of(one.spoken, text)}
    return {
        metric: counted(metric, [one.english], [text], "en").counts[0].tolist()
        for metric in TRANSLATION
    }


def figures_of(rows: Mapping[str, Sequence[Counts]], resamples: int = RESAMPLES) -> dict[str, Any]:
    """By row, by cell and on average; `rows` have the counts of each seed."""
    taught = {task: taught_cells(task) for task in Task}
    cells = list(next(iter(rows.values()))[0])
    heard = {task: [cell for cell in cells if cell.endswith(task)] for task in Task}
    others = [cell for cell in heard[Task.TRANSCRIBE] if cell not in taught[Task.TRANSCRIBE]]
    errors = Wanted(
        averages={TAUGHT: taught[Task.TRANSCRIBE], UNTAUGHT: others},
        metrics={"wer": error_rate},
        bases=BASES,
        resamples=resamples,
    )
    scores = Wanted(
        averages={TRANSLATED: taught[Task.TRANSLATE]},
        metrics={metric: of_sacrebleu(metric) for metric in TRANSLATION},
        bases=BASES,
        resamples=resamples,
    )
    found: dict[str, Any] = {row: {} for row in rows}
    for task, wanted in ((Task.TRANSCRIBE, errors), (Task.TRANSLATE, scores)):
        own = {
            row: [{cell: counts[cell] for cell in heard[task]} for counts in seeds]
            for row, seeds in rows.items()
        }
        for row, figures in judged(own, wanted).items():
            found[row] |= figures
    return found
