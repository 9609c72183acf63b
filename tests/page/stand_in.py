"""A server that answers the page with what it is told to: for how the page looks and behaves, which
needs no model. That the real one answers so is tested with the real one."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from turnout.serving.static import register

FACTS = {
    "tasks": ["transcribe", "translate"],
    "languages": ["ar", "en"],
    "translations": [["ar", "en"], ["en", "de"]],
    "encoder": {
        "kind": "supervised",
        "guided_by": ["bandwidth"],
        "experts": ["narrowband", "wideband"],
    },
    "decoder": {
        "kind": "supervised",
        "guided_by": ["task"],
        "experts": ["transcribe", "translate"],
    },
}


@dataclass
class Answers:
    """What is answered next, and what was asked; a test changes it from its own thread."""

    events: list[dict[str, Any]] = field(default_factory=list)
    pause_seconds: float = 0.0
    """Before each event."""
    most: int | None = None
    """So many events are sent, and the others once it is None."""
    refusals: list[tuple[int, dict[str, str], str]] = field(default_factory=list)
    """Status, headers and message of the next requests' refusals, first one first."""
    key: str = ""
    forms: list[dict[str, Any]] = field(default_factory=list)
    """The fields of each request that was taken; a file is its length."""
    left: int = 0
    """How many clients left before the end."""

    def refusal(self, request: Request) -> Response | None:
        """The refusal that is due, if any."""
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            return refused(401, {"WWW-Authenticate": "Bearer"}, "This is no key of the server.")
        return refused(*self.refusals.pop(0)) if self.refusals else None


def refused(status: int, headers: dict[str, str], message: str) -> Response:
    """An error in OpenAI's shape."""
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return JSONResponse({"error": error}, status, headers)


def application(answers: Answers) -> Starlette:
    """The page's files, and the two routes that it needs."""

    async def models(request: Request) -> Response:
        if answers.key and (refusal := answers.refusal(request)):
            return refusal
        entry = {"id": "commands", "object": "model", "default": True, **FACTS}
        return JSONResponse({"object": "list", "data": [entry]})

    async def transcriptions(request: Request) -> Response:
        if refusal := answers.refusal(request):
            await request.body()
            return refusal
        async with request.form() as form:
            answers.forms.append(
                {name: getattr(value, "size", value) for name, value in form.multi_items()}
            )
        return StreamingResponse(stream(), media_type="text/event-stream")

    async def stream() -> AsyncIterator[str]:
        try:
            for number, event in enumerate(answers.events):
                yield ": waiting\n\n"
                await asyncio.sleep(answers.pause_seconds)
                while answers.most is not None and number >= answers.most:
                    await asyncio.sleep(0.02)
                yield f"data: {json.dumps(event)}\n\n"
        except asyncio.CancelledError:
            answers.left += 1
            raise

    app = Starlette(
        routes=[
            Route("/v1/models", models),
            Route("/v1/audio/transcriptions", transcriptions, methods=["POST"]),
        ]
    )
    register(app)
    return app


@contextmanager
def serving(answers: Answers) -> Iterator[str]:
    """The address of such a server while it runs."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(application(answers), log_level="error", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
