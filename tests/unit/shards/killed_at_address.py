"""Makes shards at an address, and ends itself, as `kill -9` would, once so many files are there:
python -m ... CUTS ADDRESS FILES."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.unit.shards.corpus import sharded
from turnout.shards.remote import RemoteStore


def main(cuts: Path, address: str, files: int) -> None:
    """Until it is killed."""
    written, left = RemoteStore.written, [files]

    @contextmanager
    def counted(self: RemoteStore, name: str) -> Iterator[Path]:
        with written(self, name) as path:
            yield path
            if not left[0]:  # what was to follow is made, and not sent
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1

    RemoteStore.written = counted  # type: ignore[method-assign]
    sharded(cuts, address)


main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
