"""`turnout transcribe`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from turnout.cli.bulk import source_of, transcribe_manifest
from turnout.cli.cluster import ClusterOptions
from turnout.cli.options import (
    MODEL,
    ModelOptions,
    RecordingPath,
    check_targets,
    transcriber_of,
    unnameable,
    with_refused,
    without,
)
from turnout.cli.terminal import interruptible, note, say_text, warn, write_each
from turnout.config.transcription import TaskName, TranscriptionOptions
from turnout.errors import UsageError
from turnout.files import write_whole
from turnout.progress import Heard, sound_progress
from turnout.text.writers import FORMATS, Format, files_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from turnout.errors import TurnoutError
    from turnout.text.transcript import Transcript


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """Where the text goes; without these it is printed."""

    output_dir: Annotated[Path | None, Parameter(alias="-o")] = None
    """Write `<stem>.<format>` files here; the current folder where only a format is given."""
    output_format: Annotated[Literal[Format, "all"] | None, Parameter(alias="-f")] = None
    """Of the files; txt where only a folder is given."""

    @property
    def formats(self) -> tuple[Format, ...]:
        """Formats to write; none where the text is printed."""
        if self.output_dir is None and self.output_format is None:
            return ()
        return FORMATS if self.output_format == "all" else (self.output_format or "txt",)

    @property
    def folder(self) -> Path:
        """Where files are written."""
        return self.output_dir or Path()


OUTPUT = OutputOptions()
OPTIONS = TranscriptionOptions()
CLUSTER = ClusterOptions()


def transcribe(
    *audio: RecordingPath,
    options: Annotated[TranscriptionOptions, Parameter(name="*")] = OPTIONS,
    output: OutputOptions = OUTPUT,
    model: ModelOptions = MODEL,
    cluster: ClusterOptions = CLUSTER,
) -> int:
    """Write down what is said in recordings, or its translation, or both.

    With --engine ray, AUDIO is one source of many: cuts, JSON lines with `audio_filepath`, shards
    or a folder. Their transcripts become lines of `transcripts.jsonl.gz` in the output's folder,
    and files as well where a format is named. Stopped and started again, it goes on.
    """
    if cluster.engine is not None:
        if output.output_dir is None:
            raise UsageError("--engine ray needs a folder for what is heard: name one with -o")
        formats = output.formats if output.output_format else ()
        return transcribe_manifest(
            source_of(audio), output.output_dir, formats, options, cluster, model
        )
    endings = endings_of(output, options.task)
    check_targets(audio, output.folder, endings)
    refused = unnameable(audio, output.folder, endings)
    transcriber = transcriber_of(model)

    def write(path: Path, transcript: "Transcript") -> None:
        warn(path, transcript.warnings)
        if output.formats:
            _write(path, transcript, output)
        else:
            _print(path, transcript, several=len(audio) > 1)

    with interruptible() as interrupted:

        def results(heard: Heard) -> "Iterator[Transcript | TurnoutError]":
            found = transcriber.transcribe_files(
                without(refused, audio), options, heard=heard, cancelled=interrupted
            )
            return with_refused(audio, refused, found)

        what = "transcribing"
        found = sound_progress(results, what) if len(audio) == 1 else results(lambda _: None)
        return write_each(audio, found, what, write)


def endings_of(output: OutputOptions, task: TaskName) -> list[str]:
    """Of all files that are written for a recording; none where its text is printed."""
    endings = [f".{kind}" for kind in output.formats]
    if task == "both":
        endings += [f".translation.{kind}" for kind in output.formats if kind != "json"]
    return endings


def _print(path: Path, transcript: "Transcript", several: bool) -> None:
    say_text(f"{path}: " if several else "", transcript.text)
    if transcript.translation is not None:
        head = f"{path} [{transcript.translation.language}]: " if several else ""
        say_text(head, transcript.translation.text)


def _write(path: Path, transcript: "Transcript", output: OutputOptions) -> None:
    for ending, content in files_of(transcript, output.formats):
        target = output.folder / f"{path.stem}{ending}"
        write_whole(target, content)
        note(f"{path} -> {target}")
