"""Recording -> Transcript, in three public steps: `listen`, `decode` and `TranscriptBuilder.add`.

`transcribe` runs them in a row; a server batches the middle one across its clients.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Any, Literal, overload

from turnout.adapters.compose import Adapted
from turnout.audio.waveform import Source
from turnout.config import TranscriptionOptions
from turnout.config.plain import read_value
from turnout.config.transcription import options_of
from turnout.decoding.backend import Backend
from turnout.decoding.decode import decode
from turnout.decoding.requests import Decoded, Utterance
from turnout.decoding.wishes import options_for_model
from turnout.errors import (
    GuidanceError,
    MissingExtra,
    ModelFolderError,
    TurnoutError,
    UsageError,
    shown,
)
from turnout.guidance import Window
from turnout.hub.adapted import open_adapted
from turnout.hub.resolve import to_log
from turnout.model_folder import WEIGHTS, ModelFolder, write_folder
from turnout.progress import Heard, Say
from turnout.text.tokenizer import Tokenizer
from turnout.text.transcript import Segment, Transcript
from turnout.transcription import side_by_side
from turnout.transcription.recordings import OpenRecording, OpenRecordings, opened
from turnout.transcription.segments import AudioSegments

BackendName = Literal["auto", "onnx", "torch"]
Sources = list[Source] | list[str] | list[Path] | tuple[Source, ...]
DEFAULTS = TranscriptionOptions()


class Transcriber:
    """A model that is ready; holds nothing of any request, so threads may share one.

    Wherever options are taken, they may be given as a TranscriptionOptions, by their names, or as
    one with some of them changed by name.
    """

    def __init__(
        self,
        backend: Backend,
        tokenizer: Tokenizer,
        folder: ModelFolder | None = None,
        adapted: Adapted | None = None,
        *,
        two_at_once: bool = False,
    ) -> None:
        """`adapted` is what the folder's model is together with adapters; `two_at_once` is
        whether two batches are decoded at once where there are as many."""
        self.backend = backend
        self.tokenizer = tokenizer
        self.folder = folder
        self.adapted = adapted
        self.two_at_once = two_at_once

    def __repr__(self) -> str:
        """Where the model came from, and what runs it."""
        place = "" if self.folder is None else f"'{self.folder.path.name}', "
        return f"Transcriber({place}{type(self.backend).__name__})"

    @overload
    def transcribe(
        self, source: Sources, options: TranscriptionOptions = DEFAULTS, **changes: Any
    ) -> list[Transcript]: ...
    @overload
    def transcribe(
        self, source: Source, options: TranscriptionOptions = DEFAULTS, **changes: Any
    ) -> Transcript: ...
    def transcribe(
        self, source: Source | Sources, options: TranscriptionOptions = DEFAULTS, **changes: Any
    ) -> Transcript | list[Transcript]:
        """The text of a recording (path, bytes, binary file or Waveform), or of each of a list.

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
        options: TranscriptionOptions = DEFAULTS,
        *,
        cancelled: Callable[[], bool] | None = None,
        heard: Heard = lambda _: None,
        **changes: Any,
    ) -> Iterator[Transcript | TurnoutError]:
        """What became of each recording, in order: an error of one does not stop the others.
        `heard` is told, batch by batch, how many seconds of a recording are through. While the
        model runs, a thread reads ahead: of a list also recordings behind those that are open; and
        of a list a small model decodes two batches at once.

        Raises, before anything is read, GuidanceError or UsageError for options that no recording
        could be served with; where `cancelled`, which is asked at every step, by one thread at a
        time, says so, what there is of those that were begun is given, with a warning, and then
        Cancelled raised.
        """
        check_sources(sources)
        asked = self._asked(options, changes)
        recordings = OpenRecordings(sources, asked, self.backend.config, cancelled)
        # What comes from an iterator is not taken before it is wanted.
        if self.two_at_once and isinstance(sources, Sequence):
            return side_by_side.results(recordings, self.decode, heard)
        return self._results(recordings, heard)

    def segments(
        self,
        source: Source,
        options: TranscriptionOptions = DEFAULTS,
        *,
        cancelled: Callable[[], bool] | None = None,
        **changes: Any,
    ) -> Iterator[Segment]:
        """The segments of a recording's text, in order of time, as soon as their batch is finished
        (`batch_size=1`: each by itself).

        With `task="both"`, a segment's translation comes behind it. Raises as `transcribe` does,
        AudioError perhaps only at the recording's end, and Cancelled.
        """
        asked = self._asked(options, changes)
        recording = OpenRecording(source, asked, self.backend.config, cancelled)
        return self._segments(recording, asked.batch_size)

    def listen(
        self, source: Source, options: TranscriptionOptions = DEFAULTS, **changes: Any
    ) -> AudioSegments:
        """The first step: a recording's segments with features, read as they are asked for.

        Raises AudioError.
        """
        asked = options_of(options, changes)
        return AudioSegments(
            opened(source, asked),
            self.backend.config,
            asked.stated_bandwidth,
            window=Window(asked.window),
        )

    def decode(self, utterances: Sequence[Utterance]) -> list[Decoded]:
        """The second step: segments of any recordings, each with a request, options and an end of
        its own.

        One that cannot be had, or is cancelled, has an error, and the others go on.
        """
        return decode(self.backend, self.tokenizer, utterances)

    def _asked(
        self, options: TranscriptionOptions, changes: dict[str, Any]
    ) -> TranscriptionOptions:
        asked = options_for_model(options_of(options, changes), self.backend.config)
        check_previous(asked, self.tokenizer)
        return asked

    def _results(
        self, recordings: OpenRecordings, heard: Heard
    ) -> Iterator[Transcript | TurnoutError]:
        with closing(recordings):
            while (batch := recordings.take()) or recordings.waiting:
                if batch:
                    recordings.give(batch, self.decode([taken.utterance for taken in batch]))
                    heard(batch[-1].segment.end)
                yield from recordings.finished()
                if recordings.cancelled is not None:
                    yield from recordings.begun()
                    raise recordings.cancelled

    def _segments(self, recording: OpenRecording, batch_size: int) -> Iterator[Segment]:
        with closing(recording):
            while recording.result is None:
                # The range first: behind it, a segment too many would be taken and lost.
                taken = zip(range(batch_size), iter(recording.take, None), strict=False)
                batch = [one for _, one in taken]
                answers = self.decode([utterance for _, utterance in batch]) if batch else []
                for (segment, _), decoded in zip(batch, answers, strict=True):
                    yield from recording.give(segment, decoded)
        if isinstance(recording.result, TurnoutError):
            raise recording.result

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | Path | None = None,
        *,
        adapters: Sequence[str | Path] = (),
        backend: BackendName = "auto",
        device: str = "auto",
        threads: int | None = None,
        say: Say = to_log,
    ) -> "Transcriber":
        """What `turnout.load` gives, under the name that users of other libraries look for."""
        return load(
            name_or_folder,
            adapters=adapters,
            backend=backend,
            device=device,
            threads=threads,
            say=say,
        )

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the model's folder to another place, whole or not at all; raises StorageError."""
        if self.folder is None:
            raise UsageError("this Transcriber was not made from a model folder: save its model")
        if self.adapted is not None:
            raise UsageError(
                "this Transcriber has adapters, which lie in folders of their own: copy those, or "
                "cut out a path with 'turnout specialise'"
            )
        write_folder(folder, self.folder.files())


