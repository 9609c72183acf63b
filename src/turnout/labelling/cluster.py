"""Parts heard by actors of Ray, wherever they run: each holds the models, and takes one at a time.

The driver alone writes, so that a part is there once, whoever was killed. No more than a part for
each actor is on its way. A part whose actor dies is given to another; when that dies as well its
inputs are heard one by one, and one that ends two processes is listed as failed.
"""

import logging
import os
import socket
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, Protocol

from turnout.errors import (
    ManifestError,
    MissingExtra,
    TurnoutError,
    UsageError,
    amount,
    one_line,
)
from turnout.labelling.hearing import Told
from turnout.labelling.inputs import Input
from turnout.labelling.models import Again, Models, Row, model_digest
from turnout.shards.address import shown_address
from turnout.transcription.transcriber import Transcriber

logger = logging.getLogger(__name__)

MOST_DEATHS = 2
"""Of processes that hear the same, before it is taken for the reason."""
STORE_BYTES = 100_000_000
"""Of a local cluster's shared memory: parts and their rows are small."""
ANSWER_SECONDS = 10.0
BEGIN_SECONDS = 60.0
"""After which it is told that no actor has begun."""
TOKEN = " (one that `ray start` began may want its token: set RAY_AUTH_MODE=token here as well)"


class Hears(Protocol):
    """What an actor has: models, and what they make of inputs."""

    @property
    def all(self) -> Iterable[Transcriber]:
        """The models."""
        ...

    def heard(self, part: Sequence[Any], told: Told) -> list[Row]:
        """What became of each input; `failed` where nothing was heard."""
        ...


Make = Callable[[], Hears]
"""Loads the models, in the process that is to have them."""


@dataclass(frozen=True)
class Unit:
    """A part that is to be heard: inputs for the first model, labels for the second, or what is to
    be scored."""

    number: int
    first: int
    items: Sequence[Any]


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where actors run, and how many."""

    make: Make
    address: str | None
    """Of a running cluster; None begins one on this machine, which ends with the work."""
    actors: int | None
    """As many as there is room for, where it is None."""
    cpus: int
    """Of one actor."""
    gpus: int = 0

    @contextmanager
    def opened(self, digests: Sequence[str]) -> Iterator["Actors"]:
        """Actors that hold models of these digests.

        Raises MissingExtra without Ray, UsageError where no cluster answers or has no room.
        """
        ray = ray_module()
        self._join(ray)
        try:
            expected = (version("turnout"), *digests)
            yield Actors(ray, partial(self._actor, ray), self._count(ray), expected)
        finally:
            ray.shutdown()

    def _join(self, ray: Any) -> None:
        check_answers(self.address)
        own = {"object_store_memory": STORE_BYTES, "include_dashboard": False}
        try:
            ray.init(
                address=self.address or "local",
                log_to_driver=False,
                logging_level="ERROR",
                **({} if self.address else own),
            )
        except Exception as error:  # a bare one where it does not come up in time
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            place = f"at {shown_address(self.address)}" if self.address else "on this machine"
            # Of a token that is missing, Ray says no more than that.
            refused = self.address and isinstance(error, ConnectionError)
            hint = TOKEN if refused and "RAY_AUTH_MODE" not in os.environ else ""
            raise UsageError(f"no cluster of Ray {place}: {one_line(reason)}{hint}") from error

    def _count(self, ray: Any) -> int:
        there = ray.cluster_resources()
        room = int(there.get("CPU", 0) // self.cpus)
        if self.gpus:
            room = min(room, int(there.get("GPU", 0) // self.gpus))
        if room < (self.actors or 1):
            raise UsageError(
                f"the cluster has room for {amount(room, 'actor')} of {amount(self.cpus, 'CPU')} "
                f"and {amount(self.gpus, 'GPU')}: ask for fewer by --actors or --threads"
            )
        return self.actors or room

    def _actor(self, ray: Any) -> Any:
        kind = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus)(Hearing)
        return kind.remote(self.make)


class Hearing:
    """An actor: models that are loaded when it begins, in a process of its own."""

    def __init__(self, make: Make) -> None:
        self._make = make
        self._models: Hears | None = None

    def begin(self) -> tuple[str, ...]:
        """Load the models; turnout's version and their digests."""
        self._models = self._make()
        return (version("turnout"), *map(model_digest, self._models.all))

    def hear(self, items: Sequence[Any]) -> list[Row]:
        """What became of inputs, or what a second model wrote of labels."""
        assert self._models is not None
        if isinstance(self._models, Models) and all(isinstance(item, Again) for item in items):
            return self._models.compared(items)
        return self._models.heard(items, lambda _: None)


