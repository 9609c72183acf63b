"""Two batches at once: the same results as one after the other, whatever their pace, and what
becomes of ends, errors and threads."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from threading import Barrier, Event
from types import SimpleNamespace

import pytest

import turnout
from tests.doubles import hears_every_sound, model_config, tone
from tests.unit.transcription.test_recordings import Decoder, transcriber, wav
from turnout.config import EncoderConfig
from turnout.decoding.requests import Decoded, Utterance
from turnout.errors import Cancelled, TurnoutError
from turnout.text.transcript import Transcript
from turnout.transcription import segments, side_by_side
from turnout.transcription.transcriber import Transcriber

WAIT_SECONDS = 20.0
"""Longer than any machine takes; nothing waits so long unless it fails."""
SECONDS = (0.3, 9.0, 0.5, 1.9, 0.4, 5.0, 0.7, 1.2, 0.6, 3.3, 0.8)


@pytest.fixture(autouse=True)
def tones_are_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is decoded here are tones."""
    monkeypatch.setattr(segments, "finder", hears_every_sound)


@dataclass
class Measuring(Decoder):
    """Writes how long each segment is; notes the lengths of each batch, in frames, as they are
    taken."""

    lengths: list[list[int]] = field(default_factory=list)
    before: Callable[[int], object] = lambda _: None
    """Called with the number of the batch before it is decoded, in the thread that does."""
    numbers: "count[int]" = field(default_factory=count)

    def __call__(self, utterances: Sequence[Utterance]) -> list[Decoded]:
        number = next(self.numbers)
        self.lengths.append([utterance.frames for utterance in utterances])
        self.before(number)
        answers = super().__call__(utterances)
        return [
            replace(
                answer,
                hypotheses=tuple(
                    replace(one, text=f"{utterance.frames}{one.text}") for one in answer.hypotheses
                ),
            )
            for utterance, answer in zip(utterances, answers, strict=True)
        ]


def both(decoder: Decoder) -> Transcriber:
    """Decodes two batches at once."""
    found = transcriber(decoder)
    found.two_at_once = True
    return found


def sources() -> list[bytes]:
    return [*(wav(tone(seconds)) for seconds in SECONDS[:7]), b"no audio"] + [
        wav(tone(seconds)) for seconds in SECONDS[7:]
    ]


def comparable(results: Sequence[Transcript | TurnoutError]) -> list[object]:
    return [str(one) if isinstance(one, TurnoutError) else one for one in results]


@pytest.mark.parametrize("language", ["ar", None])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
def test_results_are_those_of_one_batch_after_the_other(
    language: str | None, batch_size: int
) -> None:
    options = {"language": language, "batch_size": batch_size, "task": "both"}
    expected = list(transcriber(Measuring()).transcribe_files(sources(), **options))
    found = list(both(Measuring()).transcribe_files(sources(), **options))
    assert comparable(found) == comparable(expected)
    assert sum(isinstance(one, TurnoutError) for one in found) == 1


def test_two_batches_are_decoded_at_once() -> None:
    together = Barrier(2)
    decoder = Measuring(before=lambda _: together.wait(WAIT_SECONDS))
    results = both(decoder).transcribe_files([wav(tone(1.0))] * 8, batch_size=2, language="ar")
    assert all(isinstance(one, Transcript) for one in results)
    assert len(decoder.lengths) == 4


def test_batches_are_of_like_lengths_and_the_first_waits_no_longer() -> None:
    decoder = Measuring()
    some = [wav(tone(seconds)) for seconds in (0.2, 1.8, 0.3, 1.9, 0.2, 1.7, 0.3, 1.8)]
    results = list(both(decoder).transcribe_files(some, batch_size=2, language="ar"))
    # The first batch comes at once; of those behind it, the first and what is most like it.
    assert sorted(decoder.lengths) == [[20, 180], [30, 20], [170, 30], [190, 180]]
    assert [one.duration_seconds for one in results if isinstance(one, Transcript)] == [
        0.2, 1.8, 0.3, 1.9, 0.2, 1.7, 0.3, 1.8,
    ]  # fmt: skip


