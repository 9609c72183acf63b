"""What the teaching benchmark learns from and is tested on: Asterisk's prompts in Spanish, French,
Italian and Russian, by prompt id; LibriSpeech and German, which are never taught.

One voice speaks all prompts of a language, in training and in test: say so beside every figure.
"""

import csv
import hashlib
from collections.abc import Iterator
from pathlib import Path

from whisper_speech import VOICES, Spoken, from_corpus, prompts

from turnout.config.preparation import PrepareConfig
from turnout.corpora.prepare import prepare

LANGUAGES = ("es", "fr", "it", "ru")
EVERY = 1_000_000
SEED = 0
FEWEST_WORDS = 4


def split_of(name: str) -> str:
    """Of a prompt id, the same in every language: three tenths test, one dev, the rest train."""
    place = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 10
    return "test" if place < 3 else "dev" if place == 3 else "train"


def prompts_of(folder: Path, language: str, split: str) -> list[Spoken]:
    """A language's prompts of one split, at 8 kHz as they were recorded."""
    found = prompts(folder, language, EVERY, SEED)
    ordered = sorted(found, key=lambda one: one.id)
    return [one for one in ordered if split_of(name_of(one)) == split]


def name_of(spoken: Spoken) -> str:
    """A prompt's id, which languages have in common."""
    return spoken.id.split("/", 2)[2]


def cuts_of(folder: Path, language: str, corpora: Path) -> Path:
    """The cuts of a language's train split, prepared where they are not yet; `turnout prepare`
    takes a table as anybody has one."""
    place = corpora / language
    cuts = place / "train.jsonl.gz"
    if cuts.exists():
        return cuts
    place.mkdir(parents=True, exist_ok=True)
    audio = folder.resolve() / "usr/share/asterisk/sounds" / VOICES[language]
    with (place / "prompts.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["path", "text", "language", "speaker", "split"])
        for one in prompts_of(folder, language, "train"):
            path = audio / f"{name_of(one)}.wav"
            table.writerow([path, one.text, language, VOICES[language], "train"])
    print(prepare(place / "prompts.csv", place, PrepareConfig(skip_bad=True)))
    return cuts


def untaught(data: Path, split: str, count: int) -> Iterator[Spoken]:
    """LibriSpeech of that split; German, of one speaker and without splits."""
    yield from from_corpus(data, "librispeech", count, SEED, (split,))
    yield from from_corpus(data, "kerstin_de", count, SEED)
