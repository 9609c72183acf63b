"""`turnout serve` with a planted leak, which a soak must see: started by benchmarks/serve.py.

LEAKED_BYTES=20000 python benchmarks/serve_leaking.py serve --port 0
"""

import os
from dataclasses import replace
from typing import Any

from turnout.__main__ import main
from turnout.serving import run

kept: list[bytearray] = []
"""What is never given back."""


def leaking(*arguments: Any) -> Any:
    """The application; every request leaves some bytes behind."""
    serving, size = built(*arguments), int(os.environ["LEAKED_BYTES"])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        kept.append(bytearray(b"x" * size))
        await serving.app(scope, receive, send)

    return replace(serving, app=app)


built = run.build
run.build = leaking

if __name__ == "__main__":
    raise SystemExit(main())
