"""Shape annotations of experts and model are checked while tests run, but for exports: what is
traced must be what users trace."""

import gc
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch
from jaxtyping import install_import_hook

from tests.order import dealt, turned

LONG = ("reliability", "speech", "laws", "page")
"""Folders whose tests come first."""
TOGETHER = {
    "graphs that PyTorch traces: none waits for what another process traces": (
        "laws/test_backends.py", "laws/test_int8.py", "laws/test_paths.py",
        "laws/test_specialise.py", "reliability/test_batch_mates.py", "unit/export/test_export.py",
    ),
    "ranks: they are forked from a server, which imports everything": (
        "reliability/test_bad_data_on_one_rank.py", "reliability/test_checkpoint_damage.py",
        "reliability/test_disk.py", "reliability/test_kills.py", "reliability/test_not_finite.py",
        "reliability/test_several_ranks.py", "reliability/test_sharded_ranks.py",
        "reliability/test_stop_signals.py", "reliability/test_streams_on_ranks.py",
        "reliability/test_two_ranks_as_one.py", "reliability/test_unheard_ends.py",
    ),
    "the page: a browser is begun": ("page/",),
}  # fmt: skip
"""What is made once in each test process that needs it: files, or folders, that one process has."""
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


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Each process begins at another place of each folder: in a new checkout, where assertions are
    rewritten and kept, none does what another has done."""
    report = yield
    if isinstance(collector, pytest.Directory) and report.result:
        report.result = turned(report.result, *place_of(collector.config))
    return report


def place_of(config: pytest.Config) -> tuple[int, int]:
    """The number of this test process, and how many there are."""
    given: dict[str, Any] = getattr(config, "workerinput", {"workerid": "gw0", "workercount": 1})
    return int(given["workerid"].removeprefix("gw")), given["workercount"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long files before short ones in every test process, and the same order in all."""
    _, processes = place_of(config)
    if processes > 1:
        items.sort(key=lambda item: item.path)
    # The first to be dealt, each to another process.
    files: dict[str, list[pytest.Item]] = {reason: [] for reason in TOGETHER}
    for item in items:
        files.setdefault(file_of(item), []).append(item)
    items[:] = dealt([tests for tests in files.values() if tests], is_long, processes)


def file_of(item: pytest.Item) -> str:
    """The file of a test, or what its file has in common with others."""
    name = item.path.relative_to(Path(__file__).parent).as_posix()
    return next((reason for reason, files in TOGETHER.items() if name.startswith(files)), name)


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
