"""What every request passes before anything else sees it, and every answer on its way out.

In this order, before a byte of a body is read: the Host, the key, the Origin, the length. Then the
body is counted while it comes in, and has to keep coming. Pure ASGI: FastAPI would read the body
first. Decides on `scope["path"]`, which is what is routed by, and never on a URL that is put
together from headers.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import suppress
from time import monotonic
from typing import Any, Protocol
from uuid import uuid4

from turnout.config.serving import ServingConfig, is_loopback
from turnout.serving.errors import Gone, Refused, refusal_of
from turnout.serving.keys import Keys
from turnout.serving.logs import log, log_error

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS = frozenset(("/health", "/ready"))
"""Open to everybody, as the page's own files are."""
LIVE_PATHS = frozenset(("/v1/audio/live",))
"""WebSockets, which browsers open without a header of ours: their key is in the first message."""
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
FORM_BYTES = 65_536
"""Allowed to a form beyond its file."""
LEAST_BYTES = 16_384
"""That must come in within the time of a stall: one byte now and then is none."""
MOST_DIGITS = 18
LINGER_BYTES = 1_048_576
LINGER_SECONDS = 2.0
HOST = re.compile(rb"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]/?#@\\\s]+)(:\d{1,5})?")
EVERY = "*"


class Counts(Protocol):
    """Where answered requests are counted."""

    def answered(self, route: str, status: int, seconds: float) -> None:
        """One was answered."""
        ...


