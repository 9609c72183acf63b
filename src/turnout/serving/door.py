"""Who comes in: a bounded number at once, until the server stops."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from starlette.types import Message, Receive

from turnout.config.serving import ServingConfig
from turnout.serving.errors import Refused, retry
from turnout.serving.metrics import Metrics
from turnout.serving.service import Service

T = TypeVar("T")
ARRIVING = 4
"""Bodies on their way for each place inside."""
FREE_BYTES = 65_536
"""Of a body on its way, which takes no place before there are more."""
STOPPING = "the server is stopping and takes no new work: try again, or try another"
UNFINISHED = "the server is stopping, and could not finish this in time: send it again"


class Door:
    """How many requests are inside, and whether another may come in."""

    def __init__(self, service: Service, config: ServingConfig, metrics: Metrics) -> None:
        self._service = service
        self._metrics = metrics
        self._most = config.max_queue + config.max_concurrent
        self.inside = 0
        """Requests that came in and have no answer yet."""
        self.arriving = 0
        """Those of them that have no place yet."""
        self.stopping = asyncio.Event()
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when who is still inside is to go, without a text."""

    async def while_open(self, work: Coroutine[Any, Any, T]) -> T:
        """What comes of the work; raises Refused where the time is over before that."""
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task, self.over}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise unfinished()
            return task.result()
        finally:
            task.cancel()

    def close(self) -> None:
        """The time of those who are inside is over."""
        if not self.over.done():
            self.over.set_result(None)

    @contextmanager
    def entered(self) -> Iterator["Place"]:
        """For as long as the request is inside; raises Refused, and what the service does where it
        has no room."""
        if self.stopping.is_set():
            raise Refused(503, STOPPING, code="server_stopping", headers=retry(1))
        self._service.check_room()
        self.check_place()
        place = Place(self)
        if self.arriving >= ARRIVING * self._most:
            raise self._full(self.arriving)
        self.inside += 1
        self.arriving += 1
        try:
            yield place
        finally:
            self.inside -= 1
            self.arriving -= not place.taken

    def check_place(self) -> None:
        """Raise Refused where all places are taken."""
        if self.inside - self.arriving >= self._most:
            raise self._full(self.inside - self.arriving)

    def _full(self, waiting: int) -> Refused:
        self._metrics.refused.inc()
        message = f"{waiting} requests are waiting already: try again later"
        return Refused(429, message, code="server_busy", headers=retry(1))


class Place:
    """Of one request: on its way until its body is there, or more of it than costs nothing. So
    those that send a byte now and then keep nobody out."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._bytes = 0
        self.taken = False

    def receiving(self, receive: Receive) -> Receive:
        """`receive`, which raises Refused where all places are taken when one is wanted."""

        async def received() -> Message:
            message = await receive()
            self._bytes += len(message.get("body", b""))
            whole = message["type"] == "http.request" and not message.get("more_body", False)
            if not self.taken and (whole or self._bytes > FREE_BYTES):
                self._door.check_place()
                self._door.arriving -= 1
                self.taken = True
            return message

        return received


def unfinished() -> Refused:
    """Of who was inside when the time was over."""
    return Refused(503, UNFINISHED, code="server_stopping", headers=retry(1))
