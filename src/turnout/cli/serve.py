"""`turnout serve`."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from turnout.cli.terminal import say
from turnout.config.serving import ServingConfig


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ServeOptions(ServingConfig):
    """Where to serve what, and how much of it."""

    api_keys: Annotated[tuple[str, ...], Parameter(parse=False)] = ()
    """Read by __post_init__: on a command line others could read them."""
    api_key_file: Path | None = None
    """File with the keys of which clients must send one, one a line; without it the environment's
    TURNOUT_API_KEY is the key. Without any, only this machine may be listened at."""

    def __post_init__(self) -> None:
        # Here, not above: help needs no keys.
        from turnout.serving.keys import read_keys

        keys = read_keys(self.api_key_file, os.environ)
        object.__setattr__(self, "api_keys", keys)  # as a frozen dataclass's own __init__ does
        super().__post_init__()


def serve(*, options: ServeOptions | None = None) -> int:
    """Serve models over HTTP as OpenAI's audio API has it, and a page for people at /.

    Ctrl-C and SIGTERM end it once it has done what it has accepted.
    """
    from turnout.serving.keys import described
    from turnout.serving.run import serve as run

    config = options or ServeOptions()
    return run(config, say_now, key_from=described(config.api_key_file, config.api_keys))


def say_now(line: str) -> None:
    """A line that is read while the server goes on, though stdout may be a pipe."""
    say(line)
    sys.stdout.flush()