def test_what_makes_a_batch_does_not_depend_on_their_pace() -> None:
    def batches(before: Callable[[int], object]) -> list[list[int]]:
        decoder = Measuring(before=before)
        list(both(decoder).transcribe_files(sources(), batch_size=2))
        return sorted(decoder.lengths)

    waits = Event()
    even, odd = (
        batches(lambda number, rest=rest: waits.wait(0.02 if number % 2 == rest else 0.0))
        for rest in range(2)
    )
    assert even == odd


def test_batches_go_on_while_what_is_finished_is_written() -> None:
    begun = [Event() for _ in range(4)]
    decoder = Measuring(before=lambda number: begun[number].set())
    results = both(decoder).transcribe_files([wav(tone(1.0))] * 4, batch_size=1, language="ar")
    next(results)
    assert begun[2].wait(WAIT_SECONDS) and not begun[3].is_set()
    results.close()  # type: ignore[attr-defined]


def test_progress_never_goes_back_and_says_nothing_that_is_not_through() -> None:
    told: list[float] = []
    (result,) = both(Measuring()).transcribe_files(
        [wav(tone(40.0))], batch_size=2, language="ar", heard=told.append
    )
    assert isinstance(result, Transcript)
    assert told == sorted(told) and len(set(told)) == len(told) > 5
    assert told[0] <= 2.0
    assert 35.0 < told[-1] <= 40.0


def test_what_was_begun_is_kept_where_it_is_cancelled() -> None:
    pressed = Event()
    decoder = Measuring(before=lambda number: pressed.set() if number == 2 else None)
    kept: list[Transcript | TurnoutError] = []
    before = threading.active_count()
    with pytest.raises(Cancelled):
        for result in both(decoder).transcribe_files(
            [wav(tone(0.5)), wav(tone(0.5)), wav(tone(12.0)), wav(tone(0.5))],
            batch_size=2,
            language="ar",
            cancelled=pressed.is_set,
        ):
            kept.append(result)  # noqa: PERF402 - what came before the error is kept
    assert [type(one) for one in kept[:2]] == [Transcript, Transcript]
    long = kept[2]
    assert isinstance(long, Transcript) and "stopped before its end" in long.warnings[0]
    assert threading.active_count() == before


def test_an_error_of_the_model_leaves_no_thread_behind() -> None:
    def breaks(number: int) -> None:
        if number == 1:
            raise MemoryError("so much is not there")

    before = threading.active_count()
    with pytest.raises(MemoryError, match="not there"):
        list(both(Measuring(before=breaks)).transcribe_files(sources(), batch_size=2))
    assert threading.active_count() == before


def test_of_an_iterator_nothing_is_taken_before_it_is_wanted() -> None:
    taken: list[int] = []

    def some() -> object:
        for number in range(20):
            taken.append(number)
            yield wav(tone(0.5))

    results = both(Measuring()).transcribe_files(some(), batch_size=2, language="ar")  # type: ignore[arg-type]
    next(results)
    assert len(taken) <= 4


def test_small_models_gain_by_it_on_several_threads() -> None:
    assert turnout.load(threads=2).two_at_once
    assert not turnout.load(threads=1).two_at_once
    for width, small in ((256, True), (512, False)):
        config = model_config(encoder=EncoderConfig(d_model=width))
        assert side_by_side.pays(config, None) is small
        assert not side_by_side.pays(config, 1)


def test_the_longest_waits_no_longer_than_for_those_before_it() -> None:
    held = [SimpleNamespace(utterance=SimpleNamespace(frames=n)) for n in (600, 10, 20, 10, 610)]
    recordings = SimpleNamespace(batch_size=2, take=list)
    lengths = []
    while batch := side_by_side.next_batch(recordings, held, ahead=True):  # type: ignore[arg-type]
        lengths.append([one.utterance.frames for one in batch])
    assert lengths == [[600, 610], [10, 10], [20]]
