"""Which reader a source needs, by its name and content."""

from collections.abc import Callable
from pathlib import Path

from turnout.config.preparation import PrepareConfig
from turnout.data.entry import Read
from turnout.data.readers.nemo import read_nemo
from turnout.errors import ManifestError

Reader = Callable[[Path, PrepareConfig], Read]

READERS: dict[str, Reader] = {
    "nemo": read_nemo,
}


def reader_of(source: Path, config: PrepareConfig) -> Reader:
    """The reader for `source`, of the kind that the configuration names or that is found."""
    return READERS["nemo"]
