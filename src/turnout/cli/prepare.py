"""`turnout prepare`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from turnout.cli.terminal import complain, show
from turnout.config.preparation import PrepareConfig

if TYPE_CHECKING:
    from turnout.corpora.summary import Summary

Output = Annotated[Path, Parameter(name=("--output", "--output-dir", "-o"))]
OPTIONS = PrepareConfig()


def prepare(
    source: Path,
    /,
    *,
    output: Output,
    options: Annotated[PrepareConfig, Parameter(name="*")] = OPTIONS,
) -> int:
    """Turn a corpus into lhotse cuts, and say what it holds.

    Parameters
    ----------
    source
        NeMo JSON lines, a CSV or TSV, a Kaldi directory, a Hugging Face dataset folder, a lhotse
        manifest, or the folder of a public corpus.
    output
        Folder for the cuts, a `*.jsonl.gz` for each split.
    """
    from turnout.corpora.prepare import prepare as prepare_corpus

    return show_corpus(prepare_corpus(source, output, options))


def show_corpus(summary: "Summary") -> int:
    """What was made on stdout, what was left out on stderr; 1 where something was."""
    # Whoever pipes the table elsewhere still sees what is missing from it.
    show(replace(summary, skipped=()))
    for line in summary.skipped:
        complain(f"left out: {line}")
    return int(bool(summary.skipped))
