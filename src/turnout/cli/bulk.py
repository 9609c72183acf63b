"""`turnout transcribe --engine ray`: a manifest's recordings, on a cluster."""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from turnout.cli.cluster import ClusterOptions, cluster_of
from turnout.cli.options import ModelOptions, transcriber_of
from turnout.cli.terminal import complain, hushed_libraries, note, say
from turnout.config.transcription import TranscriptionOptions
from turnout.errors import UsageError, repeated
from turnout.progress import Pace, pace_progress
from turnout.text.writers import Format

if TYPE_CHECKING:
    from turnout.labelling.transcribing import Outcome, Writer

MOST_LISTED = 20
"""Failures on the terminal; the report has all of them."""


def transcribe_manifest(
    source: str,
    output: Path,
    formats: Sequence[Format],
    options: TranscriptionOptions,
    where: ClusterOptions,
    model: ModelOptions,
) -> int:
    """Write down what is said in everything that a manifest names; 1 where some of it failed."""
    from turnout.labelling.transcribing import BulkTranscriber

    cluster = cluster_of(where, partial(writer_of, where.there(model), options))
    assert cluster is not None
    writer = writer_of(where.here(model), options)
    bulk = BulkTranscriber(writer=writer, cluster=cluster, formats=tuple(formats))
    pace = Pace()
    with hushed_libraries():
        outcome = bulk.transcribe(
            source, output, lambda total: pace_progress("transcribing", total, pace)
        )
    return told(outcome, output, pace)


def writer_of(model: ModelOptions, options: TranscriptionOptions) -> "Writer":
    """The model, ready."""
    from turnout.labelling.transcribing import Writer

    return Writer(transcriber=transcriber_of(model), options=options)


def source_of(audio: Sequence[Path]) -> str:
    """The one source among what are recordings otherwise; raises UsageError for several."""
    if len(audio) != 1:
        raise UsageError(
            "--engine ray takes one source: cuts, JSON lines, shards or a folder of recordings"
        )
    # A path has lost a slash of an address.
    return re.sub(r"^([A-Za-z][A-Za-z0-9+.-]+):/(?!/)", r"\1://", str(audio[0]))


def told(outcome: "Outcome", output: Path, pace: Pace) -> int:
    """Say what came out."""
    failed = outcome.failures.total()
    say(f"{outcome.inputs - failed:,} of {outcome.inputs:,} inputs transcribed")
    note(f"heard now: {pace}" if pace.hours else "nothing was heard anew")
    note(f"transcripts -> {output / 'transcripts.jsonl.gz'}")
    lines = repeated(outcome.failures, "inputs")
    for line in lines[:MOST_LISTED]:
        complain(f"failed: {line}")
    if len(lines) > MOST_LISTED:
        complain(f"failed in all: {failed:,}: {output}/report.json lists them")
    if outcome.warnings:
        complain(f"warnings: {len(outcome.warnings):,}: {output}/report.json lists them")
    return int(bool(failed))
