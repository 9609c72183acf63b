"""`turnout prepare` and `turnout synthesize`: what is there, or is spoken, becomes a corpus."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from turnout.cli.terminal import complain, hushed_libraries, show
from turnout.config.preparation import PrepareConfig, SynthesisConfig

if TYPE_CHECKING:
    from turnout.corpora.summary import Summary

Output = Annotated[Path, Parameter(name=("--output", "--output-dir", "-o"))]
PREPARATION = PrepareConfig()
SYNTHESIS = SynthesisConfig()


def prepare(
    source: Path,
    /,
    *,
    output: Output,
    options: Annotated[PrepareConfig, Parameter(name="*")] = PREPARATION,
) -> int:
    """Turn a corpus into lhotse cuts, and say what it holds.

    Parameters
    ----------
    source
        NeMo JSON lines, a CSV or TSV, a Kaldi directory, a Hugging Face dataset folder or Parquet
        file, a lhotse manifest, or the folder of a public corpus.
    output
        Folder for the cuts, a `*.jsonl.gz` for each split.
    """
    from turnout.corpora.prepare import prepare as prepare_corpus

    with hushed_libraries():
        summary = prepare_corpus(source, output, options)
    return show_corpus(summary)


def synthesize(
    grammar: Path,
    /,
    *,
    output: Output,
    options: Annotated[SynthesisConfig, Parameter(name="*")] = SYNTHESIS,
) -> int:
    """Speak a list or grammar of sentences through many voices of espeak-ng or flite into a corpus.

    Parameters
    ----------
    grammar
        YAML file of sentences with their translations.
    output
        Folder for the recordings and their cuts.
    """
    from turnout.synthesis.synthesize import synthesize as synthesize_corpus

    return show_corpus(synthesize_corpus(grammar, output, options))


def show_corpus(summary: "Summary") -> int:
    """What was made on stdout, what is to be known of it and was left out on stderr; 1 where
    something was."""
    # Whoever pipes the table elsewhere still sees what is missing from it.
    show(replace(summary, skipped=(), notes=()))
    for line in summary.notes:
        complain(line)
    for line in summary.skipped:
        complain(f"left out: {line}")
    if len(summary.skipped) > 1:
        complain(f"left out in all: {len(summary.skipped):,}")
    return int(bool(summary.skipped))
