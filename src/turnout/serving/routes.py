"""The routes of OpenAI's audio API, and of those who look after a server.

A request comes in through the door (a bounded number at once), its form is read, its work handed to
the `Service`, and its client is watched: who leaves frees the place.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from turnout.config.serving import ServingConfig
from turnout.errors import Stopping
from turnout.guidance import Task
from turnout.serving.answers import answer, as_json
from turnout.serving.door import STOPPING, Door, unfinished
from turnout.serving.errors import Gone, Refused, refusal_of
from turnout.serving.events import HEADERS, MEDIA_TYPE, WAITING, Deltas, encoded, ends, failed
from turnout.serving.forms import Asked, asked_of, check_model
from turnout.serving.job import Job
from turnout.serving.logs import log_error
from turnout.serving.models import ServedModel
from turnout.serving.service import Service
from turnout.serving.uploads import Storage, read_form
from turnout.text.transcript import Segment

T = TypeVar("T")
FIRST_SECONDS = 5.0
"""How long a stream's status waits for its first event: what fails sooner fails with a 4xx."""
HEARTBEAT_SECONDS = 10.0


class Watch:
    """A client that waits for its answer, and may leave, or be asked to."""

    def __init__(self, receive: Receive, over: "asyncio.Future[None]") -> None:
        """`receive` has given the whole body: all that it can still say is that the client left."""
        self._gone = asyncio.ensure_future(left(receive))
        self._over = over

    async def result(self, work: Awaitable[T]) -> T:
        """What comes of the work; raises as `is_done` does."""
        task = asyncio.ensure_future(work)
        try:
            await self.is_done(task)
            return task.result()
        finally:
            task.cancel()

    async def is_done(self, task: "asyncio.Future[Any]", seconds: float | None = None) -> bool:
        """Whether a task is done within so many seconds.

        Raises Gone where the client leaves before that, and Refused where it has to.
        """
        ends = {task, self._gone, self._over}
        done, _ = await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task in done:
            return True
        if self._gone in done:
            raise Gone
        if self._over in done:
            raise unfinished()
        return False

    def close(self) -> None:
        """Stop watching."""
        self._gone.cancel()


