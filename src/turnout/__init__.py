"""Speech to text with routed experts: `turnout.load().transcribe("call.wav", task="both")`.

Names are imported on first use, so that `import turnout` is quick and needs nothing of the
workshop; those of the workshop need `pip install 'turnout[train]'`.
"""

# Importing `typing` for it would take most of the time in which a command cannot be interrupted.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    __version__: str
    from turnout.audio.waveform import Waveform
    from turnout.config.transcription import TranscriptionOptions
    from turnout.errors import (
        AudioError,
        AudioTooLong,
        Cancelled,
        CheckpointError,
        ConfigError,
        ExportError,
        FetchError,
        GuidanceError,
        ManifestError,
        MissingExtra,
        ModelFolderError,
        StorageError,
        TrainingError,
        TurnoutError,
        UsageError,
    )
    from turnout.export.save import export_folder
    from turnout.guidance import Bandwidth, Task
    from turnout.text.transcript import Segment, Transcript, Word
    from turnout.training.train import train
    from turnout.transcription.transcriber import Transcriber, load

__all__ = [
    "AudioError",
    "AudioTooLong",
    "Bandwidth",
    "Cancelled",
    "CheckpointError",
    "ConfigError",
    "ExportError",
    "FetchError",
    "GuidanceError",
    "ManifestError",
    "MissingExtra",
    "ModelFolderError",
    "Segment",
    "StorageError",
    "Task",
    "TrainingError",
    "Transcriber",
    "Transcript",
    "TranscriptionOptions",
    "TurnoutError",
    "UsageError",
    "Waveform",
    "Word",
    "__version__",
    "export_folder",
    "load",
    "train",
]

_HOMES = {
    "Bandwidth": "guidance",
    "Segment": "text.transcript",
    "Task": "guidance",
    "Transcriber": "transcription.transcriber",
    "Transcript": "text.transcript",
    "TranscriptionOptions": "config.transcription",
    "Waveform": "audio.waveform",
    "Word": "text.transcript",
    "export_folder": "export.save",
    "load": "transcription.transcriber",
    "train": "training.train",
}
_WORKSHOP = ("export_folder", "train")


def __getattr__(name: str) -> "Any":
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - slow to import

        return version("turnout")
    if name not in __all__:
        raise AttributeError(f"module 'turnout' has no attribute '{name}'")
    from importlib import import_module  # noqa: PLC0415

    home = _HOMES.get(name, "errors")
    try:
        return getattr(import_module(f"turnout.{home}"), name)
    except ModuleNotFoundError as error:
        if name not in _WORKSHOP:
            raise
        from turnout.errors import MissingExtra  # noqa: PLC0415

        raise MissingExtra(f"turnout.{name}", "train") from error


def __dir__() -> list[str]:
    return __all__
