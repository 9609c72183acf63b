"""What the whisper benchmarks hear: LibriSpeech, German, and Asterisk's prompts in five languages.

Nothing is trained by them, so every split may be used. Asterisk's prompts are 8 kHz WAV files with
texts, from Debian: `apt-get download asterisk-core-sounds-{en,es,fr,it,ru}-wav` and `dpkg -x
PACKAGE FOLDER` put them under FOLDER/usr/share.
"""

import gzip
import json
import random
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

RATE = 16_000
VOICES = {
    "en": "en_US_f_Allison",
    "es": "es_MX_f_Allison",
    "fr": "fr_CA_f_June",
    "it": "it_IT_m_Carlo",
    "ru": "ru_RU_f_IvrvoiceRU",
}
GLUED = ("it/confbridge-mute-extended",)
"""Several prompts in one file."""


@dataclass(frozen=True)
class Spoken:
    """One utterance: samples at 16 kHz, mono."""

    id: str
    source: str
    speaker: str
    language: str
    text: str
    samples: NDArray[np.float32]


def from_corpus(
    data: Path, name: str, count: int, seed: int, splits: tuple[str, ...] = ("train", "dev", "test")
) -> Iterator[Spoken]:
    """So many utterances of one of the sets of `data`, drawn by the seed."""
    with tarfile.open(data / f"{name}.tar") as tar:
        for row in rows_of(tar, name, seed, splits)[:count]:
            place = f"{name}/{row['audio_filepath']}"
            samples = at_16khz(content(tar, place))
            speaker = f"{name}/{row['speaker']}"
            yield Spoken(place, name, speaker, row["lang"], row["text"], samples)


def rows_of(
    tar: tarfile.TarFile, name: str, seed: int, splits: tuple[str, ...]
) -> list[dict[str, Any]]:
    """The manifest's rows of these splits, in the seed's order."""
    lines = content(tar, f"{name}/manifest.jsonl").decode().splitlines()
    rows = [row for row in map(json.loads, lines) if row["split"] in splits]
    random.Random(f"{seed} {name}").shuffle(rows)
    return rows


def content(tar: tarfile.TarFile, name: str) -> bytes:
    """The bytes of a member."""
    member = tar.extractfile(name)
    assert member is not None, name
    return member.read()


def at_16khz(data: bytes) -> NDArray[np.float32]:
    """The samples of an audio file's bytes."""
    import io  # noqa: PLC0415 - for this one line

    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    return soxr.resample(samples, rate, RATE).astype(np.float32)


def prompts(folder: Path, language: str, count: int, seed: int) -> Iterator[Spoken]:
    """So many 8 kHz prompts of a language, drawn by the seed."""
    share = folder / "usr" / "share"
    texts = texts_of(folder, language)
    voice = share / "asterisk" / "sounds" / VOICES[language]
    names = sorted(
        name
        for name in texts
        if f"{language}/{name}" not in GLUED and (voice / f"{name}.wav").is_file()
    )
    random.Random(f"{seed} {language}").shuffle(names)
    for name in names[:count]:
        samples = at_16khz((voice / f"{name}.wav").read_bytes())
        place = f"prompts/{language}/{name}"
        yield Spoken(
            place, f"prompts-{language}", f"prompts/{language}", language, texts[name], samples
        )


def texts_of(folder: Path, language: str) -> dict[str, str]:
    """What is said in a language's prompts, by their ids, recorded or not."""
    packed = f"usr/share/doc/asterisk-core-sounds-{language}/core-sounds-{language}.txt.gz"
    texts = {}
    for line in gzip.decompress((folder / packed).read_bytes()).decode("utf-8-sig").splitlines():
        name, separator, text = line.partition(": ")
        text = text.strip()
        if separator and text and not line.startswith(";") and not text.startswith("["):
            texts[name.strip()] = text
    return texts
