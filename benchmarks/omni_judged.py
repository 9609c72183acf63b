"""The figures of the benchmark of shared routers: word and character error rates by set and on
average, and by how much each row is below dense and below Switch, with intervals.

The average is of the sets out of the domain, each counting as much as the others, as the paper's
ten have it. An interval resamples the seeds (each is a training of its own; a seed is the same draw
for all rows), the speakers, and the utterances of each; an utterance that several sets have is
drawn for all of them together, and rows are compared on the same draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from multitask_judged import ends
from numpy.typing import NDArray

from turnout.evaluation.intervals import RESAMPLES, resampled

Figures = NDArray[np.float64]
Counts = Mapping[str, Sequence[Mapping[str, Any]]]
"""Of each set, of each utterance: id, speaker, corpus, (errors, length) by metric."""
BASES = ("dense", "switch")
METRICS = ("wer", "cer")
SEED = 0
AVERAGE = "out of domain"


@dataclass(frozen=True)
class Draws:
    """Resamples that all rows have in common."""

    utterances: Figures
    """[resamples, utterances]: how often each is drawn."""
    seeds: NDArray[np.int64]
    """[resamples, seeds]: which are drawn."""


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


def table_of(runs: Sequence[Counts], metric: str) -> tuple[Figures, Figures]:
    """Errors [seeds, sets, utterances] and lengths [sets, utterances] of a row; 0 where a set has
    not that utterance."""
    places = places_of(runs[0])
    errors = np.zeros((len(runs), len(runs[0]), len(places)))
    lengths = np.zeros(errors.shape[1:])
    for seed, counts in enumerate(runs):
        for number, own in enumerate(counts.values()):
            for one in own:
                place = places[one["corpus"], one["id"]]
                errors[seed, number, place], lengths[number, place] = one[metric]
    return errors, lengths


def rates(errors: Figures, lengths: Figures, draws: Draws) -> tuple[Figures, Figures]:
    """Percent [sets] of what was heard, and [resamples, sets] of the draws, over the seeds."""
    whole = 100 * errors.sum(axis=2).mean(axis=0) / lengths.sum(axis=1)
    by_seed = np.stack([draws.utterances @ own.T for own in errors], axis=1)
    drawn = np.take_along_axis(by_seed, draws.seeds[:, :, None], axis=1).mean(axis=1)
    return whole, 100 * drawn / (draws.utterances @ lengths.T)


def judged(
    rows: Mapping[str, Sequence[Counts]], in_domain: str, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """By row, by set and on average: both error rates with intervals, and the change relative to
    each base that is there, in percent of its rate (below 0: fewer errors)."""
    first = next(iter(rows.values()))
    names = list(first[0])
    draws = draws_of(first[0], len(first), resamples)
    outside = [place for place, name in enumerate(names) if name != in_domain]
    found: dict[str, Any] = {row: {name: {} for name in (*names, AVERAGE)} for row in rows}
    for metric in METRICS:
        known = {row: rates(*table_of(runs, metric), draws) for row, runs in rows.items()}
        columns = {
            row: (np.append(whole, whole[outside].mean()), with_mean(drawn, outside))
            for row, (whole, drawn) in known.items()
        }
        for row, (whole, drawn) in columns.items():
            for place, name in enumerate((*names, AVERAGE)):
                own: dict[str, Any] = {metric: round(float(whole[place]), 2)}
                own[f"{metric}, interval"] = ends(drawn[:, place])
                for base in BASES:
                    if base in columns and base != row:
                        beside = columns[base][0][place], columns[base][1][:, place]
                        own |= change(metric, base, (whole[place], drawn[:, place]), beside)
                found[row][name] |= own
    return found


def with_mean(drawn: Figures, outside: list[int]) -> Figures:
    """The draws' rates [resamples, sets], and behind them the mean of some sets."""
    return np.column_stack((drawn, drawn[:, outside].mean(axis=1)))


def change(
    metric: str, base: str, own: tuple[Any, Figures], beside: tuple[Any, Figures]
) -> dict[str, Any]:
    """By how much a rate is beside another's, relative to that, with its interval."""
    whole = 100 * (own[0] - beside[0]) / max(float(beside[0]), 1e-9)
    drawn = 100 * (own[1] - beside[1]) / np.maximum(beside[1], 1e-9)
    name = f"{metric}, change to {base}"
    return {name: round(float(whole), 2), f"{name}, interval": ends(drawn)}
