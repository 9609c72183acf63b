"""`turnout adapter`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from turnout.cli.terminal import note, say
from turnout.errors import UsageError
from turnout.guidance import Guide


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class AdapterOptions:
    """Of what an adapter is made, and how."""

    base: str
    """Model that the training began with: a folder or a name."""
    model: str
    """What became of it: a model folder, dense, or upcycled with experts that guidance chooses."""
    when: tuple[str, ...] = ()
    """What a dense model's difference is for, such as language=es; given again, all must hold.
    Experts say themselves what they are for."""
    rank: int | None = None
    """Keep differences of this rank, which are small; by default tensors are kept whole."""
    half: bool = False
    """Round to float16: half the size."""
    name: str | None = None
    """Of the adapter; by default the folder's."""
    license: str = "other"
    """Name of its licence, or a file that holds it."""

    def __post_init__(self) -> None:
        if self.rank is not None and self.rank < 1:
            raise UsageError(f"--rank is {self.rank}: it must be at least 1")


def adapter(*, options: AdapterOptions, output: Annotated[Path, Parameter(alias="-o")]) -> int:
    """Write what was trained as its difference from the model that it was trained from.

    Parameters
    ----------
    output
        Folder to write, which `--adapter` takes.
    """
    from turnout.adapters.making import Making
    from turnout.hub.making import Sources, make_adapter, summary

    making = Making(
        name=name_of(options.name or output.resolve().name),
        when=conditions(options.when),
        rank=options.rank,
        half=options.half,
    )
    sources = Sources(base=options.base, trained=options.model, license=options.license)
    made, size = make_adapter(sources, output, making, note)
    for line in summary(made, size):
        note(line)
    say(str(output))
    return 0


def name_of(name: str) -> str:
    """The name of an adapter; raises UsageError where it cannot be one."""
    from turnout.adapters.facts import NAME

    if not NAME.fullmatch(name):
        raise UsageError(
            f"--name is '{name}': up to 64 letters, digits, '.', '_' and '-' are needed"
        )
    return name


def conditions(when: Sequence[str]) -> dict[Guide, str]:
    """What an expert is for; raises UsageError."""
    found: dict[Guide, str] = {}
    for word in when:
        guide, equals, value = word.partition("=")
        if not (equals and value and guide in list(Guide)):
            raise UsageError(
                f"--when is '{word}': a guide and its value are needed, such as language=es; "
                f"guides are {', '.join(Guide)}"
            )
        if Guide(guide) in found:
            raise UsageError(f"--when names the {guide} twice: a model of two has two adapters")
        found[Guide(guide)] = value
    return found