def check_previous(options: TranscriptionOptions, tokenizer: Tokenizer) -> None:
    """Raise GuidanceError where a previous text is asked for and the model takes none, and
    MissingExtra where it cannot be cut into tokens here."""
    if not options.initial_prompt and not options.condition_on_previous_text:
        return
    if tokenizer.previous is None:
        raise GuidanceError(
            "this model has no token for a previous text: leave out initial_prompt and "
            "condition_on_previous_text, or take a model that has one, such as Whisper's"
        )
    tokenizer.encode(options.initial_prompt or "")


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


def load(
    name_or_folder: str | Path | None = None,
    *,
    adapters: Sequence[str | Path] = (),
    backend: BackendName = "auto",
    device: str = "auto",
    threads: int | None = None,
    say: Say = to_log,
) -> Transcriber:
    """A model by its folder, by the name of one that ships (the default one for None), by the name
    of a published one ('whisper-base'), or by `hf://owner/name[@revision]`; with the experts of
    these adapters, each a folder or the name of one that ships. An adapter in the model's place is
    taken with the base that it names.

    What is of the Hugging Face hub is fetched and converted once, into the cache; `say` is told.
    `backend="auto"` takes ONNX Runtime, and PyTorch where the folder has no graphs or `device` is
    not the CPU. In a process that is forked afterwards, ONNX Runtime works on; PyTorch has one
    thread there, and no GPU. Raises ModelFolderError, UsageError, MissingExtra, FetchError and
    StorageError.
    """
    if not isinstance(name_or_folder, str | PathLike | None):
        raise UsageError(f"model is {shown(name_or_folder)}: it must be a name, a folder or None")
    read_value(str, device, "device")
    read_value(int | None, threads, "threads")
    if threads is not None and threads < 1:
        raise UsageError(f"threads is {threads}: it must be at least 1")
    check_adapters(adapters)
    folder, adapted = open_adapted(name_or_folder, adapters, say, keep=[WEIGHTS])
    chosen = choose_backend(folder, backend, device)
    if chosen == "torch":
        runs = open_torch(folder, device, threads, adapted)
    else:
        runs = open_onnx(folder, threads, adapted)
    folder.release()  # graphs of version 1 want no weights
    both = chosen == "onnx" and side_by_side.pays(folder.config, threads)
    return Transcriber(runs, folder.tokenizer, folder, adapted, two_at_once=both)


