"""Requests in, transcripts out: the same as without a server, and each ends in one way."""

import asyncio
import os
import shutil
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.containers import encode
from tests.doubles import tone
from tests.reliability.examples import commands
from tests.unit.serving.services import EXAMPLES, OPTIONS, alone, held, serving, submit, until
from turnout.audio.waveform import Waveform, read_audio
from turnout.config import TranscriptionOptions
from turnout.config.serving import ServingConfig
from turnout.errors import (
    AudioError,
    AudioTooLong,
    Busy,
    Cancelled,
    EngineError,
    GuidanceError,
    Stopping,
    TookTooLong,
    TurnoutError,
    UnknownModel,
)
from turnout.model_folder import SHIPPED
from turnout.serving import service as services_module
from turnout.serving.job import Job
from turnout.serving.metrics import Metrics
from turnout.serving.service import Service
from turnout.text.transcript import Segment, Transcript


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 60))


async def outcome(job: Job) -> Transcript | TurnoutError:
    try:
        return await job.transcript()
    except TurnoutError as error:
        return error


async def streamed(job: Job) -> list[Segment]:
    return [segment async for segment in job.segments()]


def same(found: Transcript, wanted: Transcript) -> bool:
    """But for the last bits of probabilities, which depend on the size of a batch."""
    one, other = found.translation, wanted.translation
    assert (one is None) == (other is None)
    return (
        found.text == wanted.text
        and found.language == wanted.language
        and found.bandwidth == wanted.bandwidth
        and found.warnings == wanted.warnings
        and [segment.tokens for segment in found.segments]
        == [segment.tokens for segment in wanted.segments]
        and (one is None or other is None or same(one, other))
    )


