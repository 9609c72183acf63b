"""What the benchmark from a pretrained start learns from and is tested on: Asterisk's prompts in
Spanish, French, Italian and Russian as they were published at 8 and at 16 kHz (G.722), with the
English texts of the same ids; LibriSpeech by telephone, for English.

Prompts are split by id, the same in all languages and bandwidths, as in the teaching benchmark: one
voice a language speaks training and test alike. English is sent over a line with a codec, with
noise behind it; noises of dev and test are in no training. LibriSpeech as it was read, wideband,
and German are what nothing was taught of.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from omni_speech import sounds_of
from teach_speech import (
    COLUMNS,
    ENGLISH,
    GERMAN,
    IN_ENGLISH_TOO,
    LANGUAGES,
    SEED,
    SETS,
    english_of,
    name_of,
    ordinary,
    prepared,
    prompts_of,
    read_of,
)
from whisper_speech import RATE, VOICES, Spoken, from_corpus

from turnout.config.sets import SetChannel
from turnout.data.channel import Channel, Draws, open_channel
from turnout.data.variants import generator_of
from turnout.guidance import Bandwidth, Task

TAUGHT = (
    *((code, bandwidth) for code in LANGUAGES for bandwidth in Bandwidth),
    (ENGLISH, Bandwidth.NARROWBAND),
)
"""Language and bandwidth of what is learned from."""
CODECS = ("mulaw", "alaw", "gsm", "g726", "g723_1", "amr_nb", "opus")
SNR_DB = (5.0, 25.0)
ENGLISH_TRAIN = 250
"""Utterances of LibriSpeech that are learned from: about as long as a language's prompts are at
both bandwidths, heard a few times."""
PROMPTS = "prompts"


@dataclass(frozen=True)
class Places:
    """Where everything lies."""

    prompts: Path
    data: Path
    runs: Path


@dataclass(frozen=True)
class Asked:
    """One utterance to be heard, at one bandwidth."""

    spoken: Spoken
    bandwidth: Bandwidth
    english: str = ""
    """What a translation is held against; none is asked for where there is none."""

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What is asked of it."""
        return tuple(Task) if self.english else (Task.TRANSCRIBE,)

    def cell(self, task: Task) -> str:
        """ "es narrowband transcribe"."""
        return f"{self.spoken.language} {self.bandwidth} {task}"

    @property
    def corpus(self) -> str:
        """Whose utterances are resampled together."""
        return PROMPTS if self.spoken.source.startswith(PROMPTS) else self.spoken.source

    @property
    def name(self) -> str:
        """What other languages and bandwidths have in common with it: a prompt's id, or the
        utterance."""
        return name_of(self.spoken) if self.corpus == PROMPTS else self.spoken.id

    @property
    def speaker(self) -> str | None:
        """Whom an interval resamples; None where there is one voice alone."""
        return self.spoken.speaker if self.spoken.source == SETS[ENGLISH] else None


def taught_cells(task: Task) -> list[str]:
    """Those of what is learned from; English is not translated to English."""
    return [
        f"{code} {bandwidth} {task}"
        for code, bandwidth in TAUGHT
        if task is Task.TRANSCRIBE or code != ENGLISH
    ]


def asked_of(places: Places, split: str, each: int, most: int | None) -> Iterator[Asked]:
    """All that is heard of a split: prompts at both bandwidths (the first `most` of each language,
    those with a translation before the others), `each` utterances of LibriSpeech by telephone and
    as they are, and of German."""
    for code in LANGUAGES:
        narrow = prompts_of(places.prompts, code, split)
        english = english_of(places.prompts, narrow)
        for one in sorted(narrow, key=lambda one: one.id not in english)[:most]:
            wide = replace(one, samples=g722(file_of(one, places.prompts)))
            yield Asked(one, Bandwidth.NARROWBAND, english.get(one.id, ""))
            yield Asked(wide, Bandwidth.WIDEBAND, english.get(one.id, ""))
    for one in read_of(places.data, split, each):
        yield Asked(one, Bandwidth.WIDEBAND)
        if one.language != GERMAN:
            yield Asked(called(one, split, places), Bandwidth.NARROWBAND)