def choose_backend(folder: ModelFolder, backend: str, device: str) -> str:
    """'onnx' or 'torch'; raises UsageError or ModelFolderError where the wish cannot be met."""
    if backend not in ("auto", "onnx", "torch"):
        raise UsageError(f"no backend '{backend}': choose one of auto, onnx, torch")
    on_cpu = device in ("auto", "cpu")
    if backend == "auto":
        backend = "onnx" if on_cpu and folder.has_graphs else "torch"
    if backend == "onnx" and not on_cpu:
        raise UsageError(f"the backend onnx runs on the CPU, not on '{device}': choose torch")
    if backend == "onnx" and not folder.has_graphs:
        raise ModelFolderError(
            f"model folder {folder.path}: has no ONNX graphs: write them with 'turnout export', or "
            "choose the backend torch"
        )
    if backend == "torch" and not folder.has(WEIGHTS):
        raise ModelFolderError(
            f"model folder {folder.path}: has no {WEIGHTS}, only graphs: choose the backend onnx"
        )
    return backend


def check_adapters(adapters: object) -> None:
    """Raise UsageError where these are no list of adapters."""
    if isinstance(adapters, list | tuple):
        wrong = [one for one in adapters if not isinstance(one, str | PathLike)]
        if not wrong:
            return
    raise UsageError(f"adapters is {shown(adapters)}: it must be a list of folders or names")


def open_onnx(folder: ModelFolder, threads: int | None, adapted: Adapted | None) -> Backend:
    """The folder's graphs on ONNX Runtime, with the experts of adapters where there are such."""
    from turnout.backends.onnx_paths import open_onnx as opened  # noqa: PLC0415 - slow to import

    return opened(folder, threads, adapted)


def open_torch(
    folder: ModelFolder, device: str, threads: int | None, adapted: Adapted | None
) -> Backend:
    """The folder's weights in PyTorch, on the device, with the experts of adapters where there are
    such."""
    if find_spec("torch") is None:
        raise MissingExtra("running a model on PyTorch", "train")
    from turnout.backends import torch_paths  # noqa: PLC0415 - the one door to the workshop

    return torch_paths.open_torch(folder, device, threads, adapted)
