"""`turnout serve` as operators run it: a process whose temporary files and log tests can see."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.reliability.examples import ROOT

START_SECONDS = 120.0
ADDRESS = re.compile(r"(https?)://([^ ]+):(\d+)")
MB = 2**20


@dataclass
class Process:
    """The server."""

    process: subprocess.Popen[str]
    url: str
    temporary: Path
    log: Path
    key: str | None = None

    def client(self, **options: Any) -> httpx.Client:
        """One that has the key."""
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, **options)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def lines(self) -> list[dict[str, Any]]:
        """Its log; every line is JSON."""
        return [json.loads(line) for line in self.log.read_text("utf-8").splitlines()]

    def left_behind(self) -> list[str]:
        """Uploads that lie about."""
        found = self.temporary.glob("turnout-serve-*/*")
        return sorted(path.name for path in found if path.name != "lock")

    def processes(self) -> list[int]:
        """Its own number, and those of its children."""
        found, queue = [], [self.process.pid]
        while queue:
            one = queue.pop()
            found.append(one)
            for children in Path(f"/proc/{one}/task").glob("*/children"):
                queue += map(int, children.read_text().split())
        return found

    def resident_mb(self) -> float:
        """Of the server's own process."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / MB

    def cpu_seconds(self) -> float:
        """That it and its children have spent, with those of them that have ended."""
        ticks = 0
        for one in self.processes():
            with suppress(OSError):  # ended just now: its parent's figure holds it
                # Behind the name, which may hold spaces: utime, stime, cutime and cstime.
                fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
                ticks += sum(map(int, fields[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def open_files(self) -> int:
        """How many it has."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def threads(self) -> int:
        """How many it has."""
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))

    def ask_to_stop(self) -> None:
        """SIGTERM."""
        self.process.send_signal(signal.SIGTERM)


def start(folder: Path, *words: str, key: str | None = None, module: str = "turnout") -> Process:
    """A server with these options, once it listens; `module` is what is run."""
    temporary, log = folder / "temporary", folder / "log"
    temporary.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "TMPDIR": str(temporary), "HOME": str(folder)}
    environment.pop("TURNOUT_API_KEY", None)
    if key is not None:
        environment["TURNOUT_API_KEY"] = key
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", module, "serve", "--port", "0", "--threads", "1", *words],
            stdout=subprocess.PIPE,
            stderr=file,
            cwd=ROOT,
            env=environment,
            text=True,
        )
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
    line = process.stdout.readline() if ready else ""
    found = ADDRESS.search(line)
    if found is None:
        process.kill()
        process.wait()
        raise AssertionError(f"the server does not start: {line} {log.read_text()[-500:]}")
    scheme, host, port = found.groups()
    return Process(process, f"{scheme}://{host}:{port}", temporary, log, key)


@contextmanager
def serving(
    folder: Path, *words: str, key: str | None = None, module: str = "turnout"
) -> Iterator[Process]:
    """A server, and its end."""
    server = start(folder, *words, key=key, module=module)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.communicate()


def transcribed(
    client: httpx.Client, path: Path | tuple[str, bytes], **form: Any
) -> httpx.Response:
    """What the server says to a recording."""
    file = (path.name, path.read_bytes()) if isinstance(path, Path) else path
    return client.post("/v1/audio/transcriptions", files={"file": file}, data=form)


def check_error(response: httpx.Response) -> None:
    """OpenAI's form, one line, nothing of Python; any other answer is a failed assertion."""
    content = response.json()
    assert set(content) == {"error"}, content
    assert set(content["error"]) == {"message", "type", "param", "code"}, content
    message = content["error"]["message"]
    assert message and message.isprintable(), f"not one line: {message!r}"
    assert "Traceback" not in message and ".py" not in message, message


def eventually(condition: Any, seconds: float) -> bool:
    """Whether it holds within so long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.01)
    return bool(condition())