@dataclass(frozen=True)
class _Piece:
    """What one call hears: a whole unit, or one item of it."""

    unit: Unit
    places: Sequence[int]
    deaths: int = 0


class Actors:
    """Actors that hear pieces of units, as many at once as there are actors."""

    def __init__(
        self, ray: Any, new: Callable[[], Any], count: int, expected: tuple[str, ...]
    ) -> None:
        self._ray = ray
        self._new = new
        self._actors: list[Any] = [None] * count
        self._expected = expected
        self._idle: deque[int] = deque()
        self._calls: dict[Any, tuple[int, _Piece | None]] = {}
        """By what is waited for: the actor's number, and its piece; None while it begins."""
        self._deaths = [0] * count
        """While they began, in a row."""
        self._last_words = ""
        self._told = False
        for number in range(count):
            self._begin(number)

    def rows(self, units: Iterator[Unit]) -> Iterator[tuple[Unit, list[Row]]]:
        """Each unit with its rows, as they come; the next is asked for when there is room.

        Raises what hearing raises where no input is to blame, UsageError for a node that has
        something else installed, and TurnoutError where no actor is left.
        """
        again: deque[_Piece] = deque()
        pieces = (_Piece(unit, range(len(unit.items))) for unit in units)
        found: dict[int, dict[int, Row]] = defaultdict(dict)
        waiting = next(pieces, None)
        while waiting or any(piece for _, piece in self._calls.values()):
            if waiting and self._idle:
                self._hear(self._idle.popleft(), waiting)
                waiting = again.popleft() if again else next(pieces, None)
                continue
            piece, rows = self._answer()
            if piece is None:
                continue
            if rows is None:
                again.extend(parted(piece))
                rows = [lost(piece.unit.items[place]) for place in given_up(piece)]
            unit, known = piece.unit, found[piece.unit.number]
            known.update(zip(piece.places, rows, strict=False))
            if len(known) == len(unit.items):
                yield unit, [known[place] for place in range(len(known))]
                del found[unit.number]
            waiting = waiting or (again.popleft() if again else next(pieces, None))

    def _begin(self, number: int) -> None:
        """Have a new actor load its models, wherever Ray finds room for it."""
        self._actors[number] = self._new()
        self._calls[self._actors[number].begin.remote()] = number, None

    def _hear(self, number: int, piece: _Piece) -> None:
        items = [piece.unit.items[place] for place in piece.places]
        self._calls[self._actors[number].hear.remote(items)] = number, piece

    def _answer(self) -> tuple[_Piece | None, list[Row] | None]:
        """What the next call that is through was for, and its rows; no rows where its actor
        died."""
        if not self._calls:
            raise TurnoutError(f"no actor of the cluster is left: {self._last_words}")
        call = self._through()
        number, piece = self._calls.pop(call)
        errors = self._ray.exceptions
        try:
            answer = self._ray.get(call)
        except errors.RayTaskError as error:
            raise reason_of(error) from error
        except errors.RayError as error:  # or what it answered went with its node
            self._died(number, piece, error)
            return piece, None
        if piece is None:
            self._check(answer)
            self._deaths[number] = 0
        self._idle.append(number)
        return piece, answer

    def _through(self) -> Any:
        """The next call that is through; where no actor begins meanwhile, it is told once."""
        while True:
            through, _ = self._ray.wait(list(self._calls), num_returns=1, timeout=BEGIN_SECONDS)
            if through:
                return through[0]
            if not self._told and not self._idle and not any(p for _, p in self._calls.values()):
                self._told = True
                logger.warning(
                    "no actor has begun within %g s, and all of them are waited for: the cluster "
                    "may have no room just now (%s)", BEGIN_SECONDS, self._room(),
                )  # fmt: skip

    def _room(self) -> str:
        """What of the cluster is free."""
        free = self._ray.available_resources()
        return f"free: {free.get('CPU', 0):g} CPUs, {free.get('GPU', 0):g} GPUs"

    def _died(self, number: int, piece: _Piece | None, error: Exception) -> None:
        """Have another begin in its place, unless they do nothing but die of that."""
        self._ray.kill(self._actors[number])  # it may only have been out of reach
        self._last_words = one_line((str(error).strip().splitlines() or [""])[0])
        self._deaths[number] += piece is None
        if self._deaths[number] < MOST_DEATHS:
            self._begin(number)

    def _check(self, facts: Sequence[str]) -> None:
        if tuple(facts) != self._expected:
            what = "turnout" if facts[0] != self._expected[0] else "model of this name"
            raise UsageError(
                f"a node of the cluster has another {what} than this machine: have the same "
                "everywhere"
            )


