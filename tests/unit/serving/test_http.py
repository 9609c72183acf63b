"""A server as a whole: what operators copy, and what happens where something goes wrong inside."""

import configparser
import contextlib
import json
import logging
import re
import shlex
import shutil
import subprocess
import threading
import time

import numpy as np
import pytest

import turnout
from tests.containers import encode
from tests.doubles import tone
from tests.served import (
    ENGLISH,
    ROOT,
    TRANSCRIPTIONS,
    error_of,
    events_of,
    multipart,
    request_of,
    served,
)
from turnout.cli.command import build_app
from turnout.errors import Busy, ModelFolderError
from turnout.serving import routes, uploads

UNIT = ROOT / "examples" / "turnout.service"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with served(tmp_path_factory.mktemp("uploads")) as found:
        yield found


def left(server):
    return [path for path in server.folder.iterdir() if path.name != "lock"]


def test_the_curl_line_of_the_readme(server):
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    text = (ROOT / "README.md").read_text("utf-8")
    (line,) = re.findall(r"^curl .*$", text, re.MULTILINE)
    line = line.replace("http://127.0.0.1:8000", server.url)
    done = subprocess.run(
        shlex.split(line), cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    answer = json.loads(done.stdout)
    assert (
        answer["text"] == turnout.load(threads=1).transcribe(ROOT / "examples/arabic-1.flac").text
    )
    assert answer["translation"]["text"]


def test_the_units_command_is_one_that_is_understood(monkeypatch, tmp_path):
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment]
    parser.read_string(UNIT.read_text("utf-8"))
    service = parser["Service"]
    (tmp_path / "api-keys").write_text("a-key-of-the-tests\n")
    program, verb, *words = shlex.split(service["ExecStart"].replace("%d", str(tmp_path)))
    assert program.endswith("/turnout")
    seen = []
    monkeypatch.setattr("turnout.serving.run.serve", lambda config, *_, **__: seen.append(config))
    build_app()([verb, *words], result_action="return_value")
    (config,) = seen
    assert config.api_keys == ("a-key-of-the-tests",)
    assert config.host == "0.0.0.0"
    # It must not be killed before its grace is over.
    assert int(service["TimeoutStopSec"]) > config.grace_seconds + 1
    assert service["KillMode"] == "mixed"


def test_no_room_on_the_disk_is_a_503_and_leaves_nothing(server, monkeypatch, caplog):
    def full(_file, _data):
        raise OSError(28, "No space left on device", "/secret/place")

    monkeypatch.setattr(uploads, "write_all", full)
    response = server.post()
    assert response.status_code == 503
    assert error_of(response)["code"] == "no_room"
    assert "secret" not in response.text
    assert response.headers["retry-after"]
    assert not left(server)


def test_a_mistake_of_ours_is_one_line_to_the_client_and_one_in_the_log(
    server, monkeypatch, caplog
):
    caplog.set_level(logging.INFO, logger="turnout.serving")

    def wrong(*_):
        raise KeyError("what a client sent")

    monkeypatch.setattr(routes, "asked_of", wrong)
    response = server.post()
    assert response.status_code == 500
    assert error_of(response) == {
        "message": "the server made a mistake; its log says which", "type": "server_error",
        "param": None, "code": "internal_error",
    }  # fmt: skip
    until = time.monotonic() + 5  # the lines come behind the answer
    while len(caplog.records) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    mistake, request = (json.loads(record.message) for record in caplog.records[-2:])
    assert (mistake["event"], mistake["error"]) == ("mistake", "KeyError")
    assert mistake["id"] == request["id"] == response.headers["x-request-id"]
    assert "client sent" not in caplog.text
    assert not left(server)


def test_a_model_that_does_not_load_is_a_503_that_names_no_folder(server, monkeypatch):
    def broken(*_, **__):
        raise ModelFolderError("model folder /home/me/models/x: damaged")

    monkeypatch.setattr(server.serving.service, "submit", broken)
    response = server.post()
    assert response.status_code == 503
    assert "/home/me" not in response.text


def half_nan():
    """Two channels, one of which has no samples that are any."""
    return np.stack([tone(1.0), np.full(16_000, np.nan, np.float32)], axis=1)


@pytest.mark.parametrize(
    ("name", "data", "status"),
    [
        ("long.wav", encode(tone(9.0)), 413),
        ("nan.wav", encode(half_nan(), subtype="FLOAT"), 400),
        ("text.wav", b"no sound", 400),
        ("rate.wav", encode(tone(1.0), 400), 400),
    ],
)
def test_a_client_is_told_what_a_client_can_do(tmp_path, name, data, status):
    """Not what its operator alone can: options of the command line, packages to install."""
    with served(tmp_path, max_duration=8.0) as server:
        response = server.post(file=(name, data))
    assert response.status_code == status
    message = error_of(response)["message"]
    assert message.startswith(f"{name}: ")
    for word in ("max_duration", "pip install", "channel", "track", "--"):
        assert word not in message, message


