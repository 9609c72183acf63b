"""`turnout synthesize`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from turnout.cli.prepare import Output, show_corpus
from turnout.config.preparation import SynthesisConfig

OPTIONS = SynthesisConfig()


def synthesize(
    grammar: Path,
    /,
    *,
    output: Output,
    options: Annotated[SynthesisConfig, Parameter(name="*")] = OPTIONS,
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
