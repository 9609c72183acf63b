"""Whether graphs give what the model gives: both backends on the same random inputs.

Batch sizes and lengths differ from the traced ones, a batch of one guidance leaves experts without
frames, and the decoder is taken through an empty past, a prompt, single steps and a selection.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from turnout.config import ModelConfig
from turnout.config.cutting import every_guidance, one_of_each
from turnout.decoding.backend import Backend, Encoded, StepQuery
from turnout.errors import ExportError
from turnout.guidance import Guidance

TOLERANCE = 1e-4
OF_THE_LARGEST = 1e-5
"""Beyond it, this share of the largest log-probability of a place, in size. Where a model is almost
sure of a token, an error of that token's logit moves all others' log-probabilities, and float32
rounds a logit by its size: whisper-base, which knows log-probabilities of -40, is 1e-4 from float64
in PyTorch and 0.6e-4 in its graphs."""
SHAPES = ((1, 7), (1, 160), (3, 50), (5, 33))
"""(utterances, frames of the longest)"""


@dataclass(frozen=True)
class Case:
    """A batch of random features with a guidance for each utterance."""

    log_mel: NDArray[np.float32]
    frame_mask: NDArray[np.bool_]
    guidance: Sequence[Guidance]


def check_parity(expected: Backend, found: Backend) -> float:
    """The largest difference of any log-probability or attention weight; raises ExportError beyond
    1e-4, or 1e-5 of the largest of its place where that is more."""
    worst = 0.0
    for case in cases(expected.config):
        try:
            worst = max(worst, compare(case, expected, found))
        except ExportError:
            raise
        except Exception as error:
            shape = "x".join(map(str, case.frame_mask.shape))
            raise ExportError(
                f"the graphs fail on a batch of {shape} frames: {error}: nothing was written"
            ) from error
    return worst


def cases(config: ModelConfig) -> Iterator[Case]:
    """Every shape with guidances mixed, which take every expert of a stack, then one for all."""
    random = np.random.default_rng(0)
    others = every_guidance(config)
    known = one_of_each(config)
    needed, place = len(known), 0
    known += [others[int(i)] for i in random.permutation(len(others))]
    shapes = list(product(SHAPES, (True, False)))
    mixable = sum(batch for (batch, _), mixed in shapes if mixed)
    shapes += [(SHAPES[-1], True)] * -(-max(needed - mixable, 0) // SHAPES[-1][0])
    for (batch, frames), mixed in shapes:
        lengths = random.integers(1, frames + 1, batch)
        lengths[0] = frames
        mask = np.arange(frames) < lengths[:, None]
        log_mel = random.normal(size=(batch, frames, config.features.num_mels))
        first = place if mixed else int(random.integers(len(known)))
        chosen = [known[(first + i * mixed) % len(known)] for i in range(batch)]
        place += batch * mixed
        yield Case((log_mel * mask[..., None]).astype(np.float32), mask, chosen)


def compare(case: Case, expected: Backend, found: Backend) -> float:
    """The largest difference of one case."""
    first, second = (
        backend.encode(case.log_mel, case.frame_mask, case.guidance)
        for backend in (expected, found)
    )
    mask = first.frame_mask
    if not np.array_equal(mask, second.frame_mask):
        raise ExportError("the encoder's graph gives another frame mask: nothing was written")
    worst = 0.0
    if first.ctc_log_probs is not None and second.ctc_log_probs is not None:
        worst = difference(
            "log-probabilities of CTC", first.ctc_log_probs[mask], second.ctc_log_probs[mask]
        )
    if not np.array_equal(first.expert_index[:, mask], second.expert_index[:, mask]):
        raise ExportError("the encoder's graph chooses other experts: nothing was written")
    if expected.config.decoder.num_layers:
        worst = max(worst, compare_decoders(case, (expected, first), (found, second)))
    if expected.config.decoder.alignment_heads:
        worst = max(worst, compare_attention(case, (expected, first), (found, second)))
    return worst


def compare_decoders(
    case: Case, expected: tuple[Backend, Encoded], found: tuple[Backend, Encoded]
) -> float:
    """A prompt of unequal lengths, single steps, and a step after rows were chosen, of which some
    tokens are forgotten each time."""
    batch = len(case.guidance)
    rows = np.arange(batch + 1) % batch
    guidance = [case.guidance[int(row)] for row in rows]
    random = np.random.default_rng(1)
    states = [backend.start(encoded, rows, guidance) for backend, encoded in (expected, found)]
    worst, vocabulary = 0.0, expected[0].config.vocabulary.size
    known = np.zeros(len(rows), dtype=np.int64)
    for new in (4, 1, 1, 3):
        tokens = random.integers(0, vocabulary, (len(states[0].rows), new))
        counts = np.full(len(tokens), new) if new == 1 else random.integers(1, new + 1, len(tokens))
        valid = np.arange(new) < counts[:, None]
        query = random_query(random, len(tokens), new, vocabulary)
        outputs = []
        for i, (backend, _) in enumerate((expected, found)):
            answer, states[i] = backend.step(states[i], tokens, counts, query)
            scattered = np.zeros((*answer.scored.shape, vocabulary), dtype=np.float32)
            np.put_along_axis(scattered, answer.tokens, answer.log_probs, axis=2)
            outputs.append(np.concatenate([scattered, answer.scored[..., None]], axis=2)[valid])
        worst = max(worst, difference("log-probabilities of the decoder", *outputs))
        chosen, known = random.integers(0, len(tokens), len(tokens)), known + counts
        kept = random.integers(1, known + 1)
        states = [
            backend.select(backend.keep(state, kept), chosen)
            for (backend, _), state in zip((expected, found), states, strict=True)
        ]
        known = kept[chosen]
    return worst


def compare_attention(
    case: Case, expected: tuple[Backend, Encoded], found: tuple[Backend, Encoded]
) -> float:
    """The weights of the alignment heads over texts of unequal lengths."""
    random = np.random.default_rng(2)
    rows = np.arange(len(case.guidance))
    tokens = random.integers(0, expected[0].config.vocabulary.size, (len(rows), 5))
    counts = random.integers(1, tokens.shape[1] + 1, len(rows))
    valid = np.arange(tokens.shape[1]) < counts[:, None]
    weights = [
        backend.attention(encoded, rows, case.guidance, tokens, counts).swapaxes(1, 2)[valid]
        for backend, encoded in (expected, found)
    ]
    return difference("weights of the attention", *weights)


def random_query(random: np.random.Generator, rows: int, new: int, vocabulary: int) -> StepQuery:
    """Asks for every allowed id after every new token; each row forbids another third of all."""
    allowed = np.tile(np.arange(vocabulary) >= vocabulary // 3, (rows, 1))
    allowed = random.permuted(allowed, axis=1)
    return StepQuery(
        positions=np.broadcast_to(np.arange(new), (rows, new)),
        allowed=allowed,
        best=int(allowed[0].sum()),
        scored=random.integers(0, vocabulary, (rows, new)),
    )


def difference(what: str, expected: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    """The largest difference [places, values]; raises ExportError beyond the tolerance."""
    far, tolerance = np.abs(expected - found), tolerated(expected)
    wrong = ~(far <= tolerance)  # also true of NaN
    if wrong.any():
        raise ExportError(
            f"the {what} differ by {far[wrong].max():.2g} between the graphs and the "
            f"model, more than {tolerance[wrong].min():.2g}: nothing was written"
        )
    return float(far.max(initial=0.0))


def tolerated(expected: NDArray[np.float32]) -> NDArray[np.float32]:
    """How far each of these [places, values] may be away: 1e-4, or 1e-5 of the largest of its
    place where that is more."""
    largest = np.abs(expected).max(axis=-1, keepdims=True, initial=0.0)
    return np.broadcast_to(np.maximum(TOLERANCE, OF_THE_LARGEST * largest), expected.shape)