class Guard:
    """Around the application."""

    def __init__(
        self,
        app: App,
        config: ServingConfig,
        keys: Keys,
        counts: Counts,
        *,
        open_paths: Iterable[str] = (),
    ) -> None:
        """`open_paths` are those of the page."""
        self._app = app
        self._config = config
        self._keys = keys
        self._counts = counts
        self._open = OPEN_PATHS.union(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http":
            await self._request(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send, self._config)
        scope.setdefault("state", {})["exchange"] = exchange
        try:
            refused = self.refusal(scope)
            if refused is None:
                await self._app(scope, exchange.receive, exchange.send)
            else:
                await exchange.refuse(refused)
        except Gone:
            exchange.status = Gone.status
        except Exception as error:  # nothing may reach the client but one line
            log_error("mistake", error, id=exchange.id)
            await exchange.refuse(refusal_of(error))
        finally:
            self._note(scope, exchange)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = self.refusal(scope)
        if refused is not None:
            await refused.response()(scope, receive, send)
            self._counts.answered("live", refused.status, 0.0)
            log("request", method="WEBSOCKET", path=scope["path"], status=refused.status)
            return
        try:
            await self._app(scope, receive, send)
        except Exception as error:  # uvicorn would write a traceback with what was sent
            log_error("mistake", error, path=scope["path"])

    def refusal(self, scope: Scope) -> Refused | None:
        """Why a request is not even read; None where it is."""
        if not host_is_known(scope, self._config):
            return Refused(
                400,
                "this server does not answer to the name in the Host header: use its address, or "
                "ask its operator to allow the name (--allowed-hosts)",
                code="unknown_host",
            )
        return self._keyless(scope) or self._foreign(scope) or self._too_large(scope)

    def _keyless(self, scope: Scope) -> Refused | None:
        given = headers_of(scope, b"authorization")
        path = scope["path"]
        if path in self._open and scope["type"] == "http":
            return None
        if path in LIVE_PATHS and scope["type"] == "websocket" and not given:
            return None
        if self._accepts(given):
            scope.setdefault("state", {})["authorized"] = True
            return None
        what = "the API key is not one of this server's" if given else "an API key is needed"
        return Refused(
            401,
            f"{what}: send it as the header Authorization: Bearer KEY",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )

    def _accepts(self, given: list[bytes]) -> bool:
        if not self._keys.are_needed:
            return True
        if len(given) != 1:
            return False
        scheme, _, key = given[0].partition(b" ")
        return self._keys.accepts(key.decode("latin-1")) and scheme.lower() == b"bearer"

    def _foreign(self, scope: Scope) -> Refused | None:
        """A page of somebody else's, whose reader knows nothing of what it asks for here."""
        if scope["type"] == "http" and scope["method"] in SAFE_METHODS:
            return None
        origins = headers_of(scope, b"origin")
        allowed = self._config.cors_origins
        host = b"".join(headers_of(scope, b"host")).lower()
        for origin in origins:
            own = origin.lower().partition(b"://")[2] == host
            if not own and EVERY not in allowed and origin.decode("latin-1") not in allowed:
                message = (
                    "pages of another origin may not use this server, unless its operator allows "
                    "them (--cors-origins)"
                )
                return Refused(403, message, code="foreign_origin")
        return None

    def _too_large(self, scope: Scope) -> Refused | None:
        lengths = headers_of(scope, b"content-length")
        most = largest_body(self._config)
        # Of a number of thousands of digits Python makes no integer.
        if any(len(length) > MOST_DIGITS or int(length) > most for length in lengths):
            return too_large(self._config)
        return None

    def _note(self, scope: Scope, exchange: "Exchange") -> None:
        seconds = monotonic() - exchange.began
        status = exchange.status or Gone.status
        page = "page" if scope["path"] in self._open else "other"
        route = getattr(scope.get("route"), "path", page)
        self._counts.answered(route, status, seconds)
        log(
            "request",
            id=exchange.id,
            method=scope["method"],
            path=scope["path"],
            status=status,
            seconds=round(seconds, 4),
            bytes_in=exchange.bytes_in,
            bytes_out=exchange.bytes_out,
            **exchange.notes,
        )


class Exchange:
    """One request and its answer, as they go by."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, config: ServingConfig) -> None:
        self.id = f"req_{uuid4().hex}"
        self.began = monotonic()
        self.status: int | None = None
        self.bytes_in = self.bytes_out = 0
        self.notes: dict[str, Any] = {}
        """What the log is told of the request besides; plain JSON, and nothing of a client's."""
        self._scope = scope
        self._receive = receive
        self._send = send
        self._config = config
        self._body_is_over = not has_body(scope)
        self._lingers = True
        self._deadline = self.began + config.body_stall_seconds
        self._bytes_then = 0

    async def receive(self) -> Message:
        """The next part of the body, or that the client has left.

        Raises Refused where the body is longer than it may be, or comes too slowly.
        """
        if self._body_is_over:
            return await self._receive()
        try:
            last = self.began + self._config.request_seconds
            async with asyncio.timeout(min(self._deadline, last) - monotonic()):
                message = await self._receive()
        except TimeoutError:
            self._lingers = False
            raise Refused(
                408,
                f"the body came too slowly: less than {LEAST_BYTES:,} bytes in "
                f"{self._config.body_stall_seconds:g} s",
                code="body_stalled",
            ) from None
        if message["type"] == "http.disconnect":
            return message
        self.bytes_in += len(message.get("body", b""))
        if self.bytes_in > largest_body(self._config):
            raise too_large(self._config)
        self._body_is_over = not message.get("more_body", False)
        if self.bytes_in - self._bytes_then >= LEAST_BYTES:
            self._bytes_then = self.bytes_in
            self._deadline = monotonic() + self._config.body_stall_seconds
        return message

    async def send(self, message: Message) -> None:
        """A part of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", ()), (b"x-request-id", self.id.encode())]
            if not self._body_is_over:
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        elif message["type"] == "http.response.body":
            self.bytes_out += len(message.get("body", b""))
            if not self._body_is_over and not message.get("more_body", False):
                await self._send({**message, "more_body": True})
                await self._linger()
                message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def refuse(self, refused: Refused) -> None:
        """Answer with this, unless an answer has begun."""
        if self.status is None:
            await refused.response()(self._scope, self.receive, self.send)

    async def _linger(self) -> None:
        """Take a little of what the client still sends: closing at once would reset the connection,
        and the answer might be lost with it."""
        if not self._lingers:
            return
        left = LINGER_BYTES
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while left > 0:
                    message = await self._receive()
                    if message["type"] == "http.disconnect" or not message.get("more_body"):
                        return
                    left -= len(message.get("body", b""))


def headers_of(scope: Scope, name: bytes) -> list[bytes]:
    """All values of a header."""
    return [value for key, value in scope["headers"] if key == name]


def has_body(scope: Scope) -> bool:
    """Whether a request says that it has one."""
    if headers_of(scope, b"transfer-encoding"):
        return True
    return any(length.strip(b"0 ") for length in headers_of(scope, b"content-length"))


def largest_body(config: ServingConfig) -> int:
    """Bytes of a whole form."""
    return config.max_upload_bytes + FORM_BYTES


def too_large(config: ServingConfig) -> Refused:
    """Of an upload."""
    return Refused(
        413,
        f"the upload is larger than this server takes, {config.max_upload_bytes:,} bytes: send it "
        "compressed (FLAC, Opus) or in parts",
        code="upload_too_large",
        param="file",
    )


def host_is_known(scope: Scope, config: ServingConfig) -> bool:
    """Whether a request calls this server by its address or by a name that is allowed; any other
    name may be one that somebody made to stand for this machine (DNS rebinding)."""
    values = headers_of(scope, b"host")
    found = HOST.fullmatch(values[0]) if len(values) == 1 else None
    if found is None:
        return False
    if EVERY in config.allowed_hosts:
        return True
    name = found[1].decode("latin-1").strip("[]").lower()
    here = str((scope.get("server") or ("",))[0])
    known = {config.host.strip("[]").lower(), here.lower(), *map(str.lower, config.allowed_hosts)}
    return name in known or (name == "localhost" and is_loopback(here))