@pytest.fixture(scope="module")
def long_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All the Arabic examples, one after the other, three times: a minute of speech."""
    parts = [read_audio(path).samples for path in EXAMPLES if path.name.startswith("arabic")]
    path = tmp_path_factory.mktemp("long") / "long.wav"
    path.write_bytes(encode(np.concatenate(parts * 3)))
    return path


@pytest.mark.parametrize("batching", [True, False])
def test_answers_are_those_of_each_recording_alone(batching: bool) -> None:
    async def work() -> None:
        async with serving(batching=batching) as service:
            tasks = ("transcribe", "translate", "both")
            asked = [
                (path, {"task": tasks[i % 3], "word_timestamps": i % 2 == 0})
                for i, path in enumerate(EXAMPLES)
            ]
            jobs = [submit(service, path, **options) for path, options in asked]
            for job, (path, options) in zip(jobs, asked, strict=True):
                wanted = alone(path, **options)
                found = await job.transcript()
                assert same(found, wanted), path
                assert [word.word for one in found.segments for word in one.words] == [
                    word.word for one in wanted.segments for word in one.words
                ]
                assert job.audio_seconds == pytest.approx(wanted.duration_seconds)

    run(work())


def test_segments_come_while_the_rest_is_decoded_and_in_order(long_file: Path) -> None:
    async def work() -> None:
        async with serving(held(0.01, is_open=True)) as service:
            job = submit(service, long_file, task="both")
            seen: list[Segment] = []
            first = 0.0
            began = time.monotonic()
            async for segment in job.segments():
                first = first or time.monotonic() - began
                seen.append(segment)
            whole = time.monotonic() - began
            transcript = await job.transcript()
        assert first < whole / 2, f"the first came after {first:.2f} of {whole:.2f} s"
        assert transcript.translation is not None
        for kind in (transcript, transcript.translation):
            own = [one for one in seen if one.task == kind.task]
            assert own == list(kind.segments)
            assert [one.start for one in own] == sorted(one.start for one in own)
        tasks = [one.task for one in seen[:2]]
        assert tasks == [transcript.task, transcript.translation.task]

    run(work())


def test_segments_and_transcript_may_be_awaited_by_several_and_afterwards() -> None:
    async def work() -> None:
        async with serving() as service:
            job = submit(service)
            found = await asyncio.gather(
                streamed(job), streamed(job), job.transcript(), job.transcript()
            )
            assert found[0] == found[1] == list(found[2].segments)
            assert found[2] is found[3]
            assert await streamed(job) == found[0]
            pieces = job.token_bytes(found[0][0])
            assert b"".join(pieces).decode().strip() == found[0][0].text
            assert len(found[0][0].token_logprobs) == len(pieces)
            assert all(one <= 0 for one in found[0][0].token_logprobs)

    run(work())


def test_samples_need_no_file_and_silence_no_decoding() -> None:
    async def work() -> None:
        backend = held(is_open=True)
        async with serving(backend) as service:
            silent = submit(service, Waveform(np.zeros(1600, np.float32), 16_000))
            assert (await silent.transcript()).text == ""
            assert backend.encoded == []
            samples = Waveform(read_audio(EXAMPLES[0]).samples, 16_000)
            assert (await submit(service, samples).transcript()).text == alone(EXAMPLES[0]).text

    run(work())


def test_a_recording_that_cannot_be_taken_fails_alone_by_the_client_s_name(
    tmp_path: Path,
) -> None:
    bad = tmp_path / "tmp8a7d6f"
    bad.write_bytes(b"neither sound nor music")

    async def work() -> None:
        async with serving() as service:
            name = "my\x1b[31m call\n" + "x" * 500
            job = service.submit(None, bad, OPTIONS, name=name)
            good = submit(service)
            error = await outcome(job)
            assert isinstance(error, AudioError)
            assert str(error).startswith(r"my\x1b[31m call\n" + "xxx")
            assert len(str(error)) < 300
            assert "tmp8a7d6f" not in str(error)
            assert (await good.transcript()).text == alone(EXAMPLES[0]).text
            too_long = await outcome(submit(service, max_duration=1.0))
            assert isinstance(too_long, AudioTooLong)
            with pytest.raises(AudioTooLong):
                await streamed(submit(service, max_duration=1.0))

    run(work())


def test_what_the_model_cannot_do_is_said_at_once_or_where_it_is_loaded() -> None:
    wrong = [
        {"language": "fr"},
        {"task": "translate", "target_language": "fr"},
        {"initial_prompt": "names"},
        {"temperature": 0.5},
        {"window": "speech"},
    ]

    async def work() -> None:
        async with serving() as service:
            for options in wrong:
                with pytest.raises(GuidanceError) as caught:
                    submit(service, **options)
                assert "\n" not in str(caught.value)
            with pytest.raises(UnknownModel, match="choose one of commands"):
                service.submit("gpt-4o", EXAMPLES[0], OPTIONS, name="x")
            with pytest.raises(AudioError, match="x: cannot be read"):
                service.submit(None, Path("/nowhere"), OPTIONS, name="x")
            service._models._entries["commands"].engine = None  # as if it had left
            error = await outcome(submit(service, language="fr"))
            assert isinstance(error, GuidanceError)
            status = service.status()
            assert (status.queued, status.running) == (0, 0)

    run(work())


def test_a_request_that_makes_the_model_raise_fails_alone(caplog: Any) -> None:
    async def work() -> None:
        async with serving() as service:
            (engine,) = service._models.engines()
            decode = engine.transcriber.decode

            def fails(utterances: Any) -> Any:
                if any("translate" in one.request.tasks for one in utterances):
                    raise RuntimeError("an inner secret")
                return decode(utterances)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(engine.transcriber, "decode", fails)
                good = [submit(service, path) for path in EXAMPLES[:5]]
                bad = [submit(service, path, task="translate") for path in EXAMPLES[:2]]
                for job, path in zip(good, EXAMPLES[:5], strict=True):
                    assert (await job.transcript()).text == alone(path).text
                for job in bad:
                    error = await outcome(job)
                    assert isinstance(error, EngineError)
                    assert "secret" not in str(error)
            assert "an inner secret" in caplog.text
            assert (await submit(service, task="translate").transcript()).text

    run(work())


def test_a_process_that_decodes_uploads_may_be_killed(long_file: Path) -> None:
    async def work() -> None:
        backend = held()
        async with serving(backend, max_concurrent=1) as service:
            job = submit(service, long_file)
            await until(backend.began.is_set)
            assert service._readers._process is not None
            service._readers._process.kill()
            backend.gate.set()
            # What it had read is lost with it; or it had read all.
            assert isinstance(await outcome(job), AudioError | EngineError | Transcript)
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
def test_whoever_leaves_frees_the_place_within_a_second(phase: str, long_file: Path) -> None:
    async def work() -> None:
        backend = held(0.05, is_open=True)
        async with serving(backend, max_concurrent=1) as service:
            first = submit(service, long_file)
            left = submit(service, long_file) if phase == "queued" else first
            if phase == "decoding":
                await until(backend.began.is_set)
            left.cancel()
            left.cancel()
            began = time.monotonic()
            assert isinstance(await outcome(left), Cancelled)
            assert time.monotonic() - began < 1.0
            if left is not first:
                assert service.status().queued == 0
                first.cancel()
            await until(lambda: service.status().running == 0, 1.0)
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
            began = time.monotonic()
            await service.stop(0.2)
            for job in jobs:
                error = await outcome(job)
                assert isinstance(error, Stopping)
                assert "could not finish" in str(error)
            assert time.monotonic() - began < 0.2 + 6.0

    run(work())


def test_nothing_is_left_of_many_requests(tmp_path: Path) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"no sound")
    short = tmp_path / "short.wav"
    short.write_bytes(encode(tone(0.2)))

    async def work() -> None:
        async with serving() as service:
            await submit(service).transcript()
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


def test_a_model_s_files_may_change_while_it_serves(tmp_path: Path) -> None:
    """T27: they are read into memory, and never looked at again."""
    folder = shutil.copytree(SHIPPED / "commands", tmp_path / "model")

    async def work() -> None:
        service = Service(ServingConfig(model=(str(folder),), threads=1), Metrics())
        await service.start()
        wanted = [(await submit(service, path).transcript()).text for path in EXAMPLES[:2]]
        for file in folder.iterdir():
            os.truncate(file, file.stat().st_size // 2)
        assert wanted == [(await submit(service, path).transcript()).text for path in EXAMPLES[:2]]
        for file in folder.iterdir():
            file.unlink()
        assert wanted == [(await submit(service, path).transcript()).text for path in EXAMPLES[:2]]
        assert service.status().is_ready
        await service.stop(0.0)

    run(work())


def test_what_is_counted_has_the_operator_s_names_alone() -> None:
    async def work() -> None:
        async with serving() as service:
            for number in range(2):
                job = service.submit(
                    "whisper-1", EXAMPLES[0], TranscriptionOptions(task="both"), name=f"n{number}"
                )
                await job.transcript()
            text = service._metrics.render().decode()
            series = [line.split(" ")[0] for line in text.splitlines() if line[0] != "#"]
            for _ in range(2):
                await submit(service, task="both").transcript()
            again = service._metrics.render().decode()
        assert series == [line.split(" ")[0] for line in again.splitlines() if line[0] != "#"]
        assert len(series) < 60
        assert 'turnout_audio_seconds_total{model="commands"}' in text
        assert 'turnout_expert_frames_total{expert="wideband",model="commands"}' in text
        assert 'turnout_decoder_tokens_total{expert="translate",model="commands"}' in text
        assert commands().backend.config.vocabulary.languages[0] not in series

    run(work())
