"""A clip and its sound <-> the two members of a shard that hold them, named by its number.

`0000000017.json` has the labels, and `0000000017.flac` (`.opus`, or a kept file's own ending) the
sound. Where the recording lay is not told: only its name, and a digest that tells recordings apart.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.audio.bandwidth import measure_bandwidth
from turnout.audio.features import SAMPLE_RATE
from turnout.audio.waveform import HIGHEST_RATE, Waveform, read_audio
from turnout.config.sharding import SoundForm
from turnout.config.transcription import MAX_DURATION_SECONDS
from turnout.corpora.clips import MOST_MISSING_SECONDS, WHOLE_SECONDS, Clip, ClipReader, checked
from turnout.corpora.manifest import Fields, Place
from turnout.errors import AudioError, one_line
from turnout.files import open_regular, sha256_of
from turnout.guidance import Bandwidth
from turnout.shards.manifest import LARGEST_UTTERANCE, Listed
from turnout.shards.sound import Coded, decoded, flac, opus
from turnout.shards.tar import MemberError, member, read_member

LARGEST_LABELS = 2**22
"""Bytes: longer than any text of an utterance."""
ENDING = re.compile(r"[a-z0-9]{1,8}")
JSON = "json"


@dataclass(frozen=True, eq=False)
class Heard:
    """One utterance, verified and decoded."""

    clip: Clip
    """Its `path` is the recording's name and digest: nothing lies there."""
    samples: NDArray[np.float32]
    """[samples]: mono at 16 kHz, as `ClipReader.read` gives them."""


def name_of(number: int, ending: str) -> str:
    """A member's name, the same length for all numbers."""
    return f"{number:010d}.{ending}"


def recording_name(path: str) -> str:
    """What a clip out of a shard has for its path: equal for one recording, and no place."""
    return f"{sha256_of(path.encode('utf-8', 'surrogatepass'))[:12]}/{one_line(Path(path).name)}"


def write_utterance(
    number: int, clip: Clip, known: bool, reader: ClipReader, form: SoundForm
) -> tuple[bytes, int]:
    """The bytes of a clip in a shard, and its samples at 16 kHz; where its bandwidth is not
    `known`, it is measured. Raises AudioError."""
    recording = reader.recording(clip)
    samples = reader.read(clip)
    bandwidth = clip.bandwidth if known else measure_bandwidth(samples, recording.native_rate)
    coded, form = _coded(clip, recording, samples, form)
    labels = {
        "id": clip.id,
        "text": clip.text,
        "language": clip.language,
        "speaker": clip.speaker,
        "bandwidth": str(bandwidth),
        "translations": dict(clip.translations),
        "split": clip.split,
        "domain": clip.domain,
        "native_rate": clip.native_rate,
        "recording": recording_name(clip.path),
        "start": clip.start,
        "duration": clip.duration,
        "channel": clip.channel,
        "whole": clip.whole,
        "recording_duration": clip.recording_duration,
        "samples": len(samples),
        "sound": coded.ending,
        "form": form,
        "scale": coded.scale,
        "exact": coded.exact,
    }
    written = json.dumps(labels).encode()
    block = member(name_of(number, JSON), written)
    block += member(name_of(number, coded.ending), coded.data)
    if len(block) > LARGEST_UTTERANCE or len(written) > LARGEST_LABELS:
        raise AudioError(clip.path, f"{len(block):,} bytes of one utterance: too long for a shard")
    return block, len(samples)


def _coded(
    clip: Clip, recording: Waveform, samples: NDArray[np.float32], form: SoundForm
) -> tuple[Coded, SoundForm]:
    """The sound, and in which form it is: a file that is more than its clip is not kept."""
    if form == "opus":
        return opus(samples), form
    more = (len(recording.samples) - len(samples)) / SAMPLE_RATE
    if form == "kept" and clip.whole and more < WHOLE_SECONDS:
        return _kept(clip), form
    return flac(samples), "flac"


def _kept(clip: Clip) -> Coded:
    """The file itself."""
    try:
        with open_regular(Path(clip.path)) as file:
            data = file.read(LARGEST_UTTERANCE)
    except OSError as error:
        raise AudioError(clip.path, f"cannot be read ({error.strerror or error})") from error
    ending = PureWindowsPath(clip.path).suffix.lower().removeprefix(".")
    fits = ENDING.fullmatch(ending) and ending != JSON
    return Coded(data, ending if fits else "audio", exact=True)


def read_utterance(block: memoryview, number: int, samples: int, place: str) -> Heard:
    """The clip and samples of an utterance's bytes, which are as many as its index says.

    Raises MemberError for members that are not what was written, ManifestError for labels that
    cannot be, AudioError for sound that cannot.
    """
    labels, at = _labels(block, number, place)
    sound, at = read_member(block, at, name_of(number, labels.sound))
    if at != len(block):
        raise MemberError(f"{len(block) - at:,} bytes lie behind {name_of(number, labels.sound)}")
    if labels.samples != samples:
        raise MemberError(
            f"labels and index differ about its samples ({labels.samples}, {samples})"
        )
    heard = labels.heard(bytes(sound))
    if len(heard) != samples:
        raise AudioError(labels.clip.path, f"it has {len(heard):,} samples instead of {samples:,}")
    return Heard(labels.clip, heard)


