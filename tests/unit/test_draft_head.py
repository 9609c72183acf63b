"""benchmarks/draft_head.py: what is counted of drafts is what the decoder does with them, windows
are packed as they are said to be, and a training that was stopped goes on to the same head."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from draft_frames import PAUSES, Learned, Window, packed
from draft_head import DRAFTED, PLAIN, Counted, Opening, Run, in_turn, near_tie, played, some_hours
from draft_training import (
    BLANK,
    Head,
    HeadConfig,
    Training,
    balance,
    batches,
    new_head,
    proposed_by,
)
from numpy.typing import NDArray

from tests.reliability.mates import examples, request_of
from turnout.audio.features import log_mel
from turnout.decoding.decode import rows_of
from turnout.decoding.drafts import Draft
from turnout.decoding.encoded_batch import DecoderRow, EncodedBatch, RowResult, encode
from turnout.decoding.requests import Utterance
from turnout.transcription.transcriber import load

TEXT = (5, 6, 7, 8)
IDS = (3, 8, 9)


@pytest.mark.parametrize(
    ("draft", "steps", "proposed", "right"),
    [
        ((), 5, 0, 0),
        (TEXT, 2, 3, 3),
        ((5, 6, 9, 8), 3, 4, 2),  # behind 5: 6, 9, 8; 7 is written, and 8 is expected behind it
        ((1, 5, 6, 7, 8), 2, 3, 3),
        ((6, 7, 8), 3, 4, 2),  # 6 is taken for 5; once it is written, 7 and 8 are proposed again
    ],
)
def test_a_draft_is_played_through(
    draft: tuple[int, ...], steps: int, proposed: int, right: int
) -> None:
    counted = Counted()
    played(counted, TEXT, Opening(draft))
    assert (counted.steps, counted.proposed, counted.right) == (steps, proposed, right)
    assert (counted.without, counted.written) == (5, 4)


def test_what_is_played_is_what_the_decoder_does() -> None:
    model = load(threads=1)
    utterances = [
        Utterance(log_mel(one.samples, model.backend.config.features), request_of(one))
        for one in examples()[:6]
    ]
    batch = encode(model.backend, model.tokenizer, utterances)
    rows, _ = rows_of(batch, [one.request.language for one in utterances], ())
    plain: dict[str, Run] = {}
    in_turn(plain, batch, rows, lambda _, some: [Draft() for _ in some], 0)
    rng, checked = Random(3), 0
    for row, text in zip(rows, plain[PLAIN].texts, strict=True):
        if not text.ended:
            continue
        draft = Opening(tuple(rng.choice((token, 7)) for token in text.tokens))
        by: dict[str, Run] = {}

        def given(_: EncodedBatch, some: Sequence[DecoderRow], one: Draft = draft) -> list[Draft]:
            return [one for _ in some]

        in_turn(by, batch, [row], given, 1)
        assert [run.texts[0].tokens for run in by.values()] == [text.tokens] * 4
        counted, found = Counted(), by[DRAFTED].counted
        played(counted, text.tokens, draft)
        assert counted.steps == found.steps
        assert (counted.right, counted.written) == (found.right, found.written)
        checked += 1
    assert checked


def test_texts_that_differ_where_two_tokens_are_equal_are_near_ties() -> None:
    one = RowResult((1, 2), -0.75, (-0.25, -0.25))
    other = replace(one, tokens=(1, 3), token_log_probs=(-0.25, -0.25005))
    assert near_tie(one, other)
    assert not near_tie(one, one)
    assert not near_tie(one, replace(other, token_log_probs=(-0.25, -0.5)))
    # The end, which has -0.25 here, against a token.
    assert near_tie(one, replace(one, tokens=(1, 2, 4), token_log_probs=(-0.25, -0.25, -0.25)))


def test_a_window_holds_no_more_than_it_may() -> None:
    rows = [{"audio_filepath": f"{n}.opus", "duration": 4.0 + n % 5} for n in range(20)]
    windows = list(packed(rows, "some", 16.0, np.random.default_rng(1)))
    assert [place for places, _, _ in windows for place in places] == [
        f"some/{n}.opus" for n in range(20)
    ]
    for number, (places, pauses, seconds) in enumerate(windows):
        spoken = sum(4.0 + int(place[5:-5]) % 5 for place in places)
        assert seconds == pytest.approx(spoken + sum(pauses))
        assert seconds <= 16.0
        assert all(PAUSES[0] <= pause <= PAUSES[1] for pause in pauses)
        if number + 1 < len(windows):
            following = windows[number + 1]
            assert seconds + 4.0 + int(following[0][0][5:-5]) % 5 + following[1][0] > 16.0


def test_hours_are_the_first_windows() -> None:
    windows = [Window(str(n), "some", (), (), 1200.0) for n in range(5)]
    assert [one.id for one in some_hours(windows, 1.0)] == ["0", "1", "2"]


def learned(place: Path) -> list[Learned]:
    """Windows in which a token has frames of its own."""
    found = []
    for number in range(5):
        rng = np.random.default_rng(number)
        tokens = tuple(rng.choice(IDS, size=4).tolist())
        frames = rng.normal(size=(64, 16)) * 0.1
        for position, token in enumerate(tokens):
            frames[16 * position : 16 * position + 8, token] += 4.0
        path = place / f"{number}.npy"
        np.save(path, frames.astype(np.float16))
        found.append(Learned(str(number), 1.0, tokens, path))
    return found


def weights() -> dict[str, NDArray[np.float16]]:
    """The end of a decoder of two layers, as a checkpoint has it."""
    rng = np.random.default_rng(0)
    shapes = {
        "decoder.blocks.1.cross_attention.output.weight": (16, 16),
        "decoder.blocks.1.cross_attention.output.bias": (16,),
        "decoder.norm.weight": (16,),
        "decoder.norm.bias": (16,),
        "decoder.embedding.weight": (10, 16),
    }
    return {name: rng.normal(size=shape).astype(np.float16) for name, shape in shapes.items()}


def test_a_head_begins_as_the_end_of_the_decoder() -> None:
    given = {name: each.astype(np.float64) for name, each in weights().items()}
    head = new_head(HeadConfig(), IDS, weights(), 1).eval()
    frames = np.random.default_rng(1).normal(size=(1, 8, 16))
    with torch.inference_mode():
        found = head.scores(head.together_of(torch.from_numpy(frames.astype(np.float32))))
    output = "decoder.blocks.1.cross_attention.output"
    mean = frames[0].reshape(2, 4, 16).mean(axis=1)
    added = mean @ given[f"{output}.weight"].T + given[f"{output}.bias"]
    normal = added - added.mean(axis=1, keepdims=True)
    normal /= np.sqrt((normal**2).mean(axis=1, keepdims=True) + 1e-5)
    last = normal * given["decoder.norm.weight"] + given["decoder.norm.bias"]
    expected = last @ given["decoder.embedding.weight"][list(IDS)].T
    np.testing.assert_allclose(found[0, :, 1:], expected, atol=1e-4)
    assert (found[0, :, BLANK] == 0).all()


def test_at_first_no_token_is_likelier_than_another(tmp_path: Path) -> None:
    windows = learned(tmp_path)
    head = new_head(HeadConfig(), IDS, weights(), 1)
    balance(head, windows)
    with torch.inference_mode():
        frames = [torch.from_numpy(one.frames().astype(np.float32))[None] for one in windows]
        scores = torch.cat([head.scores(head.together_of(one))[0] for one in frames])
    np.testing.assert_allclose(scores[:, 1:].mean(dim=0), 0, atol=1e-4)
    best = scores[:, 1:].max(dim=1).values.mean()
    assert scores[:, BLANK].mean() == pytest.approx(float(best), abs=1e-4)


def training(place: Path) -> Training:
    config = HeadConfig(kernel=3, learning_rate=0.01, most_masked=1)
    return Training(new_head(config, IDS, weights(), 1), config, IDS, 1000.0, place)


def test_an_epoch_meets_every_window_once_and_goes_on_in_its_middle(tmp_path: Path) -> None:
    windows = learned(tmp_path)
    whole = batches(windows, 2, 0)
    first = [[one.id for one in next(whole)] for _ in range(6)]
    for epoch in (first[:3], first[3:]):
        assert sorted(one for some in epoch for one in some) == [*"01234"]
    assert first[:3] != first[3:]
    for step in range(6):
        assert [one.id for one in next(batches(windows, 2, step))] == first[step]


def test_a_training_that_was_stopped_goes_on_to_the_same_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(10**9))
    monkeypatch.setattr("draft_training.time.process_time", lambda: float(next(clock)))
    monkeypatch.setattr("draft_training.KEPT_EVERY", 9.5)
    windows = learned(tmp_path)
    whole = training(tmp_path / "whole.safetensors")
    whole.seconds = 200.0
    whole.run(windows, lambda: None)

    class StoppedError(Exception):
        pass

    def stop() -> None:
        raise StoppedError

    parts = []
    for judge in (stop, stop, lambda: None):
        one = training(tmp_path / "parts.safetensors")
        one.seconds = 200.0
        parts.append(one)
        try:
            one.run(windows, judge)
        except StoppedError:
            continue
    assert [one.step for one in (whole, *parts)] == [200, 10, 20, 200]
    pairs = zip(whole.head.parameters(), parts[-1].head.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    texts = [proposed_by(whole.head, IDS, one.frames().astype(np.float32)) for one in windows]
    assert texts == [one.tokens for one in windows]


def test_a_head_of_other_settings_is_not_taken_up(tmp_path: Path) -> None:
    first = training(tmp_path / "head.safetensors")
    first.seconds = 1e-6
    first.run(learned(tmp_path), lambda: None)
    with pytest.raises(SystemExit, match="was trained otherwise"):
        training(tmp_path / "head.safetensors").run([], lambda: None)


def test_a_path_says_a_token_once_and_no_blank() -> None:
    class Said(Head):
        def together_of(self, frames: torch.Tensor) -> torch.Tensor:
            return frames

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return hidden

    head = Said(HeadConfig(), 4, 3)
    path = [BLANK, 1, 1, BLANK, 1, 3, 3, 2, BLANK]
    assert proposed_by(head, IDS, np.eye(4, dtype=np.float32)[path]) == (3, 3, 9, 8)
