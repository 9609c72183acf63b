"""The table of scripts/demo: what the shipped model makes of recordings, beside what was said.

Needs the runtime alone. Recordings that are not the repository's have no reference.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile
from rich.console import Console
from rich.table import Table

import turnout
from turnout.progress import progress
from turnout.text.transcript import Transcript

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
# Wide enough for one line per recording where the output is not a terminal.
LOG_WIDTH = 170


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One recording after transcription."""

    path: Path
    native_rate: int
    transcript: Transcript
    seconds: float
    reference: dict[str, str] | None

    @property
    def errors(self) -> tuple[int, int]:
        """(wrong words, words) of transcript and translation together; zeros without reference."""
        if self.reference is None:
            return 0, 0
        translation = self.transcript.translation
        pairs = [
            (self.reference["text"], self.transcript.text),
            (self.reference["translation"], translation.text if translation else ""),
        ]
        wrong = sum(word_errors(reference, heard) for reference, heard in pairs)
        return wrong, sum(len(reference.split()) for reference, _ in pairs)


def word_errors(reference: str, heard: str) -> int:
    """Fewest words to replace, put in or take out of `heard` to have the reference."""
    wanted, found = reference.casefold().split(), heard.casefold().split()
    row = list(range(len(found) + 1))
    for index, word in enumerate(wanted, start=1):
        diagonal, row[0] = row[0], index
        for column, other in enumerate(found, start=1):
            best = min(row[column] + 1, row[column - 1] + 1, diagonal + (word != other))
            diagonal, row[column] = row[column], best
    return row[-1]


def native_rate(path: Path) -> int:
    """The rate that the file is stored at, in Hz; 0 for what soundfile cannot open."""
    try:
        return soundfile.info(path).samplerate
    except soundfile.LibsndfileError:
        return 0


def hear(path: Path, transcriber: turnout.Transcriber, said: Mapping[Path, dict]) -> Outcome:
    """Transcribe and translate one recording; `said` has the references."""
    began = time.perf_counter()
    transcript = transcriber.transcribe(path, task="both")
    seconds = time.perf_counter() - began
    return Outcome(
        path=path,
        native_rate=native_rate(path),
        transcript=transcript,
        seconds=seconds,
        reference=said.get(path.resolve()),
    )


def hear_all(
    paths: Sequence[Path], transcriber: turnout.Transcriber, said: Mapping[Path, dict]
) -> list[Outcome]:
    """Each recording that can be taken; of the others a line is said."""
    outcomes: list[Outcome] = []
    for path in progress(paths, "transcribing and translating", len(paths)):
        try:
            outcomes.append(hear(path, transcriber, said))
        except turnout.TurnoutError as error:
            print(f"demo: {error}", file=sys.stderr)
    return outcomes


def references(folder: Path) -> dict[Path, dict[str, str]]:
    """Recording of the folder -> what it says."""
    content = json.loads((folder / "references.json").read_text(encoding="utf-8"))
    return {folder / name: content[name] for name in sorted(content)}


def console() -> Console:
    """Where tables are shown."""
    shown = Console()
    return shown if shown.is_terminal else Console(width=LOG_WIDTH)


def row(outcome: Outcome) -> list[str]:
    """The cells of one recording."""
    transcript, reference = outcome.transcript, outcome.reference
    translation = transcript.translation
    wrong, words = outcome.errors
    duration = transcript.duration_seconds
    return [
        outcome.path.name,
        f"{outcome.native_rate / 1000:g} kHz" if outcome.native_rate else "?",
        str(transcript.bandwidth),
        transcript.language or "?",
        transcript.text,
        translation.text if translation else "",
        f"{reference['text']}\n{reference['translation']}" if reference else "",
        f"{wrong} of {words}" if reference else "",
        f"{outcome.seconds / duration:.3f}" if duration else "",
    ]


def table(outcomes: list[Outcome]) -> Table:
    """All recordings."""
    drawn = Table(show_lines=True)
    for name in ("file", "native rate", "bandwidth", "language"):
        drawn.add_column(name, no_wrap=name == "file")
    for name in ("transcript", "translation", "reference"):
        drawn.add_column(name, ratio=1)
    drawn.add_column("errors", justify="right")
    drawn.add_column("real-time factor", justify="right")
    for outcome in outcomes:
        drawn.add_row(*row(outcome))
    return drawn


def summary(outcomes: list[Outcome], load_seconds: float) -> str:
    """One line under the table."""
    wrong = sum(outcome.errors[0] for outcome in outcomes)
    words = sum(outcome.errors[1] for outcome in outcomes)
    audio = sum(outcome.transcript.duration_seconds for outcome in outcomes)
    taken = sum(outcome.seconds for outcome in outcomes)
    right = f"{words - wrong} of {words} words of transcripts and translations are right"
    share = f"{right} ({1 - wrong / words:.1%}); " if words else ""
    return (
        f"{share}{audio:.1f} s of audio transcribed and translated in {taken:.2f} s, "
        f"after {load_seconds:.2f} s to load the model"
    )


def main(arguments: list[str]) -> int:
    """Print the table; 1 where a recording could not be taken."""
    said = references(EXAMPLES)
    paths = [Path(argument) for argument in arguments] or list(said)
    began = time.perf_counter()
    transcriber = turnout.load()
    load_seconds = time.perf_counter() - began
    outcomes = hear_all(paths, transcriber, said)
    shown = console()
    shown.print(table(outcomes))
    shown.print(summary(outcomes, load_seconds), highlight=False)
    return int(len(outcomes) < len(paths))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
