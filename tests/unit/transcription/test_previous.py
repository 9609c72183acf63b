"""What segments read of those before them, and what is said of attempts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from tests.doubles import ScriptedBackend, hears_every_sound, model_config, tokenizer, tone
from tests.tiny_whisper import whisper_tokenizer
from tests.unit.transcription.test_recordings import wav
from turnout.config import TranscriptionOptions
from turnout.decoding.requests import Decoded, DecodingOptions, Hypothesis, Request, Utterance
from turnout.errors import ConfigError, GuidanceError, UsageError
from turnout.text.tokenizer import Tokenizer
from turnout.text.writers import render
from turnout.transcription import segments
from turnout.transcription.transcriber import Transcriber

CONFIG = model_config(window_seconds=2.0)


@pytest.fixture(autouse=True)
def every_sound_is_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "finder", hears_every_sound)


@dataclass
class Writer:
    """Writes a text of its own in every segment; some at a high temperature, some badly."""

    hypotheses: Mapping[int, Mapping[str, object]] = field(default_factory=dict)
    """Number of the segment -> what is unusual about it."""
    batches: list[list[Request]] = field(default_factory=list)
    options: list[DecodingOptions] = field(default_factory=list)
    count: int = 0

    def __call__(self, utterances: Sequence[Utterance]) -> list[Decoded]:
        self.batches.append([utterance.request for utterance in utterances])
        self.options += [utterance.options for utterance in utterances]
        return [self.answer(utterance.request) for utterance in utterances]

    def answer(self, request: Request) -> Decoded:
        self.count += 1
        more = self.hypotheses.get(self.count, {})
        found = [
            Hypothesis(
                task=task,
                language=request.language or "ar",
                text=f"word{self.count}",
                log_prob=-1.5,
                **{"tokens": (10 * self.count + place, 1), "temperature": 0.0, **more},  # type: ignore[arg-type]
            )
            for place, task in enumerate(request.tasks)
        ]
        return Decoded(
            language=request.language or "ar", hypotheses=tuple(found), language_probability=0.75
        )


def model(writer: Writer, ids: Tokenizer | None = None) -> Transcriber:
    found = Transcriber(ScriptedBackend([], CONFIG), ids or whisper_tokenizer())
    found.decode = writer  # type: ignore[method-assign]
    return found


def previous(writer: Writer) -> list[tuple[tuple[int, ...], ...]]:
    assert all(len(batch) == 1 for batch in writer.batches), "one segment at a time"
    return [batch[0].previous for batch in writer.batches]


LONG = wav(tone(9.0))


def test_segments_read_what_was_written_before_them() -> None:
    writer = Writer()
    model(writer).transcribe(LONG, language="ar", condition_on_previous_text=True, task="both")
    first, second, third, *_ = previous(writer)
    assert first == ((), ())
    assert second == ((10, 1), (11, 1)), "each task its own"
    assert third == ((10, 1, 20, 1), (11, 1, 21, 1))


def test_otherwise_they_read_nothing_and_fill_a_batch() -> None:
    writer = Writer()
    model(writer).transcribe(LONG, language="ar", initial_prompt="cat")
    assert len(writer.batches[0]) > 1
    assert all(not any(request.previous) for batch in writer.batches for request in batch)
    assert all(request.initial_prompt == "cat" for batch in writer.batches for request in batch)


@pytest.mark.parametrize("wrong", [{"failed": True}, {"temperature": 0.6}])
def test_what_went_wrong_does_not_go_on(wrong: dict[str, object]) -> None:
    writer = Writer({2: wrong})
    model(writer).transcribe(LONG, language="ar", condition_on_previous_text=True)
    assert previous(writer)[:4] == [((),), ((10, 1),), ((),), ((30, 1),)]


def test_no_more_is_remembered_than_a_prompt_can_hold() -> None:
    writer = Writer({1: {"tokens": tuple(range(1000))}})
    model(writer).transcribe(LONG, language="ar", condition_on_previous_text=True)
    assert previous(writer)[1] == (tuple(range(1000))[-CONFIG.decoder.max_tokens :],)


@pytest.mark.parametrize("asked", [{"initial_prompt": "cat"}, {"condition_on_previous_text": True}])
def test_a_model_without_a_token_for_it_takes_no_previous_text(asked: dict[str, object]) -> None:
    with pytest.raises(GuidanceError, match="no token for a previous text"):
        model(Writer(), tokenizer()).transcribe(LONG, **asked)  # type: ignore[arg-type]
    model(Writer(), tokenizer()).transcribe(LONG, initial_prompt="")


def test_what_is_known_of_attempts_is_written_as_whisper_writes_it() -> None:
    more = {"compression_ratio": 1.25, "no_speech_prob": 0.5, "temperature": 0.2}
    transcript = model(Writer({1: more})).transcribe(wav(tone(1.5)))
    assert transcript.language_probability == 0.75
    content = json.loads(render(transcript, "json"))
    assert content["language_probability"] == 0.75
    (segment,) = content["segments"]
    assert {name: segment[name] for name in more} == more
    assert segment["avg_logprob"] == -0.5
    given = model(Writer()).transcribe(wav(tone(1.5)), language="ar")
    assert given.language_probability is None
    plain = json.loads(render(replace(given, segments=()), "json"))
    assert "language_probability" not in plain


def test_temperatures_are_counted_as_the_command_of_whisper_counts_them() -> None:
    for first, step in ((0.0, 0.2), (0.4, 0.2), (0.1, 0.3), (1.0, 0.2), (0.0, 0.25)):
        expected = tuple(np.arange(first, 1.0 + 1e-6, step))
        found = TranscriptionOptions(temperature=first, temperature_increment_on_fallback=step)
        assert found.temperatures == pytest.approx(expected)
    for step in (None, 0.0):
        once = TranscriptionOptions(temperature=0.3, temperature_increment_on_fallback=step)
        assert once.temperatures == (0.3,)


def test_the_caller_s_options_reach_decoding() -> None:
    writer = Writer()
    model(writer).transcribe(
        wav(tone(1.5)),
        temperature=0.4,
        best_of=3,
        compression_ratio_threshold=None,
        logprob_threshold=-2.0,
        no_speech_threshold=0.9,
    )
    (options,) = writer.options
    assert options.temperatures == (0.4, 0.6, 0.8, 1.0)
    assert (options.best_of, options.compression_ratio_threshold) == (3, None)
    assert (options.logprob_threshold, options.no_speech_threshold) == (-2.0, 0.9)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 1.5},
        {"temperature": -0.1},
        {"temperature_increment_on_fallback": -0.2},
        {"best_of": 0},
        {"initial_prompt": 3},
    ],
)
def test_options_that_cannot_be_met_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises((ConfigError, UsageError), match=next(iter(wrong))):
        TranscriptionOptions(**wrong)  # type: ignore[arg-type]
