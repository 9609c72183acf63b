from dataclasses import replace

import numpy as np
import pytest

from tests.doubles import (
    CTC_ONLY,
    Script,
    ScriptedBackend,
    model_config,
    scripted_utterance,
    tokenizer,
)
from turnout.config import EncoderConfig, ModelConfig, RoutingConfig, VocabularyConfig
from turnout.decoding.decode import decode
from turnout.decoding.requests import Decoded, DecodingOptions, Request, Utterance
from turnout.errors import Cancelled, ConfigError, GuidanceError
from turnout.guidance import Guide, Task

BOTH = (Task.TRANSCRIBE, Task.TRANSLATE)
SCRIPTS = (
    Script("واحد نعم", {"en": "one yes"}, "ar"),
    Script("two no stop", {"de": "zwei nein halt"}, "en"),
    Script("", {"de": ""}, "en"),
    Script("أربعة", {"en": "four"}, "ar"),
)
TEXTS = [("واحد نعم", "one yes"), ("two no stop", "zwei nein halt"), ("", ""), ("أربعة", "four")]
GREEDY, BEAM = DecodingOptions(), DecodingOptions(beam_size=4)
BOTH_SEARCHES = pytest.mark.parametrize("options", [GREEDY, BEAM], ids=["greedy", "beam"])


def run(
    scripts: tuple[Script, ...],
    options: DecodingOptions = GREEDY,
    request: Request = Request(tasks=BOTH),  # noqa: B008
    config: ModelConfig | None = None,
    seconds: float = 1,
) -> list[Decoded]:
    backend = ScriptedBackend(scripts, config or model_config())
    utterances = [
        scripted_utterance(i, request, seconds + i % 3, options=options)
        for i in range(len(scripts))
    ]
    return decode(backend, tokenizer(), utterances)


def texts(decoded: list[Decoded]) -> list[tuple[str, ...]]:
    return [tuple(hypothesis.text for hypothesis in one.hypotheses) for one in decoded]


@BOTH_SEARCHES
@pytest.mark.parametrize("ctc", [True, False])
def test_both_tasks_of_a_mixed_batch(options: DecodingOptions, ctc: bool) -> None:
    decoded = run(SCRIPTS, options, config=model_config(ctc=ctc))
    assert texts(decoded) == TEXTS
    assert [one.language for one in decoded] == ["ar", "en", "en", "ar"]
    arabic, english = decoded[0].hypotheses
    assert (arabic.task, arabic.language) == (Task.TRANSCRIBE, "ar")
    assert (english.task, english.language) == (Task.TRANSLATE, "en")
    assert arabic.tokens == tuple(tokenizer().encode("واحد نعم"))
    assert arabic.log_prob == pytest.approx(3 * np.log(0.98), abs=1e-3)


@BOTH_SEARCHES
def test_one_utterance_alone_gives_the_same(options: DecodingOptions) -> None:
    together = run(SCRIPTS, options)
    backend = ScriptedBackend(SCRIPTS)
    for i, expected in enumerate(together):
        utterance = scripted_utterance(i, Request(tasks=BOTH), 1 + i % 3, options=options)
        assert decode(backend, tokenizer(), [utterance]) == [expected]


def test_tasks_come_in_the_order_of_the_request() -> None:
    decoded = run(SCRIPTS, request=Request(tasks=(Task.TRANSLATE, Task.TRANSCRIBE)))
    assert texts(decoded) == [(b, a) for a, b in TEXTS]


def test_encodes_once_and_steps_all_rows_together() -> None:
    backend = ScriptedBackend(SCRIPTS[:2])
    utterances = [scripted_utterance(i, Request(tasks=BOTH)) for i in range(2)]
    decode(backend, tokenizer(), utterances)
    assert len(backend.encoded_batches) == 1
    # The language; the prompt, with what CTC hears of the transcripts, which is right; of the
    # translations the second word, then the longer one's third, their ends meanwhile.
    assert backend.steps == [2, 4, 2, 2, 1]


def test_a_given_language_is_forced_and_not_asked_for() -> None:
    backend = ScriptedBackend(SCRIPTS)
    utterance = scripted_utterance(0, Request(language="ar"))
    assert texts(decode(backend, tokenizer(), [utterance])) == [("واحد نعم",)]
    assert backend.steps == [1]


