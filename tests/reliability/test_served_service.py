"""T19, T20, T21 and T27 of the service itself: clients that leave, its end, its health, and model
files that change while it serves. What HTTP adds is tested in `test_served_ends.py`."""

import asyncio
import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from tests.containers import encode
from tests.reliability.examples import examples
from tests.reliability.tally import Tally
from tests.unit.serving.services import (
    EXAMPLES,
    alone,
    heard_seconds,
    held,
    no_job,
    outcome,
    serving,
    submit,
    until,
)
from turnout.audio.waveform import Waveform
from turnout.config.serving import ServingConfig
from turnout.errors import Cancelled, EngineError, TurnoutError
from turnout.model_folder import SHIPPED
from turnout.serving import engine as engines
from turnout.serving import readers
from turnout.serving.engine import Engine
from turnout.serving.job import Job
from turnout.serving.metrics import Metrics
from turnout.serving.service import Service

FREE_SECONDS = 1.0
"""In which a place is free again, at the full size; the small one runs beside other tests."""
MOST_HEARD = 0.7
"""Of a recording that nobody wants any more."""
TOLD_SECONDS = 10.0
"""In which /ready says no."""


def long_recording(folder: Path, repeats: int) -> Path:
    """The examples, one after the other, so many times."""
    path = folder / "long.wav"
    path.write_bytes(encode(np.concatenate([one.samples for one in examples()] * repeats)))
    return path


def open_files() -> int:
    """Of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def leave(service: Service, source: Path | Waveform, rng: Random) -> tuple[Any, float, float]:
    """Send a request, leave at some time, and wait until its place is free: what came of it, how
    long that took, and how many seconds of sound were heard nevertheless."""
    before = heard_seconds(service)
    job = submit(service, source)
    await asyncio.sleep(rng.choice([0.0, rng.uniform(0, 0.05), rng.uniform(0, 0.6)]))
    job.cancel()
    took = await until(lambda: service.status().running == 0, 60.0)
    return await outcome(job), took, heard_seconds(service) - before


def check_heard(seconds: float, whole_seconds: float) -> None:
    """The model did not go on for nobody."""
    share = seconds / whole_seconds
    assert share <= MOST_HEARD, f"{share:.0%} were heard for nobody"


@pytest.mark.counts("T19", "the service")
def test_whoever_leaves_frees_the_place(tally: Tally, tmp_path: Path) -> None:
    # Longer to hear than a place may be held.
    path = long_recording(tmp_path, 20)
    live = Waveform(np.concatenate([one.samples for one in examples()] * 20), 16_000)

    async def work() -> float:
        longest = 0.0
        async with serving(max_concurrent=1) as service:
            await submit(service).transcript()
            await until(no_job)
            before = open_files(), threading.active_count()
            for number in range(tally.size(8, 200)):
                with tally.trial(f"{number}"):
                    rng = tally.random(number)
                    source = live if number % 4 == 3 else path
                    found, took, heard = await leave(service, source, rng)
                    assert isinstance(found, Cancelled)
                    longest = max(longest, took)
                    check_heard(heard, live.duration)
                    assert not tally.full or took <= FREE_SECONDS, f"free after {took:.2f} s"
            with tally.trial("files and threads"):
                await until(lambda: (open_files(), threading.active_count()) == before, 20.0)
            with tally.trial("the next one is served"):
                assert (await submit(service).transcript()).text == alone(EXAMPLES[0]).text
        return longest

    tally.measure(longest_seconds=round(asyncio.run(work()), 3))
    few = long_recording(tmp_path, 2)
    tally.controlled(asyncio.run(deaf_jobs_are_seen(few, live.duration / 10, tally.random("deaf"))))


async def deaf_jobs_are_seen(path: Path, whole_seconds: float, rng: Random) -> bool:
    """The negative control: jobs that do not hear that nobody wants them any more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Job, "give_up", lambda *_: None)
        async with serving(max_concurrent=1) as service:
            _, _, heard = await leave(service, path, rng)
    try:
        check_heard(heard, whole_seconds)
    except AssertionError:
        return True
    return False


@pytest.mark.counts("T20", "the service")
def test_what_was_accepted_is_finished(tally: Tally) -> None:
    async def work(stop: int) -> None:
        count = tally.size(8, 50)
        async with serving(max_concurrent=8) as service:
            rng = tally.random(stop)
            paths = [rng.choice(EXAMPLES) for _ in range(count)]
            jobs = [submit(service, path) for path in paths]
            await asyncio.sleep(rng.uniform(0, 0.3))
            stopping = asyncio.create_task(service.stop(60.0))
            await asyncio.sleep(0)
            assert not service.status().is_ready
            for job, path in zip(jobs, paths, strict=True):
                try:
                    assert (await job.transcript()).text == alone(path).text
                except TurnoutError as error:
                    raise AssertionError(f"lost: {error}") from error
            await stopping

    for stop in range(tally.size(1, 20)):
        with tally.trial(f"stop {stop}"):
            asyncio.run(work(stop))


async def told(service: Service, within: float) -> str:
    """What /ready says once it says no."""
    await until(lambda: not service.status().is_ready, within)
    return service.status().reason


