"""`turnout inspect`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

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
from turnout.cli.terminal import note, say, show, warn, write_each
from turnout.config.transcription import TaskName, TranscriptionOptions
from turnout.files import write_whole

SUMMARY = "routing.json"
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
    output: Annotated[Path, Parameter(name=("--output-dir", "-o"))] = Path(),
    model: ModelOptions = MODEL,
) -> int:
    """Show which expert each frame and each word took, layer by layer, under the spectrogram.

    Writes `<stem>.routing.png` and `<stem>.routing.json` for each recording, `routing.json` for
    all of them together, and prints load, agreement of the layers, and experts that took nothing.

    Parameters
    ----------
    output
        Folder for the files.
    """
    check_targets(audio, output, (".routing.png", ".routing.json"), (SUMMARY,))
    refused = unnameable(audio, output, (".routing.json", LONGEST_ENDING))
    from turnout.inspection.picture import draw, pages
    from turnout.inspection.record import Layout, RoutingRecord
    from turnout.inspection.report import record_json, statistics_json, statistics_table
    from turnout.inspection.statistics import statistics_of
    from turnout.inspection.trace import inspect_files

    transcriber = transcriber_of(model)
    config = transcriber.backend.config
    layout, decoder = Layout.of(config), Layout.of(config, "decoder")
    heard = inspect_files(transcriber, without(refused, audio), options)
    results = with_refused(audio, refused, heard)
    records: list[RoutingRecord] = []

    def write(path: Path, record: RoutingRecord) -> None:
        records.append(record)
        warn(path, record.transcript.warnings)
        content = record_json(record, layout, decoder)
        write_whole(output / f"{path.stem}.routing.json", content.encode())
        # One picture for each 30 seconds.
        for number, start in enumerate(pages(record), start=1):
            suffix = "" if number == 1 else f"-{number}"
            target = output / f"{path.stem}.routing{suffix}.png"
            write_whole(target, draw(record, layout, config.features, decoder=decoder, start=start))
            note(f"{path} -> {target}")

    status = write_each(audio, results, "inspecting", write)
    if records:
        statistics, words = statistics_of(records, layout), statistics_of(records, decoder)
        summary = statistics_json(statistics, [one.name for one in records], words)
        write_whole(output / SUMMARY, summary.encode())
        show(statistics_table(statistics))
        if config.decoder.num_layers:
            say("")
            show(statistics_table(words))
    return status
