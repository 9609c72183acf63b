"""Drafts change no text: greedy rows are the same, token for token, whatever is proposed to them,
and their probabilities to rounding."""

from collections.abc import Callable, Sequence
from random import Random

import numpy as np
import pytest

from tests.doubles import tokenizer
from tests.models import SHAPES, saved
from tests.reliability.mates import Padded, Speech, examples, request_of
from turnout.audio.features import SAMPLE_RATE, log_mel
from turnout.backends.torch import TorchBackend, load_model
from turnout.decoding import greedy as module
from turnout.decoding.backend import Backend
from turnout.decoding.decode import rows_of
from turnout.decoding.drafts import Draft, drafts_of
from turnout.decoding.encoded_batch import DecoderRow, EncodedBatch, RowResult, encode
from turnout.decoding.greedy import greedy, score_texts
from turnout.decoding.requests import DecodingOptions, Request, Utterance
from turnout.decoding.search import limits_of
from turnout.guidance import Task
from turnout.model_folder import ModelFolder
from turnout.text.tokenizer import Tokenizer
from turnout.transcription.transcriber import load

TOLERANCE = 1e-4
LONGEST_SECONDS = 6.0
TASKS = ((Task.TRANSCRIBE,), (Task.TRANSLATE,), tuple(Task))

Texts = Sequence[tuple[int, ...]]
Drafts = Callable[[EncodedBatch, Sequence[DecoderRow]], list[Draft]]


def written(batch: EncodedBatch, rows: Sequence[DecoderRow], drafts: Drafts) -> list[RowResult]:
    """What greedy rows write with these drafts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "drafts_of", drafts)
        return greedy(batch, rows, limits_of(batch, rows))


def given(texts: Texts) -> Drafts:
    return lambda _, rows: [Draft(text) for text, _ in zip(texts, rows, strict=True)]


def hostile(texts: Texts, rng: Random) -> dict[str, Texts]:
    """Drafts of every kind; `texts` are what is going to be written."""
    ids = sorted({token for text in texts for token in text}) or [0]

    def damaged(text: tuple[int, ...]) -> tuple[int, ...]:
        tokens = list(text)
        for _ in range(1 + len(tokens) // 4):
            place = rng.randrange(len(tokens) + 1)
            tokens[place : place + rng.randrange(3)] = rng.choices(ids, k=rng.randrange(3))
        return tuple(tokens)

    return {
        "right": texts,
        "damaged": [damaged(text) for text in texts],
        "random": [tuple(rng.choices(ids, k=rng.randrange(1, 30))) for _ in texts],
        "of another row": [*texts[1:], *texts[:1]],
        "too long": [(*text, *rng.choices(ids, k=600)) for text in texts],
        "the same for ever": [text[:1] * 600 for text in texts],
        "backwards": [text[::-1] for text in texts],
    }


def near_ties(expected: Sequence[RowResult], found: Sequence[RowResult]) -> int:
    """How many rows differ because two tokens are equally probable; all other are the same."""
    count = 0
    for one, other in zip(expected, found, strict=True):
        if one.tokens != other.tokens or one.ended != other.ended:
            pairs = zip(one.tokens, other.tokens, strict=False)
            first = next(
                (i for i, (a, b) in enumerate(pairs) if a != b),
                min(len(one.tokens), len(other.tokens)),
            )
            assert abs(at(one, first) - at(other, first)) < TOLERANCE
            count += 1
            continue
        assert one.cut == other.cut
        np.testing.assert_allclose(one.token_log_probs, other.token_log_probs, atol=TOLERANCE)
        assert one.log_prob == pytest.approx(other.log_prob, abs=TOLERANCE * (len(one.tokens) + 1))
    return count


def at(row: RowResult, place: int) -> float:
    """The log-probability of a row's token, or of its end."""
    return (*row.token_log_probs, row.log_prob - sum(row.token_log_probs))[place]


def check(batch: EncodedBatch, seed: int) -> tuple[int, int]:
    """Rows that were checked, and near-ties among them."""
    rows, _ = rows_of(batch, [one.request.language for one in batch.utterances], ())
    nothing: Drafts = lambda _, rows: [Draft() for _ in rows]  # noqa: E731
    expected = written(batch, rows, nothing)
    assert len({text.tokens for text in expected}) > 1, "always the same text proves nothing"
    ties = near_ties(expected, written(batch, rows, drafts_of))
    for texts in hostile([text.tokens for text in expected], Random(seed)).values():
        found = written(batch, rows, given(texts))
        ties += near_ties(expected, found)
        read = [text.read for text in found if text.read is not None]
        assert near_ties(score_texts(batch, rows, [text.tokens for text in read]), read) == 0
    return 8 * len(rows), ties


def connected(seed: int) -> Speech:
    """Some examples of one kind joined, with noise that has CTC and the decoder disagree."""
    rng = Random(seed)
    kind = rng.choice(examples())
    alike = [one for one in examples() if request_of(one) == request_of(kind)]
    samples = np.concatenate([one.samples for one in rng.choices(alike, k=rng.randrange(1, 5))])
    samples = samples[: round(LONGEST_SECONDS * SAMPLE_RATE)]
    noise = np.random.default_rng(seed).normal(size=len(samples)) * rng.choice((0, 0.01, 0.05))
    return Speech(samples + noise.astype(np.float32), kind.language, kind.bandwidth)


def test_the_shipped_model_writes_the_same_whatever_is_proposed() -> None:
    model = load(threads=1)
    speech = [*examples(), *(connected(seed) for seed in range(12))]
    utterances = [
        Utterance(
            log_mel(one.samples, model.backend.config.features),
            request_of(one, TASKS[number % len(TASKS)]),
        )
        for number, one in enumerate(speech)
    ]
    checked = ties = 0
    for first in range(0, len(utterances), 8):
        backend = Padded(model.backend, 10 * first, first)
        batch = encode(backend, model.tokenizer, utterances[first : first + 8])
        found = check(batch, first)
        checked, ties = checked + found[0], ties + found[1]
    assert checked > 200 and ties <= checked // 100


def random_batch(backend: Backend, ids: Tokenizer) -> EncodedBatch:
    """Noise, which a model with random weights hears something in."""
    rng = np.random.default_rng(3)
    options = DecodingOptions(max_tokens_per_second=8)
    utterances = [
        Utterance(
            rng.normal(size=(60 + 37 * number, 80)).astype(np.float32),
            Request(tasks=TASKS[number % 3], language=("ar", "en")[number % 2]),
            options,
        )
        for number in range(5)
    ]
    return encode(backend, ids, utterances)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != "ctc_only"])
def test_so_do_models_of_every_shape(shape: str) -> None:
    backend = TorchBackend(load_model(ModelFolder.open(saved(shape))))
    checked, ties = check(random_batch(backend, tokenizer()), 5)
    assert ties <= checked // 100