def read_labels(block: memoryview, number: int, place: str) -> Clip:
    """The clip of an utterance's bytes, its sound left as it is; errors as of `read_utterance`."""
    return _labels(block, number, place)[0].clip


def _labels(block: memoryview, number: int, place: str) -> tuple["_Labels", int]:
    """What is said of an utterance, and where its sound begins."""
    data, at = read_member(block, 0, name_of(number, JSON))
    if len(data) > LARGEST_LABELS:
        raise MemberError(f"its labels have {len(data):,} bytes: too many")
    return _Labels.of(bytes(data), f"{place}: {name_of(number, JSON)}"), at


def rewritten(block: memoryview, one: Listed, changes: Mapping[str, Any], number: int) -> bytes:
    """An utterance's verified bytes with other labels, under a new number; its sound as it lies
    there. Errors as of `read_utterance`."""
    said, sound = _members(block, one)
    return _joined(number, {**said, **changes}, bytes(sound))


def cut_out(
    block: memoryview, one: Listed, changes: Mapping[str, Any], number: int, place: slice
) -> tuple[bytes, int]:
    """The samples of a part of an utterance, as FLAC, with labels and a number of its own: its
    bytes, and how many samples it has. Errors as of `read_utterance`."""
    said, _ = _members(block, one)
    samples = read_utterance(block, one.number, one.samples, said["id"]).samples[place]
    coded = flac(samples)
    told = {
        "start": said["start"] + place.start / SAMPLE_RATE,
        "duration": len(samples) / SAMPLE_RATE,
        "whole": False,
        "samples": len(samples),
        "sound": coded.ending,
        "form": "flac",
        "scale": coded.scale,
        "exact": coded.exact and said.get("exact") is True,
    }
    return _joined(number, {**said, **told, **changes}, coded.data), len(samples)


def _members(block: memoryview, one: Listed) -> tuple[dict[str, Any], memoryview]:
    """The labels as they were written, and the sound."""
    labels, at = _labels(block, one.number, name_of(one.number, JSON))
    data, _ = read_member(block, 0, name_of(one.number, JSON))
    return json.loads(bytes(data)), read_member(block, at, name_of(one.number, labels.sound))[0]


def _joined(number: int, labels: Mapping[str, Any], sound: bytes) -> bytes:
    written = json.dumps(labels).encode()
    block = member(name_of(number, JSON), written)
    return block + member(name_of(number, labels["sound"]), sound)


@dataclass(frozen=True)
class _Labels:
    """What is said of an utterance, checked: a stranger may have written it."""

    clip: Clip
    samples: int
    sound: str
    form: str
    scale: float

    @classmethod
    def of(cls, data: bytes, place: str) -> "_Labels":
        try:
            found = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise MemberError(f"its labels are no JSON ({error})") from error
        if not isinstance(found, dict):
            raise MemberError("its labels are no JSON object")
        fields = Fields(found, Place(place))
        sound, form = (_text(fields, name) for name in ("sound", "form"))
        scale = _number(fields, "scale", 2.0**60)
        if not ENDING.fullmatch(sound) or sound == JSON:
            raise fields.place.wrong("sound", sound, "the ending of a recording was")
        return cls(_clip(fields), int(_number(fields, "samples", 2**40)), sound, form, scale)

    def heard(self, data: bytes) -> NDArray[np.float32]:
        """The samples; raises AudioError."""
        clip = self.clip
        # By what the index says, and never more than a recording may be.
        most = min(self.samples / SAMPLE_RATE, MAX_DURATION_SECONDS) + MOST_MISSING_SECONDS
        if self.form != "kept":
            return decoded(data, clip.path, self.scale, most)
        # Cuts may leave out the last moment of a file that is kept.
        read = read_audio(data, name=clip.path, channel=clip.channel, max_duration=most)
        return checked(clip, read.native_rate, read.samples[clip.place])


def _clip(fields: Fields) -> Clip:
    unknown = fields.values.get("native_rate") is None
    return Clip(
        id=_text(fields, "id"),
        path=_text(fields, "recording"),
        start=_number(fields, "start"),
        duration=_number(fields, "duration"),
        channel=fields.channel(),
        text=_text(fields, "text"),
        language=_text(fields, "language"),
        speaker=fields.text("speaker"),
        bandwidth=fields.bandwidth() or Bandwidth.WIDEBAND,
        translations=fields.translations(),
        split=fields.text("split"),
        domain=fields.domain(),
        native_rate=None if unknown else int(_number(fields, "native_rate", HIGHEST_RATE)),
        whole=fields.values.get("whole") is True,
        recording_duration=_number(fields, "recording_duration"),
    )


def _text(fields: Fields, name: str) -> str:
    value = fields.text(name)
    if value is None:
        raise fields.place.error(name, "is missing")
    return value


def _number(fields: Fields, name: str, most: float = 1e9) -> float:
    value: Any = fields.values.get(name)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value <= most:  # which NaN is not
        raise fields.place.wrong(name, value, f"a number from 0 to {most:g} was")
    return value
