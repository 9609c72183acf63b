"""A part of the inputs through a model: what each of them is in figures, and its transcript.

Inputs of like lengths are decoded together. What comes out of a part depends on nothing but the
part, so that it is the same whenever it is heard.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from turnout.audio.bandwidth import bandwidth_by_rate
from turnout.audio.features import SAMPLE_RATE
from turnout.audio.waveform import LastRecording, Waveform, open_recording
from turnout.config import TranscriptionOptions
from turnout.corpora.cuts import FRAME_WANTED, is_less_than_a_frame
from turnout.corpora.entry import Entry, MeasuredEntry
from turnout.corpora.manifest import Place
from turnout.corpora.measure import measure
from turnout.errors import AudioError, GuidanceError, ManifestError, ShardError, TurnoutError
from turnout.labelling.inputs import Input, Line, Sharded
from turnout.shards.origins import Origin, ShardReader
from turnout.text.transcript import Transcript
from turnout.transcription.transcriber import Transcriber

Told = Callable[[float], None]
"""Is told how many seconds of sound an input had that is done."""


@dataclass(frozen=True)
class HeardInput:
    """An input and what was heard of it."""

    measured: MeasuredEntry
    transcript: Transcript
    origin: Origin | None = None
    """Where it lies in a shard; its times are then those in the utterance."""


Heard = HeardInput | ManifestError | AudioError | ShardError
"""An error says, with its line, why nothing was heard."""


@dataclass(frozen=True)
class _Sound:
    """An input on its way: `measured` where its samples are in memory."""

    number: int
    source: Path | Waveform
    item: Input
    measured: MeasuredEntry | None
    origin: Origin | None = None


def hear(
    transcriber: Transcriber, part: Sequence[Line], options: TranscriptionOptions, told: Told
) -> list[Heard]:
    """What became of every input of a part, in their order.

    Raises GuidanceError and UsageError for options that no input could be served with.
    """
    results: dict[int, Heard] = {}
    groups: dict[TranscriptionOptions, list[_Sound]] = defaultdict(list)
    recordings, shards = LastRecording(options.max_duration), ShardReader()
    for number, item in enumerate(part):
        try:
            if isinstance(item, ManifestError):
                raise item
            if isinstance(item, Sharded):
                sound = _of_shard(number, item, shards)
            else:
                sound = _sound(number, item, recordings, options)
            groups[_wanted(sound, options, transcriber)].append(sound)
        except (ManifestError, AudioError, ShardError) as error:
            results[number] = error
            told(0.0)
    del recordings, shards  # what is wanted of the last one was copied
    for wanted, sounds in groups.items():
        sounds.sort(key=lambda one: (-one.item.seconds, one.number))
        for number, heard in _transcribed(transcriber, sounds, wanted):
            results[number] = heard
            told(heard.measured.duration if isinstance(heard, HeardInput) else 0.0)
    return [results[number] for number in range(len(part))]


def _sound(
    number: int, item: Input, recordings: LastRecording, options: TranscriptionOptions
) -> _Sound:
    """Where the transcriber finds an input; raises ManifestError."""
    entry = item.entry
    channel = options.channel if entry.channel is None else entry.channel
    item = replace(item, entry=replace(entry, channel=channel))
    if item.whole:
        return _Sound(number, entry.audio, item, None)
    measured = measure(item.entry, recordings)
    first = round(measured.start * SAMPLE_RATE)
    last = first + round(measured.duration * SAMPLE_RATE)
    recording = recordings.read(str(entry.audio), channel)
    # A copy: a view would keep the whole recording.
    samples = recording.samples[first:last].copy()
    return _Sound(number, Waveform(samples, recording.native_rate), item, measured)


def _of_shard(number: int, item: Sharded, shards: ShardReader) -> _Sound:
    """An utterance out of its shard; raises ShardError, and AudioError where it is too short."""
    found = shards.heard(item.origin)
    clip, samples = found.clip, found.samples
    if item.span is not None:
        first, last = (round(time * SAMPLE_RATE) for time in item.span)
        samples = samples[first:last].copy()
    seconds = len(samples) / SAMPLE_RATE
    if is_less_than_a_frame(seconds):
        raise AudioError(str(item), f"has {seconds:g} seconds of audio: {FRAME_WANTED} were needed")
    entry = Entry(
        id=clip.id,
        audio=Path(clip.path),
        place=Place(item.origin.shard.name),
        text=None,
        language=clip.language,
        speaker=clip.speaker,
        translations=clip.translations,
        split=clip.split,
        domain=clip.domain,
    )
    measured = MeasuredEntry(
        entry=entry,
        native_rate=SAMPLE_RATE,
        num_samples=len(samples),
        start=0.0,
        duration=seconds,
        bandwidth=clip.bandwidth,
    )
    heard = Waveform(samples, clip.native_rate or SAMPLE_RATE)
    whole = Input(entry=entry, whole=False, seconds=seconds)
    return _Sound(number, heard, whole, measured, item.origin)


def _wanted(
    sound: _Sound, options: TranscriptionOptions, transcriber: Transcriber
) -> TranscriptionOptions:
    """The options with what is the input's own: the channel of a file, and the domain, which nobody
    can hear."""
    entry = sound.item.entry
    known = transcriber.backend.config.domains
    domain = options.domain or (entry.domain if entry.domain in known else None)
    channel = entry.channel if sound.measured is None else None
    return replace(options, channel=channel, domain=domain)


def _transcribed(
    transcriber: Transcriber, sounds: Sequence[_Sound], options: TranscriptionOptions
) -> Iterator[tuple[int, Heard]]:
    answers = transcriber.transcribe_files([one.source for one in sounds], options)
    for sound, answer in zip(sounds, answers, strict=True):
        try:
            yield sound.number, _heard(sound, answer, options)
        except (ManifestError, AudioError) as error:
            yield sound.number, error


def _heard(
    sound: _Sound, answer: Transcript | TurnoutError, options: TranscriptionOptions
) -> HeardInput:
    """What was heard; raises ManifestError or AudioError, with the input's line, where nothing was,
    and other errors for what is not the input's fault."""
    if isinstance(answer, AudioError | GuidanceError):
        raise _refused(sound.item.entry, answer) from answer
    if isinstance(answer, TurnoutError):
        raise answer
    if sound.measured is not None:
        return HeardInput(sound.measured, answer, sound.origin)
    return HeardInput(_measured(sound.item.entry, answer, options), answer)


