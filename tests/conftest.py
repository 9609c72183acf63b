"""Shape annotations of experts and model are checked while tests run, but for exports: what is
traced must be what users trace."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch
from jaxtyping import install_import_hook

LONG = ("reliability", "speech", "laws", "page")
"""Folders whose tests come first: a long one that began last would keep one process alone at it."""
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The order of the folders; that inside of each stays."""
    items.sort(
        key=lambda item: LONG.index(name) if (name := folder_of(item)) in LONG else len(LONG)
    )


def folder_of(item: pytest.Item) -> str:
    """The folder of `tests` that a test is in."""
    return item.path.relative_to(Path(__file__).parent).parts[0]


@pytest.fixture(autouse=True, scope="session")
def models_are_shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> None:
    """With several test processes, one makes a model and all use it."""
    # Not before the hook above: it builds models.
    from tests import models

    base = tmp_path_factory.getbasetemp()
    models.shared = (base if worker_id == "master" else base.parent) / "models"
    models.shared.mkdir(exist_ok=True)


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
