"""`turnout specialise`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from turnout.cli.terminal import note, say
from turnout.guidance import Bandwidth, Guidance, Task, Window


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PathOptions:
    """What the path is for, as far as it chooses experts."""

    bandwidth: Bandwidth | None = None
    """Of the recordings."""
    task: Task | None = None
    """What is written."""
    language: str | None = None
    """What is spoken."""
    target_language: str | None = None
    """What is written."""
    domain: str | None = None
    """One of the model's domains."""
    window: Window | None = None
    """How long the windows are."""


PATH = PathOptions()


def specialise(
    *,
    model: str,
    output: Annotated[Path, Parameter(alias="-o")],
    path: PathOptions = PATH,
    adapter: tuple[str, ...] = (),
    audio: Annotated[tuple[Path, ...], Parameter(consume_multiple=True)] = (),
) -> int:
    """Cut one path out of a routed model: a smaller one, without those experts, that says the same.

    Both models are compared on recordings, and must be equal to the last bit.

    Parameters
    ----------
    model
        Folder or name of a model whose experts are chosen by guidance (supervised or hybrid), or
        of a dense one with adapters.
    output
        Model folder to write.
    adapter
        Folder of an adapter of that model, or the name of one that ships; may be given again.
    audio
        Recordings to compare the models on; by default some of a checkout's examples.
    """
    from turnout.export.remaking import specialise_model

    stated = Guidance(
        bandwidth=path.bandwidth,
        task=path.task,
        language=path.language,
        target_language=path.target_language,
        domain=path.domain,
        window=path.window,
    )
    receipt = specialise_model(model, output, stated, adapters=adapter, audio=audio, say=note)
    note(str(receipt))
    say(str(output))
    return 0
