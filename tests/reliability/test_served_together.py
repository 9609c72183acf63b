"""T14 and T17: clients that share a model get their own answers, and short ones theirs in time."""

import asyncio
import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np
import pytest

from tests.reliability.examples import Floats, examples, heard
from tests.reliability.tally import Tally
from tests.unit.serving.services import PATIENCE_SECONDS, serving, submit
from tests.unit.serving.simulation import ARRIVALS, LIMIT, SMALL, FirstCome, short_delays
from tests.unit.serving.simulation import p95 as simulated
from turnout.audio.waveform import Waveform
from turnout.decoding.requests import Decoded
from turnout.errors import TurnoutError
from turnout.serving.engine import Engine
from turnout.serving.engine_queue import FairQueue
from turnout.serving.service import Service
from turnout.text.transcript import Transcript

CLIENTS = 16
SHORT_CLIENTS = 20
SHORT_SECONDS = 5.0
MOST_SLOWER = 3.0
LEAST_JAIN = 0.9
Sound = tuple[str, Waveform]


def waveform(samples: Floats) -> Waveform:
    """As a live client gives it."""
    return Waveform(samples.astype(np.float32), 16_000)


def sounds() -> list[Sound]:
    """With what they are called: distinct texts, and silences."""
    spoken = [(one.path.name, waveform(one.samples)) for one in examples()]
    silent = [
        (f"silence {seconds} s", waveform(np.zeros(round(seconds * 16_000), np.float32)))
        for seconds in (0.3, 2.0, 5.0, 8.0)
    ]
    return spoken + silent


def tokens(transcript: Transcript) -> list[tuple[int, ...]]:
    """What was written."""
    return [segment.tokens for segment in transcript.segments]


async def client(
    service: Service, tally: Tally, number: int, requests: int, alone: dict[str, Transcript]
) -> None:
    """One after the other, one in four silent."""
    rng = tally.random("client", number)
    spoken, silent = sounds()[:-4], sounds()[-4:]
    for request in range(requests):
        name, sound = rng.choice(silent if request % 4 == 3 else spoken)
        with tally.trial(f"client {number}, request {request}: {name}"):
            try:
                found = await submit(service, sound).transcript()
            except TurnoutError as error:
                raise AssertionError(f"{type(error).__name__}: {error}") from error
            assert found.text == alone[name].text, f"it got {found.text!r}"
            assert tokens(found) == tokens(alone[name])


async def clients(tally: Tally, requests: int, alone: dict[str, Transcript]) -> Any:
    """All of them at once; the sizes of batches that came of it."""
    async with serving(max_live=CLIENTS) as service:
        await asyncio.gather(
            *(client(service, tally, number, requests, alone) for number in range(CLIENTS))
        )
        sizes = service._metrics.batch_size.labels("commands")
        return sizes._sum.get() / max(sum(bucket.get() for bucket in sizes._buckets), 1)


@pytest.mark.counts("T14", "no cross-talk")
def test_every_client_gets_its_own_answer(tally: Tally) -> None:
    alone = {name: heard(sound) for name, sound in sounds()}
    texts = [alone[name].text for name, _ in sounds()[:-4]]
    assert len(set(texts)) == len(texts), "answers that are alike prove nothing"
    mean = asyncio.run(clients(tally, tally.size(3, 200), alone))
    tally.measure(mean_batch_size=round(mean, 2))
    assert mean > 1.5, "nobody shared a batch"
    tally.controlled(crossed_answers_are_seen(tally, alone))


def crossed_answers_are_seen(tally: Tally, alone: dict[str, Transcript]) -> bool:
    """The negative control: an engine that gives a batch's answers in another order."""
    answers: Callable[[Engine, Sequence[Any]], list[Decoded]] = Engine._answers
    control = Tally(tally.test, "control", full=False, seed=tally.seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "_answers", lambda engine, batch: answers(engine, batch)[::-1])
        asyncio.run(clients(control, 2, alone))
    return bool(control.failures)


def speech_for(seconds: float, rng: Random) -> Waveform:
    """Examples at random, one after the other, for so long."""
    parts: list[Floats] = []
    while sum(map(len, parts)) < seconds * 16_000:
        parts.append(rng.choice(examples()).samples)
    return waveform(np.concatenate(parts)[: round(seconds * 16_000)])


async def short_latencies(service: Service, tally: Tally, requests: int) -> list[list[float]]:
    """Of the requests of each of the short clients, all of them at work."""

    async def ask(number: int) -> list[float]:
        rng, found = tally.random("short", number), []
        for _ in range(requests):
            sound = speech_for(SHORT_SECONDS, rng)
            began = time.monotonic()
            await submit(service, sound).transcript()
            found.append(time.monotonic() - began)
        return found

    return list(await asyncio.gather(*map(ask, range(SHORT_CLIENTS))))


async def fairness(tally: Tally, requests: int, long: Waveform) -> tuple[float, float, float]:
    """The p95 of the short clients alone, beside the long one, and Jain's index among them."""
    async with serving(max_live=SHORT_CLIENTS) as service:
        await short_latencies(service, tally, 1)
        alone = await short_latencies(service, tally, requests)
        job = submit(service, long)
        await asyncio.sleep(0.2)
        beside = await short_latencies(service, tally, requests)
        with tally.trial("the long one is still at work"):
            assert service.status().running == 1
        with tally.trial("the long one comes to its end"):
            found = await asyncio.wait_for(job.transcript(), 60 * PATIENCE_SECONDS)
            assert found.duration_seconds == pytest.approx(long.duration)
            assert len(found.segments) > long.duration / 10
    rates = np.array([1 / np.mean(own) for own in beside])
    jain = float(rates.sum() ** 2 / (len(rates) * (rates**2).sum()))
    return p95(alone), p95(beside), jain


def p95(latencies: list[list[float]]) -> float:
    """Of all clients' requests."""
    return float(np.percentile(np.concatenate(latencies), 95))


@pytest.mark.counts("T17", "short clients beside a long one")
def test_short_clients_are_not_starved_by_a_long_one(tally: Tally) -> None:
    long = speech_for(tally.size(240, 3600), tally.random("long"))
    alone, beside, jain = asyncio.run(fairness(tally, tally.size(1, 10), long))
    tally.measure(
        p95_seconds_alone=round(alone, 3), p95_seconds_beside=round(beside, 3), jain=round(jain, 3)
    )
    if tally.full:  # beside other tests, that the long one is still at work must do
        with tally.trial("p95"):
            assert beside <= MOST_SLOWER * alone, f"{beside:.2f} s, and {alone:.2f} s alone"
        with tally.trial("Jain's index among the short ones"):
            assert jain >= LEAST_JAIN
    tally.controlled(first_come_is_seen())


def first_come_is_seen() -> bool:
    """The negative control, simulated, where a machine's moods have no say: a queue in which who
    comes first is first."""
    arrivals = ARRIVALS["twenty at once"]
    alone = simulated(short_delays(SMALL, FairQueue(LIMIT), arrivals, 0))
    return simulated(short_delays(SMALL, FirstCome(), arrivals, 10_000)) > MOST_SLOWER * alone