def _refused(entry: Entry, error: AudioError | GuidanceError) -> ManifestError | AudioError:
    """The error with the line of its input, where that has one."""
    reason = error.reason if isinstance(error, AudioError) else str(error)
    if entry.place.line is None:
        return AudioError(str(entry.audio), reason)
    return entry.place.error(entry.audio_field, f"'{entry.audio}' cannot be taken: {reason}")


def _measured(entry: Entry, transcript: Transcript, options: TranscriptionOptions) -> MeasuredEntry:
    """The figures of a whole file, as `corpora.measure` has them, without its samples."""
    seconds = transcript.duration_seconds
    if is_less_than_a_frame(seconds):
        reason = f"has {seconds:g} seconds of audio: {FRAME_WANTED} were expected"
        raise _refused(entry, AudioError(str(entry.audio), reason))
    rate = _native_rate(entry, options)
    return MeasuredEntry(
        entry=entry,
        native_rate=rate,
        num_samples=max(1, round(seconds * rate)),
        start=0.0,
        duration=seconds,
        bandwidth=bandwidth_by_rate(rate) or entry.bandwidth or transcript.bandwidth,
    )


def _native_rate(entry: Entry, options: TranscriptionOptions) -> int:
    try:
        opened = open_recording(
            entry.audio, max_duration=options.max_duration, channel=entry.channel
        )
    except AudioError as error:  # it was there a moment ago
        raise _refused(entry, error) from error
    with closing(opened):
        return opened.native_rate
