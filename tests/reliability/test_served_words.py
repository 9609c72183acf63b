"""T25: what a server writes down is one line, and nothing of its clients'; its metrics do not grow.
T24: it asks nobody.
"""

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.reliability.examples import examples
from tests.reliability.serving import Process, serving, transcribed
from tests.reliability.tally import Tally
from tests.served import ENGLISH, TRANSCRIPTIONS, multipart, request_of

KEY = "the-key-that-no-line-holds"
SECRETS = ("prompt-of-mine", "name-of-mine", KEY, "wrong-key-of-mine", "seven two nine four")
ODD = ("\r\n", "\r\nSet-Cookie: x", "\x1b[31m", "\u202e", "\u2066", "\0", "\x07", "\x85", "\u2028")
MOST_SERIES = 200
SERIES = re.compile(r"^[a-z_]+(\{.*\})? [0-9.e+-]+$", re.MULTILINE)


@pytest.mark.counts("T25", "logs")
def test_a_log_line_is_one_line_and_holds_nothing_of_a_clients(
    tally: Tally, tmp_path: Path
) -> None:
    good = ENGLISH
    with serving(tmp_path, key=KEY) as server:
        requests = tally.size(24, 2_000)
        for number in range(requests):
            random = tally.random(number)
            send_oddly(server, random.choice(ODD), good.read_bytes(), number % 4)
        raw = server.log.read_bytes()
    lines = raw.decode("ascii", "replace").splitlines()
    for number, line in enumerate(lines):
        with tally.trial(f"line {number}"):
            check_line(line)
    with tally.trial("one line for each request"):
        told = [line for line in lines if json.loads(line)["event"] == "request"]
        assert len(told) == requests, f"{len(told)} of {requests}"
    with tally.trial("nothing of a client's"):
        check_secrets(raw.decode("utf-8", "replace"))
    tally.measure(lines=len(lines))
    tally.controlled(
        fails(check_line, '{"a": "\x1b[31m"}')
        and fails(check_line, "plain words")
        and fails(check_secrets, f'{{"key": "{KEY}"}}')
    )


def send_oddly(server: Process, odd: str, audio: bytes, kind: int) -> None:
    """A request with marks in its file's name, its model, its prompt, or its key."""
    name, model, prompt = "name-of-mine.flac", "whisper-1", ""
    key = f"Bearer {KEY}"
    if kind == 0:
        name = f"name-of-mine{odd}.flac"
    elif kind == 1:
        model = f"name-of-mine{odd}"
    elif kind == 2:
        prompt = f"prompt-of-mine{odd}"
    else:
        key = "Bearer wrong-key-of-mine"
    form = multipart(
        (b'name="file"; filename="' + name.encode() + b'"', audio),
        (b'name="model"', model.encode()),
        *([(b'name="prompt"', prompt.encode())] if prompt else []),
    )
    request = request_of(
        TRANSCRIPTIONS, form, headers=(f"Authorization: {key}", "Connection: close")
    )
    with closing(socket.create_connection(("127.0.0.1", server.port))) as connection:
        connection.settimeout(60)
        connection.sendall(request)
        while connection.recv(65_536):
            pass


def check_line(line: str) -> None:
    """One line of JSON without control characters."""
    assert line.isascii() and line.isprintable(), f"control characters: {line!r}"
    try:
        json.loads(line)
    except ValueError as error:
        raise AssertionError(f"no JSON: {line!r}") from error


def check_secrets(text: str) -> None:
    """No key, no text, no prompt, no file's name."""
    found = [secret for secret in SECRETS if secret in text]
    assert not found, f"the log holds {found}"


def fails(check: object, given: str) -> bool:
    """Whether the check notices."""
    try:
        check(given)  # type: ignore[operator]
    except AssertionError:
        return True
    return False


