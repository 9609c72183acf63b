"""T19: a client that leaves frees what it held. T20: a server that is asked to stop finishes what
it has accepted.
"""

import contextlib
import io
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

from tests.containers import encode
from tests.reliability.examples import examples
from tests.reliability.serving import Process, eventually, serving, start, transcribed
from tests.reliability.tally import Tally
from tests.served import TRANSCRIPTIONS, Served, answered, multipart, request_of, served
from tests.unit.serving.services import heard_seconds

FREE_SECONDS = 3.0
"""In which a place is free again, at the full size; the small one runs beside other tests."""
PATIENCE_SECONDS = 60.0
"""With what comes, on a machine that does much else."""
MOST_HEARD = 0.7
"""Of a recording that nobody wants any more."""
GRACE_SECONDS = 20.0


def long_recording(times: int) -> bytes:
    """The examples, one behind the other, so many times."""
    samples = [one.samples for one in examples()] * times
    return encode(np.concatenate(samples), 16_000, "FLAC", "PCM_16")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """With one place, so that others wait."""
    with served(tmp_path_factory.mktemp("uploads"), max_concurrent=1) as found:
        yield found


@pytest.mark.counts("T19", "over HTTP")
def test_clients_that_leave_free_their_places(tally: Tally, server: Served) -> None:
    form = (b'name="file"; filename="long.flac"', long_recording(tally.size(12, 40)))
    kinds = {
        "one answer": (form,),
        "a stream": (form, (b'name="stream"', b"true")),
    }
    assert server.post().status_code == 200
    tasks, longest = server.loop_tasks(), 0.0
    service, whole = server.serving.service, soundfile.info(io.BytesIO(form[1])).duration
    patience = FREE_SECONDS if tally.full else PATIENCE_SECONDS
    for number in range(tally.size(12, 200)):
        random = tally.random(number)
        kind = random.choice(list(kinds))
        request = request_of(TRANSCRIPTIONS, multipart(*kinds[kind]))
        share, wait = random.choice((0.5, 1.0, 1.0, 1.0)), random.random() * 0.8
        with tally.trial(f"{number}: {kind}, {share:.0%} sent, then {wait:.2f} s"):
            heard, connection = heard_seconds(service), server.connect()
            connection.sendall(request[: int(share * len(request))])
            time.sleep(wait)
            connection.close()
            began = time.monotonic()
            free = eventually(lambda: is_free(server), patience)
            longest = max(longest, time.monotonic() - began)
            assert free, f"held after {patience:g} s"
            share = (heard_seconds(service) - heard) / whole
            assert share <= MOST_HEARD, f"{share:.0%} were heard for nobody"
    with tally.trial("the next one is served"):
        assert server.post().json()["text"] == examples_text()
    with tally.trial("tasks"):
        assert eventually(lambda: server.loop_tasks() <= tasks, 2), "tasks are left"
    tally.measure(longest_seconds_until_free=round(longest, 2))
    tally.controlled(a_place_is_held(server, multipart(form)))


def is_free(server: Served) -> bool:
    """Nobody is inside, nothing is decoded, no file lies about."""
    status = server.serving.service.status()
    files = [path for path in server.folder.iterdir() if path.name != "lock"]
    return not (status.running or status.queued or server.serving.door.inside or files)


def a_place_is_held(server: Served, form: bytes) -> bool:
    """The negative control: of a client that stays."""
    with server.connect() as connection:
        connection.sendall(request_of(TRANSCRIPTIONS, form))
        return eventually(lambda: server.serving.service.status().running, 5)


def examples_text() -> str:
    """Of the first English example, by the shipped model."""
    return "seven two nine four"


class Crowd:
    """Requests in flight, each of a recording of its own."""

    def __init__(self, server: Process, count: int, recordings: list[tuple[str, bytes]]) -> None:
        self._pool = ThreadPoolExecutor(count)
        self._client = server.client(limits=httpx.Limits(max_connections=count))
        self.asked = [recordings[number % len(recordings)] for number in range(count)]
        self.answers: list[Future[httpx.Response]] = [
            self._pool.submit(transcribed, self._client, one) for one in self.asked
        ]

    def close(self) -> None:
        """Wait for all."""
        self._pool.shutdown()
        self._client.close()


def texts(server: Process, recordings: list[tuple[str, bytes]]) -> dict[str, bytes]:
    """What each recording's answer is, alone."""
    with server.client() as client:
        return {name: transcribed(client, (name, data)).content for name, data in recordings}


@pytest.mark.counts("T20", "SIGTERM")
def test_a_server_that_stops_finishes_what_it_accepted(tally: Tally, tmp_path: Path) -> None:
    count = tally.size(8, 50)
    recordings = [
        (f"{number}.wav", encode(np.tile(one.samples, 4 + number % 3), 16_000))
        for number, one in enumerate(examples())
    ]
    words = ("--grace-seconds", str(GRACE_SECONDS), "--max-concurrent", "4")
    slowest = 0.0
    for number in range(tally.size(1, 20)):
        with serving(tmp_path / str(number), *words) as server:
            expected = texts(server, recordings)
            crowd = Crowd(server, count, recordings)
            time.sleep(0.1 + 0.4 * tally.random(number).random())
            with server.client() as client, tally.trial(f"{number}: not ready, and listening"):
                server.ask_to_stop()
                began = time.monotonic()
                check_stopping(client, crowd)
            crowd.close()
            for asked, answer in zip(crowd.asked, crowd.answers, strict=True):
                with tally.trial(f"{number}: {asked[0]}"):
                    check_answered(answer, expected[asked[0]])
            with tally.trial(f"{number}: the end"):
                assert server.process.wait(GRACE_SECONDS) == 0
                slowest = max(slowest, time.monotonic() - began)
                assert not list(server.temporary.glob("turnout-serve-*")), "files are left"
    tally.measure(slowest_stop_seconds=round(slowest, 2))


