"""How requests come and go: who is let in, who leaves, and how the service ends."""

import asyncio
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.containers import encode
from tests.doubles import tone
from tests.unit.serving.services import (
    EXAMPLES,
    alone,
    held,
    long_recording,
    no_job,
    outcome,
    run,
    serving,
    submit,
    until,
)
from turnout.audio.waveform import Waveform, read_audio
from turnout.config.serving import ServingConfig
from turnout.errors import (
    Busy,
    Cancelled,
    EngineError,
    Stopping,
    TookTooLong,
    TurnoutError,
)
from turnout.serving import service as services_module
from turnout.serving.metrics import Metrics
from turnout.serving.service import Service
from turnout.text.transcript import Transcript

STEPS_AFTER = 3
"""Of the model, once nobody wants them: one is under way, and another may have been begun."""


@pytest.fixture(scope="module")
def long_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return long_recording(tmp_path_factory.mktemp("long"))


def test_a_process_that_decodes_uploads_may_be_killed(long_file: Path) -> None:
    async def work() -> None:
        backend = held()
        async with serving(backend, max_concurrent=1) as service:
            job = submit(service, long_file)
            await until(backend.began.is_set)
            assert service._readers._process is not None
            service._readers._process.kill()
            backend.gate.set()
            # What it had read is lost with it, which is not the file's doing; or it had read all.
            assert isinstance(await outcome(job), EngineError | Transcript)
            assert (await submit(service).transcript()).text == alone(EXAMPLES[0]).text
            status = service.status()
            assert (status.running, status.queued, status.is_ready) == (0, 0, True)

    run(work())


def test_what_is_too_much_is_refused_with_a_time_to_come_back() -> None:
    async def work() -> None:
        backend = held()
        async with serving(backend, max_concurrent=2, max_queue=3) as service:
            jobs = [submit(service) for _ in range(5)]
            assert (service.status().running, service.status().queued) == (2, 3)
            for attempt in (lambda: submit(service), service.check_room):
                with pytest.raises(Busy, match="2 requests are in work and 3 wait") as caught:
                    attempt()
                assert 1 <= caught.value.retry_after <= 60
            # A live stream waits for no file.
            live = submit(service, Waveform(read_audio(EXAMPLES[1]).samples, 16_000))
            assert service.status().running == 3
            # The server's end waits for forms that are still coming in, beside these.
            assert service.files_at_work() == 5
            backend.gate.set()
            for job in jobs:
                assert (await job.transcript()).text == alone(EXAMPLES[0]).text
            assert (await live.transcript()).text == alone(EXAMPLES[1]).text
            service.check_room()
            assert (await submit(service).transcript()).text

    run(work())


def test_long_ones_do_not_hold_all_places_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services_module, "LONG_SECONDS", 0.3)

    async def work() -> None:
        backend = held()
        async with serving(backend, max_concurrent=2, max_queue=5) as service:
            long = [submit(service) for _ in range(2)]
            short = [submit(service, EXAMPLES[1]) for _ in range(5)]
            assert (service.status().running, service.status().queued) == (2, 5)
            # Twice as many at most, whatever waits.
            await until(lambda: service.status().running == 4)
            await asyncio.sleep(0.7)
            assert (service.status().running, service.status().queued) == (4, 3)
            backend.gate.set()
            for job in long + short:
                assert (await job.transcript()).text

    run(work())


def test_where_no_thread_can_be_begun_a_request_ends_and_its_place_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none(**_: object) -> None:
        raise RuntimeError("can't start new thread")

    async def work() -> None:
        backend = held()
        async with serving(backend, max_concurrent=1, max_queue=2) as service:
            first, second = submit(service), submit(service)
            with monkeypatch.context() as change:
                change.setattr(services_module, "Thread", none)
                backend.gate.set()
                # The place of the first is given to the second by the first one's own thread.
                assert (await first.transcript()).text == alone(EXAMPLES[0]).text
                for refused in (second, submit(service)):
                    with pytest.raises(Busy, match="no thread"):
                        await refused.transcript()
            assert (service.status().running, service.status().queued) == (0, 0)
            assert (await submit(service).transcript()).text

    run(work())


def test_live_streams_are_bounded_too() -> None:
    async def work() -> None:
        backend = held()
        async with serving(backend, max_live=1) as service:
            sound = Waveform(read_audio(EXAMPLES[1]).samples, 16_000)
            jobs = [submit(service, sound) for _ in range(4)]
            with pytest.raises(Busy, match="4 parts of live streams"):
                submit(service, sound)
            backend.gate.set()
            for job in jobs:
                assert (await job.transcript()).text

    run(work())


