"""Clips in a file that nobody sees, in any order: memory holds where they lie, and nothing else."""

import json
from array import array
from collections.abc import Iterable
from dataclasses import asdict
from hashlib import blake2b
from tempfile import TemporaryFile
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from turnout.corpora.clips import Clip
from turnout.errors import StorageError
from turnout.guidance import Bandwidth

KEY_BYTES = 8


class Spool:
    """Clips with whether their bandwidth is known; 24 bytes of memory each. Ends as a context.

    Raises StorageError where the temporary folder has no room.
    """

    def __init__(self, clips: Iterable[tuple[Clip, bool]], seed: int | None) -> None:
        """In their own order where `seed` is None, else their recordings mixed by it."""
        self._file = TemporaryFile()  # noqa: SIM115 - closed by the context
        self._places, self._keys, channels = array("Q"), array("Q"), array("i")
        try:
            at = 0
            for clip, known in clips:
                line = json.dumps([asdict(clip), known]).encode() + b"\n"
                self._file.write(line)
                self._places.append(at)
                self._keys.append(0 if seed is None else _key(seed, clip.path))
                channels.append(-1 if seed is None or clip.channel is None else clip.channel)
                at += len(line)
        except OSError as error:
            self._file.close()
            reason = f"the list of cuts cannot be written ({error.strerror or error})"
            raise StorageError(f"temporary folder (TMPDIR): {reason}") from error
        except BaseException:
            self._file.close()
            raise
        # Of equal keys the first stays first: a recording's clips follow each other, by channel.
        self._order: NDArray[np.int64] = np.lexsort((channels, self._keys))

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, number: int) -> tuple[Clip, bool]:
        """The clip that comes at this place of the order."""
        self._file.seek(self._places[int(self._order[number])])
        fields, known = json.loads(self._file.readline())
        return Clip(**{**fields, "bandwidth": Bandwidth(fields["bandwidth"])}), known

    def __enter__(self) -> "Spool":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()


def _key(seed: int, path: str) -> int:
    name = f"{seed}/{path}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(name, digest_size=KEY_BYTES).digest(), "big")