def test_an_encoder_guided_by_task() -> None:
    routing = RoutingConfig(kind="supervised", guided_by=(Guide.TASK,))
    config = model_config(encoder=EncoderConfig(routing=routing))
    assert texts(run(SCRIPTS, config=config)) == TEXTS


def test_a_decoder_guided_by_the_language_wants_it_said() -> None:
    routing = RoutingConfig(kind="supervised", guided_by=(Guide.LANGUAGE,))
    config = model_config()
    config = replace(config, decoder=replace(config.decoder, routing=routing))
    for refused in run(SCRIPTS, config=config):
        assert isinstance(refused.error, GuidanceError) and refused.hypotheses == ()
        assert "choose one of ar, en" in str(refused.error)
    arabic = run(SCRIPTS[:1], request=Request(tasks=BOTH, language="ar"), config=config)
    assert texts(arabic) == TEXTS[:1]


def test_a_model_of_one_language_needs_no_finding() -> None:
    vocabulary = VocabularyConfig(
        size=tokenizer().size, languages=("ar",), translations=(("ar", "en"),)
    )
    decoded = run(SCRIPTS[:1], config=model_config(vocabulary=vocabulary))
    assert (texts(decoded), decoded[0].language) == (TEXTS[:1], "ar")


def test_a_found_language_without_translation_fails_alone() -> None:
    vocabulary = replace(model_config().vocabulary, translations=(("en", "de"),))
    arabic, english, *_ = run(SCRIPTS, config=model_config(vocabulary=vocabulary))
    assert arabic.hypotheses == () and arabic.language == "ar"
    assert "does not translate from 'ar', only en to de" in str(arabic.error)
    assert english.error is None and len(english.hypotheses) == 2


@BOTH_SEARCHES
def test_ctc_alone(options: DecodingOptions) -> None:
    config = model_config(decoder=CTC_ONLY)
    decoded = run(SCRIPTS, options, Request(), config)
    assert texts(decoded) == [(transcript,) for transcript, _ in TEXTS]
    assert decoded[0].language is None and decoded[0].hypotheses[0].language is None
    told = run(SCRIPTS[:1], options, Request(language="ar"), config)
    assert told[0].language == told[0].hypotheses[0].language == "ar"
    only = replace(
        config, vocabulary=replace(config.vocabulary, languages=("ar",), translations=())
    )
    known = run(SCRIPTS[:1], options, Request(), only)
    assert known[0].language == known[0].hypotheses[0].language == "ar"
    for refused in run(SCRIPTS, options, Request(tasks=BOTH), config):
        assert "does not translate" in str(refused.error)


def test_no_utterances_and_no_frames() -> None:
    backend = ScriptedBackend(SCRIPTS)
    assert decode(backend, tokenizer(), []) == []
    nothing = Utterance(np.zeros((0, 80), dtype=np.float32), Request(tasks=BOTH))
    speech = scripted_utterance(1, Request(tasks=BOTH))
    decoded = decode(backend, tokenizer(), [nothing, speech])
    assert texts(decoded) == [("", ""), TEXTS[1]]
    assert texts(decode(backend, tokenizer(), [nothing])) == [("", "")]


@BOTH_SEARCHES
def test_ctc_keeps_the_decoder_from_inventing(options: DecodingOptions) -> None:
    invented = Script("yes", {"de": "ja"}, "en", heard="")
    assert texts(run((invented,), options)) == [("", "")]
    assert texts(run((invented,), options, config=model_config(ctc=False))) == [("yes", "ja")]


@BOTH_SEARCHES
def test_a_translation_of_nothing_is_empty(options: DecodingOptions) -> None:
    noise = Script("", {"de": "ja"}, "en", heard_with=0.9)  # CTC is not sure of the silence
    assert texts(run((noise,), options)) == [("", "")]
    assert texts(run((noise,), options, Request(tasks=(Task.TRANSLATE,)))) == [("ja",)]


@BOTH_SEARCHES
def test_ctc_restores_what_the_decoder_leaves_out(options: DecodingOptions) -> None:
    (first,) = tokenizer().encode("one")
    next_tokens = {(): {tokenizer().end: 0.6, first: 0.39}}
    hasty = Script("one two three", language="en", next_tokens=next_tokens)
    request = Request(language="en")
    assert texts(run((hasty,), options, request)) == [("one two three",)]
    assert texts(run((hasty,), replace(options, ctc_weight=0), request)) == [("",)]


