"""Two models by name -> an adapter's folder, with its card and licence."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.filesize import decimal

from turnout.adapters.compose import adapted, conditions, stack_of
from turnout.adapters.facts import (
    ADAPTER,
    AdapterFacts,
    ExpertEntry,
    adapter_bytes,
    check_readable,
)
from turnout.adapters.folder import (
    LICENSE,
    MOST_PAPER,
    TENSORS,
    Expert,
    files_of_adapter,
    write_adapter,
)
from turnout.adapters.making import Kept, Made, Making, Model, difference, parts_of
from turnout.adapters.stored import safetensors_of, weights_of
from turnout.errors import UsageError, shown
from turnout.hub.adapted import digest_of, name_of
from turnout.hub.card import LICENSE_NAME, NOTICE
from turnout.hub.resolve import open_model, to_log
from turnout.hub.sources import SCHEME
from turnout.model_folder import ModelFolder
from turnout.progress import Say
from turnout.verified_folder import CARD

NO_LICENSE = "other"
"""What the hub calls a licence that it has no name for; where none is given, too."""
WHISPERS = "LICENSE-whisper"
"""Whisper's notice, which stands beside what was made of it."""


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Of what an adapter is made."""

    base: str | Path
    """As `--model` takes it."""
    trained: str | Path
    license: str = NO_LICENSE
    """The name of the adapter's licence, or the path of a file that holds it."""


def make_adapter(
    sources: Sources, folder: Path, making: Making, say: Say = to_log
) -> tuple[Made, int]:
    """Write the adapter that makes the trained model of its base, whole or not at all; what was
    kept, and the bytes of its tensors.

    Raises as `open_model` does, UsageError where something differs that no expert can hold, and
    StorageError, and leaves what was there.
    """
    given = license_file(sources.license)
    files_of_adapter(folder)  # before the work: something else than an adapter is not overwritten
    base, trained = (open_model(name, say) for name in (sources.base, sources.trained))
    made = difference(model_of(base, sources.base), model_of(trained, sources.trained), making)
    facts = AdapterFacts(
        name=making.name,
        base=name_of(base, sources.base),
        digest=digest_of(base),
        experts=tuple(entry_of(expert, made.kept) for expert in made.experts),
    )
    check_readable(facts)
    adapted(base.config, made.experts)  # what could never be used is not written
    tensors = {
        f"{expert.name}/{part}": values
        for expert in made.experts
        for name, change in expert.changes.items()
        for part, values in parts_of(name, change).items()
    }
    data = safetensors_of(tensors)
    named = None if given else sources.license
    whisper = {WHISPERS: NOTICE.encode()} if is_whispers(base) else {}
    files = {
        ADAPTER: adapter_bytes(facts),
        TENSORS: data,
        CARD: card(facts, made, base, named).encode(),
        **given,
        **whisper,
    }
    write_adapter(folder, files)
    return made, len(data)


def license_file(given: str) -> dict[str, bytes]:
    """The file that holds a licence; none where it is a name. Raises UsageError for what must have
    been meant as a file and is none, and for one that is too long."""
    path = Path(given)
    if path.is_file():
        data = path.read_bytes() if path.stat().st_size <= MOST_PAPER else b""
        if not data:
            raise UsageError(f"--license {given}: has nothing, or more than {MOST_PAPER} bytes")
        return {LICENSE: data}
    if not LICENSE_NAME.fullmatch(given) or path.suffix.lower() in (".txt", ".md", ".rst"):
        raise UsageError(
            f"--license is {shown(given)}: there is no such file, and a licence's name is as the "
            "Hugging Face hub has it, such as apache-2.0"
        )
    return {}


def is_whispers(base: ModelFolder) -> bool:
    """Whether a model was OpenAI's, whatever became of it."""
    return base.tokenizer.kind == "whisper"


def model_of(folder: ModelFolder, given: str | Path) -> Model:
    """What an adapter is made of, as it was given; raises ModelFolderError, for int8 too."""
    folder.require_floats("an adapter is made of")
    return Model(
        name=str(given),
        config=folder.config,
        tensors=weights_of(folder),
        tokenizer=folder.tokenizer_bytes,
    )


def entry_of(expert: Expert, kept: Sequence[Kept]) -> ExpertEntry:
    """What adapter.json says of an expert."""
    ranks = [one.rank for one in kept if one.expert == expert.name and one.rank is not None]
    return ExpertEntry(name=expert.name, when=expert.when, rank=max(ranks, default=None))


def card(facts: AdapterFacts, made: Made, base: ModelFolder, license_name: str | None) -> str:
    """README.md, with the head that the Hugging Face hub reads; a licence without a name is that
    of the file beside it."""
    licence = f"The adapter's own is '{license_name}'."
    if license_name is None:
        licence = f"The adapter's own is in {LICENSE}."
    elif license_name == NO_LICENSE:
        licence = "The adapter came without a licence of its own."
    lines = ["---", f"license: {license_name or 'other'}", "library_name: turnout"]
    repository = (facts.base or "").removeprefix(SCHEME).partition("@")[0]
    if "/" in repository:
        lines.append(f"base_model: {repository}")
    lines += [
        "pipeline_tag: automatic-speech-recognition",
        "---",
        "",
        f"# {facts.name}: an adapter for turnout",
        "",
        f"- base: {facts.base or 'without a name of its own'} (digest of its weights "
        f"{facts.digest})",
        *(described(expert, made.kept) for expert in made.experts),
        "",
        "What none of these is for is the base's own, to the last bit.",
        "",
        f"Use it: `turnout transcribe --model {facts.base or 'BASE'} --adapter FOLDER "
        "recording.wav`.",
        "",
        "## Licence",
        "",
        licence,
    ]
    if is_whispers(base):
        lines.append(f"It was made of Whisper, whose notice is in {WHISPERS}.")
    return "\n".join([*lines, ""])


def described(expert: Expert, kept: Sequence[Kept]) -> str:
    """An expert in a line."""
    own = [one for one in kept if one.expert == expert.name]
    stacks = " and ".join(dict.fromkeys(stack_of(one.tensor) for one in own))
    ranks = [one.rank for one in own if one.rank is not None]
    form = f"{len(ranks)} as differences of rank {ranks[0]}" if ranks else "whole"
    form += ", the others whole" if 0 < len(ranks) < len(own) else ""
    return (
        f"- expert {expert.name}, for {conditions(expert)}: {len(own)} tensors of {stacks}, {form}"
    )


def summary(made: Made, size: int) -> list[str]:
    """What was made, in lines."""
    lines: list[str] = []
    for expert in made.experts:
        own = [one for one in made.kept if one.expert == expert.name]
        lines.append(described(expert, made.kept).removeprefix("- "))
        lines += [
            f"  {one.tensor}: rank {one.rank} keeps {100 * one.share:.1f} % of the difference"
            for one in own
            if one.rank is not None
        ]
    return [*lines, f"{decimal(size)} of tensors"]