def check_stopping(client: httpx.Client, crowd: Crowd) -> None:
    """It listens, and says no; unless all its work is done, and it is gone."""
    try:
        # A busy machine takes a while to tell it.
        eventually(lambda: client.get("/ready").status_code == 503, PATIENCE_SECONDS)
        ready = client.get("/ready")
        refused = client.post(TRANSCRIPTIONS, files={"file": ("a.wav", b"x")})
    except httpx.HTTPError as error:
        # The last clients read their answers.
        ended = eventually(lambda: all(one.done() for one in crowd.answers), PATIENCE_SECONDS)
        assert ended, f"it is gone, and some wait: {error!r}"
        return
    assert (ready.status_code, refused.status_code) == (503, 503)
    assert refused.json()["error"]["code"] == "server_stopping"
    assert "retry-after" in refused.headers


def check_answered(answer: "Future[httpx.Response]", expected: bytes) -> None:
    """The text; or it came too late to be accepted, and is told so."""
    response = result_of(answer)
    if response.status_code == 503:
        assert response.json()["error"]["code"] == "server_stopping"
    else:
        assert response.content == expected, response.text[:200]


def result_of(answer: "Future[httpx.Response]") -> httpx.Response:
    """What a client got; a connection that broke is a failed assertion."""
    try:
        return answer.result()
    except httpx.HTTPError as error:
        raise AssertionError(f"lost: {error!r}") from error


@pytest.mark.counts("T20", "what takes longer than the grace")
def test_what_cannot_be_finished_is_told_so(tally: Tally, tmp_path: Path) -> None:
    grace = 1.0
    with serving(tmp_path, "--grace-seconds", str(grace), "--max-concurrent", "1") as server:
        data = long_recording(tally.size(80, 200))  # more than a quick machine hears in the grace
        crowd = Crowd(server, 3, [("long.flac", data)])
        upload = half_sent(server, multipart((b'name="file"; filename="a.wav"', b"\0" * 3_000_000)))
        time.sleep(1.5)
        server.ask_to_stop()
        crowd.close()
        with tally.trial("an upload that is not complete"):
            status, _, body = upload.answer()
            assert status == 503, f"status {status}"
            assert json.loads(body)["error"]["code"] == "server_stopping"
        for number, answer in enumerate(crowd.answers):
            with tally.trial(str(number)):
                response = result_of(answer)
                assert response.status_code == 503, response.status_code
                error = response.json()["error"]
                assert error["code"] == "server_stopping"
                assert "stop" in error["message"]
        with tally.trial("the end"):
            server.process.wait(30)
            # By its own clock: on a machine that does much else, processes are slow to die.
            seconds = seconds_of_end(server)
            assert not tally.full or seconds <= grace + 1.2, f"after {seconds:.1f} s"
    tally.measure(seconds_until_the_end=round(seconds, 2), grace_seconds=grace)


def seconds_of_end(server: Process) -> float:
    """From the line that the end begins to the line that it is there."""
    times = {line["event"]: datetime.fromisoformat(line["time"]) for line in server.lines()}
    last = max(times[event] for event in ("stopped", "forced") if event in times)
    return (last - times["stopping"]).total_seconds()


@pytest.mark.counts("T20", "kill -9")
def test_a_killed_server_leaves_nothing_to_the_next(tally: Tally, tmp_path: Path) -> None:
    for number in range(tally.size(1, 10)):
        first = start(tmp_path)
        upload = multipart((b'name="file"; filename="a.wav"', b"\0" * 3_000_000))
        with contextlib.closing(half_sent(first, upload)), tally.trial(str(number)):
            assert eventually(first.left_behind, 10), "nothing was stored"
            family = first.processes()
            first.process.send_signal(signal.SIGKILL)
            first.process.communicate()
            assert list(first.temporary.glob("turnout-serve-*")), "there is nothing to forget"
            with serving(tmp_path) as second:
                folders = list(second.temporary.glob("turnout-serve-*"))
                assert len(folders) == 1, folders
                with second.client() as client:
                    assert client.get("/ready").status_code == 200
            gone = eventually(lambda: not any(map(is_alive, family)), 5)  # noqa: B023
            assert gone, "children outlive their server"


def half_sent(server: Process, form: bytes) -> "HalfSent":
    """A client in the middle of its upload."""
    return HalfSent(server.port, form)


class HalfSent:
    """An upload that stands still."""

    def __init__(self, port: int, form: bytes) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._thread = threading.Thread(
            target=self._send, args=(request_of(TRANSCRIPTIONS, form)[:2_000_000],)
        )
        self._thread.start()

    def _send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self._socket.sendall(data)

    def answer(self) -> tuple[int, bytes, bytes]:
        """What it is told at last."""
        self._thread.join()
        with contextlib.closing(self._socket):
            return answered(self._socket)

    def close(self) -> None:
        """Leave."""
        self._socket.close()
        self._thread.join()


def is_alive(number: int) -> bool:
    """Whether a process is there."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    return state != "Z"
