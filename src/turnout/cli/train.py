"""`turnout train`."""

import os
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.argument import ArgumentCollection
from cyclopts.config import Dict

from turnout.cli.configuration import read_config
from turnout.cli.options import PLAIN, given, refuse_fractions
from turnout.cli.terminal import note, say
from turnout.config import ModelConfig, TrainConfig
from turnout.config import preset as model_preset
from turnout.config.plain import to_plain
from turnout.errors import RunStopped

DEFAULTS = TrainConfig()
OWN = ("config", "preset")


def train(
    *,
    config: Path | None = None,  # noqa: ARG001 - `read_training_config` has taken it
    preset: str | None = None,  # noqa: ARG001
    run: Annotated[TrainConfig, Parameter(name="*")] = DEFAULTS,
) -> int:
    """Train a model on prepared corpora; stopped and started again, a run goes on.

    Parameters
    ----------
    config
        YAML file of the options below; options given beside it win.
    preset
        Model shape to start from: tiny, small, omni-router or whisper-tiny; by default that of
        --init-from where there is one.
    """
    from turnout.training.train import train as train_run

    first = os.environ.get("RANK", "0") == "0"
    try:
        folder = train_run(run)
    except RunStopped as stopped:
        if first:
            raise
        return stopped.exit_status
    if first:
        note(f"done; to use it: turnout transcribe AUDIO --model {folder}")
        say(str(folder))
    return 0


def read_training_config(
    app: App, commands: tuple[str, ...], arguments: ArgumentCollection
) -> None:
    """Fill in what the command line left open: from --config, then from --preset, or without one
    from the model that --init-from names."""
    path = given(arguments, "--config")
    if path is not None:
        content = read_config(Path(path), TrainConfig, OWN)
        Dict(content, source=path, use_commands_as_keys=False)(app, commands, arguments)
    name = given(arguments, "--preset")
    start = given(arguments, "--init-from") or None  # a recipe's null comes as an empty word
    if name is not None:
        shape = model_preset(name)
    elif start is not None:
        from turnout.hub.resolve import open_model

        shape = open_model(start, note).config
    else:
        shape = ModelConfig()
    # Without a preset too: where a part of a nested dataclass is given, the parser takes the rest
    # from its class, not from the instance that its owner has by default.
    source = f"preset {name}" if name else start or "the defaults"
    content = {"model": to_plain(shape)}
    Dict(content, source=source, use_commands_as_keys=False)(app, commands, arguments)


app = App(
    name="train",
    config=(read_training_config, refuse_fractions),
    # Markdown reflows the long field docstrings.
    help_format="markdown",
    default_parameter=PLAIN,
)
app.default(train)
