"""Word errors, as the benchmarks of Whisper count them."""

import jiwer
import numpy as np
from numpy.typing import NDArray

Counts = tuple[int, int]


def word_errors(reference: str, found: str) -> Counts:
    """Errors and words of normalised texts; without words, each that is found is an error."""
    words = len(reference.split())
    if not words:
        return len(found.split()), 0
    counts = jiwer.process_words(reference, found)
    return counts.substitutions + counts.deletions + counts.insertions, words


def rate(total: NDArray[np.float64]) -> float:
    """Of summed errors and words, in percent."""
    return 100 * float(total[0]) / max(float(total[1]), 1.0)