def test_the_time_to_come_back_is_worked_out_from_what_jobs_take() -> None:
    def told(job_seconds: float | None, times: int = 1) -> list[int]:
        service = Service(ServingConfig(max_concurrent=2), Metrics())
        service._job_seconds = job_seconds
        return [service._retry_after() for _ in range(times)]

    assert told(None) == [1]
    assert told(0.1) == [1]
    assert told(12.0) == [6]
    assert told(1e6) == [60]
    # Those who were told before come first: whoever comes next comes later.
    assert told(4.0, times=6) == [2, 4, 6, 8, 10, 12]


@pytest.mark.parametrize("phase", ["queued", "reading", "decoding"])
def test_whoever_leaves_frees_the_place_within_a_step(phase: str, long_file: Path) -> None:
    async def work() -> None:
        backend = held(0.05, is_open=True)
        async with serving(backend, max_concurrent=1) as service:
            first = submit(service, long_file)
            left = submit(service, long_file) if phase == "queued" else first
            if phase == "decoding":
                await until(backend.began.is_set)
            left.cancel()
            left.cancel()
            steps = len(backend.steps)
            assert isinstance(await outcome(left), Cancelled)
            if left is not first:
                assert service.status().queued == 0
                steps = len(backend.steps)
                first.cancel()
            await until(lambda: service.status().running == 0)
            assert len(backend.steps) <= steps + STEPS_AFTER
            assert (await submit(service).transcript()).text == alone(EXAMPLES[0]).text
            first.cancel()  # what has ended stays as it ended

    run(work())


def test_a_request_has_its_time() -> None:
    async def work() -> None:
        backend = held()
        async with serving(backend, request_seconds=0.5, max_concurrent=1) as service:
            running, queued = submit(service), submit(service)
            for job in (running, queued):
                error = await outcome(job)
                assert isinstance(error, TookTooLong)
                assert "longer than 0.5 s" in str(error)
            backend.gate.set()
            await until(lambda: service.status().running == 0)

    run(work())


def test_stopping_finishes_what_was_accepted() -> None:
    async def work() -> None:
        async with serving(held(0.002, is_open=True), max_concurrent=2) as service:
            jobs = [submit(service, path) for path in EXAMPLES[:4]]
            stopping = asyncio.create_task(service.stop(30.0))
            await asyncio.sleep(0)
            assert not service.status().is_ready
            assert "stopped" in service.status().reason
            with pytest.raises(Stopping):
                submit(service)
            with pytest.raises(Stopping):
                submit(service, Waveform(np.zeros(16_000, np.float32), 16_000))
            with pytest.raises(Stopping):
                service.check_room()
            for job, path in zip(jobs, EXAMPLES[:4], strict=True):
                assert (await job.transcript()).text == alone(path).text
            await stopping

    run(work())


def test_stopping_ends_what_the_grace_does_not_suffice_for() -> None:
    async def work() -> None:
        async with serving(held(), max_concurrent=2) as service:
            jobs = [submit(service, path) for path in EXAMPLES[:5]]
            await service.stop(0.2)
            for job in jobs:
                error = await outcome(job)
                assert isinstance(error, Stopping)
                assert "could not finish" in str(error)

    run(work())


def test_nothing_is_left_of_many_requests(tmp_path: Path) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"no sound")
    short = tmp_path / "short.wav"
    short.write_bytes(encode(tone(0.2)))

    async def work() -> None:
        async with serving() as service:
            await submit(service).transcript()
            await until(no_job)
            before = open_files(), threading.active_count()
            for _ in range(4):
                jobs = [submit(service, short) for _ in range(4)]
                jobs += [submit(service, bad), submit(service, EXAMPLES[1])]
                jobs[-1].cancel()
                for job in jobs:
                    await outcome(job)
            await until(lambda: (open_files(), threading.active_count()) == before, 3.0)

    run(work())


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_server_without_its_model_does_not_start(tmp_path: Path) -> None:
    async def work() -> None:
        config = ServingConfig(model=(str(tmp_path / "nowhere"),))
        service = Service(config, Metrics())
        assert not service.status().is_ready
        with pytest.raises(TurnoutError, match="nowhere"):
            await service.start()
        assert not service.status().is_ready
        await service.stop(0.0)

    run(work())
