"""`turnout serve` that tells what it holds, and keeps some of every request if told to: started by
benchmarks/serve_soak.py.

Upon SIGUSR1 it adds a line of JSON to the file HELD_FILE: bytes that were asked of malloc and not
given back, and blocks of Python's own allocator. What a process has of the system's memory is more:
allocators keep what is free, in steps that look like growth. LEAKED_BYTES stay of every request.

    HELD_FILE=/tmp/held LEAKED_BYTES=1000 python benchmarks/serve_watched.py serve --port 0
"""

import ctypes
import gc
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from turnout.__main__ import main
from turnout.serving import run

FIELDS = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
          "fordblks", "keepcost")  # fmt: skip
"""Of glibc's struct mallinfo2."""

kept: list[bytearray] = []
"""What is never given back."""


class MallInfo(ctypes.Structure):
    """What glibc's allocator says of itself, all arenas together."""

    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS]


def malloc_bytes() -> int | None:
    """Bytes in use; None where the C library does not say."""
    try:
        tell = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        return None
    tell.restype = MallInfo
    found = tell()
    return found.uordblks + found.hblkhd


def tell(*_: object) -> None:
    """Write down what is held now; what only waits to be collected is not."""
    gc.collect()
    held = {"malloc_bytes": malloc_bytes(), "python_blocks": sys.getallocatedblocks()}
    with Path(os.environ["HELD_FILE"]).open("a") as file:
        file.write(f"{json.dumps(held)}\n")


def leaking(*arguments: Any) -> Any:
    """The application; every request leaves some bytes behind."""
    serving, size = built(*arguments), int(os.environ.get("LEAKED_BYTES", "0"))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if size and scope.get("method") == "POST":  # not where it is only looked at
            kept.append(bytearray(b"x" * size))
        await serving.app(scope, receive, send)

    return replace(serving, app=app)


built = run.build
run.build = leaking

if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, tell)
    raise SystemExit(main())
