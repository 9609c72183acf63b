"""What a process that decodes uploads may do: nothing but that."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from turnout.config.serving import ServingConfig
from turnout.errors import AudioError
from turnout.serving.readers import Readers, surroundings
from turnout.serving.reading import Reading
from turnout.serving.reading_child import FRAME

PRISONER = """
import json, os, socket, sys
from pathlib import Path
from turnout.serving import reading_child as child

child.load_decoders()
alone = child.leave_network()
upload, ours = os.open(sys.argv[1], os.O_RDONLY), os.pipe()
secret = os.open(sys.argv[2], os.O_RDONLY)
if os.fork() == 0:
    try:
        socket.create_connection(("127.0.0.1", int(sys.argv[3])), 2)
        early = "connected"
    except OSError:
        early = "alone"
    child.arrange([upload, ours[1]])
    child.bound({"cpu_seconds": 5, "memory_bytes": 2**28})
    found = {"files": sorted(os.listdir("/dev/fd")), "early": early, "alone": alone}
    def attempt(name, act):
        try:
            act()
            found[name] = "done"
        except OSError as error:
            found[name] = error.errno
    kept = os.open(f"/dev/fd/{child.FILE}", os.O_RDONLY)
    attempt("open another", lambda: open(sys.argv[2]))
    attempt("connect", lambda: socket.create_connection(("127.0.0.1", int(sys.argv[3])), 2))
    attempt("write", lambda: os.write(os.open(sys.argv[2], os.O_WRONLY), b"x"))
    attempt("read what the parent had open", lambda: os.read(secret, 1))
    try:
        bytearray(2**30)
        found["memory"] = "done"
    except MemoryError:
        found["memory"] = "refused"
    os.write(child.PIPE, json.dumps(found).encode())
    os._exit(0)
os.close(ours[1])
print(open(ours[0]).read())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the bounds are Linux's")
def test_a_child_can_open_nothing_and_reach_nobody(tmp_path: Path) -> None:
    upload, secret = tmp_path / "upload", tmp_path / "secret"
    upload.write_bytes(b"x")
    secret.write_bytes(b"y")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        command = [sys.executable, "-c", PRISONER, str(upload), str(secret), str(port)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    found = json.loads(done.stdout)
    # Its list is read through a file of its own, the last one.
    assert found.pop("files") == ["0", "1", "2", "3", "4", "5"]
    assert found.pop("memory") == "refused"
    if found.pop("alone"):  # where the system allows it
        assert found["early"] == "alone"
    assert "done" not in found.values(), found


def test_keys_are_not_in_the_environment_of_what_decodes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TURNOUT_API_KEY", "a-secret-of-the-operator")
    own = Readers(ServingConfig())
    own.start()
    assert own._process is not None
    environment = Path(f"/proc/{own._process.pid}/environ").read_bytes()
    own.close()
    assert b"a-secret" not in environment
    assert b"OMP_NUM_THREADS=1" in environment


def frame(kind: bytes, data: bytes) -> bytes:
    return FRAME.pack(kind, len(data)) + data


HEADER = frame(b"h", b'{"native_rate": 16000}')


@pytest.mark.parametrize(
    "written",
    [
        b"",
        b"h",
        frame(b"h", b""),
        frame(b"h", b"[]"),
        frame(b"h", b"{}"),
        frame(b"h", b'{"native_rate": "16000"}'),
        frame(b"h", b'{"native_rate": 1}'),
        frame(b"b", bytes(4)),
        frame(b"z", b'{"warnings": []}'),
        HEADER,
        HEADER + frame(b"b", bytes(5)),
        HEADER + frame(b"b", b"\xff" * 400),
        HEADER + frame(b"?", bytes(4)),
        HEADER + frame(b"z", b"nonsense"),
        HEADER + FRAME.pack(b"b", 2**32 - 1),
        frame(b"e", b"{"),
        frame(b"e", b"{}"),
        frame(b"e", b'{"kind": "Unheard", "name": "x\\n", "reason": ["two\\nlines"]}'),
        frame(b"x", b"Traceback\n\x1b[31m"),
    ],
    ids=range(19),
)
def test_a_child_that_a_file_has_taken_over_says_anything(
    written: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = os.pipe()
    os.write(theirs, written)
    os.close(theirs)
    reading = Reading(Readers(ServingConfig()), 0, ours, "upload", ServingConfig())
    try:
        with pytest.raises(AudioError) as caught:
            list(reading.recording(100.0).blocks())
    finally:
        reading.close()
    assert str(caught.value).startswith("upload: ")
    assert "\n" not in str(caught.value)
    assert "\x1b" not in caplog.text


def test_a_decoder_of_strangers_files_is_told_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TURNOUT_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "secret")
    found = surroundings()
    assert "secret" not in found.values()
    assert found["PATH"] == os.environ["PATH"]
    assert found["OMP_NUM_THREADS"] == "1"
