"""Who comes in: a bounded number at once, until the server stops.

A request takes a place once all of it has come. On its way it takes room on the disk, and is one of
a bounded number: where either is used up, the slowest gives way. So who sends slowly, and is never
silent for too long, keeps nobody out.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, TypeVar

from starlette.types import Message, Receive

from turnout.config.serving import ServingConfig
from turnout.serving.errors import Refused, retry
from turnout.serving.metrics import Metrics
from turnout.serving.service import Service

T = TypeVar("T")
ARRIVING = 4
"""Bodies on their way for each place inside."""
SLOW_SECONDS = 10.0
"""On its way, after which a body may have to give way; once it is whole, it may wait for a place,
since it is not soon sent again."""
STOPPING = "the server is stopping and takes no new work: try again, or try another"
UNFINISHED = "the server is stopping, and could not finish this in time: send it again"
SLOWEST = (
    "others wait, and this upload came slower than theirs: send it again, compressed (FLAC, Opus) "
    "or in parts"
)


class Door:
    """How many requests are inside, and whether another may come in."""

    def __init__(self, service: Service, config: ServingConfig, metrics: Metrics) -> None:
        self._service = service
        self._metrics = metrics
        self._most = config.max_queue + config.max_concurrent
        self._most_bytes = self._most * config.max_upload_bytes
        self._patience = config.body_stall_seconds
        self._arriving: set[Place] = set()
        self._whole = 0
        """Of those that arrive, how many are whole and wait for a place."""
        self._bytes = 0
        """Of bodies, of all that are inside."""
        self._left = asyncio.Event()
        """Replaced by another each time that it is set."""
        self.inside = 0
        """Requests that came in and have no answer yet."""
        self.taken = 0
        """Those of them that have a place."""
        self.stopping = asyncio.Event()
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when who is still inside is to go, without a text."""

    @property
    def arriving(self) -> int:
        """How many have no place yet."""
        return len(self._arriving)

    async def while_open(self, work: Coroutine[Any, Any, T], place: "Place") -> T:
        """What comes of the work; raises Refused where the time is over before that, or another
        needs the room more."""
        task = asyncio.ensure_future(work)
        ends = {task, self.over, place.gives_way}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            if place.gives_way.done():
                headers = retry(SLOW_SECONDS)
                raise Refused(429, SLOWEST, code="server_busy", headers=headers)
            raise unfinished()
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
        if self.arriving >= ARRIVING * self._most:
            self._make_way(self.arriving)
        place = Place(self)
        self.inside += 1
        self._arriving.add(place)
        try:
            yield place
        finally:
            self.inside -= 1
            self.taken -= place.is_taken
            self._bytes -= place.bytes
            self._arriving.discard(place)
            self._left.set()
            self._left = asyncio.Event()

    def check_place(self) -> None:
        """Raise Refused where all places are taken, or promised."""
        if self.taken + self._whole >= self._most:
            raise self._full(self.taken)

    def count(self, place: "Place", size: int) -> None:
        """More of a body has come; raises Refused where there is no room for it."""
        while self._bytes + size > self._most_bytes:
            self._make_way(self.inside, besides=place)
        place.bytes += size
        self._bytes += size

    async def take(self, place: "Place") -> None:
        """Give a place to a body that is whole; raises Refused where none is free, or, of what took
        long to send, where none becomes free for a while."""
        if monotonic() - place.began < SLOW_SECONDS:
            self.check_place()
        else:
            await self._free_place()
        self._arriving.discard(place)
        place.is_taken = True
        self.taken += 1

    async def _free_place(self) -> None:
        self._whole += 1
        try:
            async with asyncio.timeout(self._patience):
                while self.taken >= self._most:
                    await self._left.wait()
        except TimeoutError:
            raise self._full(self.taken) from None
        finally:
            self._whole -= 1

    def _make_way(self, waiting: int, besides: "Place | None" = None) -> None:
        """Send the slowest away that is still on its way; raises Refused where none is slow."""
        now = monotonic()
        slow = [
            one
            for one in self._arriving
            if one is not besides and not one.is_whole and now - one.began >= SLOW_SECONDS
        ]
        if not slow:
            raise self._full(waiting)
        slowest = min(slow, key=lambda one: one.bytes / (now - one.began))
        self._metrics.refused.inc()
        self._arriving.discard(slowest)
        self._bytes -= slowest.bytes
        slowest.bytes = 0
        slowest.gives_way.set_result(None)

    def _full(self, waiting: int) -> Refused:
        self._metrics.refused.inc()
        message = f"{waiting} requests are waiting already: try again later"
        return Refused(429, message, code="server_busy", headers=retry(1))


class Place:
    """Of one request: on its way until its body is there."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self.began = monotonic()
        self.bytes = 0
        self.is_whole = False
        self.is_taken = False
        self.gives_way: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when it has to leave for another."""

    def receiving(self, receive: Receive) -> Receive:
        """`receive`, which raises Refused where there is no room for what has come, or no place for
        all of it."""

        async def received() -> Message:
            message = await receive()
            if message["type"] != "http.request":
                return message
            self._door.count(self, len(message.get("body", b"")))
            self.is_whole = not message.get("more_body", False)
            if self.is_whole:
                await self._door.take(self)
            return message

        return received


def unfinished() -> Refused:
    """Of who was inside when the time was over."""
    return Refused(503, UNFINISHED, code="server_stopping", headers=retry(1))
