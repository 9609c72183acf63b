import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import close_session, constants

from tests.hub_server import BASE, HubServer, Repository, checkpoint, serving


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("TURNOUT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that would have been waited for."""
    waited: list[float] = []
    monkeypatch.setattr("turnout.hub.fetch.sleep", waited.append)
    return waited


@pytest.fixture
def hub(
    cache: Path, waits: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[HubServer]:
    """A hub of the test's own in the place of the true one; nobody is logged in."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with serving() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        yield server


@pytest.fixture(autouse=True, scope="package")
def connections_end() -> Iterator[None]:
    """Those that are kept, with the last test."""
    yield
    close_session()


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, bytes]]:
    """In the place of the conversion: a model folder that holds what was fetched. What each call
    was given."""
    from turnout.model_folder import write_folder

    calls: list[dict[str, bytes]] = []

    def convert(source: Path, folder: Path, *, origin: dict[str, str]) -> Path:
        files = {path.name: path.read_bytes() for path in sorted(source.iterdir())}
        calls.append(files)
        write_folder(folder, {**files, "source.json": json.dumps(origin).encode()})
        return folder

    monkeypatch.setattr("turnout.hub.fetched.convert", convert)
    return calls


@pytest.fixture
def base(hub: HubServer) -> Repository:
    hub.repositories[BASE] = checkpoint()
    return hub.repositories[BASE]
