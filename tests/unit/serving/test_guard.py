"""What a request passes before it is read: Host, key, Origin, length; and deadlines."""

import contextlib
import json
import time

import pytest

from tests.served import (
    ENGLISH,
    TRANSCRIPTIONS,
    Served,
    answered,
    error_of,
    multipart,
    request_of,
    served,
)
from turnout.config.serving import ServingConfig
from turnout.serving.guard import FORM_BYTES, has_body, host_is_known
from turnout.serving.keys import Keys, read_keys
from turnout.serving.static import page_files

KEY = "a-key-of-the-tests"
MOST = 100_000
STALL = 1.0
MOST_DRIPPED = 600
"""Bytes that come one by one: of LEAST_BYTES too few, and enough for 30 stalls."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with served(
        tmp_path_factory.mktemp("uploads"),
        api_keys=(KEY, "another-key-of-the-tests"),
        max_upload_bytes=MOST,
        body_stall_seconds=STALL,
        header_seconds=STALL,
        cors_origins=("https://friend.example",),
        allowed_hosts=("speech.example",),
        page=True,
    ) as found:
        yield found


def auth(key=KEY):
    return (f"Authorization: Bearer {key}",)


def good_form(size=None):
    content = ENGLISH.read_bytes() if size is None else b"\0" * size
    return multipart((b'name="file"; filename="a.flac"', content))


def test_a_good_request_is_answered(server):
    status, _, body = server.ask(request_of(TRANSCRIPTIONS, good_form(), headers=auth()))
    assert status == 200, body
    assert json.loads(body)["text"] == "seven two nine four"


@pytest.mark.parametrize(
    "header",
    [
        (),
        ("Authorization: ",),
        ("Authorization: Bearer",),
        ("Authorization: Bearer wrong-key",),
        (f"Authorization: {KEY}",),
        (f"Authorization: Basic {KEY}",),
        (f"Authorization: Bearer {KEY[:-1]}",),
        (f"Authorization: Bearer {KEY}x",),
        (f"Authorization: Bearer  {KEY}",),
        (f"Authorization: Bearer {KEY.upper()}",),
        (f"Authorization: Bearer {KEY}, Bearer {KEY}",),
        (f"Authorization: Bearer {KEY}", f"Authorization: Bearer {KEY}"),
        (f"X-Api-Key: {KEY}",),
        ("Authorization: Bearer \xe9\xff",),
    ],
)
def test_without_the_key_nothing_is_read(server, header):
    status, head, body = server.ask(request_of(TRANSCRIPTIONS, good_form(), headers=header))
    assert status == 401
    assert b"www-authenticate: bearer" in head.lower()
    assert json.loads(body)["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("path", ["/v1/models", "//v1/models", "/v1/models/", "/%76%31/models",
                                  "/health/", "/health/../v1/models", "/nowhere", "/metrics",
                                  "/ready?x=/health", "/v1%2Fmodels"])  # fmt: skip
def test_no_way_of_writing_a_path_goes_round_the_key(server, path):
    status, _, body = server.ask(request_of(path, method="GET"))
    opened = path == "/ready?x=/health"
    assert status == (200 if opened else 401), body


@pytest.mark.parametrize("path", ["/health", "/ready", *page_files()])
def test_what_is_open_is_open(server, path):
    assert server.ask(request_of(path, method="GET"))[0] == 200


@pytest.mark.parametrize("key", [KEY, "another-key-of-the-tests"])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_each_key_is_taken(server, key, scheme):
    request = request_of("/v1/models", method="GET", headers=(f"Authorization: {scheme} {key}",))
    assert server.ask(request)[0] == 200


def with_host(host, port):
    request = request_of("/health", method="GET")
    return request.replace(b"Host: 127.0.0.1", b"Host: " + host.replace(b"PORT", b"%d" % port))


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (b"127.0.0.1", 200),
        (b"127.0.0.1:PORT", 200),
        (b"localhost:PORT", 200),
        (b"LOCALHOST", 200),
        (b"speech.example", 200),
        (b"Speech.Example:443", 200),
        (b"evil.example", 400),
        (b"127.0.0.1.evil.example", 400),
        (b"evil.example/?x=localhost", 400),
        (b"localhost@evil.example", 400),
        (b"", 400),
        (b"localhost:abc", 400),
        (b"localhost.", 400),
        (b"[::1]", 400),
    ],
)
def test_only_names_that_are_known_are_answered_to(server, host, status):
    found, _, body = server.ask(with_host(host, server.port))
    assert found == status, body


def test_the_host_rule_alone():
    def known(host, here="127.0.0.1", **settings):
        scope = {"headers": [(b"host", host)], "server": (here, 8000)}
        return host_is_known(scope, ServingConfig(**settings))

    assert known(b"[::1]:8000", here="::1")
    assert known(b"localhost", here="::1")
    assert not known(b"localhost", here="10.0.0.2")
    assert known(b"10.0.0.2:80", here="10.0.0.2")
    assert known(b"anything.example", allowed_hosts=("*",))
    assert not known(b"a b", allowed_hosts=("*",))


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 400),
        ("https://friend.example", 400),
        ("http://127.0.0.1", 400),
        ("https://evil.example", 403),
        ("null", 403),
        ("http://127.0.0.1.evil.example", 403),
    ],
)
def test_pages_of_others_may_not_post(server, origin, status):
    # 400: it was let in, and its form is none.
    more = () if origin is None else (f"Origin: {origin}",)
    found, _, body = server.ask(request_of(TRANSCRIPTIONS, b"x", headers=(*auth(), *more)))
    assert found == status, body


def test_cors_is_for_those_who_were_named(server):
    with server.client() as client:
        friend = client.get("/v1/models", headers={"Origin": "https://friend.example"})
        other = client.get("/v1/models", headers={"Origin": "https://evil.example"})
        asks = {"Access-Control-Request-Method": "POST"}
        before = client.options(
            TRANSCRIPTIONS, headers={"Origin": "https://friend.example", **asks}
        )
        refused = client.options(TRANSCRIPTIONS, headers={"Origin": "https://evil.example", **asks})
    assert friend.headers["access-control-allow-origin"] == "https://friend.example"
    assert "access-control-allow-origin" not in other.headers
    assert before.status_code == 200
    assert "access-control-allow-credentials" not in before.headers
    assert refused.status_code == 400
    assert "access-control-allow-origin" not in refused.headers


def handshake(path, *headers, host="127.0.0.1"):
    """What a browser sends to open a WebSocket."""
    lines = [
        f"GET {path} HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade",
        "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", *headers,
    ]  # fmt: skip
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


LIVE = "/v1/audio/live"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (handshake(LIVE), 101),  # its key comes in the first message
        (handshake(LIVE, "Origin: http://127.0.0.1"), 101),
        (handshake(LIVE, "Origin: https://friend.example"), 101),
        (handshake(LIVE, *auth()), 101),
        (handshake(LIVE, *auth("wrong-key")), 401),
        (handshake(LIVE, "Origin: https://evil.example"), 403),
        (handshake(LIVE, "Origin: null", *auth()), 403),
        (handshake(LIVE, host="evil.example"), 400),
        (handshake("/v1/audio/other"), 401),
        (handshake("/health"), 401),
        (handshake("/v1/audio/live/"), 401),
    ],
)
def test_websockets_pass_the_guard_too(server, request_bytes, status):
    with server.connect() as connection:
        connection.sendall(request_bytes)
        head = connection.recv(4096)
    assert int(head.split()[1]) == status, head


@pytest.mark.parametrize("header", ["Transfer-Encoding: chunked", f"X: {'x' * 20_000}"])
def test_a_handshake_that_is_none_is_not_held(server, header):
    with server.connect() as connection:
        connection.sendall(handshake(LIVE, header))
        with contextlib.suppress(ConnectionError):
            connection.recv(4096)  # raises TimeoutError where it is held


def test_a_length_above_the_limit_is_refused_before_the_body(server):
    head = request_of(TRANSCRIPTIONS, headers=auth())
    for length in (MOST + FORM_BYTES + 1, 10**15, "9" * 5000):
        asked = head.replace(b"Content-Length: 0", f"Content-Length: {length}".encode())
        with server.connect() as connection:
            connection.sendall(asked)
            status, _, body = answered(connection)
        # Of a number that h11 does not read the connection is dropped.
        assert status == 413 or (length == "9" * 5000 and status in (0, 400)), body
        if status == 413:
            assert json.loads(body)["error"]["code"] == "upload_too_large"


def test_a_chunked_body_is_cut_off_at_the_limit(server):
    head = (
        f"POST {TRANSCRIPTIONS} HTTP/1.1\r\nHost: 127.0.0.1\r\n{auth()[0]}\r\n"
        "Content-Type: multipart/form-data; boundary=B\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode()
    start = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    sent = 0
    with server.connect() as connection:
        connection.sendall(head + b"%x\r\n%s\r\n" % (len(start), start))
        with contextlib.suppress(ConnectionError):
            for _ in range(2000):
                connection.sendall(b"1000\r\n" + b"\0" * 4096 + b"\r\n")
                sent += 4096
        status, _, body = answered(connection)
    assert status == 413, body
    assert sent < 2000 * 4096, "all of it was taken"
    assert not uploads(server)


def uploads(server: Served):
    """Files that lie about."""
    return [path for path in server.folder.iterdir() if path.name != "lock"]


def test_curl_is_not_told_to_go_on_with_what_is_refused(server):
    head = request_of(TRANSCRIPTIONS, headers=("Expect: 100-continue",))
    asked = head.replace(b"Content-Length: 0", b"Content-Length: 1000")
    with server.connect() as connection:
        connection.sendall(asked)
        status, head, _ = answered(connection)
    assert status == 401
    assert b"100 Continue" not in head


def test_a_body_that_stalls_is_told_so_and_closed(server):
    form = good_form()
    request = request_of(TRANSCRIPTIONS, form, headers=auth())
    with server.connect() as connection:
        began = time.monotonic()
        connection.sendall(request[:-1000])
        status, _, body = answered(connection)
        assert connection.recv(1) == b"", "the connection stays open"
    assert status == 408, body
    assert json.loads(body)["error"]["code"] == "body_stalled"
    assert time.monotonic() - began > 0.8 * STALL, "it was not waited for"
    assert not uploads(server)


def test_a_byte_now_and_then_is_a_stall_too(server):
    request = request_of(TRANSCRIPTIONS, good_form(), headers=auth())
    with server.connect() as connection:
        connection.sendall(request[:500])
        sent = 0
        with contextlib.suppress(ConnectionError):
            for byte in request[500 : 500 + MOST_DRIPPED]:
                connection.sendall(bytes([byte]))
                time.sleep(0.05)
                sent += 1
        assert sent < MOST_DRIPPED, "it may go on"
        assert answered(connection)[0] in (0, 408)


@pytest.mark.parametrize("sent", [b"", b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: lo"])
def test_a_header_that_does_not_come_is_not_waited_for(server, sent):
    with server.connect() as connection:
        connection.sendall(sent)
        status, _, body = answered(connection)
    assert status == 408, body
    assert json.loads(body)["error"]["code"] == "header_stalled"


def test_a_second_request_has_a_deadline_for_its_header_too(server):
    with server.connect() as connection:
        connection.sendall(request_of("/health", method="GET"))
        assert answered(connection)[0] == 200
        connection.sendall(b"GET /health HT")
        assert answered(connection)[0] == 408


def test_what_is_no_http_is_told_so_in_json(server):
    status, _, body = server.ask(b"\x16\x03\x01 this is TLS\r\n\r\n")
    assert status == 400
    assert json.loads(body)["error"]["code"] == "bad_request"


def test_an_error_leaves_a_connection_of_small_requests_open(server):
    with server.client() as client:
        first = client.get("/nowhere")
        second = client.get("/v1/models")
    assert (first.status_code, second.status_code) == (404, 200)
    assert "connection" not in first.headers
    assert error_of(first)["code"] == "unknown_path"
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


def test_the_live_path_says_to_whoever_opens_no_socket_what_it_is(server):
    with server.client() as client:
        found = client.get("/v1/audio/live")
    assert found.status_code == 426
    assert found.headers["upgrade"] == "websocket"
    assert error_of(found)["code"] == "websocket_needed"


def test_a_wrong_method_is_an_error_in_openais_form(server):
    with server.client() as client:
        found = client.get(TRANSCRIPTIONS)
    assert found.status_code == 405
    assert found.headers["allow"] == "POST"
    assert error_of(found)["code"] == "wrong_method"


def test_which_requests_have_a_body():
    def body(*headers):
        return has_body({"headers": headers})

    assert not body()
    assert not body((b"content-length", b"0"))
    assert body((b"content-length", b"10"))
    assert body((b"transfer-encoding", b"chunked"))


def test_keys_are_all_tried_and_none_is_kept_as_it_is():
    keys = Keys(["one-key-123", "two-key-123"])
    assert keys.accepts("one-key-123")
    assert keys.accepts("two-key-123")
    assert not keys.accepts("")
    assert not keys.accepts("one-key-12\udcff")
    assert Keys([]).accepts("anything")
    assert b"one-key-123" not in repr(vars(keys)).encode()


def test_keys_come_from_a_file_or_from_the_environment(tmp_path):
    from turnout.errors import UsageError

    file = tmp_path / "keys"
    file.write_text("# of the kitchen\nfirst-key-1\n\n  second-key-2  \n")
    assert read_keys(file, {"TURNOUT_API_KEY": "other"}) == ("first-key-1", "second-key-2")
    assert read_keys(None, {"TURNOUT_API_KEY": " key-of-mine\n"}) == ("key-of-mine",)
    assert read_keys(None, {}) == ()
    file.write_text("\n")
    with pytest.raises(UsageError, match="holds no key: write one a line"):
        read_keys(file, {})
    with pytest.raises(UsageError, match="cannot be read"):
        read_keys(tmp_path / "none", {})