@pytest.mark.counts("T25", "metrics")
def test_metrics_have_as_many_series_after_as_before(tally: Tally, tmp_path: Path) -> None:
    with serving(tmp_path) as server, server.client() as client:
        warm_up(client)
        before = series_of(client)
        for number in range(tally.size(100, 20_000)):
            random = tally.random(number)
            word = random.randbytes(6).hex()
            path = random.choice((f"/{word}", f"/v1/{word}", f"/v1/models/{word}", f"/page/{word}"))
            method = random.choice(("GET", "POST", "BREW", "PUT"))
            client.request(method, path)
        for number in range(tally.size(5, 200)):
            transcribed(client, ("x.wav", b"x"), model=f"model-{number}")
        after = series_of(client)
    with tally.trial("the same series"):
        assert after <= before, sorted(after - before)[:5]
    with tally.trial("not many"):
        assert len(after) <= MOST_SERIES, len(after)
    tally.measure(series=len(after))


def warm_up(client: httpx.Client) -> None:
    """One of each answer that there is."""
    good = examples()[0].path
    transcribed(client, good)
    transcribed(client, good, model="none")
    transcribed(client, ("x.wav", b"x"))
    for method, path in (("GET", "/metrics"), ("GET", "/v1/models/none"), ("GET", "/none"),
                         ("POST", "/v1/models/none"), ("BREW", "/v1/models/x"),
                         ("POST", "/page/none"), ("GET", "/v1/models/commands")):  # fmt: skip
        client.request(method, path)


def series_of(client: httpx.Client) -> set[str]:
    """The names and labels of all series."""
    text = client.get("/metrics").text
    return {line[0].rpartition(" ")[0] for line in SERIES.finditer(text)}


@contextmanager
def canary() -> Iterator[tuple[int, list[str]]]:
    """A listener that nobody should talk to: its port, and who did."""
    heard: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        ended = threading.Event()

        def listen() -> None:
            while not ended.is_set():
                try:
                    connection, who = listener.accept()
                except TimeoutError:
                    continue
                heard.append(str(who))
                connection.close()

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield listener.getsockname()[1], heard
        finally:
            ended.set()
            thread.join()


def texts_that_name(url: str) -> dict[str, bytes]:
    """Files that make a reader of some formats fetch this."""
    return {
        "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{url}/a.ts\n".encode(),
        "key.m3u8": f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{url}/k"\n#EXTINF:9,\n{url}/a\n'
        .encode(),
        "list.ffconcat": f"ffconcat version 1.0\nfile '{url}/a.wav'\n".encode(),
        "local.ffconcat": b"ffconcat version 1.0\nfile '/etc/passwd'\n",
        "session.sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        b"m=audio %d RTP/AVP 0\n" % int(url.rpartition(":")[2]),
        "list.xspf": f"<playlist><trackList><track><location>{url}/a</location></track>"
        "</trackList></playlist>".encode(),
        "image.svg": f'<svg xmlns:xlink="x"><image xlink:href="{url}/a"/></svg>'.encode(),
        "stream.mpd": f'<MPD><Period><BaseURL>{url}/</BaseURL></Period></MPD>'.encode(),
        "list.pls": f"[playlist]\nFile1={url}/a.mp3\nNumberOfEntries=1\n".encode(),
        "link.wav": f"{url}/a.wav".encode(),
        "link.mp4": b"\0\0\0\x14ftypqt  \0\0\0\0qt  \0\0\0\x40moov\0\0\0\x38rdrf\0\0\0\0url "
        + f"{url}/a".encode(),
    }  # fmt: skip


@pytest.mark.counts("T24", "what asks for others")
def test_nothing_is_fetched_for_a_file(tally: Tally, tmp_path: Path) -> None:
    with canary() as (port, heard), serving(tmp_path) as server, server.client() as client:
        url = f"http://127.0.0.1:{port}"
        for name, data in texts_that_name(url).items():
            for ending in ("", ".wav", ".m3u8", ".mp4") if tally.full else ("",):
                with tally.trial(f"{name}{ending}"):
                    response = transcribed(client, (name + ending, data))
                    assert response.status_code in (200, 400, 415), response.text
                    assert not heard, f"it was asked for by {heard}"
        for form in ({"file": f"{url}/a.wav"}, {"url": url}, {"file_url": url}):
            with tally.trial(f"the field {next(iter(form))}"):
                fields = {name: (None, value) for name, value in form.items()}
                response = client.post(TRANSCRIPTIONS, files=fields)
                assert response.status_code == 400, response.text
                assert not heard
        socket.create_connection(("127.0.0.1", port)).close()  # the negative control
        threading.Event().wait(0.5)
        tally.controlled(bool(heard))
