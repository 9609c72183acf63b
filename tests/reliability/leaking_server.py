"""`turnout serve`, but that it keeps some of every request: what a soak must see.

`LEAKED_BYTES` in the environment says how much.
"""

import os
import sys
from typing import Any

from turnout.cli import main
from turnout.serving.guard import Guard

LEAKED_BYTES = int(os.environ["LEAKED_BYTES"])
kept: list[bytes] = []
original = Guard.__call__


async def leaking(guard: Guard, scope: Any, receive: Any, send: Any) -> None:
    """A request, of which something is never let go."""
    kept.append(os.urandom(LEAKED_BYTES))
    await original(guard, scope, receive, send)


if __name__ == "__main__":
    Guard.__call__ = leaking  # type: ignore[method-assign]
    sys.exit(main())