def file_of(spoken: Spoken, prompts: Path) -> Path:
    """A prompt at 16 kHz, coded."""
    voice = prompts / "usr/share/asterisk/sounds" / VOICES[spoken.language]
    return voice / f"{name_of(spoken)}.g722"


def g722(path: Path) -> NDArray[np.float32]:
    """The samples of a file of ITU-T G.722 without a container, at 16 kHz."""
    import av  # noqa: PLC0415 - before soundfile it once crashed

    with av.open(str(path), format="g722") as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
    return np.concatenate(frames, axis=1)[0].astype(np.float32) / np.float32(32768)


@lru_cache
def channel_of(sounds: Path, split: str) -> Channel:
    """Telephone lines of any codec, each with one of the split's noises behind the speech."""
    config = SetChannel(
        telephone=True, codecs=CODECS, noises=str(sounds), noise=1.0, noise_snr_db=SNR_DB
    )
    return open_channel(config, None if split == "train" else split)


def called(spoken: Spoken, split: str, places: Places) -> Spoken:
    """What arrives of an utterance, the same each time: a speaker's line, a noise for each call."""
    draws = Draws(
        line=generator_of(f"line/{spoken.speaker}"),
        place=generator_of(f"place/{spoken.id}"),
        moment=generator_of(f"moment/{spoken.id}"),
    )
    channel = channel_of(sounds_of(places.data, places.runs), split)
    return replace(spoken, samples=channel.version(spoken.samples, draws, telephone=True))


def cuts_of(places: Places, code: str, bandwidth: Bandwidth, most: int | None = None) -> Path:
    """The cuts to learn from of a language at a bandwidth (of its first utterances alone), prepared
    where they are not yet; texts in English beside those that have one."""
    ending = f"-{most}" if most else ""
    place = places.runs.resolve() / "corpora" / f"{code}-{bandwidth}{ending}"
    spoken = train_of(places, code)[:most]
    english = english_of(places.prompts, spoken)
    columns = (*COLUMNS, *IN_ENGLISH_TOO, "bandwidth")
    rows = [
        (
            str(sound_of(one, bandwidth, places)),
            *(ordinary(one.text), code, one.speaker),
            *((english[one.id], ENGLISH) if one.id in english else ("", "")),
            bandwidth.value,
        )
        for one in spoken
    ]
    return prepared(place, rows, columns)


@lru_cache
def train_of(places: Places, code: str) -> Sequence[Spoken]:
    """What there is to learn from in a language, as it was recorded."""
    if code in LANGUAGES:
        return prompts_of(places.prompts, code, "train")
    return list(from_corpus(places.data, SETS[code], ENGLISH_TRAIN, SEED, ("train",)))


def sound_of(spoken: Spoken, bandwidth: Bandwidth, places: Places) -> Path:
    """The file of an utterance at a bandwidth, written where it is not there yet."""
    prompt = spoken.source.startswith(PROMPTS)
    coded = file_of(spoken, places.prompts.resolve()) if prompt else Path(spoken.id)
    if prompt and bandwidth is Bandwidth.NARROWBAND:
        return coded.with_suffix(".wav")
    folder = places.runs.resolve() / "corpora" / f"sounds-{spoken.language}-{bandwidth}"
    name = name_of(spoken) if prompt else spoken.id
    path = (folder / name).with_suffix(".flac")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = g722(coded) if prompt else called(spoken, "train", places).samples
        # Whole or not at all: one that was stopped would be taken for the recording.
        part = path.with_suffix(".part")
        soundfile.write(part, samples, RATE, format="FLAC")
        part.replace(path)
    return path