def test_loops_stop_at_what_ctc_hears() -> None:
    five = Script("five " * 6, {"de": " ".join(["fünf"] * 6)}, "en")
    spoken = replace(five, transcript=five.transcript.strip())
    assert texts(run((spoken,), seconds=2)) == [
        ("five five five five five five", " ".join(["fünf"] * 6))
    ]
    once = replace(spoken, heard="five")
    assert texts(run((once,), seconds=2)) == [("five", " ".join(["fünf"] * 4))]
    unheard = run((spoken,), config=model_config(ctc=False))
    assert texts(unheard) == [("five five five five", " ".join(["fünf"] * 4))]


@BOTH_SEARCHES
def test_loops_of_several_words_stop(options: DecodingOptions) -> None:
    endless = Script(" ".join(["one two"] * 20), language="en", heard="one two")
    (decoded,) = run((endless,), options, Request())
    assert decoded.hypotheses[0].text.count("one two") <= 4
    config = model_config(ctc=False)
    (decoded,) = run((endless,), options, Request(), config)
    assert decoded.hypotheses[0].text.count("one two") <= 4


@BOTH_SEARCHES
def test_rows_are_bounded_by_the_audio(options: DecodingOptions) -> None:
    words = " ".join(["one two three yes no", "stop four five two one"] * 3)
    long = Script(words, language="en")
    bounded = replace(options, max_tokens_per_second=2)
    (decoded,) = run((long,), bounded, Request(), model_config(ctc=False), seconds=3)
    assert decoded.hypotheses[0].text == " ".join(words.split()[:14])  # three seconds, 8 to spare
    config = model_config(ctc=False)
    config = replace(config, decoder=replace(config.decoder, max_tokens=9))
    (decoded,) = run((long,), options, Request(), config)
    assert decoded.hypotheses[0].text == "one two three yes no"


@BOTH_SEARCHES
def test_cancelled_between_steps(options: DecodingOptions) -> None:
    asked = iter([False] * 4 + [True])
    backend = ScriptedBackend([replace(SCRIPTS[1], heard="yes")])
    utterance = scripted_utterance(
        0, Request(language="en"), options=options, is_cancelled=lambda: next(asked)
    )
    (decoded,) = decode(backend, tokenizer(), [utterance])
    assert isinstance(decoded.error, Cancelled) and decoded.hypotheses == ()
    assert len(backend.steps) == 2


def test_times_come_from_ctc() -> None:
    options = replace(GREEDY, word_timestamps=True)
    utterance = scripted_utterance(1, Request(tasks=BOTH), 3.0, options=options)
    (decoded,) = decode(ScriptedBackend(SCRIPTS), tokenizer(), [utterance])
    transcript, translation = decoded.hypotheses
    # Three words evenly spread over 75 hidden frames of 40 ms.
    assert [(w.word, w.start, w.end) for w in transcript.words] == [
        ("two", 0.48, 0.52),
        ("no", 1.48, 1.52),
        ("stop", 2.48, 2.52),
    ]
    assert translation.words == ()
    assert (
        (transcript.start, transcript.end) == (translation.start, translation.end) == (0.48, 2.52)
    )
    bare_utterance = replace(utterance, options=GREEDY)
    (bare,) = decode(ScriptedBackend(SCRIPTS), tokenizer(), [bare_utterance])
    assert bare.hypotheses[0].words == () and bare.hypotheses[0].start == 0.48


