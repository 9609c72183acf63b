"""Shape annotations of experts and model are checked while tests run, but for exports: what is
traced must be what users trace."""

import gc
import signal
import sys
from collections.abc import Generator, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch
from jaxtyping import install_import_hook

from tests.order import dealt

LONG = ("reliability", "speech", "laws", "page")
"""Folders whose tests come first."""
MEASURED_EXPORTS = 2
"""Of a test process: one model's encoder and decoder."""

install_import_hook(["turnout.experts", "turnout.model"], "beartype.beartype")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("reliability tests")
    group.addoption("--full", action="store_true", help="their full sizes")
    group.addoption("--report", help="folder for their counts; full tests found there are skipped")
    group.addoption("--seed", default=1, type=int, help="of what they draw")


def pytest_report_header(config: pytest.Config) -> str:
    """What is needed to draw the same again."""
    return f"reliability tests: seed {config.getoption('--seed')}"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Looking for garbage in what is imported for the tests, which stays, is a seventh of it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long files before short ones in every test process."""
    processes = getattr(config, "workerinput", {}).get("workercount", 1)
    files = [list(tests) for _, tests in groupby(items, lambda item: item.path)]
    items[:] = dealt(files, is_long, processes)


def is_long(item: pytest.Item) -> bool:
    """Whether the file of a test is one of those that come first."""
    folder = item.path.relative_to(Path(__file__).parent).parts[0]
    return folder in LONG or item.get_closest_marker("slow") is not None


@pytest.fixture(autouse=True, scope="session")
def models_are_shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> None:
    """With several test processes, one makes a model and all use it."""
    # Not before the hook above: it builds models.
    from tests import models

    base = tmp_path_factory.getbasetemp()
    models.shared = (base if worker_id == "master" else base.parent) / "models"
    models.shared.mkdir(exist_ok=True)


@pytest.fixture(autouse=True, scope="session")
def ctrl_c_is_heard() -> Iterator[None]:
    """By the tests and what they start, which would inherit that it is ignored: as it is where a
    shell began the tests in the background."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True, scope="session")
def exports_are_unchecked() -> Iterator[None]:
    original = torch.onnx.export
    exports = 0

    def export(*args: Any, **options: Any) -> Any:
        nonlocal exports
        exports += 1
        jaxtyping.config.update("jaxtyping_disable", True)
        # Coverage sees the first export of each test process: it makes each take twice as long, for
        # millions of calls inside of PyTorch.
        tracer = sys.gettrace()
        if exports > MEASURED_EXPORTS:
            sys.settrace(None)
        try:
            return original(*args, **options)
        finally:
            sys.settrace(tracer)
            jaxtyping.config.update("jaxtyping_disable", False)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.onnx, "export", export)
        yield
