"""A model that hears what a recording's length and its own table say, for the tests of
`turnout.labelling`."""

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from tests.doubles import model_config
from turnout.audio.waveform import Waveform, open_recording, read_audio
from turnout.config import TranscriptionOptions
from turnout.config.labelling import LabelConfig
from turnout.decoding.wishes import options_for_model
from turnout.errors import AudioError, TurnoutError
from turnout.guidance import Bandwidth, Task
from turnout.labelling.cluster import Cluster
from turnout.labelling.label import Labeller
from turnout.labelling.models import Models
from turnout.labelling.report import Report
from turnout.text.transcript import Segment, Transcript
from turnout.transcription.transcriber import Transcriber

WINDOW = 4.0


def segment(start: float, end: float, text: str, **more: Any) -> Segment:
    """One of three tokens."""
    usual: dict[str, Any] = {"id": round(start), "avg_logprob": -0.25, "tokens": (1, 2, 3)}
    return Segment(start=start, end=end, text=text, **{**usual, **more})


def transcript(seconds: float, *segments: Segment, **more: Any) -> Transcript:
    """Of these segments; English, unless it is said otherwise."""
    usual: dict[str, Any] = {
        "text": " ".join(one.text for one in segments),
        "language": "en",
        "task": Task.TRANSCRIBE,
        "bandwidth": Bandwidth.WIDEBAND,
        "language_probability": 0.98765,
    }
    return Transcript(duration_seconds=seconds, segments=segments, **{**usual, **more})


class Hearer:
    """Hears 'N seconds', or what `says` has for a recording's stem; keeps what it was given."""

    def __init__(self, name: str = "hearer", **says: Transcript) -> None:
        self.says = says
        self.given: list[str | float] = []
        self.folder = SimpleNamespace(path=Path(name), digests={})
        self.adapted = None
        self.backend = SimpleNamespace(config=model_config(window_seconds=WINDOW))

    def transcribe_files(
        self, sources: Iterable[Path | Waveform], options: TranscriptionOptions
    ) -> Iterator[Transcript | TurnoutError]:
        """As of a Transcriber."""
        options_for_model(options, self.backend.config)
        return (self._heard(source, options) for source in sources)

    def _heard(
        self, source: Path | Waveform, options: TranscriptionOptions
    ) -> Transcript | TurnoutError:
        if isinstance(source, Waveform):
            seconds = source.duration
            self.given.append(round(seconds, 3))
            return self._said("", seconds)
        self.given.append(source.stem)
        try:
            open_recording(source, channel=options.channel).close()
            seconds = read_audio(source, channel=options.channel).duration
        except AudioError as error:
            return error
        return self._said(source.stem, seconds)

    def _said(self, stem: str, seconds: float) -> Transcript:
        if stem in self.says:
            return replace(self.says[stem], duration_seconds=seconds)
        return transcript(seconds, segment(0.0, seconds, f"{seconds:g} seconds"))


def models(first: Hearer, second: Hearer | None = None) -> Models:
    """Of hearers, asked for what is usual."""
    return Models(
        transcriber=cast(Transcriber, first),
        second=cast(Transcriber | None, second),
        options=TranscriptionOptions(),
    )


def labelled(
    source: Path | str,
    output: Path,
    first: Hearer,
    second: Hearer | None = None,
    cluster: object = None,
    shards: str | None = None,
    **choice: Any,
) -> tuple[Report, list[float]]:
    """The report of a labelling, in parts of three seconds, and what was told of its progress."""
    told: list[float] = []
    labeller = Labeller(
        models=models(first, second),
        config=LabelConfig(**choice),
        part_minutes=0.05,
        shards=shards,
        cluster=cast(Cluster | None, cluster),
    )
    return labeller.label(source, output, lambda _: nullcontext(told.append)), told