def parted(piece: _Piece) -> list[_Piece]:
    """What is to be heard again of a piece whose process ended."""
    deaths = piece.deaths + 1
    if deaths < MOST_DEATHS:
        return [replace(piece, deaths=deaths)]
    alone = piece.places if len(piece.places) > 1 else ()
    return [_Piece(piece.unit, [place]) for place in alone]


def given_up(piece: _Piece) -> Sequence[int]:
    """The place of the item that, alone, ended as many processes as are tried; none else."""
    return piece.places if len(piece.places) == 1 and piece.deaths + 1 >= MOST_DEATHS else ()


def reason_of(error: Any) -> TurnoutError:
    """What made a call fail, whose process lives."""
    cause = error.cause
    if isinstance(cause, TurnoutError):
        return cause
    return TurnoutError(f"an actor could not go on: {one_line(f'{type(cause).__name__}: {cause}')}")


def lost(item: Any) -> Row:
    """The row of an input, or of a label, that ended the processes that heard it."""
    if isinstance(item, Again):
        return {"text": None}
    reason = f"the process that heard it ended, {MOST_DEATHS} times"
    if isinstance(item, ManifestError):  # in the place of an input
        return {"failed": one_line(str(item))}
    if not isinstance(item, Input):  # an utterance of a shard, or one to be scored
        return {"failed": one_line(f"{item}: {reason}")}
    entry = item.entry
    line = "" if entry.place.line is None else f"{entry.place.file}:{entry.place.line}: "
    return {"failed": one_line(f"{line}{entry.audio}: {reason}")}


def check_answers(address: str | None) -> None:
    """Raise UsageError where nobody answers at a host and port: Ray would end the process, without
    a word, after a minute."""
    host, _, port = (address or "").rpartition("//")[2].rpartition("@")[2].rpartition(":")
    if not host:  # 'auto' and the like
        return
    try:
        if not port.isdecimal():
            raise ValueError("host:port is needed")
        socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        place = shown_address(address or "")
        raise UsageError(f"no cluster of Ray at {place}: {one_line(str(reason))}") from error


def ray_module() -> Any:
    """Ray; raises MissingExtra."""
    if find_spec("ray") is None:
        raise MissingExtra("'--engine ray'", "cluster")
    # It asks for nothing, and tells nobody how it is used.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    return import_module("ray")
