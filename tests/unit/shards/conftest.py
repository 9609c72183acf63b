"""A corpus, and its shards in a folder."""

from pathlib import Path

import pytest

from tests.unit.shards.corpus import corpus, sharded


@pytest.fixture(scope="module")
def cuts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def made(cuts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    sharded(cuts, folder)
    return folder
