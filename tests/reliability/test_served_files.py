"""T9 over HTTP: damaged files are answered with a text or with one line, and nothing else happens.

T23: so are bad parameters and bodies that are none.
"""

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import httpx
import pytest

from tests.reliability.examples import examples
from tests.reliability.mutations import mutate
from tests.reliability.seeds import FAMILIES, num_seeds, seed
from tests.reliability.serving import Process, check_error, serving, transcribed
from tests.reliability.tally import Tally
from tests.served import TRANSCRIPTIONS, multipart, request_of, served

TAKEN = (200, 400, 413, 415, 422)
GOOD_EVERY = 50
SLOWEST_SECONDS = 2.0
MOST_GROWTH_MB = 64.0
FORMS = tuple(form for family in FAMILIES.values() for form in family)


def damaged(random: Random) -> tuple[str, bytes]:
    """A file's name and what it holds."""
    form, other = random.choice(FORMS), random.choice(FORMS)
    data, ending, kind = mutate(
        seed(form, random.randrange(num_seeds())),
        form.ending,
        seed(other, random.randrange(num_seeds())),
        random,
    )
    return f"{kind}{ending}", data


def check_answer(response: httpx.Response) -> None:
    """A text, or one line."""
    assert response.status_code in TAKEN, f"{response.status_code}: {response.text[:200]}"
    if response.status_code != 200:
        check_error(response)


