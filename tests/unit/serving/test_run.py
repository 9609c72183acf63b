"""Addresses, certificates, and what the start says."""

import shutil
import socket
import ssl
import subprocess

import httpx
import pytest

from tests.served import served
from turnout.config.serving import ServingConfig
from turnout.errors import ConfigError, UsageError
from turnout.serving import run
from turnout.serving.run import listening_socket, tls_of

KEY = "a-key-of-the-tests"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_where_others_reach_it_a_key_is_needed(host):
    with pytest.raises(ConfigError, match="which others can reach, and there is no API key"):
        ServingConfig(host=host)


def test_a_name_counts_by_the_address_that_it_stands_for(monkeypatch):
    where = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: where)
    with pytest.raises(UsageError, match="host is localhost, which others can reach"):
        listening_socket(ServingConfig(host="localhost", port=0))


def test_an_address_that_cannot_be_had_is_said_in_one_line():
    with listening_socket(ServingConfig(port=0)) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError) as found:
            listening_socket(ServingConfig(port=port))
    assert str(found.value) == (
        f"127.0.0.1:{port} cannot be listened at: Address already in use: choose another --port "
        "(0 takes a free one)"
    )
    with pytest.raises(UsageError, match="host is nowhere.invalid: "):
        listening_socket(ServingConfig(host="nowhere.invalid", api_keys=(KEY,)))


def test_a_certificate_that_is_none_is_said_in_one_line(tmp_path):
    file = tmp_path / "cert.pem"
    config = ServingConfig(certificate=file, certificate_key=file)
    with pytest.raises(UsageError, match="the certificate and its key cannot be used: "):
        tls_of(config)
    file.write_text("no certificate")
    with pytest.raises(UsageError) as found:
        tls_of(config)
    assert "\n" not in str(found.value)
    assert tls_of(ServingConfig()) is None


@pytest.fixture
def certificate(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


def test_it_speaks_tls_and_waits_for_no_handshake(tmp_path, certificate):
    cert, key = certificate
    settings = {"certificate": cert, "certificate_key": key, "header_seconds": 1.0}
    with served(tmp_path / "uploads", **settings) as server:
        context = ssl.create_default_context(cafile=str(cert))
        with httpx.Client(verify=context, timeout=60) as client:
            answer = client.get(f"https://127.0.0.1:{server.port}/ready")
        assert answer.status_code == 200
        with server.connect() as silent:  # no handshake
            assert silent.recv(1) == b""


def test_the_start_says_where_what_and_who(monkeypatch):
    class Service:
        def models(self):
            return [type("Model", (), {"name": name}) for name in ("commands", "whisper-base")]

    with listening_socket(ServingConfig(port=0)) as listener:
        port = listener.getsockname()[1]
        line = run.started_line(ServingConfig(port=0), listener, Service(), "key from KEYS")
    assert line == (
        f"turnout serves commands, whisper-base at http://127.0.0.1:{port} (key from KEYS)"
    )
