import json
import logging

import pytest

from turnout.errors import AudioError
from turnout.serving.logs import JsonLines, line_of, log, log_error

ODD = "a\r\nb\x1b[31m\u202e\u2066c\x00\x7f\x85\u2028 é"


def test_a_line_is_one_line_of_ascii_whatever_is_in_it():
    line = line_of("info", "request", {"path": ODD, "status": 200, "model": None})
    assert line.isascii()
    assert line.isprintable()
    found = json.loads(line)
    assert found["path"] == ODD
    assert found["status"] == 200
    assert "model" not in found
    assert found["time"].endswith("+00:00")


def test_long_values_are_cut():
    assert len(json.loads(line_of("info", "x", {"path": "p" * 10_000}))["path"]) == 300


def test_requests_are_told_at_info_and_mistakes_at_error(caplog):
    caplog.set_level(logging.INFO, logger="turnout.serving")
    log("request", status=200)
    try:
        raise ValueError("what a client sent")
    except ValueError as error:
        log_error("mistake", error, id="req_1")
    log_error("failed", AudioError("a.wav", "no sound"))
    first, second, third = (json.loads(record.message) for record in caplog.records)
    assert (first["level"], first["event"]) == ("info", "request")
    assert (second["error"], second["id"]) == ("ValueError", "req_1")
    assert second["at"].startswith("test_logs.py:")
    assert "client sent" not in caplog.records[1].message
    assert third["message"] == "a.wav: no sound"


@pytest.mark.parametrize("name", ["uvicorn.error", "turnout.serving.engine"])
def test_lines_of_others_are_json_too(name):
    record = logging.LogRecord(name, logging.ERROR, "x.py", 1, "bad %s", ("\x1bnews",), None)
    found = JsonLines().format(record)
    assert found.isprintable()
    assert json.loads(found)["message"] == "bad \x1bnews"
    assert json.loads(found)["logger"] == name


def test_a_trace_is_named_by_its_places():
    try:
        raise KeyError("secret")
    except KeyError as error:
        record = logging.LogRecord(
            "asyncio", logging.ERROR, "x.py", 1, "task", (), (KeyError, error, error.__traceback__)
        )
    found = JsonLines().format(record)
    assert "secret" not in found
    assert json.loads(found)["error"] == "KeyError"