def test_times_of_a_text_that_ctc_did_not_find() -> None:
    script = Script("one two no", {"de": "eins zwei nein"}, "en", heard="one no", heard_with=0.2)
    options = replace(GREEDY, word_timestamps=True)
    (decoded,) = run((script,), options)
    transcript, translation = decoded.hypotheses
    one, two, no = transcript.words
    assert (one.word, two.word, no.word) == ("one", "two", "no")
    # Two words over 25 hidden frames of 40 ms; the third lies where it must, between them.
    assert (one.start, no.start) == (0.24, 0.72)
    assert one.end <= two.start < two.end <= no.start
    # A translation lies where CTC hears speech.
    assert (translation.start, translation.end) == (0.24, 0.76)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beam_size": 0}, "beam_size is 0"),
        ({"ctc_weight": 1.5}, "ctc_weight is 1.5"),
        ({"max_tokens_per_second": float("nan")}, "max_tokens_per_second is nan"),
    ],
)
def test_options_that_cannot_be(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DecodingOptions(**changes)


def test_mates_may_want_different_things() -> None:
    """Task, search, word times and length of one utterance are no business of its mates."""
    asked = [
        (Request(tasks=BOTH), GREEDY),
        (Request(tasks=(Task.TRANSLATE,), language="en"), BEAM),
        (Request(), replace(BEAM, word_timestamps=True)),
        (Request(tasks=BOTH), replace(GREEDY, max_tokens_per_second=1e-9, ctc_weight=0)),
        (Request(), replace(GREEDY, word_timestamps=True)),
    ]
    scripts = (SCRIPTS[0], SCRIPTS[1], SCRIPTS[1], SCRIPTS[1], SCRIPTS[3])
    utterances = [
        scripted_utterance(i, request, 1 + i % 3, options=options)
        for i, (request, options) in enumerate(asked)
    ]
    backend = ScriptedBackend(scripts)
    together = decode(backend, tokenizer(), utterances)
    assert len(backend.encoded_batches) == 1
    for utterance, found in zip(utterances, together, strict=True):
        (alone,) = decode(ScriptedBackend(scripts), tokenizer(), [utterance])
        assert found == alone
    assert [len(one.hypotheses[0].words) for one in together] == [0, 0, 3, 0, 1]


@BOTH_SEARCHES
@pytest.mark.parametrize("when", range(1, 8))
def test_a_mate_that_is_cancelled_is_not_noticed(options: DecodingOptions, when: int) -> None:
    backend = ScriptedBackend(SCRIPTS)
    answers = iter([False] * when)
    utterances = [
        scripted_utterance(0, Request(tasks=BOTH, language="ar"), options=options),
        scripted_utterance(
            1, Request(tasks=BOTH), options=options, is_cancelled=lambda: next(answers, True)
        ),
        scripted_utterance(3, Request(), options=BEAM),
    ]
    first, gone, last = decode(backend, tokenizer(), utterances)
    assert texts([first, last]) == [TEXTS[0], TEXTS[3][:1]]
    (alone,) = decode(ScriptedBackend(SCRIPTS), tokenizer(), [utterances[0]])
    assert first == alone
    # Asked before and behind the encoder, and at each of its four steps.
    if when < 6:
        assert isinstance(gone.error, Cancelled) and gone.hypotheses == ()
        assert gone.language in (None, "en")


def test_whoever_was_cancelled_is_not_asked_again() -> None:
    asked: list[bool] = []
    utterance = scripted_utterance(
        1, Request(language="en"), is_cancelled=lambda: asked.append(True) or len(asked) == 3
    )
    (decoded,) = decode(ScriptedBackend(SCRIPTS), tokenizer(), [utterance])
    assert isinstance(decoded.error, Cancelled) and len(asked) == 3


def test_rows_that_are_cancelled_cost_no_step() -> None:
    backend = ScriptedBackend(SCRIPTS, model_config(ctc=False))
    answers = iter([False] * 3)
    utterances = [
        scripted_utterance(0, Request(language="ar")),
        scripted_utterance(1, Request(language="en"), is_cancelled=lambda: next(answers, True)),
    ]
    decode(backend, tokenizer(), utterances)
    assert backend.steps == [2, 1, 1]


@BOTH_SEARCHES
def test_a_word_has_the_probability_of_its_tokens(options: DecodingOptions) -> None:
    one, two = (tokenizer().encode(word)[0] for word in ("one", "two"))
    unsure = Script(
        "one two", language="en", next_tokens={(): {one: 0.7}, (one,): {two: 0.4}, (one, two): {}}
    )
    unsure = replace(unsure, next_tokens={**unsure.next_tokens, (one, two): {tokenizer().end: 0.9}})
    asked = replace(options, word_timestamps=True)
    (decoded,) = run((unsure,), asked, Request(language="en"))
    hypothesis = decoded.hypotheses[0]
    assert [word.word for word in hypothesis.words] == ["one", "two"]
    assert [word.probability for word in hypothesis.words] == pytest.approx([0.7, 0.4], abs=1e-4)
    assert hypothesis.log_prob == pytest.approx(np.log([0.7, 0.4, 0.9]).sum(), abs=1e-4)


def test_a_word_of_ctc_alone_has_the_probability_of_its_spikes() -> None:
    script = replace(SCRIPTS[1], heard_with=0.8)
    asked = replace(GREEDY, word_timestamps=True)
    (decoded,) = run((script,), asked, Request(), model_config(decoder=CTC_ONLY))
    words = decoded.hypotheses[0].words
    assert [word.probability for word in words] == pytest.approx([0.8] * 3, abs=1e-4)


@BOTH_SEARCHES
def test_silence_behind_the_sound_is_no_room_for_text(options: DecodingOptions) -> None:
    """Features that are padded to the window bound a text by the sound in them, not by all."""
    words = " ".join(["one two three yes no stop four five"] * 4)
    script = Script(words, language="en")
    config = model_config(ctc=False)
    short = replace(options, max_tokens_per_second=4)
    padded = scripted_utterance(0, Request(), 3.0, options=short, num_frames=100)
    sound = scripted_utterance(0, Request(), 1.0, options=short)
    found = [
        decode(ScriptedBackend((script,), config), tokenizer(), [each])[0]
        for each in (padded, sound)
    ]
    assert found[0] == found[1]
    assert 0 < len(found[0].hypotheses[0].tokens) <= 12


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(language="fr"), "the language 'fr' is unknown"),
        (Request(tasks=(Task.TRANSLATE,)), "to several languages and no target language was given"),
        (Request(tasks=()), "no task was given"),
    ],
)
def test_a_request_that_cannot_be_served_fails_alone(request_: Request, message: str) -> None:
    pairs = (("en", "de"), ("en", "fr"))
    vocabulary = replace(model_config().vocabulary, languages=("en",), translations=pairs)
    config = model_config(vocabulary=vocabulary)
    backend = ScriptedBackend(SCRIPTS, config)
    utterances = [scripted_utterance(1, Request()), scripted_utterance(1, request_)]
    served, refused = decode(backend, tokenizer(), utterances)
    assert texts([served]) == [("two no stop",)]
    assert isinstance(refused.error, GuidanceError) and message in str(refused.error)


