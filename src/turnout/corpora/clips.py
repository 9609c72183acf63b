"""Cuts -> Clips: what training and evaluation must know of an utterance, and its samples.

This file knows nothing of features, batches or epochs.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from turnout.audio.bandwidth import bandwidth_by_rate, measure_bandwidth
from turnout.audio.features import SAMPLE_RATE
from turnout.audio.waveform import LastRecording, Waveform
from turnout.config import CorpusConfig, ModelConfig
from turnout.config.transcription import MAX_DURATION_SECONDS
from turnout.corpora.cuts import Cut, read_cuts
from turnout.corpora.manifest import Fields
from turnout.corpora.spelling import plain_text, usual_split
from turnout.errors import AudioError, AudioTooLong, ConfigError, ManifestError, MissingManifest
from turnout.guidance import Bandwidth, Guide
from turnout.progress import progress

logger = logging.getLogger(__name__)

MOST_MISSING_SECONDS = 0.1
"""A recording that ends earlier before its cut does lacks some of the text."""

WHOLE_SECONDS = 0.02
"""A clip may be shorter than its recording by so much and still be all of it."""

HELD_OUT = ("dev", "valid", "test")
"""What else splits begin with that are never trained on, such as 'testset'."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One utterance of a corpus: a segment of a recording, and what is said in it."""

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
    speaker: str | None
    """Who speaks, where that is known."""
    bandwidth: Bandwidth
    translations: Mapping[str, str]
    """Text by target language."""
    split: str | None
    domain: str | None = None
    """Which kind of recording it is, where its cut says so."""
    native_rate: int | None = None
    """What the recording's file must have, in Hz; None where it is not known."""
    whole: bool = False
    """Whether it is all of the recording, as far as its cut knows."""
    recording_duration: float = 0.0
    """Seconds, as its cut says; 0 where that says nothing."""

    @property
    def voice(self) -> str:
        """Who may be taken for one person: the speaker, or whoever is heard in one channel of one
        recording where no speaker is stated."""
        if self.speaker is not None:
            return self.speaker
        return f"{self.path}#{self.channel or 0}"

    @property
    def place(self) -> slice:
        """Of its recording's samples at 16 kHz: at least one."""
        first = round(self.start * SAMPLE_RATE)
        return slice(first, first + max(round(self.duration * SAMPLE_RATE), 1))


def read_clips(cuts: str | Path) -> list[Clip]:
    """The clips of a `*.jsonl.gz` of cuts, in its order; where no bandwidth is stated, it is
    measured.

    Raises ManifestError, naming file and cut, where one cannot be used.
    """
    path = Path(cuts)
    clips = list(each_clip(path))
    if not clips:
        raise ManifestError(str(path), None, None, "holds no cut")
    return _with_bandwidths(clips, path)


def each_clip(cuts: Path) -> Iterator[tuple[Clip, bool]]:
    """The clips of a file of cuts one by one, each with whether its bandwidth is known; errors as
    of `read_clips`."""
    if not cuts.is_file():
        raise MissingManifest(str(cuts), None, None, "no such file: `turnout prepare` writes cuts")
    return (_clip(cut, cuts) for cut in read_cuts(cuts))


def read_corpora(corpora: Iterable[CorpusConfig]) -> dict[str, list[Clip]]:
    """The clips of every file of cuts that is named, by its path; each is read once. Those of
    shards are not: nobody holds them all."""
    paths = dict.fromkeys(corpus.cuts for corpus in corpora if not corpus.shards)
    return {path: read_clips(path) for path in paths}


def training_clips(clips: Sequence[Clip]) -> list[Clip]:
    """Those that a run may learn from: the ones of dev and test splits are left out."""
    return [clip for clip in clips if held_out(clip.split or "") is None]


def development_clips(clips: Sequence[Clip]) -> list[Clip]:
    """The dev split where the cuts have one, else all of them."""
    dev = [clip for clip in clips if held_out(clip.split or "") == "dev"]
    return dev or list(clips)


def held_out(split: str) -> str | None:
    """'dev' or 'test' where a split is one of these, however it is called."""
    usual = usual_split(split)
    if usual is None and split.lower().startswith(HELD_OUT):
        return "test" if split.lower().startswith("test") else "dev"
    return None if usual == "train" else usual


def check_languages(clips: Sequence[Clip], cuts: str, known: Sequence[str]) -> None:
    """Raise ConfigError where a clip is spoken in a language that the model does not have."""
    unknown = sorted({clip.language for clip in clips}.difference(known))
    if unknown:
        raise ConfigError(
            f"{cuts} is spoken in {', '.join(unknown)}, and model.vocabulary.languages has "
            f"{', '.join(known)}: add what is missing there or leave the corpus out"
        )


def check_domains(clips: Sequence[Clip], cuts: str, model: ModelConfig) -> None:
    """Raise ConfigError where a clip's domain would choose experts that the model does not have."""
    unknown = sorted({clip.domain for clip in clips if clip.domain}.difference(model.domains))
    if unknown and model.guided_by(Guide.DOMAIN):
        raise ConfigError(
            f"{cuts} has clips of the domain {', '.join(unknown)}, and model.domains has "
            f"{', '.join(model.domains)}: add what is missing there or leave the corpus out"
        )


def domain_of(clip: Clip, model: ModelConfig) -> str:
    """The clip's domain where the model knows it, else the model's first."""
    return clip.domain if clip.domain in model.domains and clip.domain else model.domains[0]


