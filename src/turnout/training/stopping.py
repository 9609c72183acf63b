"""A request to stop that arrives as a signal and is obeyed between two steps."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class StopSignals:
    """Inside the context, Ctrl-C, SIGTERM and SIGUSR1 are noted instead of obeyed at once."""

    def __init__(self) -> None:
        self.received = 0
        """Number of the first signal, 0 before it."""
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        # Python takes signals in the main thread alone; elsewhere the caller stops by itself.
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.received = self.received or number
