"""Requests in, transcripts out: the same as without a server, and each ends in one way."""

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.reliability.examples import commands
from tests.unit.serving.services import (
    EXAMPLES,
    OPTIONS,
    alone,
    held,
    long_recording,
    outcome,
    run,
    same,
    serving,
    streamed,
    submit,
)
from turnout.audio.waveform import Waveform, read_audio
from turnout.config import TranscriptionOptions
from turnout.config.serving import ServingConfig
from turnout.errors import (
    AudioError,
    AudioTooLong,
    Busy,
    EngineError,
    GuidanceError,
    MissingExtra,
    ModelFolderError,
    ModelUnavailable,
    UnknownModel,
    UsageError,
)
from turnout.model_folder import SHIPPED
from turnout.serving.job import loaded
from turnout.serving.metrics import Metrics
from turnout.serving.service import Service
from turnout.text.transcript import Segment


@pytest.fixture(scope="module")
def long_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return long_recording(tmp_path_factory.mktemp("long"))


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
        backend = held(batches=1)
        async with serving(backend) as service:
            job = submit(service, long_file, task="both")
            seen: list[Segment] = []
            async for segment in job.segments():
                backend.gate.set()  # the rest is heard once the first is here
                seen.append(segment)
            transcript = await job.transcript()
        assert len(backend.encoded) > 1
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


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UsageError("threads is 0"), ModelUnavailable),
        (MissingExtra("running a model", "train"), ModelUnavailable),
        (ModelFolderError("damaged"), ModelUnavailable),
        (OSError(5, "Input/output error"), ModelUnavailable),
        (MemoryError(), ModelUnavailable),
        (Busy("no memory", 30), Busy),
    ],
)
def test_what_keeps_a_model_from_being_loaded_is_no_client_s_mistake(
    error: Exception, kind: type[Exception]
) -> None:
    def hold() -> Any:
        raise error

    with pytest.raises(kind) as caught:
        loaded(hold)
    assert str(error) in str(caught.value)


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
