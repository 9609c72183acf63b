"""Requests to stop: signals, and a launcher that has gone."""

import os
import signal

import pytest

from turnout.training.distributed import LAUNCHED, STOP_SIGNALS, StopSignals


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_the_first_signal_is_noted(number: signal.Signals) -> None:
    stop = StopSignals()
    before = signal.getsignal(number)
    with stop:
        assert stop.received == 0
        signal.raise_signal(number)
        signal.raise_signal(signal.SIGTERM)
        assert stop.received == number
    assert signal.getsignal(number) is before


def test_ranks_whose_launcher_has_gone_are_asked_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LAUNCHED, "a run")
    stop = StopSignals()
    assert stop.received == 0
    monkeypatch.setattr(os, "getppid", lambda: 1)
    assert stop.received == signal.SIGHUP


def test_a_process_of_its_own_outlives_its_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LAUNCHED, raising=False)
    stop = StopSignals()
    monkeypatch.setattr(os, "getppid", lambda: 1)
    assert stop.received == 0