class ClipReader:
    """Samples of clips; the last recording stays decoded, since its segments follow each other."""

    def __init__(self) -> None:
        self._last = LastRecording()

    def recording(self, clip: Clip) -> Waveform:
        """All of the recording that the clip is of. Raises AudioError."""
        # As long as its cut says it may be: whoever prepared it allowed that.
        allowed = max(MAX_DURATION_SECONDS, clip.recording_duration + MOST_MISSING_SECONDS)
        try:
            return self._last.read(clip.path, clip.channel, allowed)
        except AudioTooLong as error:
            reason = f"longer than {allowed:.0f} s, and than its cut says: prepare the corpus anew"
            raise AudioTooLong(clip.path, reason) from error

    def read(self, clip: Clip) -> NDArray[np.float32]:
        """The clip's samples in -1..1 at 16 kHz, at least one. Raises AudioError."""
        recording = self.recording(clip)
        return checked(clip, recording.native_rate, recording.samples[clip.place])


def checked(clip: Clip, native_rate: int, samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """The samples that lie in the clip's place of a recording; raises AudioError where it cannot be
    the clip's, or ends before the clip does."""
    check_rate(clip, native_rate)
    if len(samples) == 0:
        raise AudioError(clip.path, f"it ends before {clip.start:.2f} s, where a cut begins")
    check_length(clip, len(samples) / SAMPLE_RATE)
    return samples


def check_rate(clip: Clip, native_rate: int) -> None:
    """Raise AudioError where a recording of this rate cannot be the clip's."""
    if clip.native_rate not in (None, native_rate):
        raise AudioError(
            clip.path,
            f"its sampling rate is {native_rate} Hz, that of its cut {clip.native_rate} Hz: it is "
            "another recording, or was changed",
        )


def check_length(clip: Clip, seconds: float) -> None:
    """Raise AudioError where so much lacks some of the clip's text."""
    missing = (clip.place.stop - clip.place.start) / SAMPLE_RATE - seconds
    if missing > MOST_MISSING_SECONDS:
        raise AudioError(clip.path, f"it is cut short: its last {missing:.2f} s are missing")


def _with_bandwidths(clips: Sequence[tuple[Clip, bool]], file: Path) -> list[Clip]:
    """The clips, those whose bandwidth is not known with the one that is measured."""
    unknown = sum(not known for _, known in clips)
    if not unknown:
        return [clip for clip, _ in clips]
    logger.info(
        "%s: the bandwidth of %d of %d cuts is measured now, since they state none ('turnout "
        "prepare' would do so once for all)",
        file, unknown, len(clips),
    )  # fmt: skip
    reader = ClipReader()
    watched = progress(clips, "measuring bandwidths", len(clips))
    return [clip if known else _heard(clip, reader) for clip, known in watched]


def _heard(clip: Clip, reader: ClipReader) -> Clip:
    """The clip with the bandwidth of its samples; as it is, where it cannot be read: nothing is
    learned or scored of it then, and whoever reads it says why."""
    try:
        samples = reader.read(clip)
    except AudioError:
        return clip
    measured = measure_bandwidth(samples, reader.recording(clip).native_rate)
    return replace(clip, bandwidth=measured)


def _clip(cut: Cut | ManifestError, file: Path) -> tuple[Clip, bool]:
    """The clip of a cut, and whether its bandwidth is known."""
    if isinstance(cut, ManifestError):
        if cut.field is not None:
            raise cut
        # A line that is nothing known: more likely than a bad line is another kind of file.
        reason = f"not a lhotse manifest of cuts (line {cut.line} {cut.reason})"
        raise ManifestError(str(file), None, None, reason)
    if len(cut.supervisions) != 1:
        reason = "each cut must be a MonoCut with one recording and one supervision"
        raise cut.place.error(None, f"{reason} (cut '{cut.id}')")
    (supervision,) = cut.supervisions
    cut.span(supervision)  # which raises where its text cannot be heard
    text, language = map(supervision.fields.text, ("text", "language"))
    rate = cut.sampling_rate
    for name, value in (("text", text), ("language", language), ("recording.sampling_rate", rate)):
        if value is None:
            raise cut.place.error(name, f"missing in cut '{cut.id}'")
    assert text is not None and language is not None and rate is not None
    # Where the supervision says nothing, what its cut says.
    custom = Fields({**cut.custom, **supervision.custom.values}, cut.place)
    # Transforms, such as resampling, are of what was read, not of the file.
    native_rate = None if cut.transformed else rate
    bandwidth = (bandwidth_by_rate(native_rate) if native_rate else None) or custom.bandwidth()
    clip = Clip(
        id=cut.id,
        path=str(cut.audio),
        start=cut.start,
        duration=cut.duration,
        channel=cut.channel,
        text=plain_text(text),
        language=language,
        speaker=plain_text(supervision.fields.word("speaker") or "") or None,
        bandwidth=bandwidth or Bandwidth.WIDEBAND,
        translations={to: plain_text(said) for to, said in custom.translations().items()},
        split=custom.text("split"),
        domain=custom.domain(),
        native_rate=native_rate,
        # Both comparisons are false of a duration that is no number; `max` would pass over it.
        recording_duration=cut.recording_duration if cut.recording_duration < inf else 0.0,
        whole=cut.start < WHOLE_SECONDS and cut.recording_duration - cut.duration < WHOLE_SECONDS,
    )
    return clip, bandwidth is not None
