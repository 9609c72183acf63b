"""The application: routes around a `Service`, and the guard around the routes."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from turnout.config.serving import ServingConfig
from turnout.errors import TurnoutError
from turnout.serving.door import Door
from turnout.serving.errors import Gone, Refused, refusal_of
from turnout.serving.guard import App, Guard
from turnout.serving.keys import Keys
from turnout.serving.live import register as register_live
from turnout.serving.metrics import Metrics
from turnout.serving.routes import Desk, Desks, noted, register
from turnout.serving.service import Service
from turnout.serving.static import register as register_page
from turnout.serving.uploads import Storage


@dataclass(frozen=True)
class Serving:
    """An application, and what whoever runs it needs of it."""

    app: App
    """ASGI, guarded."""
    inner: FastAPI
    """What the guard is around, for those who ask for its routes."""
    door: Door
    service: Service


def build(config: ServingConfig, service: Service, metrics: Metrics, folder: Path) -> Serving:
    """The application of these settings, within a running loop; uploads lie in `folder`."""
    inner = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    for kind in (Refused, TurnoutError, OSError, MemoryError):
        inner.add_exception_handler(kind, told)
    inner.add_exception_handler(HTTPException, told_of_http)
    inner.add_exception_handler(Gone, nobody)
    inner.add_exception_handler(Exception, mistaken)
    keys = Keys(config.api_keys)
    door = Door(service, config, metrics)
    inner.state.stopping = door.stopping
    desk = Desk(service, config, folder, door)
    register(inner, desk, Desks(service, door, Storage(folder), metrics.render))
    register_live(inner, service, config, keys, metrics)
    page: Iterable[str] = register_page(inner) if config.page else ()
    app: App = Guard(inner, config, keys, metrics, open_paths=page)
    if config.cors_origins:
        app = CORSMiddleware(
            app,
            allow_origins=config.cors_origins,
            allow_methods=("GET", "POST"),
            allow_headers=("Authorization", "Content-Type"),
            expose_headers=("X-Request-Id", "Retry-After"),
        )
    return Serving(app, inner, door, service)


async def told(request: Request, error: Exception) -> Response:
    """A request that failed."""
    return noted(error, id=request.state.exchange.id).response()


async def told_of_http(_: Request, error: Exception) -> Response:
    """A path or a method that is not there."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        message = "this path does not take this method"
    else:
        message = "there is nothing at this path: the API is at /v1/audio/transcriptions"
    code = "unknown_path" if error.status_code == 404 else "wrong_method"
    return Refused(error.status_code, message, code=code, headers=error.headers).response()


async def mistaken(_: Request, error: Exception) -> Response:
    """A mistake of ours, which the guard sees as well, and writes down."""
    return refusal_of(error).response()


async def nobody(_: Request, __: Exception) -> Response:
    """A client that has left: the status is for the log."""
    return Response(status_code=Gone.status)
