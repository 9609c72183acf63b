"""`turnout upcycle`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.argument import ArgumentCollection
from cyclopts.config import Dict

from turnout.cli.options import PLAIN, given, refuse_fractions
from turnout.cli.terminal import note, say
from turnout.config import RoutingConfig
from turnout.config.plain import to_plain


@dataclass(frozen=True, kw_only=True)
class StackShape:
    """Encoder or decoder."""

    routing: RoutingConfig = field(default_factory=RoutingConfig)
    """How its frames or tokens find their experts."""


@dataclass(frozen=True, kw_only=True)
class RoutedShape:
    """What of a model's shape is new."""

    encoder: StackShape = field(default_factory=StackShape)
    """Frames of sound."""
    decoder: StackShape = field(default_factory=StackShape)
    """Tokens of text."""
    domains: tuple[str, ...] = ()
    """Kinds of recordings, by names of one's own, that can guide to an expert; the first is meant
    where nobody says which."""


SHAPE = RoutedShape()


def upcycle(
    *,
    model: str,
    output: Annotated[Path, Parameter(alias="-o")],
    audio: tuple[Path, ...] = (),
    shape: Annotated[RoutedShape, Parameter(name="*")] = SHAPE,
) -> int:
    """Turn a dense model into a routed one that does just the same: each expert begins as a copy.

    Both models are compared on recordings, and must be equal to the last bit (behind a learned
    router to 1e-4, or 1e-5 of the largest log-probability). Supervised routing of a Whisper needs
    no PyTorch.

    Parameters
    ----------
    model
        Folder, name (whisper-base) or hf://owner/name[@revision].
    output
        Model folder to write.
    audio
        Recordings to compare the models on; by default some of a checkout's examples.
    """
    from turnout.export.remaking import upcycle_model

    routings = (shape.encoder.routing, shape.decoder.routing)
    receipt = upcycle_model(model, output, routings, domains=shape.domains, audio=audio, say=note)
    note(str(receipt))
    say(str(output))
    return 0


def read_shape(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fill in what the command line left open, from the model itself."""
    model = given(arguments, "--model")
    if model is None:
        return  # which the parser says
    from turnout.hub.resolve import open_model

    config = open_model(model, note).config
    stacks = {
        name: {"routing": to_plain(getattr(config, name).routing)}
        for name in ("encoder", "decoder")
    }
    content = {**stacks, "domains": list(config.domains)}
    Dict(content, source=f"model {model}", use_commands_as_keys=False)(app, commands, arguments)


app = App(
    name="upcycle",
    config=(read_shape, refuse_fractions),
    # Markdown reflows the long field docstrings.
    help_format="markdown",
    default_parameter=Parameter.combine(PLAIN, Parameter(consume_multiple=True)),
)
app.default(upcycle)
