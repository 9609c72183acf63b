"""The verbs, put together. Each verb's file is imported when the verb is used."""

from cyclopts import App, Parameter

from turnout.cli.whole import refuse_fractions

VERBS = {
    "transcribe": ("transcribe", "Write down what is said in recordings, or its translation."),
    "prepare": ("corpora", "Turn a corpus into cuts to train on, and say what it holds."),
    "synthesize": ("corpora", "Speak sentences through many voices into a corpus."),
    "train": ("train", "Train a model; stopped and started again, a run goes on."),
    "evaluate": ("evaluate", "Score a model: WER, CER, BLEU, chrF by bandwidth, task, language."),
    "inspect": ("inspection", "Show which expert each frame of a recording took."),
    "export": ("export", "Write a model folder's ONNX graphs, checked against PyTorch."),
}
"""Verb -> the file in this folder where its function lies, and its line in the help."""


def build_app() -> App:
    """The command with all its verbs."""
    app = App(
        name="turnout",
        help="Speech to text with routed experts.",
        help_format="plaintext",
        version=_version,
        config=refuse_fractions,
        # Without this every list gets an option `--empty-...`.
        default_parameter=Parameter(negative_iterable=()),
    )
    for verb, (file, line) in VERBS.items():
        name = f"turnout.cli.{file}:{'app' if verb == 'train' else verb}"
        app.command(name, name=verb, help=line, sort_key=list(VERBS).index(verb))
    return app


def _version() -> str:
    from importlib.metadata import version

    return version("turnout")
