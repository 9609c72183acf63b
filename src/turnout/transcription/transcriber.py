"""Recording -> Transcript, in three public steps: `listen`, `decode`, `compose`.

`transcribe` runs them in a row; a server batches the middle one across its clients.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Literal, Unpack, overload

from turnout.audio.waveform import Source, open_recording
from turnout.decoding.backend import Backend
from turnout.decoding.decode import decode
from turnout.decoding.request import Decoded, DecodingOptions, Utterance
from turnout.errors import TurnoutError, UsageError, shown
from turnout.model_folder import ModelFolder, write_folder
from turnout.text.tokenizer import Tokenizer
from turnout.text.transcript import Transcript
from turnout.transcription.compose import Heard, compose
from turnout.transcription.hearing import Hearing
from turnout.transcription.queue import Queue
from turnout.transcription.wishes import Options, Wishes

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
    def transcribe(self, source: Sources, **options: Unpack[Options]) -> list[Transcript]: ...
    @overload
    def transcribe(self, source: Source, **options: Unpack[Options]) -> Transcript: ...
    def transcribe(
        self, source: Source | Sources, **options: Unpack[Options]
    ) -> Transcript | list[Transcript]:
        """The text of a recording (path, bytes or binary file), or of each of a list of them.

        `task="both"` reads once and gives the translation inside the transcript; what is left out
        is measured or found. Raises AudioError for a recording that cannot be taken,
        GuidanceError for what this model cannot do, UsageError for what is no recording or option.
        """
        if not isinstance(source, list | tuple):
            (transcript,) = self.transcribe([source], **options)
            return transcript
        transcripts: list[Transcript] = []
        for result in self.transcribe_files(source, **options):
            if isinstance(result, TurnoutError):
                raise result
            transcripts.append(result)
        return transcripts

    def transcribe_files(
        self,
        sources: Iterable[Source],
        *,
        cancelled: Callable[[], bool] | None = None,
        **options: Unpack[Options],
    ) -> Iterator[Transcript | TurnoutError]:
        """What became of each recording, in order: an error of one does not stop the others.

        Raises, before anything is read, GuidanceError or UsageError for options that no recording
        could be served with; Cancelled where `cancelled` says so.
        """
        check_sources(sources)
        wishes = Wishes.of(options).for_model(self.backend.config)
        queue = Queue(sources, wishes, self.backend.config)
        return queue.results(lambda utterances: self.decode(utterances, wishes.decoding, cancelled))

    def listen(self, source: Source, **options: Unpack[Options]) -> Hearing:
        """The first step: a recording's stretches with features, read as they are asked for.

        Raises AudioError.
        """
        wishes = Wishes.of(options)
        recording = open_recording(source, max_duration=wishes.max_duration, channel=wishes.channel)
        return Hearing(recording, self.backend.config, wishes.said_bandwidth)

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
