"""Runs the application with uvicorn: its socket, TLS, and the way it stops.

Asked to stop, a server goes on with what it has accepted: `/ready` says no at once, the listener
stays, and once the work is done, or the grace over, it closes.
"""

import asyncio
import os
import resource
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from types import FrameType

import uvicorn

from turnout.config.serving import ServingConfig, is_loopback
from turnout.errors import UsageError
from turnout.serving import logs
from turnout.serving.app import Serving, build
from turnout.serving.guard_connection import LONGEST_HEADER, Connection
from turnout.serving.keys import Keys
from turnout.serving.live_protocol import LiveProtocol
from turnout.serving.metrics import Metrics
from turnout.serving.service import Service
from turnout.serving.uploads import upload_folder

BACKLOG = 2048
SOCKETS = 65_536
"""Open files that are asked for: each connection is one."""
LONGEST_MESSAGE = 131_072
"""Bytes of a WebSocket's, held before anybody has said who they are; twice what is taken, so that
whoever sends a little too much is told so."""
CLOSING_SECONDS = 0.5
"""Behind the grace, for answers to be taken."""
SPARE_SECONDS = 1.0
"""Behind the grace, when the process ends, whatever still runs."""
FORCED = 1
Say = Callable[[str], None]


class Server(uvicorn.Server):
    """uvicorn's, that stops in its own way; see `stop`."""

    def __init__(
        self,
        serving: Serving,
        config: ServingConfig,
        *,
        listens: Callable[[], object] = lambda: None,
        stops: Callable[[], object] = lambda: None,
    ) -> None:
        """`listens` is called once it can be connected to, `stops` when the end begins."""
        super().__init__(uvicorn_config(serving))
        self._serving = serving
        self._settings = config
        self._listens = listens
        self._stops = stops
        self._stopping: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; unlike uvicorn, with a deadline for what TLS needs before a request."""
        context = tls_of(self._settings)
        deadline = self._settings.header_seconds if context else None
        self.servers = [
            await self._loop.create_server(
                self._connection,
                sock=one,
                ssl=context,
                backlog=BACKLOG,
                ssl_handshake_timeout=deadline,
            )
            for one in sockets or ()
        ]
        self.started = True
        self._listens()

    def _connection(self) -> asyncio.Protocol:
        header, stall = self._settings.header_seconds, self._settings.body_stall_seconds
        return Connection(self.config, self.server_state, header, stall)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """A signal: the first begins the end, a second makes it short."""
        self._loop.call_soon_threadsafe(self.begin_stop)

    def begin_stop(self) -> None:
        """Take nothing new; called again, do not wait for what was accepted."""
        if self._stopping is not None:
            self.should_exit = True
            return
        self._serving.door.stopping.set()
        self._stops()
        self._stopping = asyncio.ensure_future(self.stop())

    async def stop(self) -> None:
        """Finish what was accepted, as far as the grace lets."""
        door, grace = self._serving.door, self._settings.grace_seconds
        last = monotonic() + grace
        logs.log("stopping", inside=door.inside, grace_seconds=grace)
        # Threads need a moment to leave their work; whoever waits for it is told at once.
        self._loop.call_later(grace, door.close)
        # Forms that are still coming in were accepted, too.
        while door.inside and monotonic() < last and not self._all_are_at_work():
            await asyncio.sleep(0.02)
        await self._serving.service.stop(max(0.0, last - monotonic()))
        patience = monotonic() + CLOSING_SECONDS
        while door.inside and monotonic() < patience:
            await asyncio.sleep(0.02)
        logs.log("stopped", unanswered=door.inside)
        self.should_exit = True

    def _all_are_at_work(self) -> bool:
        return self._serving.service.files_at_work() >= self._serving.door.inside


def serve(config: ServingConfig, say: Say, *, key_from: str) -> int:
    """Serve until the process is asked to stop; `say` is told the address once it listens. Raises
    UsageError and what loading the model does."""
    tls_of(config)  # a bad file is told before the model is loaded
    raise_file_limit()
    with listening_socket(config) as listener, upload_folder() as folder:
        logs.set_up()

        async def run() -> int:
            metrics = Metrics()
            service = Service(config, metrics)
            await service.start()
            serving = build(config, service, metrics, folder)
            last = config.grace_seconds + SPARE_SECONDS
            line = started_line(config, listener, service, key_from)
            server = Server(
                serving, config, listens=lambda: say(line), stops=lambda: force_exit(last)
            )
            await server.serve(sockets=[listener])
            return 0

        return asyncio.run(run())


def uvicorn_config(serving: Serving) -> uvicorn.Config:
    """uvicorn's settings: nothing of its own in logs and headers."""
    return uvicorn.Config(
        serving.app,  # type: ignore[arg-type]
        ws=LiveProtocol,
        ws_max_size=LONGEST_MESSAGE,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=LONGEST_HEADER,
        timeout_graceful_shutdown=1,
    )


def listening_socket(config: ServingConfig) -> socket.socket:
    """A socket bound to the address, not listening yet; raises UsageError where it cannot be had,
    or where a name stands for an address that others reach and there is no key."""
    host = config.host.strip("[]")
    try:
        found = socket.getaddrinfo(host, config.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise UsageError(f"host is {config.host}: {error.strerror or error}") from error
    family, kind, number, _, address = found[0]
    if not Keys(config.api_keys).are_needed and not is_loopback(str(address[0])):
        raise UsageError(
            f"host is {config.host}, which others can reach, and there is no API key: set "
            "TURNOUT_API_KEY, or listen at 127.0.0.1"
        )
    listener = socket.socket(family, kind, number)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise UsageError(
            f"{config.host}:{config.port} cannot be listened at: {error.strerror or error}: choose "
            "another --port (0 takes a free one)"
        ) from error
    return listener


def tls_of(config: ServingConfig) -> ssl.SSLContext | None:
    """The certificate and its key, where there are such; raises UsageError."""
    if config.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Without a password: nobody is there to type one.
        context.load_cert_chain(config.certificate, config.certificate_key, password=lambda: b"")
    except OSError as error:  # ssl's errors are such, too
        raise UsageError(
            f"{config.certificate}: the certificate and its key cannot be used: {error}"
        ) from error
    context.set_alpn_protocols(["http/1.1"])
    return context


def started_line(
    config: ServingConfig, listener: socket.socket, service: Service, key_from: str
) -> str:
    """What the start says."""
    host, port = listener.getsockname()[:2]
    place = f"[{host}]" if ":" in host else host
    scheme = "http" if config.certificate is None else "https"
    names = ", ".join(model.name for model in service.models())
    return f"turnout serves {names} at {scheme}://{place}:{port} ({key_from})"


def raise_file_limit() -> None:
    """Allow as many connections as the system lets this process have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = SOCKETS if hard == resource.RLIM_INFINITY else min(SOCKETS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # it stays as it was
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def force_exit(seconds: float) -> None:
    """End the process after so long, whatever hangs in it."""

    def end() -> None:
        logs.log("forced", seconds=seconds)
        os._exit(FORCED)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
