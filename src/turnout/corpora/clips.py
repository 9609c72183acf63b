"""lhotse cuts -> Clips: what the loader must know of a recording, and its samples.

A clip is one labelled stretch of one recording. Sources that would run a shell or open a
connection are refused. This file knows nothing of features, batches or epochs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lhotse import CutSet, MonoCut
from numpy.typing import NDArray

from turnout.audio.features import SAMPLE_RATE
from turnout.audio.waveform import Waveform, read_audio
from turnout.corpora.readers.lines import text_lines
from turnout.errors import AudioError, ConfigError, ManifestError, MissingManifest
from turnout.guidance import Bandwidth

MOST_MISSING_SECONDS = 0.1
"""A recording that ends earlier before its cut does lacks some of the text."""

TELEPHONE_RATE = 8_000
"""A recording of this native rate or less is narrowband, whatever else is said of it."""

WHOLE_SECONDS = 0.02
"""A clip may be shorter than its recording by so much and still be all of it."""

HELD_OUT = ("dev", "valid", "test")
"""Splits that begin like this are never trained on."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One labelled stretch of one recording."""

    id: str
    path: str
    start: float
    """Seconds into the recording."""
    duration: float
    """Seconds."""
    channel: int | None
    """Which channel is read; None is the mean of all."""
    text: str
    language: str
    speaker: str
    bandwidth: Bandwidth
    translations: Mapping[str, str]
    """Text by target language."""
    split: str | None
    native_rate: int | None = None
    """What the recording's file must have, in Hz; None where it is not known."""
    whole: bool = False
    """Whether it is all of the recording, as far as its cut knows."""


def read_clips(cuts: str | Path) -> list[Clip]:
    """The clips of a `*.jsonl.gz` of cuts, in its order.

    Raises ManifestError, naming file and cut, where one cannot be used.
    """
    path = Path(cuts)
    if not path.is_file():
        raise MissingManifest(str(cuts), None, None, "no such file: `turnout prepare` writes cuts")
    for line in text_lines(path):  # before lhotse, which would read a line that never ends
        if isinstance(line, ManifestError):
            reason = f"not a lhotse manifest of cuts (line {line.line} {line.reason})"
            raise ManifestError(str(path), None, None, reason)
    try:
        # Absolute: lhotse runs a relative path that begins with 'pipe:' as a command.
        found = CutSet.from_file(path.absolute())
        return [_clip(cut, path, number) for number, cut in enumerate(found, 1)]
    except (ManifestError, MemoryError):
        raise
    except Exception as error:  # whatever lhotse, gzip and JSON raise
        first_line = (str(error).splitlines() or ["it ends early"])[0]
        raise ManifestError(
            str(path), None, None, f"not a lhotse manifest of cuts ({first_line})"
        ) from error


def training_clips(clips: Sequence[Clip]) -> list[Clip]:
    """Those that a run may learn from: the ones of dev and test splits are left out."""
    return [clip for clip in clips if not (clip.split or "").startswith(HELD_OUT)]


def development_clips(clips: Sequence[Clip]) -> list[Clip]:
    """The dev split where the cuts have one, else all of them."""
    dev = [clip for clip in clips if (clip.split or "").startswith(("dev", "valid"))]
    return dev or list(clips)


def check_languages(clips: Sequence[Clip], cuts: str, known: Sequence[str]) -> None:
    """Raise ConfigError where a clip is spoken in a language that the model does not have."""
    unknown = sorted({clip.language for clip in clips}.difference(known))
    if unknown:
        raise ConfigError(
            f"{cuts} is spoken in {', '.join(unknown)}, and model.vocabulary.languages has "
            f"{', '.join(known)}: add what is missing there or leave the corpus out"
        )


class ClipReader:
    """Samples of clips; the last recording stays decoded, since its segments follow each other."""

    def __init__(self) -> None:
        self._last: tuple[tuple[str, int | None], Waveform] | None = None

    def recording(self, clip: Clip) -> Waveform:
        """All of the recording that the clip is of. Raises AudioError."""
        key = (clip.path, clip.channel)
        if self._last is None or self._last[0] != key:
            self._last = (key, read_audio(clip.path, channel=clip.channel))
        return self._last[1]

    def read(self, clip: Clip) -> NDArray[np.float32]:
        """The clip's samples in -1..1 at 16 kHz, at least one. Raises AudioError."""
        recording = self.recording(clip)
        if clip.native_rate not in (None, recording.native_rate):
            raise AudioError(
                clip.path,
                f"its sampling rate is {recording.native_rate} Hz, that of its cut "
                f"{clip.native_rate} Hz: it is another recording, or was changed",
            )
        first = round(clip.start * SAMPLE_RATE)
        expected = max(round(clip.duration * SAMPLE_RATE), 1)
        samples = recording.samples[first : first + expected]
        if len(samples) == 0:
            raise AudioError(clip.path, f"it ends before {clip.start:.2f} s, where a cut begins")
        missing = (expected - len(samples)) / SAMPLE_RATE
        if missing > MOST_MISSING_SECONDS:
            raise AudioError(clip.path, f"it is cut short: its last {missing:.2f} s are missing")
        return samples


def _clip(cut: Any, file: Path, line: int) -> Clip:
    if not isinstance(cut, MonoCut) or cut.recording is None or len(cut.supervisions) != 1:
        reason = "each cut must be a MonoCut with one recording and one supervision"
        raise ManifestError(str(file), line, None, f"{reason} (cut '{cut.id}')")
    supervision = cut.supervisions[0]
    custom = {**(cut.custom or {}), **(supervision.custom or {})}
    for field in ("text", "language"):
        if getattr(supervision, field) is None:
            raise ManifestError(str(file), line, field, f"missing in cut '{cut.id}'")
    return Clip(
        id=cut.id,
        path=_source(cut, file, line),
        start=cut.start,
        duration=cut.duration,
        channel=cut.channel if cut.recording.num_channels > 1 else None,
        text=supervision.text or "",
        language=supervision.language or "",
        speaker=supervision.speaker or "unknown",
        bandwidth=_bandwidth(custom.get("bandwidth"), cut.recording.sampling_rate, file, line),
        translations=dict(custom.get("translations") or {}),
        split=custom.get("split"),
        # Transforms, such as resampling, are of what was read, not of the file.
        native_rate=None if cut.recording.transforms else cut.recording.sampling_rate,
        whole=max(cut.start, cut.recording.duration - cut.duration) < WHOLE_SECONDS,
    )


def _source(cut: MonoCut, file: Path, line: int) -> str:
    assert cut.recording is not None
    sources = cut.recording.sources
    if len(sources) != 1 or sources[0].type != "file":
        kinds = ", ".join(source.type for source in sources)
        raise ManifestError(
            str(file),
            line,
            "recording.sources",
            f"only one source of type 'file' is read, cut '{cut.id}' has: {kinds}",
        )
    path = Path(str(sources[0].source))
    beside = file.parent / path
    return str(beside if not path.is_absolute() and beside.exists() else path)


def _bandwidth(stated: str | None, rate: int, file: Path, line: int) -> Bandwidth:
    if stated is not None and stated not in tuple(Bandwidth):
        choices = " or ".join(Bandwidth)
        raise ManifestError(str(file), line, "bandwidth", f"'{stated}': expected {choices}")
    if rate <= TELEPHONE_RATE:
        return Bandwidth.NARROWBAND
    return Bandwidth(stated) if stated else Bandwidth.WIDEBAND
