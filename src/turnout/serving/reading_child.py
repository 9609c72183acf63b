"""The process that decodes uploads, each in a child of its own: run as a module by `reading.py`.

What a stranger's file does to a decoder, it does to a child that has a bound on its memory and its
time, no file but this one, no way to open another, no network, and no secret. The process itself
reads nothing but orders. Forked from here, where the decoders are loaded and no other thread runs,
a child costs milliseconds.
"""

import ctypes
import gc
import json
import os
import resource
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import walk_packages
from typing import Any, NoReturn

from turnout.audio.waveform import open_recording
from turnout.errors import AudioError, MissingExtra, TurnoutError

LENGTH = struct.Struct("<I")
FRAME = struct.Struct("<cI")
"""Kind and length of what follows: 'p' of who reads, 'h' of a header, 'b' of a block, 'e' of an
error, 'x' of a mistake, 'z' of the end."""
FILE, PIPE, FREE = 3, 4, 5
"""Numbers of a child's files: what it reads, where it writes, and the one that it may open once."""
ASIDE = 60
REAP_SECONDS = 0.5
NO_NETWORK = 0x10000000 | 0x40000000
"""Linux: CLONE_NEWUSER, which is allowed to everybody, and CLONE_NEWNET, which is then."""
DIE_WITH_PARENT = 1
"""Linux: PR_SET_PDEATHSIG."""
SPARE_BYTES = 2**27
"""Of a child's address space beyond what its decoding may take: stacks, and libraries' mappings."""


def main() -> None:
    """Fork a child for each order, until whoever gives them is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the server ends this process
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    orders = socket.socket(fileno=int(sys.argv[1]))
    load_decoders()
    leave_network()
    gc.freeze()  # what a collection touches is copied
    orders.settimeout(REAP_SECONDS)
    children: dict[int, int] = {}
    orders.sendall(b"r")  # ready
    try:
        for order, files in received(orders, children):
            obey(order, files, orders, children)
    finally:
        for process in children.values():
            os.kill(process, signal.SIGKILL)


def load_decoders() -> None:
    """All that a child might want to import: it can open no file for it."""
    if find_spec("av") is not None:
        # PyAV imports parts of itself when it first opens a file.
        names = [found.name for found in walk_packages(import_module("av").__path__, "av.")]
        for name in ("turnout.audio.pyav", *names):
            if not name.endswith("__main__"):
                import_module(name)


def leave_network() -> bool:
    """Have none, where the system lets one: there is nothing to be fetched. Whether it did."""
    with suppress(OSError, AttributeError):
        return ctypes.CDLL(None).unshare(NO_NETWORK) == 0
    return False


def received(
    orders: socket.socket, children: dict[int, int]
) -> Iterator[tuple[dict[str, Any], list[int]]]:
    """Orders as they come, with the files that came along; children that ended are forgotten."""
    while True:
        for number, process in list(children.items()):
            if os.waitpid(process, os.WNOHANG)[0]:
                del children[number]
        try:
            head, files, _, _ = socket.recv_fds(orders, LENGTH.size, 2)
        except TimeoutError:
            continue
        if not head:
            return
        (length,) = LENGTH.unpack(head + exactly(orders, LENGTH.size - len(head)))
        yield json.loads(exactly(orders, length)), files


def exactly(orders: socket.socket, length: int) -> bytes:
    """So many bytes; whoever gives orders gives them whole."""
    data = b""
    while len(data) < length:
        with suppress(TimeoutError):
            part = orders.recv(length - len(data))
            if not part:
                raise SystemExit
            data += part
    return data


def obey(
    order: dict[str, Any], files: list[int], orders: socket.socket, children: dict[int, int]
) -> None:
    """Say that this process is there, kill a child, or begin one."""
    number = order["number"]
    if order.get("ping"):
        orders.sendall(b"p")
        return
    if order["kill"]:
        if number in children:
            os.kill(children[number], signal.SIGKILL)
        return
    try:
        process = os.fork()
        if process == 0:
            be_child(order, files, orders)
        children[number] = process
    except OSError:  # the machine is full: those that are being read go on
        with suppress(OSError):
            os.write(files[1], framed(b"e", b'{"kind": "Busy"}'))
    for file in files:
        os.close(file)


def be_child(order: dict[str, Any], files: list[int], orders: socket.socket) -> NoReturn:
    """Decode one file, and end."""
    try:
        orders.detach()
        arrange(files)
        send(b"p", json.dumps({"process": os.getpid()}).encode())
        bound(order)
        decode(order)
    except BrokenPipeError:
        pass  # nobody wants it any more
    except BaseException as error:
        with suppress(BaseException):
            send(b"x", place_of(error).encode())
    finally:
        os._exit(0)


def place_of(error: BaseException) -> str:
    """What went wrong where, without the error's words, which may hold some of the file."""
    places = traceback.extract_tb(error.__traceback__)[-6:]
    lines = (f"{Path(one.filename).name}:{one.lineno}" for one in reversed(places))
    return " < ".join((type(error).__name__, *lines))


