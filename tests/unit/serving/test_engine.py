"""One thread decodes for everybody: who else is there changes nothing, who fails fails alone."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Event
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.doubles import model_config
from turnout.decoding.requests import Decoded, Request, Utterance
from turnout.errors import EngineError
from turnout.serving import engine as engine_module
from turnout.serving.engine import Engine, longest_silence
from turnout.serving.metrics import Metrics

SECONDS = 10.0
"""Of patience with what takes an instant."""


@dataclass
class Model:
    """A Transcriber's place: answers an utterance with the number in its features; those that it is
    told to fail on make it raise."""

    bad: set[int] = field(default_factory=set)
    gate: Event | None = None
    """Where there is one, batches wait for it, and ask no utterance whether it is cancelled."""
    steps: int = 0
    """How often it asks, in a batch."""
    batches: list[list[int]] = field(default_factory=list)
    began: Event = field(default_factory=Event)
    backend: Any = field(default_factory=lambda: SimpleNamespace(config=model_config()))

    def decode(self, utterances: Sequence[Utterance]) -> list[Decoded]:
        """See `Transcriber.decode`."""
        numbers = [int(one.log_mel[0, 0]) for one in utterances]
        self.batches.append(numbers)
        self.began.set()
        if self.gate is not None:
            assert self.gate.wait(SECONDS)
        for _ in range(self.steps):
            time.sleep(0.005)
            if all(one.is_cancelled is not None and one.is_cancelled() for one in utterances):
                break
        if found := self.bad.intersection(numbers):
            raise RuntimeError(f"secret words of {found}")
        return [Decoded(language=str(number), hypotheses=()) for number in numbers]


def utterance(number: int, seconds: float = 1.0, **fields: Any) -> Utterance:
    return Utterance(np.full((round(100 * seconds), 80), number, np.float32), Request(), **fields)


@contextmanager
def running(model: Model, limit: int = 8, one_takes: float = 0.01) -> Iterator[Engine]:
    engine = Engine("double", model, limit, Metrics(), one_takes)  # type: ignore[arg-type]
    try:
        yield engine
    finally:
        if model.gate is not None:
            model.gate.set()
        engine.close()


def ask(engine: Engine, one: Utterance, answers: "SimpleQueue[Decoded]") -> None:
    engine.put(engine.join(), one, answers.put)


def test_requests_that_wait_together_are_decoded_together() -> None:
    model, answers = Model(gate=Event()), SimpleQueue[Decoded]()
    with running(model) as engine:
        ask(engine, utterance(0), answers)
        assert model.began.wait(SECONDS)
        for number in range(1, 6):
            ask(engine, utterance(number), answers)
        assert model.gate is not None
        model.gate.set()
        found = {answers.get(timeout=SECONDS).language for _ in range(6)}
    assert model.batches == [[0], [1, 2, 3, 4, 5]]
    assert found == set("012345")


def test_an_utterance_that_makes_the_model_raise_fails_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model, answers = Model(bad={3}, gate=Event()), SimpleQueue[Decoded]()
    with running(model) as engine, caplog.at_level(logging.WARNING):
        ask(engine, utterance(0), answers)
        assert model.began.wait(SECONDS)
        for number in range(1, 6):
            ask(engine, utterance(number), answers)
        assert model.gate is not None
        model.gate.set()
        found = [answers.get(timeout=SECONDS) for _ in range(6)]
        ask(engine, utterance(7), answers)
        assert answers.get(timeout=SECONDS).language == "7"
    failed = [one for one in found if one.error is not None]
    assert len(failed) == 1
    assert isinstance(failed[0].error, EngineError)
    # The operator learns all of it, once; the client nothing of the inside.
    assert "secret" not in str(failed[0].error)
    tracebacks = [record for record in caplog.records if record.exc_info is not None]
    assert len(tracebacks) == 1
    assert model.batches[2:-1] == [[1], [2], [3], [4], [5]]


def test_what_is_cancelled_ends_within_a_step_and_the_next_goes_on() -> None:
    model, answers = Model(steps=10_000), SimpleQueue[Decoded]()
    gone = Event()
    with running(model) as engine:
        ask(engine, utterance(1, is_cancelled=gone.is_set), answers)
        assert model.began.wait(SECONDS)
        gone.set()
        answers.get(timeout=SECONDS)  # all steps take five times as long


def test_what_leaves_before_its_turn_is_never_decoded() -> None:
    model, answers = Model(gate=Event()), SimpleQueue[Decoded]()
    with running(model) as engine:
        ask(engine, utterance(0), answers)
        assert model.began.wait(SECONDS)
        turn = engine.join()
        engine.put(turn, utterance(1), answers.put)
        ask(engine, utterance(2), answers)
        engine.leave(turn)
        assert model.gate is not None
        model.gate.set()
        assert {answers.get(timeout=SECONDS).language for _ in range(2)} == {"0", "2"}
    assert model.batches == [[0], [2]]


def wait_for(condition: Callable[[], object], seconds: float = SECONDS) -> object:
    until = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < until:
        time.sleep(0.01)
    return found


def test_a_model_that_is_stuck_is_said_to_be_and_recovers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "STUCK_SECONDS", 0.3)
    model, answers = Model(gate=Event()), SimpleQueue[Decoded]()
    with running(model) as engine:
        assert engine.trouble() == ""
        ask(engine, utterance(0), answers)
        assert model.began.wait(SECONDS)
        assert "no sign of life" in str(wait_for(engine.trouble))
        assert model.gate is not None
        model.gate.set()
        answers.get(timeout=SECONDS)
        assert wait_for(lambda: not engine.trouble())


def test_a_model_that_is_slow_but_alive_is_not_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "STUCK_SECONDS", 0.2)
    model, answers = Model(steps=200), SimpleQueue[Decoded]()
    with running(model) as engine:
        ask(engine, utterance(0, is_cancelled=lambda: False), answers)
        troubles = set()
        while answers.empty():
            troubles.add(engine.trouble())
            time.sleep(0.02)
    assert troubles == {""}


def test_a_segment_may_take_what_one_was_seen_to_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "STUCK_SECONDS", 0.1)
    model, answers = Model(gate=Event()), SimpleQueue[Decoded]()
    with running(model, one_takes=SECONDS) as engine:
        ask(engine, utterance(0), answers)
        assert model.began.wait(SECONDS)
        time.sleep(0.3)
        assert engine.trouble() == ""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_died_is_replaced_and_its_batch_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, answers = Model(), SimpleQueue[Decoded]()

    def die(_: object) -> list[Decoded]:
        raise SystemExit  # what no thread catches

    with running(model) as engine:
        with monkeypatch.context() as patch:
            patch.setattr(model, "decode", die)
            ask(engine, utterance(0), answers)
            assert "was dead" in str(wait_for(engine.trouble))
            assert isinstance(answers.get(timeout=SECONDS).error, EngineError)
        assert engine.trouble() == ""
        ask(engine, utterance(1), answers)
        assert answers.get(timeout=SECONDS).language == "1"


def test_a_mistake_of_the_engine_s_own_does_not_end_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model, answers = Model(), SimpleQueue[Decoded]()
    with running(model) as engine:
        with monkeypatch.context() as patch:
            patch.setattr(engine, "_answers", lambda _: [])
            ask(engine, utterance(0), answers)
            assert isinstance(answers.get(timeout=SECONDS).error, EngineError)
        ask(engine, utterance(1), answers)
        assert answers.get(timeout=SECONDS).language == "1"
    assert "failed" in caplog.text


def test_the_thread_ends_with_the_engine() -> None:
    with running(Model()) as engine:
        thread = engine._thread
        assert thread.is_alive()
    assert not thread.is_alive()
    assert engine.trouble() == ""


def test_the_longest_time_without_a_sign_of_life_is_measured() -> None:
    model = Model(steps=5)
    found = longest_silence(model, utterance(0))  # type: ignore[arg-type]
    assert 0.004 < found < 1.0


def test_little_waits_ahead_of_a_model_with_long_windows() -> None:
    for window, most in ((30.0, 4), (6.0, 16), (500.0, 2)):
        model = Model(backend=SimpleNamespace(config=model_config(window_seconds=window)))
        with running(model) as engine:
            assert engine.most_ahead == most