@pytest.mark.counts("T21", "true health")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_model_that_is_stuck_or_dead_is_told(
    tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not tally.full:  # what is waited for is shorter, and nothing else
        monkeypatch.setattr(engines, "STUCK_SECONDS", 1.0)
        for name, seconds in (("WATCH", 0.1), ("SLOW", 0.5), ("PING", 1.5)):
            monkeypatch.setattr(readers, f"{name}_SECONDS", seconds)
    within = TOLD_SECONDS if tally.full else 3.0
    for trial in (stuck, dead, none, raises, decoder_stopped, decoder_killed, decoder_gone):
        name = trial.__name__.replace("_", " ")
        for number in range(tally.size(1, 5)):
            with tally.trial(f"{name} {number}"):
                asyncio.run(asyncio.wait_for(trial(within), 120))
    tally.controlled(asyncio.run(a_blind_check_is_seen(within)))


async def stuck(within: float) -> None:
    """The model's lock is never given back, until it is."""
    backend = held()
    async with serving(backend) as service:
        assert service.status().is_ready
        job = submit(service)
        await until(backend.began.is_set)
        assert "no sign of life" in await told(service, within)
        backend.gate.set()
        assert (await job.transcript()).text == alone(EXAMPLES[0]).text
        assert service.status().is_ready, "it does not recover"


async def dead(within: float) -> None:
    """The engine's thread ends in the midst of a batch."""

    def die(*_: object) -> Any:
        raise SystemExit

    async with serving() as service:
        (engine,) = service._models.engines()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(engine, "_answers", die)
            job = submit(service)
            thread = engine._thread
            await until(lambda: not thread.is_alive())
            assert "dead" in service.status().reason
        with pytest.raises(EngineError):
            await job.transcript()
        assert service.status().is_ready, "it does not recover"
        assert (await submit(service).transcript()).text == alone(EXAMPLES[0]).text
    assert within


async def none(_: float) -> None:
    """There is no model."""
    service = Service(ServingConfig(model=("/nowhere/at-all",)), Metrics())
    assert not service.status().is_ready
    with pytest.raises(TurnoutError):
        await service.start()
    assert not service.status().is_ready
    await service.stop(0.0)


async def raises(_: float) -> None:
    """One request makes the model raise: it fails, and the server is as well as before."""
    async with serving() as service:
        (engine,) = service._models.engines()
        real: Callable[[Any], Any] = engine.transcriber.decode

        def decode(utterances: Any) -> Any:
            if any(len(one.request.tasks) > 1 for one in utterances):
                raise RuntimeError("planted")
            return real(utterances)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(engine.transcriber, "decode", decode)
            bad, good = submit(service, task="both"), submit(service)
            with pytest.raises(EngineError):
                await bad.transcript()
            assert (await good.transcript()).text == alone(EXAMPLES[0]).text
            assert service.status().is_ready


async def decoder_stopped(within: float) -> None:
    """Somebody stops the process that decodes uploads."""
    async with serving() as service:
        process = service._readers._process
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)
        assert "the process that decodes uploads does not answer" in await told(service, within)
        await until(lambda: service.status().is_ready)
        assert (await submit(service).transcript()).text == alone(EXAMPLES[0]).text
        assert process.poll() is not None, "it is still there"


async def decoder_killed(within: float) -> None:
    """Somebody kills it."""
    async with serving() as service:
        process = service._readers._process
        assert process is not None
        process.kill()
        process.wait()
        assert "has ended" in service.status().reason
        await until(lambda: service.status().is_ready)
        assert (await submit(service).transcript()).text == alone(EXAMPLES[0]).text


async def decoder_gone(within: float) -> None:
    """It cannot be begun again, until it can."""
    async with serving() as service:
        process = service._readers._process
        assert process is not None
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(readers.sys, "executable", "/nowhere/python")
            process.kill()
            process.wait()
            await until(lambda: "does not come up" in service.status().reason, within)
        await until(lambda: service.status().is_ready)


async def a_blind_check_is_seen(within: float) -> bool:
    """The negative control: a health that asks nobody."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "trouble", lambda _: "")
        try:
            await stuck(min(within, 2.0))
        except AssertionError:
            return True
    return False


def cut(file: Path) -> None:
    """Half of it is gone."""
    os.truncate(file, file.stat().st_size // 2)


def zeroed(file: Path) -> None:
    """As long as before."""
    with file.open("r+b") as opened:
        opened.write(bytes(file.stat().st_size))


def swapped(file: Path) -> None:
    """Another file in its place."""
    other = file.with_name("other")
    other.write_bytes(b"of another model")
    other.replace(file)


CHANGES: dict[str, Callable[[Path], None]] = {
    "cut": cut,
    "zeroed": zeroed,
    "swapped": swapped,
    "deleted": Path.unlink,
}


@pytest.mark.counts("T27", "model files that change")
def test_model_files_that_change_change_nothing(tally: Tally, tmp_path: Path) -> None:
    async def work(name: str, change: Callable[[Path], None]) -> None:
        folder = shutil.copytree(SHIPPED / "commands", tmp_path / name)
        service = Service(ServingConfig(model=(str(folder),), threads=1), Metrics())
        await service.start()
        jobs = [submit(service, path) for path in EXAMPLES[: tally.size(2, 12)]]
        for file in list(folder.iterdir()):
            change(file)
        jobs += [submit(service, path) for path in EXAMPLES[: tally.size(2, 12)]]
        try:
            for job in jobs:
                wanted = next(path for path in EXAMPLES if path.name == job.name)
                assert (await job.transcript()).text == alone(wanted).text
            assert service.status().is_ready
        finally:
            await service.stop(0.0)

    for name, change in CHANGES.items():
        with tally.trial(name):
            asyncio.run(work(name, change))
    with tally.trial("what starts afterwards is refused"), pytest.raises(TurnoutError):
        asyncio.run(work_on_what_is_left(tmp_path / "cut"))


async def work_on_what_is_left(folder: Path) -> None:
    """A server of the files that were changed."""
    service = Service(ServingConfig(model=(str(folder),)), Metrics())
    try:
        await service.start()
    finally:
        await service.stop(0.0)
