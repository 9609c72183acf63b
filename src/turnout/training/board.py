"""Curves for TensorBoard: an event file, written at once.

TensorBoard's own writer leaves that to a thread, which dies of a full disk with a traceback.
"""

import os
import time
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import (
    Event,  # pyright: ignore[reportAttributeAccessIssue]
    SessionLog,  # pyright: ignore[reportAttributeAccessIssue]
)
from tensorboard.compat.proto.summary_pb2 import (
    Summary,  # pyright: ignore[reportAttributeAccessIssue]
)
from tensorboard.summary.writer.record_writer import RecordWriter

from turnout.errors import StorageError

VERSION = "brain.Event:2"


class Board:
    """One event file of a run; call `close`.

    Of the files that earlier processes wrote, everything from step `first` on counts as undone.
    Raises StorageError where it cannot be written, then and later.
    """

    def __init__(self, folder: Path, first: int) -> None:
        self.path = folder / f"events.out.tfevents.{time.time_ns()}.{os.getpid()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("wb", buffering=0)
        except OSError as error:
            raise self._problem(error) from error
        self._records = RecordWriter(self._file)
        self._write(Event(wall_time=time.time(), step=first, file_version=VERSION))
        started = SessionLog(status=SessionLog.START)
        self._write(Event(wall_time=time.time(), step=first, session_log=started))

    def scalar(self, name: str, value: float, step: int) -> None:
        """One point of one curve."""
        summary = Summary(value=[Summary.Value(tag=name, simple_value=value)])
        self._write(Event(wall_time=time.time(), step=step, summary=summary))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, event: Event) -> None:
        try:
            self._records.write(event.SerializeToString())
        except OSError as error:
            raise self._problem(error) from error

    def _problem(self, error: OSError) -> StorageError:
        return StorageError(
            f"{self.path}: cannot be written ({error.strerror}): free some space and start again: "
            "the run goes on from its last checkpoint"
        )
