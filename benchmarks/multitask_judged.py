"""The figures of the multitask benchmark: word error rates by cell and on average, and by how much
they are below hard sharing's, with intervals; BLEU and chrF of translations.

A cell is a language, a bandwidth and a task. The average is of the cells, each counting as much as
the others, as S-MoE's table has it. An interval resamples folds (each is a training of its own),
the speakers of each, and the utterances of each speaker; the arms are compared on the same draws.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from multitask_speech import SETS, Asked
from numpy.typing import NDArray
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from word_errors import word_errors

TASKS = ("transcribe", "translate")
CORPORA = tuple(SETS)
RESAMPLES = 1000
SEED = 0
Texts = Mapping[str, Mapping[str, str]]
"""By utterance and task."""
Figures = NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """What an arm got wrong, of the utterances of all folds, in their order."""

    cells: tuple[str, ...]
    errors: Figures
    """[utterances, cells]: 0 in the cells that an utterance is not of."""
    words: Figures
    """[utterances, cells]"""

    def rates(self, weights: Figures) -> Figures:
        """[cells]: word error rates in percent, of utterances that are drawn so often."""
        return 100 * (weights @ self.errors) / np.maximum(weights @ self.words, 1)


def cells_of(asked: Sequence[Asked]) -> tuple[str, ...]:
    """All of the table, in order."""
    return tuple(dict.fromkeys(f"{one.cell} {task}" for one in asked for task in TASKS))


def table_of(asked: Sequence[Asked], texts: Texts, cells: tuple[str, ...]) -> Table:
    """Of one arm; cells of which it wrote nothing stay empty."""
    errors, words = np.zeros((2, len(asked), len(cells)))
    for place, one in enumerate(asked):
        for task, reference in ((TASKS[0], one.text), (TASKS[1], one.translation)):
            found = texts.get(one.id, {}).get(task)
            if found is not None:
                cell = cells.index(f"{one.cell} {task}")
                errors[place, cell], words[place, cell] = word_errors(reference, found)
    return Table(cells, errors, words)


def draws(asked: Sequence[Asked], resamples: int) -> Iterator[Figures]:
    """[utterances]: how often each is drawn, in one resample after the other."""
    rng = np.random.default_rng(SEED)
    folds: dict[int, dict[str, list[int]]] = {}
    for place, one in enumerate(asked):
        folds.setdefault(one.fold, {}).setdefault(one.speaker, []).append(place)
    inside = [[np.array(places) for places in speakers.values()] for speakers in folds.values()]
    for _ in range(resamples):
        weights = np.zeros(len(asked))
        for fold in rng.integers(len(inside), size=len(inside)):
            # Arabic and English speakers apart: no draw may lack a language.
            for own in by_language(inside[fold], asked):
                for speaker in rng.integers(len(own), size=len(own)):
                    places = own[speaker]
                    np.add.at(weights, rng.choice(places, size=len(places)), 1.0)
        yield weights


def by_language(
    speakers: Sequence[NDArray[np.int64]], asked: Sequence[Asked]
) -> list[list[NDArray[np.int64]]]:
    """The speakers of a fold, those of one language together."""
    found: dict[str, list[NDArray[np.int64]]] = {}
    for places in speakers:
        found.setdefault(asked[places[0]].language, []).append(places)
    return list(found.values())


def compared(
    tables: Mapping[str, Table],
    asked: Sequence[Asked],
    base: str,
    averaged: Collection[str] = CORPORA,
) -> dict[str, Any]:
    """Rates of every arm, and the change relative to `base` in percent of its rate (below 0: fewer
    errors), by cell and on average over those of the corpora `averaged`, each with its interval."""
    whole = np.ones(len(asked))
    drawn = list(draws(asked, RESAMPLES))
    found: dict[str, Any] = {}
    rates = {name: np.array([table.rates(one) for one in drawn]) for name, table in tables.items()}
    for name, table in tables.items():
        now, beside = table.rates(whole), tables[base].rates(whole)
        rows = {
            cell: figures(now[i], rates[name][:, i], beside[i], rates[base][:, i])
            for i, cell in enumerate(table.cells)
            if table.words[:, i].any()
        }
        if len(rows) == len(table.cells):
            own = [place for place, one in enumerate(table.cells) if one.split()[0] in averaged]
            of_each = (now, rates[name], beside, rates[base])
            mean = [one[..., own].mean(axis=-1) for one in of_each]
            rows["average"] = figures(*mean)
        found[name] = rows
    return found


def figures(now: Any, drawn: Figures, beside: Any, beside_drawn: Figures) -> dict[str, Any]:
    """A rate and its change, with their intervals."""
    change = 100 * (now - beside) / max(float(beside), 1e-9)
    changes = 100 * (drawn - beside_drawn) / np.maximum(beside_drawn, 1e-9)
    return {
        "wer": round(float(now), 2),
        "wer, interval": ends(drawn),
        "relative change": round(float(change), 2),
        "relative change, interval": ends(changes),
    }


def ends(drawn: Figures) -> list[float]:
    """The 2.5 and 97.5 percentiles."""
    return [round(float(end), 2) for end in np.percentile(drawn, (2.5, 97.5))]


def translated(asked: Sequence[Asked], texts: Texts) -> dict[str, Any]:
    """BLEU and chrF of an arm, by the language that is spoken and the bandwidth."""
    rows: dict[str, Any] = {}
    for cell in dict.fromkeys(one.cell for one in asked):
        pairs = [
            (texts[one.id][TASKS[1]], one.translation)
            for one in asked
            if one.cell == cell and TASKS[1] in texts.get(one.id, {})
        ]
        if pairs:
            found, wanted = map(list, zip(*pairs, strict=True))
            rows[cell] = {
                "bleu": round(BLEU().corpus_score(found, [wanted]).score, 2),
                "chrf": round(CHRF().corpus_score(found, [wanted]).score, 2),
            }
    return rows
