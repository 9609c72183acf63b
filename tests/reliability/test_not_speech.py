"""T12: where nobody speaks, nothing is written; and silence does not spoil speech beside it."""

from collections import Counter
from collections.abc import Callable
from random import Random

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.containers import encode
from tests.reliability.around import Asked, Counting
from tests.reliability.examples import commands, error_rate, examples, heard
from tests.reliability.noises import LEVELS_DBFS, SILENCES, SOUNDS, at_level
from tests.reliability.tally import Tally
from turnout.decoding.requests import DecodingOptions
from turnout.transcription.transcriber import Transcriber

Floats = NDArray[np.floating]

RATES = (8000, 16_000, 44_100)
SHORTEST_SECONDS, LONGEST_SECONDS = 0.1, 30.0
FEWEST_EMPTY = 0.95
MOST_CHARACTERS_PER_SECOND = 25
SPARE_STEPS = 12
"""Of each segment of audio, beside its share by length: to spell a short word, to end, to find the
language, and to weigh what CTC heard."""
MOST_CHANGE = 0.2
"""Of the rate of word errors, absolute."""


def clip(kind: str, random: Random) -> tuple[bytes, float]:
    """A recording without speech, and its seconds: short ones as often as long ones."""
    rate = random.choice(RATES)
    seconds = SHORTEST_SECONDS * (LONGEST_SECONDS / SHORTEST_SECONDS) ** random.random()
    length = round(seconds * rate)
    if kind in SILENCES:
        samples = SILENCES[kind](length, rate, random)
    else:
        samples = at_level(SOUNDS[kind](length, rate, random), random.uniform(*LEVELS_DBFS))
    return encode(samples, rate), length / rate


@pytest.mark.counts("T12", "silence")
@pytest.mark.parametrize("kind", SILENCES)
def test_digital_silence_is_empty(tally: Tally, kind: str) -> None:
    for number in range(tally.size(4, 25)):
        data, seconds = clip(kind, tally.random(number))
        with tally.trial(f"{number}: {seconds:.2f} s"):
            assert heard(data).text == ""
    tally.controlled(all(heard(example.path).text for example in examples()[:2]))


@pytest.mark.counts("T12", "sounds")
def test_sounds_are_empty_and_cost_no_more_than_their_length(tally: Tally) -> None:
    backend = Counting(commands().backend)
    transcriber = Transcriber(backend, commands().tokenizer)
    clips: Counter[str] = Counter()
    empty: Counter[str] = Counter()
    densest = 0.0
    for number in range(tally.size(24, 150)):
        kind = list(SOUNDS)[number % len(SOUNDS)]
        data, seconds = clip(kind, tally.random(number))
        asked = backend.asked
        asked.entries = asked.steps = 0
        with tally.trial(f"{number}: {seconds:.2f} s of {kind}"):
            text = heard(data, transcriber).text
            clips[kind] += 1
            empty[kind] += not text
            densest = max(densest, len(text) / seconds)
            check_length(text, seconds)
            check_steps(asked, seconds)
    with tally.trial("share that is empty"):
        share = empty.total() / clips.total()
        check_share(empty.total(), clips.total())
    tally.measure(
        empty=round(share, 4),
        empty_by_kind={kind: f"{empty[kind]} of {clips[kind]}" for kind in clips},
        most_characters_per_second=round(densest, 1),
    )
    spoken = [heard(example.path, transcriber).text for example in examples()]
    try:
        check_share(sum(not text for text in spoken), len(spoken))
    except AssertionError:
        tally.controlled(True)
    else:
        tally.controlled(False)


def check_share(empty: int, clips: int) -> None:
    """Nearly all of them."""
    share = empty / clips
    assert share >= FEWEST_EMPTY, f"{share:.1%} of {clips} clips"


def check_length(text: str, seconds: float) -> None:
    """No more characters than anybody speaks."""
    assert len(text) <= MOST_CHARACTERS_PER_SECOND * seconds, f"{len(text)} characters: {text}"


def check_steps(asked: Asked, seconds: float) -> None:
    """No more steps of the decoder than the audio is long."""
    share = DecodingOptions().max_tokens_per_second * seconds
    most = share + SPARE_STEPS * asked.entries
    assert asked.steps <= most, f"{asked.steps} steps of the decoder, {most:.0f} are allowed"


Quiet = Callable[[int, Random], Floats]
QUIETS: dict[str, Quiet] = {
    "zero": lambda length, _: np.zeros(length),
    "dither": lambda length, random: at_level(SOUNDS["white"](length, 16_000, random), -96.0),
}
SILENCE_SAMPLES = 30 * 16_000


@pytest.mark.counts("T12", "silence beside speech")
@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("quiet", QUIETS)
def test_long_silence_leaves_speech_as_it_was(tally: Tally, quiet: str, place: str) -> None:
    chosen = tally.random("examples").sample(examples(), tally.size(3, len(examples())))
    with tally.trial(f"30 s of {quiet} {place} speech"):
        alone, beside, control = [], [], []
        for example in chosen:
            silence = QUIETS[quiet](SILENCE_SAMPLES, tally.random(example.path.name))
            parts = [silence, example.samples] if place == "before" else [example.samples, silence]
            alone.append(heard(encode(example.samples)).text)
            beside.append(heard(encode(np.concatenate(parts))).text)
            control.append(heard(encode(np.tile(example.samples, 2))).text)
        references = [example.text for example in chosen]
        change = error_rate(references, beside) - error_rate(references, alone)
        tally.measure(wer_change=round(change, 3))
        twice = error_rate(references, control) - error_rate(references, alone)
        tally.controlled(abs(twice) > MOST_CHANGE)
        assert abs(change) <= MOST_CHANGE, f"WER changed by {change:.2f}"