def test_where_there_is_no_room_the_body_is_not_read(server, monkeypatch):
    def full():
        raise Busy("all places are taken: try again in 7 s", 7)

    monkeypatch.setattr(server.serving.service, "check_room", full)
    head = request_of(TRANSCRIPTIONS).replace(b"Length: 0", b"Length: 100000")
    status, header, body = server.ask(head)
    assert status == 429
    assert b"retry-after: 7" in header
    assert b"connection: close" in header
    assert json.loads(body)["error"]["type"] == "rate_limit_error"


def test_who_finds_everybody_s_forms_coming_in_is_counted_as_refused(server, monkeypatch):
    def refused():
        lines = server.get("/metrics").text.splitlines()
        return next(line for line in lines if line.startswith("turnout_requests_refused_total"))

    before = refused()
    monkeypatch.setattr(server.serving.door, "taken", 10_000)
    assert server.post().status_code == 429
    assert float(refused().split()[1]) == float(before.split()[1]) + 1


def test_who_leaves_in_the_middle_of_a_stream_is_no_mistake(server, caplog, monkeypatch):
    caplog.set_level(logging.INFO, logger="turnout.serving")
    monkeypatch.setattr(routes, "FIRST_SECONDS", 0.0)
    form = multipart(
        (b'name="file"; filename="a"', ENGLISH.read_bytes()), (b'name="stream"', b"true")
    )
    with contextlib.closing(server.connect()) as connection:
        connection.sendall(request_of(TRANSCRIPTIONS, form))
        head = connection.recv(4096)
        assert head.startswith(b"HTTP/1.1 200")
    until = time.monotonic() + 5
    while time.monotonic() < until and (server.serving.door.inside or not caplog.records):
        time.sleep(0.01)
    events = [json.loads(record.message)["event"] for record in caplog.records]
    assert set(events) == {"request"}, "it counts as a mistake"
    assert not server.serving.door.inside


def test_a_stream_that_fails_says_so_in_the_stream(server, monkeypatch):
    monkeypatch.setattr(routes, "FIRST_SECONDS", 0.0)
    response = server.post(file=("a.wav", b"no sound"), stream="true")
    if response.status_code == 400:  # it failed before its status was sent, after all
        assert error_of(response)["code"] == "invalid_audio"
        return
    (event,) = events_of(response.text)
    assert event["type"] == "error"
    assert event["error"]["code"] == "invalid_audio"
    assert event["error"]["message"].startswith("a.wav: ")


def test_a_stream_that_waits_says_that_it_is_there(server, monkeypatch):
    monkeypatch.setattr(routes, "FIRST_SECONDS", 0.0)
    monkeypatch.setattr(routes, "HEARTBEAT_SECONDS", 0.005)
    response = server.post(stream="true")
    assert response.text.startswith(": waiting\n\n")
    assert events_of(response.text)[-1]["text"] == "seven two nine four"


def test_readiness_is_the_services(server, monkeypatch):
    from turnout.serving.service import Status

    assert server.get("/ready").json() == {"status": "ready"}
    monkeypatch.setattr(
        server.serving.service, "status", lambda: Status(False, "the model is stuck", 0, 0)
    )
    response = server.get("/ready")
    assert response.status_code == 503
    assert response.json() == {"status": "not ready", "reason": "the model is stuck"}
    assert server.get("/health").json() == {"status": "ok"}


def test_a_server_that_can_store_no_upload_is_not_ready(tmp_path, monkeypatch):
    folder = tmp_path / "uploads"
    with served(folder) as server:
        shutil.rmtree(folder)
        folder.write_text("something else")
        response = server.get("/ready")
        assert response.status_code == 503
        assert response.json()["reason"] == "uploads cannot be stored: Not a directory"
        assert server.post().status_code == 503
        folder.unlink()
        time.sleep(uploads.LOOK_SECONDS)
        assert server.get("/ready").status_code == 200
        assert server.post().status_code == 200
        assert not left(server)


def test_a_disk_that_does_not_answer_holds_nobody_up(server, monkeypatch):
    may_go = threading.Event()
    monkeypatch.setattr(uploads, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(uploads, "probed", lambda _: may_go.wait(20) and "")
    time.sleep(1)
    for _ in range(2):
        assert "does not answer" in server.get("/ready").json()["reason"]
    may_go.set()
    time.sleep(0.2)
    assert server.get("/ready").status_code == 200


def test_metrics_are_what_prometheus_reads(server):
    server.post()
    text = server.get("/metrics").text
    assert 'turnout_requests_total{route="/v1/audio/transcriptions",status="200"}' in text


def test_a_server_without_the_page_has_none(server):
    assert server.get("/").status_code == 404
