"""The figures of the benchmarks of several seeds: a metric by set and on average, and by how much
each row is below the rows that it is held against, with intervals.

An average is of sets, each counting as much as the others, as the Omni-router paper's ten have it.
An interval resamples the seeds (each is a training of its own; a seed is the same draw for all
rows), the speakers, and the utterances of each; an utterance that several sets have is drawn for
all of them together, and rows are compared on the same draws.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.evaluation.counting import Metric, counted
from turnout.evaluation.intervals import RESAMPLES, resampled

Figures = NDArray[np.float64]
Counts = Mapping[str, Sequence[Mapping[str, Any]]]
"""Of each set, of each utterance: id, speaker, corpus, and what each metric counts in it."""
Figure = Callable[[Figures], Figures]
"""Summed counts [..., counts] -> percent [...]."""
SEED = 0
AVERAGE = "out of domain"


def error_rate(total: Figures) -> Figures:
    """Of errors and lengths."""
    return 100 * total[..., 0] / np.maximum(total[..., 1], 1)


def of_sacrebleu(metric: Metric) -> Figure:
    """BLEU or chrF of English; NaN where the references have nothing that it counts."""
    figure = counted(metric, [""], [""], "en").figure

    def of_each(total: Figures) -> float:
        value = figure(total)
        return np.nan if value is None else value

    return lambda total: np.apply_along_axis(of_each, -1, total)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a table shows."""

    averages: Mapping[str, Sequence[str]]
    """The sets of each, by its name."""
    metrics: Mapping[str, Figure] = field(
        default_factory=lambda: {"wer": error_rate, "cer": error_rate}
    )
    bases: Sequence[str] = ("dense", "switch")
    """Rows that the others are held against."""
    resamples: int = RESAMPLES


@dataclass(frozen=True)
class Draws:
    """Resamples that all rows have in common."""

    utterances: Figures
    """[resamples, utterances]: how often each is drawn."""
    seeds: NDArray[np.int64]
    """[resamples, seeds]: which are drawn."""


@dataclass(frozen=True)
class Rates:
    """Of one row: percent of all sets, and behind them of the averages."""

    whole: Figures
    """[sets]"""
    drawn: Figures
    """[resamples, sets]"""


def places_of(counts: Counts) -> dict[tuple[str, str], int]:
    """Each utterance's place among all of all sets, those of one corpus side by side."""
    found = {(one["corpus"], one["id"]) for own in counts.values() for one in own}
    return {key: place for place, key in enumerate(sorted(found))}


def draws_of(counts: Counts, seeds: int, resamples: int) -> Draws:
    """Corpora are drawn apart: no draw may lack one."""
    places = places_of(counts)
    speakers = {
        (one["corpus"], one["id"]): one["speaker"] or one["id"]
        for own in counts.values()
        for one in own
    }
    parts = []
    for corpus in dict.fromkeys(name for name, _ in places):
        groups = [speakers[key] for key in places if key[0] == corpus]
        parts.append(np.array(list(resampled(groups, resamples))))
    rng = np.random.default_rng(SEED)
    return Draws(np.concatenate(parts, axis=1), rng.integers(seeds, size=(resamples, seeds)))


def table_of(runs: Sequence[Counts], metric: str) -> Figures:
    """What a metric counts of a row, [seeds, sets, utterances, counts]; 0 where a set has not that
    utterance."""
    places = places_of(runs[0])
    known = next(one[metric] for own in runs[0].values() for one in own)
    found = np.zeros((len(runs), len(runs[0]), len(places), len(known)))
    for seed, counts in enumerate(runs):
        for number, own in enumerate(counts.values()):
            for one in own:
                found[seed, number, places[one["corpus"], one["id"]]] = one[metric]
    return found


def rates(counts: Figures, draws: Draws, figure: Figure, averages: Sequence[list[int]]) -> Rates:
    """A row's rates, the mean of the seeds; `averages` are of the sets in these places."""
    whole = figure(counts.sum(axis=2)).mean(axis=0)
    summed = (np.einsum("du,suc->dsc", draws.utterances, own) for own in counts)
    by_seed = np.stack([figure(one) for one in summed], axis=1)
    drawn = np.take_along_axis(by_seed, draws.seeds[:, :, None], axis=1).mean(axis=1)
    means = [[one[..., places].mean(axis=-1) for places in averages] for one in (whole, drawn)]
    return Rates(np.append(whole, means[0]), np.column_stack((drawn, *means[1])))


def judged(rows: Mapping[str, Sequence[Counts]], wanted: Wanted) -> dict[str, Any]:
    """By row, by set and on average: each metric with its interval, and the change relative to each
    base that is there, in percent of its figure (below 0: fewer errors, or a lower BLEU)."""
    first = next(iter(rows.values()))
    names = (*first[0], *wanted.averages)
    draws = draws_of(first[0], len(first), wanted.resamples)
    averages = [[names.index(name) for name in own] for own in wanted.averages.values()]
    found: dict[str, Any] = {row: {name: {} for name in names} for row in rows}
    for metric, figure in wanted.metrics.items():
        columns = {
            row: rates(table_of(runs, metric), draws, figure, averages)
            for row, runs in rows.items()
        }
        for row, own in columns.items():
            for place, name in enumerate(names):
                of_set = found[row][name]
                of_set |= shown(metric, own.whole[place], own.drawn[:, place])
                for base in wanted.bases:
                    if base in columns and base != row:
                        beside = columns[base]
                        pairs = (own.whole, beside.whole), (own.drawn, beside.drawn)
                        changes = [change(a[..., place], b[..., place]) for a, b in pairs]
                        of_set |= shown(f"{metric}, change to {base}", *changes)
    return found


def change(own: Figures, beside: Figures) -> Figures:
    """By how much a rate is beside another's, in percent of that."""
    return 100 * (own - beside) / np.maximum(beside, 1e-9)


def shown(name: str, whole: Any, drawn: Figures) -> dict[str, Any]:
    """A figure and its interval, None where there is none."""
    known = drawn[~np.isnan(drawn)]
    ends = np.percentile(known, (2.5, 97.5)) if len(known) else ()
    return {
        name: None if np.isnan(whole) else round(float(whole), 2),
        f"{name}, interval": [round(float(end), 2) for end in ends] or None,
    }
