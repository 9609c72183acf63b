"""Whether the workshop is installed; asked before a verb's arguments are looked at."""

from collections.abc import Sequence
from importlib.util import find_spec

from turnout.errors import MissingExtra

WORKSHOP_VERBS = ("prepare", "synthesize", "train", "evaluate", "inspect", "export")
WORKSHOP_MODULES = (
    "torch", "lightning_fabric", "lhotse", "jiwer", "sacrebleu",
    "whisper_normalizer", "matplotlib", "tensorboard", "onnxscript", "jaxtyping",
)  # fmt: skip
HELP = ("--help", "-h")


def require_extra(words: Sequence[str]) -> None:
    """Raise MissingExtra where `words` ask for a verb of the workshop and it is not installed.

    Nothing is imported, and help never needs it.
    """
    verb = next((word for word in words if not word.startswith("-")), None)
    if verb not in WORKSHOP_VERBS or any(word in HELP for word in words):
        return
    if any(find_spec(module) is None for module in WORKSHOP_MODULES):
        raise MissingExtra(f"'turnout {verb}'", "train")
