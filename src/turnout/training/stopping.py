"""A request to stop that arrives as a signal and is obeyed between two steps.

torchrun passes SIGTERM and SIGINT on to its ranks; killed by any other signal, it leaves them
behind. A rank whose launcher has gone stops as if its terminal had hung up.
"""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
LAUNCHED = "TORCHELASTIC_RUN_ID"
"""Set in the environment of ranks that torchrun started."""


class StopSignals:
    """Inside the context, Ctrl-C, SIGTERM and SIGUSR1 are noted instead of obeyed at once."""

    def __init__(self) -> None:
        self._noted = 0
        self._launcher = os.getppid() if LAUNCHED in os.environ else None
        self._previous: dict[signal.Signals, Any] = {}

    @property
    def received(self) -> int:
        """Number of the first signal, 0 before it; that of SIGHUP where the launcher has gone."""
        if self._launcher not in (None, os.getppid()):
            self._noted = self._noted or signal.SIGHUP
        return self._noted

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
        self._noted = self._noted or number
