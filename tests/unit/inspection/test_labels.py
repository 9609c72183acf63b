"""Where letters lie, worked by hand, and what is silent."""

from collections.abc import Sequence

import numpy as np

from tests.doubles import tokenizer
from turnout.decoding.requests import Hypothesis
from turnout.guidance import Task
from turnout.inspection.labels import Span, labels_of, letters_of, silent_frames
from turnout.text.transcript import Word

TEXTS = {1: "no", 2: "w", 3: " yes", 4: "!"}


def decode(tokens: Sequence[int]) -> str:
    return "".join(TEXTS[token] for token in tokens)


def heard(words: list[Word], tokens: tuple[int, ...], frames: list[list[int]] | None) -> Hypothesis:
    return Hypothesis(
        task=Task.TRANSCRIBE, language="en", tokens=tokens, text=decode(tokens), log_prob=0,
        words=tuple(words), token_frames=None if frames is None else np.array(frames),
    )  # fmt: skip


def test_a_word_s_letters_share_its_time_where_no_token_has_one() -> None:
    made = heard([Word(start=1.0, end=2.0, word="No!")], (1, 4), None)
    assert letters_of(made, decode, 0.1) == [Span("n", 1.0, 1.5), Span("o", 1.5, 2.0)]


def test_tokens_part_a_word_halfway_between_their_frames() -> None:
    words = [Word(start=0.0, end=1.0, word="now"), Word(start=1.2, end=1.8, word="yes!")]
    # 'no' in the frames 1 and 2 (to 0.3 s), 'w' in frame 5 (from 0.5 s): they part at 0.4 s.
    made = heard(words, (1, 2, 3, 4), [[1, 5, 13, 17], [2, 6, 16, 17]])
    found = letters_of(made, decode, 0.1)
    assert [one.text for one in found] == list("nowyes")
    edges = [(round(one.start, 3), round(one.end, 3)) for one in found]
    assert edges == [(0, 0.2), (0.2, 0.4), (0.4, 1.0), (1.2, 1.4), (1.4, 1.6), (1.6, 1.8)]


def test_words_that_the_tokens_do_not_spell_share_their_time_evenly() -> None:
    made = heard([Word(start=0.0, end=1.0, word="nowhere")], (1, 2), [[0, 5], [1, 6]])
    found = letters_of(made, decode, 0.1)
    assert len(found) == 7 and found[-1].end == 1.0


def test_letters_of_a_real_tokenizer_are_those_of_the_text() -> None:
    words = tokenizer()
    tokens = tuple(words.encode("أربعة stop"))
    frames = np.arange(len(tokens)) * 3
    made = Hypothesis(
        task=Task.TRANSCRIBE, language="ar", tokens=tokens, text="", log_prob=0,
        words=(Word(start=0, end=0.2, word="أربعة"), Word(start=0.3, end=2, word="stop")),
        token_frames=np.stack((frames, frames)),
    )  # fmt: skip
    assert "".join(one.text for one in letters_of(made, words.decode, 0.04)) == "أربعةstop"


def test_a_frame_has_the_letter_of_its_time_or_none() -> None:
    found = labels_of([Span("a", 0.1, 0.3), Span("b", 0.3, 0.4), Span("a", 0.5, 0.9)], 7, 0.1)
    assert found.names == ("a", "b")
    assert found.codes.tolist() == [-1, 0, 0, 1, -1, 0, 0]


def test_what_is_no_louder_than_the_silence_is_silent() -> None:
    log_mel = np.zeros((40, 3), np.float32)
    log_mel[8:32] = 5
    found = silent_frames(log_mel, 4, 10)
    assert found.tolist() == [True] * 2 + [False] * 6 + [True] * 2
    assert silent_frames(log_mel[:0], 4, 0).tolist() == []


def test_a_mark_that_stands_alone_has_no_letter() -> None:
    words = [Word(start=0.0, end=0.2, word="!"), Word(start=0.2, end=1.0, word="w")]
    found = letters_of(heard(words, (4, 2), [[0, 5], [1, 6]]), decode, 0.1)
    assert found == [Span("w", 0.2, 1.0)]