@BOTH_SEARCHES
def test_ctc_alone_can_be_cancelled_too(options: DecodingOptions) -> None:
    config = model_config(decoder=CTC_ONLY)
    answers = iter([False])
    utterances = [
        scripted_utterance(1, Request(), options=options, is_cancelled=lambda: next(answers, True)),
        scripted_utterance(0, Request(), options=options),
    ]
    gone, stays = decode(ScriptedBackend(SCRIPTS, config), tokenizer(), utterances)
    assert isinstance(gone.error, Cancelled) and gone.hypotheses == ()
    assert texts([stays]) == [("واحد نعم",)]


@BOTH_SEARCHES
def test_who_is_done_is_not_cancelled_any_more(options: DecodingOptions) -> None:
    """The mate goes on for many steps, in which nobody asks for a row that has ended."""
    long = Script(" ".join(["one two three yes no"] * 3), language="en")
    answers = iter([False] * 5)
    config = model_config(ctc=False)
    utterances = [
        scripted_utterance(
            0, Request(language="en"), options=options, is_cancelled=lambda: next(answers, True)
        ),
        scripted_utterance(1, Request(language="en"), 4.0, options=options),
    ]
    backend = ScriptedBackend([Script("yes", language="en"), long], config)
    short, mate = decode(backend, tokenizer(), utterances)
    assert texts([short, mate]) == [("yes",), (long.transcript,)]


@BOTH_SEARCHES
def test_ctc_hears_nothing_in_the_silence_of_a_padded_window(options: DecodingOptions) -> None:
    """Emissions behind the sound say "no": neither text nor times may come of them."""
    script = Script("one two", language="en", heard="one two no no", heard_with=0.999)
    asked = replace(options, word_timestamps=True)
    for config in (model_config(), model_config(decoder=CTC_ONLY)):
        backend = ScriptedBackend([script], config)
        padded = scripted_utterance(0, Request(language="en"), 2.0, options=asked, num_frames=100)
        (decoded,) = decode(backend, tokenizer(), [padded])
        hypothesis = decoded.hypotheses[0]
        assert hypothesis.text == "one two"
        assert hypothesis.end is not None and hypothesis.end <= 1.0
        assert [word.word for word in hypothesis.words] == ["one", "two"]
