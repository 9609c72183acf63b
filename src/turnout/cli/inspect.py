"""`turnout inspect`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

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
from turnout.cli.terminal import complain, hushed_libraries, note, say, show, warn, write_each
from turnout.config.transcription import TaskName, TranscriptionOptions
from turnout.errors import TurnoutError, UsageError, one_line
from turnout.files import write_whole
from turnout.progress import progress, sound_progress

if TYPE_CHECKING:
    from turnout.config import FeatureConfig
    from turnout.corpora.clips import Clip
    from turnout.inspection.inspected import Inspected
    from turnout.inspection.record import RoutingRecord
    from turnout.transcription.transcriber import Transcriber

SUMMARY = "routing.json"
PAGE = "routing.html"
LONGEST_ENDING = ".routing-999.png"


@dataclass(frozen=True, kw_only=True)
class InspectionOptions(TranscriptionOptions):
    """Without what `inspect_files` settles itself."""

    task: Annotated[TaskName, Parameter(parse=False)] = "transcribe"
    target_language: Annotated[str | None, Parameter(parse=False)] = None
    word_timestamps: Annotated[bool, Parameter(parse=False)] = False


OPTIONS = InspectionOptions()


def inspect(
    *audio: RecordingPath,
    options: Annotated[InspectionOptions, Parameter(name="*")] = OPTIONS,
    compare: str | None = None,
    limit: int | None = None,
    output: Annotated[Path, Parameter(name=("--output-dir", "-o"))] = Path(),
    model: ModelOptions = MODEL,
) -> int:
    """Show which expert each frame and each word took, layer by layer, and what experts are for.

    Writes one page, `routing.html`, and its figures as `routing.json`; for each recording also
    `<stem>.routing.png` and `<stem>.routing.json`. Cuts (`*.jsonl.gz`), which may say who speaks,
    are taken too, and count without files of their own. How sure a router was is known on PyTorch
    alone (`--backend torch`).

    Parameters
    ----------
    compare
        Another model, as --model takes it, to be shown beside this one.
    limit
        Take this many utterances of each file of cuts, drawn with a fixed seed.
    output
        Folder for the files.
    """
    from turnout.inspection.page import page
    from turnout.inspection.report import figures_of, statistics_json
    from turnout.inspection.trace import way_of

    cuts = [path for path in audio if path.name.endswith((".jsonl", ".jsonl.gz"))]
    recordings = [path for path in audio if path not in cuts]
    if limit is not None and not cuts:
        raise UsageError("--limit is for cuts (*.jsonl.gz), and none are given: leave it out")
    endings = (".routing.png", ".routing.json")
    check_targets(recordings, output, endings, (SUMMARY, PAGE))
    if compare is not None and Path("/dev/stdin") in recordings:
        raise UsageError("stdin is heard once: give the recording as a file to compare two models")
    asked = Asked(recordings, read_cuts(cuts, limit, options), options, output)
    other = None
    if compare is not None:  # what it lacks is told before an hour is heard with the first
        other = transcriber_of(replace(model, model=compare, adapter=()))
        way_of(other, options)
    status, found = inspect_model(asked, transcriber_of(model), files=True)
    if not found.recordings:
        return status
    models, compared = [found], None
    if other is not None:
        second, beside = inspect_model(asked, other, files=False)
        status = max(status, second)
        if beside.name == found.name:
            beside = replace(beside, name=f"{beside.name} (compared)")
        models.append(beside)
        compared = {"model": beside.name, **figures_of(beside.encoder, beside.decoder)}
    heard = {"model": found.name, "files": asked.names, "seconds": round(found.seconds, 3)}
    summary = statistics_json(found.encoder, heard, found.decoder, compared)
    write_whole(output / SUMMARY, summary.encode())
    write_whole(output / PAGE, page(models).encode())
    note(f"page -> {output / PAGE}")
    for one in models:
        show_tables(one, titled=len(models) > 1)
    return status


@dataclass(frozen=True)
class Asked:
    """What is inspected, and where it goes; `names` are those of what was taken."""

    recordings: list[Path]
    clips: "Sequence[Clip]"
    options: InspectionOptions
    output: Path
    names: list[str] = field(default_factory=list)


def read_cuts(
    cuts: "Sequence[Path]", limit: int | None, options: InspectionOptions
) -> "Sequence[Clip]":
    """The utterances of files of cuts."""
    if not cuts:
        return ()
    from turnout.evaluation.references import read_data

    data = read_data(cuts, limit, options)
    for line in (*data.skipped, *data.notes):
        complain(f"warning: {line}")
    return data.clips


def inspect_model(
    asked: Asked, transcriber: "Transcriber", *, files: bool
) -> "tuple[int, Inspected]":
    """The exit status, and what one model did with everything; `files` for each recording."""
    from turnout.inspection.inspected import Inspected
    from turnout.inspection.trace import inspect_files, way_of
    from turnout.model_folder import called

    folder = transcriber.folder
    name = called(folder.path) if folder else "model"
    found = Inspected.start(name, way_of(transcriber, asked.options))

    def take(path: Path, record: "RoutingRecord") -> None:
        nonlocal found
        if files:
            warn(path, record.transcript.warnings)
            asked.names.append(record.name)
        found = found.plus(record)

    def write(path: Path, record: "RoutingRecord") -> None:
        take(path, record)
        if files:
            write_files(path, record, asked.output, found, transcriber.backend.config.features)

    endings = (".routing.json", LONGEST_ENDING)
    refused = unnameable(asked.recordings, asked.output, endings) if files else {}
    taken = without(refused, asked.recordings)
    what = f"inspecting with {name}"
    status = 0
    if len(taken) == 1:  # has no bar of recordings, but may be long
        heard = sound_progress(
            lambda told: inspect_files(transcriber, taken, asked.options, told), what
        )
    else:
        heard = inspect_files(transcriber, taken, asked.options)
    if asked.recordings:
        results = with_refused(asked.recordings, refused, heard)
        status = write_each(asked.recordings, results, what, write)
    if asked.clips:
        status = max(status, inspect_cuts(transcriber, asked, take, what))
    return status, found


def inspect_cuts(
    transcriber: "Transcriber",
    asked: Asked,
    take: "Callable[[Path, RoutingRecord], None]",
    what: str,
) -> int:
    """The exit status of all clips, each of which is taken as it comes."""
    from turnout.inspection.clips import inspect_clips

    failures = 0
    results = inspect_clips(transcriber, asked.clips, asked.options)
    with hushed_libraries():
        for clip, result in progress(results, what, len(asked.clips)):
            if isinstance(result, TurnoutError):
                complain(f"error: {one_line(clip.id)}: {result}")
                failures += 1
            else:
                take(Path(one_line(clip.id)), result)
    return int(failures > 0)


def write_files(
    path: Path, record: "RoutingRecord", folder: Path, found: "Inspected", features: "FeatureConfig"
) -> None:
    """A recording's picture for each 30 seconds, and its JSON."""
    from turnout.inspection.picture import draw, pages
    from turnout.inspection.report import record_json

    layout, decoder = found.encoder.layout, found.decoder.layout
    content = record_json(record, layout, decoder)
    write_whole(folder / f"{path.stem}.routing.json", content.encode())
    for number, start in enumerate(pages(record), start=1):
        suffix = "" if number == 1 else f"-{number}"
        target = folder / f"{path.stem}.routing{suffix}.png"
        write_whole(target, draw(record, layout, features, decoder=decoder, start=start))
        note(f"{path} -> {target}")


def show_tables(found: "Inspected", *, titled: bool) -> None:
    """Load, agreement and experts that took nothing, on stdout."""
    from turnout.inspection.report import statistics_table

    if titled:
        say(f"{found.name}:")
    show(statistics_table(found.encoder))
    if found.decoder.layout.kind != "dense" or found.decoder.layout.feed_forwards:
        say("")
        show(statistics_table(found.decoder))
