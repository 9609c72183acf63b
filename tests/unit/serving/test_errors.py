import json

import pytest

from turnout import errors
from turnout.audio.waveform import RAISE_IT
from turnout.serving.errors import MISTAKE, NO_MODEL, NO_ROOM, Refused, refusal_of


@pytest.mark.parametrize(
    ("error", "status", "code", "param", "message"),
    [
        (errors.UnknownModel("no such"), 404, "model_not_found", "model", "no such"),
        (errors.Busy("full", 3), 429, "server_busy", None, "full"),
        (errors.Stopping("ends"), 503, "server_stopping", None, "ends"),
        (errors.TookTooLong("late"), 503, "took_too_long", None, "late"),
        (errors.EngineError("ours"), 500, "engine_error", None, "ours"),
        (errors.AudioTooLong("a.wav", f"long: cut it{RAISE_IT}"), 413, "audio_too_long", "file",
         "a.wav: long: cut it, or send it in parts"),
        (errors.AudioError("a.wav", "no"), 400, "invalid_audio", "file", "a.wav: no"),
        (errors.MissingExtra("m4a", "av"), 415, "unsupported_format", "file",
         "m4a needs what this server lacks: send WAV, FLAC, Ogg, Opus or MP3, or do without"),
        (errors.GuidanceError("no German"), 400, None, None, "no German"),
        (errors.ConfigError("bad"), 400, None, None, "bad"),
        (errors.ModelFolderError("/home/me/m: damaged"), 503, "model_unavailable", None, NO_MODEL),
        (errors.MissingModel("/home/me/m: none"), 503, "model_unavailable", None, NO_MODEL),
        (errors.FetchError("hub"), 503, "model_unavailable", None, NO_MODEL),
        (errors.ModelUnavailable("too large: raise it"), 503, "model_unavailable", None, NO_MODEL),
        (errors.StorageError("/tmp/x: full"), 503, "no_room", None, NO_ROOM),
        (OSError(28, "No space left", "/tmp/x"), 503, "no_room", None, NO_ROOM),
        (MemoryError(), 503, "no_room", None, NO_ROOM),
        (errors.Cancelled("cancelled"), 503, "ended", None, "cancelled"),
        (KeyError("/home/me"), 500, "internal_error", None, MISTAKE),
        (errors.TrainingError("never here"), 500, "internal_error", None, MISTAKE),
    ],
)  # fmt: skip
def test_what_is_told_of_each_error(error, status, code, param, message):
    found = refusal_of(error)
    assert (found.status, found.code, found.param, found.message) == (status, code, param, message)
    is_over = code in ("took_too_long", "model_unavailable")
    assert ("Retry-After" in found.headers) == (status in (429, 503) and not is_over)
    # OpenAI's clients send again what has failed with a 5xx, unless they are told not to.
    assert (found.headers.get("x-should-retry") == "false") == is_over


def test_the_answer_is_openais():
    response = Refused(429, "full", code="server_busy", headers={"Retry-After": "3"}).response()
    assert response.status_code == 429
    assert response.headers["retry-after"] == "3"
    assert response.headers["content-type"] == "application/json"
    assert json.loads(response.body) == {
        "error": {"message": "full", "type": "rate_limit_error", "param": None,
                  "code": "server_busy"}
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "kind"), [(400, "invalid_request_error"), (401, "invalid_request_error"),
                         (500, "server_error"), (503, "server_error")],
)  # fmt: skip
def test_the_type_says_whose_fault_it_is(status, kind):
    assert Refused(status, "x").to_json()["type"] == kind


def test_a_message_has_one_line_whatever_is_in_it():
    assert refusal_of(errors.GuidanceError("a\r\nb\x1b[31m\u202ec")).message == (
        "a\\r\\nb\\x1b[31m\\u202ec"
    )


def test_when_to_come_again_is_a_whole_number_and_not_at_once():
    assert refusal_of(errors.Busy("full", 0)).headers == {"Retry-After": "1"}
    assert refusal_of(errors.Busy("full", 2.1)).headers == {"Retry-After": "3"}
