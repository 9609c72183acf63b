"""Shards of words."""

from pathlib import Path

import pytest

from tests.unit.data.words import write_words
from tests.unit.shards.corpus import sharded
from turnout.config.sharding import ShardConfig
from turnout.data import epoch as epochs


@pytest.fixture(scope="session")
def cuts(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_words(tmp_path_factory.mktemp("audio"), takes=4)


@pytest.fixture(scope="session")
def made(cuts: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    assert len(sharded(Path(cuts), folder, ShardConfig(shard_size=0.03)).shards) > 9
    return folder


@pytest.fixture
def shards(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that a test may break; parts of an epoch are of two shards a rank."""
    monkeypatch.setattr(epochs, "SHARDS_AT_ONCE", 2)
    for path in made.glob("[!.]*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path
