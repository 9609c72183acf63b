"""Shape annotations of experts and model are checked while tests run, but for exports: what is
traced must be what users trace."""

from collections.abc import Iterator
from typing import Any

import jaxtyping
import pytest
import torch
from jaxtyping import install_import_hook

install_import_hook(["turnout.experts", "turnout.model"], "beartype.beartype")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("reliability tests")
    group.addoption("--full", action="store_true", help="their full sizes")
    group.addoption("--report", help="folder for their counts; full tests found there are skipped")
    group.addoption("--seed", default=1, type=int, help="of what they draw")


def pytest_report_header(config: pytest.Config) -> str:
    """What is needed to draw the same again."""
    return f"reliability tests: seed {config.getoption('--seed')}"


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

    def export(*args: Any, **options: Any) -> Any:
        jaxtyping.config.update("jaxtyping_disable", True)
        try:
            return original(*args, **options)
        finally:
            jaxtyping.config.update("jaxtyping_disable", False)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.onnx, "export", export)
        yield
