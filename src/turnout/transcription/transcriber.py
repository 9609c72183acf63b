"""Recording -> Transcript, in three public steps: `listen`, `decode`, `compose`.

`transcribe` runs them in a row; a server batches the middle one across its clients.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, overload

from turnout.audio.waveform import Source, open_recording
from turnout.config.transcription import TranscriptionOptions
from turnout.decoding.backend import Backend
from turnout.decoding.decode import decode
from turnout.decoding.request import Decoded, DecodingOptions, Utterance
from turnout.errors import TurnoutError, UsageError, shown
from turnout.model_folder.folder import ModelFolder, write_folder
from turnout.text.tokenizer import Tokenizer
from turnout.text.transcript import Transcript
from turnout.transcription.compose import Heard, compose
from turnout.transcription.hearing import Hearing
from turnout.transcription.options import decoding_of, options_for_model, options_of
from turnout.transcription.queue import Queue

Sources = list[Source] | list[str] | list[Path] | tuple[Source, ...]


class Transcriber:
    """A model that is ready; holds nothing of any request, so threads may share one."""

    def __init__(
        self, backend: Backend, tokenizer: Tokenizer, folder: ModelFolder | None = None
    ) -> None:
        self.backend = backend
        self.tokenizer = tokenizer
        self.folder = folder

    def __repr__(self) -> str:
        """Where the model came from, and what runs it."""
        place = "" if self.folder is None else f"'{self.folder.path.name}', "
        return f"Transcriber({place}{type(self.backend).__name__})"

    @overload
    def transcribe(
        self, source: Sources, options: TranscriptionOptions | None = None, **changes: Any
    ) -> list[Transcript]: ...
    @overload
    def transcribe(
        self, source: Source, options: TranscriptionOptions | None = None, **changes: Any
    ) -> Transcript: ...
    def transcribe(
        self, source: Source | Sources, options: TranscriptionOptions | None = None, **changes: Any
    ) -> Transcript | list[Transcript]:
        """The text of a recording (path, bytes or binary file), or of each of a list of them.

        `options` may be given whole, or one by one as keyword arguments, which win.
        `task="both"` reads once and gives the translation inside the transcript; what is left out
        is measured or found. Raises AudioError for a recording that cannot be taken,
        GuidanceError for what this model cannot do, UsageError for what is no recording or option.
        """
        if not isinstance(source, list | tuple):
            (transcript,) = self.transcribe([source], options, **changes)
            return transcript
        transcripts: list[Transcript] = []
        for result in self.transcribe_files(source, options, **changes):
            if isinstance(result, TurnoutError):
                raise result
            transcripts.append(result)
        return transcripts

    def transcribe_files(
        self,
        sources: Iterable[Source],
        options: TranscriptionOptions | None = None,
        *,
        cancelled: Callable[[], bool] | None = None,
        **changes: Any,
    ) -> Iterator[Transcript | TurnoutError]:
        """What became of each recording, in order: an error of one does not stop the others.

        Raises, before anything is read, GuidanceError or UsageError for options that no recording
        could be served with; Cancelled where `cancelled` says so.
        """
        check_sources(sources)
        asked = options_for_model(options_of(options, changes), self.backend.config)
        queue = Queue(sources, asked, self.backend.config)
        search = decoding_of(asked)
        return queue.results(lambda utterances: self.decode(utterances, search, cancelled))

    def listen(
        self, source: Source, options: TranscriptionOptions | None = None, **changes: Any
    ) -> Hearing:
        """The first step: a recording's stretches with features, read as they are asked for.

        Raises AudioError.
        """
        asked = options_of(options, changes)
        recording = open_recording(source, max_duration=asked.max_duration, channel=asked.channel)
        return Hearing(recording, self.backend.config, asked.stated_bandwidth)

    def decode(
        self,
        utterances: Sequence[Utterance],
        options: DecodingOptions,
        cancelled: Callable[[], bool] | None = None,
    ) -> list[Decoded]:
        """The second step: stretches of any recordings, each with a request of its own.

        `cancelled` is asked at every step; raises Cancelled, and GuidanceError for a request that
        this model can never serve.
        """
        return decode(self.backend, self.tokenizer, utterances, options, cancelled)

    def compose(self, heard: Heard) -> Transcript:
        """The third step: what was decoded of one recording -> its Transcript."""
        return compose(heard)

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | Path | None = None,
        *,
        backend: Literal["auto", "onnx", "torch"] = "auto",
        device: str = "auto",
        threads: int | None = None,
    ) -> "Transcriber":
        """What `turnout.load` gives, under the name that users of other libraries look for."""
        from turnout.transcription.load import load  # noqa: PLC0415 - it imports this module

        return load(name_or_folder, backend=backend, device=device, threads=threads)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the model's folder to another place, whole or not at all; raises StorageError."""
        if self.folder is None:
            raise UsageError("this Transcriber was not made from a model folder: save its model")
        write_folder(folder, self.folder.files())


def check_sources(sources: object) -> None:
    """Raise UsageError where this is one recording, whose bytes could be taken for recordings, or
    nothing that holds any."""
    one = isinstance(sources, str | bytes | bytearray | memoryview | PathLike)
    if one or hasattr(sources, "read"):
        raise UsageError(
            f"sources is {shown(sources)}, a single recording: give a list, or call transcribe"
        )
    if not isinstance(sources, Iterable):
        raise UsageError(f"sources is {shown(sources)}: it must be a list of recordings")
