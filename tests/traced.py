"""Graphs that PyTorch traced for a test, kept for the next run: tracing takes half a minute a model
and more, and gives the same as long as configuration, weights' shapes and sources are the same."""

import fcntl
import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pytest

import turnout
from turnout.config.plain import to_plain
from turnout.model.speech_model import SpeechModel

SOURCES = (
    "config", "errors.py", "experts", "export/graphs.py", "export/tracing.py", "guidance.py",
    "model", "onnx_file.py",
)  # fmt: skip
"""Of the package: what a graph is made of."""
MAKERS = ("torch", "onnx", "onnx-ir", "onnxscript")
KEPT_DAYS = 30
"""Since a graph was last used."""
ASKED = ("tasks", "window_seconds", "domains", "languages", "translations")
"""Of a configuration: what can be asked of a model, and of nothing in its graphs."""
Graphs = dict[str, bytes]
Tracing = Callable[[SpeechModel], Graphs]


@contextmanager
def remembered() -> Iterator[None]:
    """While this lasts, a graph that was traced before is not traced again; but where coverage is
    to see it."""
    from turnout.export import tracing  # slow to import

    with pytest.MonkeyPatch.context() as patch:
        if not is_covered():
            patch.setattr(tracing, "graphs_of", remembering(tracing.graphs_of, place()))
        yield


def is_covered() -> bool:
    """Whether it is counted which lines run."""
    coverage = sys.modules.get("coverage")
    return coverage is not None and coverage.Coverage.current() is not None


def place() -> Path:
    """Where they are kept: outside of the checkout, for every checkout of this user."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "turnout-tests" / "graphs"


@cache
def made_by() -> bytes:
    """What makes graphs, as it lies here, and its versions."""
    root = Path(turnout.__file__).parent
    files = [file for name in SOURCES for file in files_of(root / name)]
    parts = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    return "\n".join([*parts, *map(version, MAKERS), sys.version]).encode()


def files_of(path: Path) -> list[Path]:
    """Itself, or what a folder holds."""
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def key_of(model: SpeechModel) -> str:
    """The same for models whose graphs are the same: they hold no weights."""
    shapes = [(name, str(one.dtype), *one.shape) for name, one in model.state_dict().items()]
    config = to_plain(model.config)
    for part in (config, config["vocabulary"]):
        for name in ASKED:
            part.pop(name, None)
    said = f"{config}\n{shapes}\n".encode()
    return hashlib.sha256(said + made_by()).hexdigest()


def remembering(trace: Tracing, folder: Path) -> Tracing:
    """The same, of which each graph is traced once by all processes that share the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    forget(folder)

    def traced(model: SpeechModel) -> Graphs:
        own = folder / key_of(model)
        with (folder / f"{own.name}.lock").open("w") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX)
            if (found := read(own)) is None:
                found = trace(model)
                write(own, found)
            return found

    return traced


def read(own: Path) -> Graphs | None:
    """What was kept; None where nothing was, or not whole."""
    if not own.is_dir():
        return None
    os.utime(own)
    files = {path.name: path.read_bytes() for path in sorted(own.iterdir())}
    digest = files.pop("digest", b"").decode()
    return files if files and digest == digest_of(files) else None


def write(own: Path, graphs: Graphs) -> None:
    """Keep them; the digest comes last."""
    own.mkdir(exist_ok=True)
    for name, data in graphs.items():
        (own / name).write_bytes(data)
    (own / "digest").write_text(digest_of(graphs))


def digest_of(graphs: Graphs) -> str:
    """Of their names and bytes."""
    parts = [f"{name} {hashlib.sha256(graphs[name]).hexdigest()}" for name in sorted(graphs)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def forget(folder: Path) -> None:
    """What nobody has used for long."""
    for own in [path for path in folder.iterdir() if path.is_dir()]:
        if time.time() - own.stat().st_mtime > KEPT_DAYS * 86_400:
            for file in own.iterdir():
                file.unlink(missing_ok=True)
