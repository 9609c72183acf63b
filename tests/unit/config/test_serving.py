"""A server's settings: what cannot be is refused before anything is loaded."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from turnout.config.serving import ServingConfig, is_loopback
from turnout.errors import ConfigError

KEY = "a-key-of-the-operator"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"port": -1}, "port is -1: it must be at least 0"),
        ({"port": 65_536}, "port is 65536: it must be at most 65535"),
        ({"threads": 0}, "threads is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"max_concurrent": 0}, "max_concurrent is 0"),
        ({"max_queue": -1}, "max_queue is -1"),
        ({"max_live": 0}, "max_live is 0"),
        ({"max_upload_bytes": 0}, "max_upload_bytes is 0"),
        ({"max_duration": 0.0}, "max_duration is 0.0: it must be above 0"),
        ({"max_duration": float("nan")}, "max_duration is nan"),
        ({"request_seconds": 0.0}, "request_seconds is 0.0"),
        ({"header_seconds": -1.0}, "header_seconds is -1.0"),
        ({"body_stall_seconds": 0.0}, "body_stall_seconds is 0.0"),
        ({"reading_memory_mb": 10}, "reading_memory_mb is 10: it must be at least 64"),
        ({"reading_cpu_seconds": 0}, "reading_cpu_seconds is 0"),
        ({"reading_stall_seconds": 0.0}, "reading_stall_seconds is 0.0"),
        ({"model_memory_gb": 0.0}, "model_memory_gb is 0.0"),
        ({"grace_seconds": -0.1}, "grace_seconds is -0.1"),
        ({"host": "0.0.0.0"}, "there is no API key: set TURNOUT_API_KEY"),
        ({"host": "::"}, "there is no API key"),
        ({"host": "192.168.1.7"}, "there is no API key"),
        ({"host": "localhost.example.org"}, "there is no API key"),
        ({"api_keys": ("short",)}, "at least 8 printable ASCII characters"),
        ({"api_keys": ("schlüsselwort",)}, "printable ASCII"),
        ({"api_keys": ("with a space",)}, "must not hold spaces"),
        ({"certificate": Path("a.pem")}, "give both, or neither"),
        ({"certificate_key": Path("a.pem")}, "give both, or neither"),
        ({"cors_origins": ("*",), "api_keys": (KEY,)}, "name the origins"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ServingConfig(**settings)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.org"])
def test_others_may_reach_a_server_that_has_a_key(host: str) -> None:
    assert ServingConfig(host=host, api_keys=(KEY,)).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "::1", "[::1]", "::1%lo"])
def test_this_machine_alone_needs_none(host: str) -> None:
    assert is_loopback(host)
    assert ServingConfig(host=host).host == host


def test_keys_are_shown_to_nobody() -> None:
    assert KEY not in repr(ServingConfig(api_keys=(KEY,)))
    with pytest.raises(ConfigError) as caught:
        ServingConfig(api_keys=("secret",))
    assert "secret" not in str(caught.value)


def test_without_batching_one_is_decoded_at_a_time() -> None:
    assert ServingConfig(batch_size=5).batch_limit == 5
    assert ServingConfig(batch_size=5, batching=False).batch_limit == 1


def test_every_setting_says_what_it_is() -> None:
    source = Path(__import__("turnout.config.serving").config.serving.__file__).read_text("utf-8")
    for field in fields(ServingConfig):
        _, _, behind = source.partition(f"\n    {field.name}: ")
        assert behind.partition("\n")[2].lstrip().startswith('"""'), field.name