@pytest.mark.counts("T9", "over HTTP")
def test_damaged_files_over_http(tally: Tally, tmp_path: Path) -> None:
    outcomes: Counter[int] = Counter()
    seconds: list[float] = []
    good = examples()[0].path
    with serving(tmp_path) as server, server.client() as client:
        expected = transcribed(client, good).content
        level = 0.0
        size = tally.size(30, 10_000)
        for number in range(size):
            if number == min(200, size // 2):
                level = server.resident_mb()
            cpu_seconds = server.cpu_seconds()
            random = tally.random(number)
            name, data = damaged(random)
            with tally.trial(f"{number}: {name}"):
                began = time.monotonic()
                response = transcribed(client, (name, data))
                # Of a machine that does much else, the clock says little.
                cpu_seconds = server.cpu_seconds() - cpu_seconds
                seconds.append(time.monotonic() - began if tally.full else cpu_seconds)
                outcomes[response.status_code] += 1
                check_answer(response)
            if number % GOOD_EVERY == GOOD_EVERY - 1:
                with tally.trial(f"the good file after {number}"):
                    assert transcribed(client, good).content == expected
        seconds.sort()
        slow = seconds[int(0.99 * len(seconds))]
        growth = server.resident_mb() - level
        with tally.trial("time"):
            assert slow <= SLOWEST_SECONDS, f"p99 is {slow:.2f} s"
        with tally.trial("memory"):
            assert growth <= MOST_GROWTH_MB, f"it grew by {growth:.0f} MB"
        with tally.trial("what is left"):
            assert not server.left_behind(), server.left_behind()
            assert server.process.poll() is None, "the server died"
        mistakes = [line for line in server.lines() if line["level"] == "error"]
        with tally.trial("the log"):
            assert not mistakes, mistakes[:3]
    tally.measure(**{str(status): count for status, count in sorted(outcomes.items())})
    tally.measure(p99_seconds=round(slow, 3), rss_growth_mb=round(growth, 1))
    tally.controlled(faults_are_seen())


def faults_are_seen() -> bool:
    """The negative control: a 500, a trace in an answer, and an answer that is no JSON."""
    shape = {"error": {"message": 'File "x.py"\nTraceback', "type": "", "param": "", "code": ""}}
    faults = (
        httpx.Response(500, json={"error": {}}),
        httpx.Response(400, json=shape),
        httpx.Response(400, json={"detail": "bad"}),
    )
    return all(fails(check_answer, fault) for fault in faults)


def fails(check: Callable[[httpx.Response], None], response: httpx.Response) -> bool:
    """Whether the check notices."""
    try:
        check(response)
    except AssertionError:
        return True
    return False


LONG = "x" * 1_000_000
NASTY = ("", " ", "nan", "inf", "1e999", "-1", "null", "[]", "{}", "\0", "\r\nX: y", "\x1b[31m",
         "\u202e", "%s%n", "../../etc/passwd", "é" * 100, "9" * 5000, "true", "0", "*", "en; drop",
         "\ufffe", "🎙", "a" * 300)  # fmt: skip
NAMES = ("model", "language", "to_language", "bandwidth", "task", "prompt", "response_format",
         "temperature", "stream", "chunking_strategy", "timestamp_granularities[]", "include[]",
         "known_speaker_names[]", "keywords[]", "languages[]", "surprise", "file", "")  # fmt: skip
TYPES = (None, "", "application/json", "text/plain", "multipart/form-data",
         "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "b" * 300,
         "multipart/form-data; boundary=\xff", "multipart/mixed; boundary=B",
         "application/x-www-form-urlencoded", ";", "multipart/form-data;;;;boundary")  # fmt: skip
BODIES = (b"", b"\xff\xfe\x00", b'{"file": "a"}', b"--B", b"--B--\r\n", b"--B\r\n\r\n\r\n--B--\r\n",
          b"file=abc&model=x", b"\0" * 70_000,
          b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc',
          b"--B\r\nContent-Disposition: form-data\r\n\r\nx\r\n--B--\r\n",
          b"--B\r\nContent-Disposition: " + b"x" * 9000 + b"\r\n\r\nx\r\n--B--\r\n",
          b"--B\r\n" + b"A: b\r\n" * 20 + b"\r\nx\r\n--B--\r\n")  # fmt: skip
"""Bodies that are no forms, or forms without what they need."""


def bad_fields(client: httpx.Client, file: tuple[str, bytes], random: Random) -> httpx.Response:
    """A good file with fields that are not."""
    pairs = [(random.choice(NAMES), random.choice(NASTY)) for _ in range(random.randint(1, 4))]
    parts = [(name, (None, value)) for name, value in pairs if name]
    return client.post(
        random.choice(("/v1/audio/transcriptions", "/v1/audio/translations")),
        files=[*parts, ("file", file)],
    )


def bad_body(client: httpx.Client, random: Random) -> httpx.Response:
    """What is no form."""
    kind = random.choice(TYPES + ("multipart/form-data; boundary=B",) * 12)
    headers = {} if kind is None else {"Content-Type": kind.encode("latin-1")}
    path = random.choice(("/v1/audio/transcriptions", "/v1/audio/translations"))
    return client.post(path, content=random.choice(BODIES), headers=headers)


@pytest.mark.counts("T23", "parameters and bodies")
def test_bad_parameters_are_named(tally: Tally, tmp_path: Path) -> None:
    outcomes: Counter[int] = Counter()
    good = examples()[0].path
    file = (good.name, good.read_bytes())
    with serving(tmp_path, "--max-upload-bytes", "2000000") as server, server.client() as client:
        for number in range(tally.size(90, 3_000)):
            random = tally.random(number)
            with tally.trial(str(number)):
                if number % 3:
                    response = bad_fields(client, file, random)
                else:
                    response = bad_body(client, random)
                outcomes[response.status_code] += 1
                check_parameters(response)
        for name, value in (("prompt", LONG), ("model", LONG[:60_000]), ("temperature", LONG)):
            with tally.trial(f"a long {name}"):
                response = transcribed(client, good, **{name: value})
                assert 400 <= response.status_code < 500, response.text[:200]
                check_error(response)
        check_log(tally, server)
    tally.measure(**{str(status): count for status, count in sorted(outcomes.items())})
    tally.controlled(faults_are_seen())


def check_parameters(response: httpx.Response) -> None:
    """A text where nothing was wrong after all, or one line."""
    assert response.status_code in (*TAKEN, 404), f"{response.status_code}: {response.text[:200]}"
    if response.status_code != 200:
        check_error(response)
    elif response.headers["content-type"] == "application/json":
        json.loads(response.content)


def check_log(tally: Tally, server: Process) -> None:
    """Nothing went wrong inside, and nothing is left."""
    with tally.trial("the log"):
        mistakes = [line for line in server.lines() if line["level"] == "error"]
        assert not mistakes, mistakes[:3]
    with tally.trial("what is left"):
        assert not server.left_behind(), server.left_behind()


HANDSHAKE = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")  # fmt: skip


def broken(request: bytes, random: Random) -> bytes:
    """The request with its header damaged, here and there."""
    head, gap, body = request.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    for _ in range(random.randint(1, 3)):
        place = random.randrange(len(lines))
        line, cut = lines[place], random.randrange(len(lines[place]) + 1)
        lines[place : place + 1] = random.choice(
            (
                [],
                [line, line],
                [line[:cut] + random.randbytes(random.randint(1, 4)) + line[cut:]],
                [line[:cut] + line[cut + 1 :]],
                [line.swapcase()],
                [line, b"Transfer-Encoding: chunked"],
                [line, b"Content-Length: %d" % random.choice((0, 1, len(body) + 1, 10**12))],
                [line, b"X: " + b"x" * random.choice((1, 5_000, 40_000))],
                [line, b"Expect: 100-continue"],
                [b" " + line],
            )
        )
        lines = lines or [b""]
    return b"\r\n".join(lines) + gap + body


@pytest.mark.counts("T23", "broken requests")
def test_broken_requests_are_refused(
    tally: Tally, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outcomes: Counter[int] = Counter()
    good = examples()[0].path
    form = multipart((b'name="file"; filename="a.flac"', good.read_bytes()))
    requests = (
        request_of(TRANSCRIPTIONS, form),
        request_of("/v1/models", method="GET"),
        request_of("/v1/audio/live", method="GET", headers=HANDSHAKE),
    )
    settings = {"header_seconds": 0.5, "body_stall_seconds": 0.5}
    with served(tmp_path, **settings) as server:
        for number in range(tally.size(80, 5_000)):
            random = tally.random(number)
            request = broken(random.choice(requests), random)
            with tally.trial(f"{number}: {request[:300]!r}"):
                status, head, body = server.ask(request)
                outcomes[status] += 1
                # 0: it was so broken that the connection was closed.
                assert status < 500, f"{status}: {body[:200]!r}"
                if status >= 400 and b"application/json" in head:
                    check_error(httpx.Response(status, content=body))
        with tally.trial("the server goes on"):
            assert server.post().status_code == 200
    with tally.trial("the log"):
        own = [one for one in caplog.records if one.name.startswith("turnout")]
        mistakes = [one.getMessage() for one in own if one.levelname == "ERROR"]
        assert not mistakes, mistakes[:3]
    tally.measure(**{str(status): count for status, count in sorted(outcomes.items())})