def arrange(files: list[int]) -> None:
    """Have these two files and no other; what decoders print goes nowhere."""
    # Out of the way first: they may have each other's numbers.
    high = [os.dup2(file, ASIDE + place) for place, file in enumerate(files)]
    for file, place in zip(high, (FILE, PIPE), strict=True):
        os.dup2(file, place)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for place in range(3):
        os.dup2(nowhere, place)
    os.closerange(FREE, 1024)


def bound(order: dict[str, Any]) -> None:
    """Whatever the file makes the decoder do, it ends."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    seconds = order["cpu_seconds"]
    limits = {
        resource.RLIMIT_AS: address_space() + SPARE_BYTES + order["memory_bytes"],
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: FREE + 1,
    }
    for limit, value in limits.items():
        with suppress(ValueError, OSError):  # macOS has no bound on the address space
            resource.setrlimit(limit, (value, value))


def address_space() -> int:
    """Bytes that this process has by now."""
    status = Path("/proc/self/statm")
    if not status.exists():
        return 0
    return int(status.read_text("ascii").split()[0]) * resource.getpagesize()


def decode(order: dict[str, Any]) -> None:
    """Write the recording's blocks into the pipe, or why there are none."""
    name = order["name"]
    try:
        recording = open_recording(
            Path(f"/dev/fd/{FILE}"),
            name=name,
            max_duration=order["max_duration"],
            channel=order["channel"],
            track=order["track"],
        )
        send(b"h", json.dumps({"native_rate": recording.native_rate}).encode())
        for block in recording.blocks():
            send(b"b", block.tobytes())
        send(b"z", json.dumps({"warnings": recording.warnings}).encode())
    except TurnoutError as error:
        send(b"e", json.dumps(told(error)).encode())
    except MemoryError:
        send(b"e", json.dumps(told(AudioError(name, too_large(order["memory_bytes"])))).encode())


def too_large(memory_bytes: int) -> str:
    """Why a file is refused."""
    return (
        f"decoding it takes more than the {memory_bytes / 2**20:.0f} MB that are allowed: give it "
        "in another format, such as WAV or FLAC"
    )


def told(error: TurnoutError) -> dict[str, str]:
    """An error in words that cross the pipe."""
    if isinstance(error, AudioError):
        return {"kind": type(error).__name__, "name": error.name, "reason": error.reason}
    if isinstance(error, MissingExtra):
        return {"kind": "MissingExtra", "what": error.what, "extra": error.extra}
    return {"kind": "UsageError", "message": str(error)}


def framed(kind: bytes, data: bytes) -> bytes:
    """A frame as it is written."""
    return FRAME.pack(kind, len(data)) + data


def send(kind: bytes, data: bytes) -> None:
    """Write a frame; waits where nobody reads yet."""
    left = memoryview(framed(kind, data))
    while left:
        left = left[os.write(PIPE, left) :]


if __name__ == "__main__":
    main()
