"""A process that reads recordings, one request a line, and says what became of each.

Run as a module by `Reader`: a recording that kills it, kills only it.
"""

import ctypes
import json
import resource
import signal
import sys
import time
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from turnout.audio.waveform import Source, open_recording
from turnout.errors import TurnoutError

MOST_SAMPLES = 5 * 16_000
"""Of a block: memory is bounded by the block, so the block has to be."""
kept: list[bytearray] = []


def main() -> None:
    """Answer requests until stdin ends."""
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(json.loads(line))) + "\n")
        sys.stdout.flush()


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """What became of one recording, and what it cost."""
    if request["fault"] == "crash":
        signal.raise_signal(signal.SIGKILL)
    if request["fault"] == "leak":
        kept.append(bytearray(b"x" * 2**20 * request["leaked_mb"]))
    started = time.process_time()
    found: dict[str, Any] = {"outcome": "read", "message": "", "samples": 0}
    path = Path(request["path"])
    with redirect_stderr(StringIO()) as said:
        take(path, request, found)
    if written := said.getvalue():
        # Such as what a callback raised, and nobody could catch.
        found.update(outcome="raised", message=f"written to stderr: {written}")
    seconds = time.process_time() - started
    return {**found, "cpu_seconds": seconds, "peak_mb": peak_mb(), "resident_mb": resident_mb()}


def take(path: Path, request: dict[str, Any], found: dict[str, Any]) -> None:
    """Read it, or note what stopped that."""
    try:
        if request["source"] == "stream":
            with path.open("rb") as stream:
                read(stream, request, found)
        else:
            read(path if request["source"] == "path" else path.read_bytes(), request, found)
    except TurnoutError as error:
        found.update(outcome="refused", message=str(error))
    except Exception as error:
        found.update(outcome="raised", message=f"{type(error).__name__}: {error}")


def read(source: Source, request: dict[str, Any], found: dict[str, Any]) -> None:
    """Read to the end, counting samples; ValueError for samples that no reader may give."""
    options = {} if request["limit"] is None else {"max_duration": request["limit"]}
    recording = open_recording(source, name=Path(request["path"]).name, **options)
    for block in recording.blocks():
        found["samples"] += len(block)
        if block.dtype != np.float32 or block.ndim != 1 or not np.isfinite(block).all():
            raise ValueError("a block is not finite, mono and float32")
        if len(block) > MOST_SAMPLES:
            raise ValueError(f"a block holds {len(block)} samples")
    found["warnings"] = list(recording.warnings)


def peak_mb() -> float:
    """Most memory that was ever resident.

    Not by `getrusage` where there is another way: on Linux it begins with the parent's.
    """
    peak = _status("VmHWM")
    if peak is not None:
        return peak
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def resident_mb() -> float:
    """Memory that is resident now; the peak where that is not told."""
    if hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)  # what was freed is not kept, whoever holds it for the next time
    now = _status("VmRSS")
    return peak_mb() if now is None else now


def _status(field: str) -> float | None:
    """MB, as Linux says them of this process."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(lines[field].split()[0]) / 1024


if __name__ == "__main__":
    main()