async def left(receive: Receive) -> None:
    """Return once the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


class Streamed(StreamingResponse):
    """A stream that lets go of what it holds, whether or not it has begun."""

    def __init__(self, parts: AsyncIterator[bytes], held: ExitStack) -> None:
        super().__init__(parts, media_type=MEDIA_TYPE, headers=HEADERS)
        self._parts = parts
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """ASGI; Starlette would watch for the client as well, and take the message from us."""
        with self._held, suppress(Gone):  # who left is told nothing
            await self.stream_response(send)


class Desk:
    """Takes audio and gives texts."""

    def __init__(self, service: Service, config: ServingConfig, folder: Path, door: Door) -> None:
        """`folder` is where uploads lie."""
        self._service = service
        self._config = config
        self._folder = folder
        self._door = door

    async def transcriptions(self, request: Request) -> Response:
        """POST /v1/audio/transcriptions."""
        return await self._answer(request, Task.TRANSCRIBE)

    async def translations(self, request: Request) -> Response:
        """POST /v1/audio/translations."""
        return await self._answer(request, Task.TRANSLATE)

    async def _answer(self, request: Request, endpoint: Task) -> Response:
        notes = request.state.exchange.notes
        with ExitStack() as held:
            place = held.enter_context(self._door.entered())
            kind = request.headers.get("content-type", "")
            receive = place.receiving(request.receive)
            form = await self._door.while_open(read_form(receive, kind, self._folder), place)
            with form:
                asked = asked_of(form.fields, endpoint, self._config)
                found = called(asked.model, self._service.models())
                if found is not None:
                    check_model(asked, found)
                # It opens the file, which may go at once.
                job = self._service.submit(asked.model, form.path, asked.options, name=form.name)
            held.callback(job.cancel)
            notes |= {"model": job.model, "format": asked.format, "stream": asked.stream}
            held.callback(lambda: notes.update(audio_seconds=round(job.audio_seconds, 3)))
            watch = Watch(request.receive, self._door.over)
            held.callback(watch.close)
            if asked.stream:
                return await self._streamed(asked, job, watch, held)
            transcript = await watch.result(job.transcript())
            return answer(asked, transcript, job.token_bytes)
        raise AssertionError  # for the type checker: an ExitStack may swallow errors

    async def _streamed(self, asked: Asked, job: Job, watch: Watch, held: ExitStack) -> Response:
        segments = aiter(job.segments())
        first = asyncio.ensure_future(following(segments))
        held.callback(first.cancel)
        if await watch.is_done(first, FIRST_SECONDS):
            first.result()  # raised now, it has a status of its own
        parts = self._parts(asked, job, watch, segments, first)
        return Streamed(parts, held.pop_all())

    async def _parts(
        self,
        asked: Asked,
        job: Job,
        watch: Watch,
        segments: AsyncIterator[Segment],
        coming: "asyncio.Future[Segment | None]",
    ) -> AsyncIterator[bytes]:
        deltas = Deltas(asked, job.token_bytes)
        try:
            while True:
                while not await watch.is_done(coming, HEARTBEAT_SECONDS):
                    yield WAITING
                segment = coming.result()
                if segment is None:
                    break
                yield encoded(deltas.of(segment))
                coming = asyncio.ensure_future(following(segments))
            transcript = await watch.result(job.transcript())
            for event in ends(asked, transcript, job.token_bytes):
                yield encoded(event)
        except Gone:
            raise
        except Exception as error:  # the status is sent: it can only be told in the stream
            yield encoded(failed(noted(error, job=job.id)))
        finally:
            coming.cancel()


def noted(error: Exception, **fields: Any) -> Refused:
    """What a client is told of an error; those that are ours are written down, with these."""
    refused = refusal_of(error)
    if refused.status >= 500 and not isinstance(error, Refused | Stopping):
        log_error("failed", error, **fields)
    return refused


async def following(segments: AsyncIterator[Segment]) -> Segment | None:
    """The next segment; None behind the last."""
    return await anext(segments, None)


class Desks:
    """What is asked of the server itself."""

    def __init__(self, service: Service, door: Door, storage: Storage, render: Any) -> None:
        """`render` gives the metrics."""
        self._service = service
        self._door = door
        self._storage = storage
        self._render = render

    async def models(self) -> Response:
        """GET /v1/models."""
        served = self._service.models()
        data = [model_entry(one, one.name) for one in served]
        return as_json({"object": "list", "data": data})

    async def model(self, name: str) -> Response:
        """GET /v1/models/{id}."""
        served = self._service.models()
        found = called(name, served)
        if found is not None:
            return as_json(model_entry(found, name))
        names = ", ".join(one.name for one in served)
        raise Refused(
            404, f"no model of this name is served here: choose one of {names}",
            param="model", code="model_not_found",
        )  # fmt: skip

    async def health(self) -> Response:
        """GET /health: whether the process answers."""
        return as_json({"status": "ok"})

    async def ready(self) -> Response:
        """GET /ready: whether work should be sent here."""
        reason = STOPPING if self._door.stopping.is_set() else self._service.status().reason
        reason = reason or await self._storage.trouble()
        if not reason:
            return as_json({"status": "ready"})
        response = as_json({"status": "not ready", "reason": reason})
        response.status_code = 503
        return response

    async def metrics(self) -> Response:
        """GET /metrics, as Prometheus reads it."""
        return Response(self._render(), media_type="text/plain; version=0.0.4; charset=utf-8")


def called(name: str | None, served: Sequence[ServedModel]) -> ServedModel | None:
    """The model of this name, or the default one for None."""
    if name is None:
        return served[0]
    return next((one for one in served if name in (one.name, *one.aliases)), None)


def model_entry(model: ServedModel, name: str) -> dict[str, Any]:
    """OpenAI's `Model`, and what this one can."""
    return {
        "id": name,
        "object": "model",
        "created": model.created,
        "owned_by": "turnout",
        "default": model.is_default,
        "loaded": model.is_loaded,
        "aliases": model.aliases,
        **(asdict(model.facts) if model.facts is not None else {}),
    }


def register(app: FastAPI, desk: Desk, desks: Desks) -> None:
    """Add all routes but the page's and the live one."""
    for path, post in (
        ("/v1/audio/transcriptions", desk.transcriptions),
        ("/v1/audio/translations", desk.translations),
    ):
        app.add_api_route(path, post, methods=["POST"], response_model=None)
    for path, get in (
        ("/v1/models", desks.models),
        ("/v1/models/{name:path}", desks.model),
        ("/health", desks.health),
        ("/ready", desks.ready),
        ("/metrics", desks.metrics),
    ):
        app.add_api_route(path, get, methods=["GET"], response_model=None)
