"""What the teaching benchmark learns from and is tested on: Asterisk's prompts in Spanish, French,
Italian and Russian, by prompt id; LibriSpeech; German sentences of one speaker; Arabic command
words, of which five of one speaker make an utterance of dev and test.

One voice speaks all prompts of a language, in training and in test: say so beside every figure.
Prompts of several ids have the same text. A train prompt whose text, normalised, is one of dev's or
test's is left out, as whoever learned the sentence would be tested on it: 12 of 279 prompts (0.6 of
15.7 minutes) of Spanish, 14 of 300 (0.5 of 13.3) of French, 19 of 334 (0.5 of 12.4) of Italian, 17
of 327 (1.0 of 12.6) of Russian; else 13 of 155, 12 of 165, 19 of 201 and 18 of 186 test prompts
would have been learned from.
"""

import csv
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer
from whisper_speech import RATE, VOICES, Spoken, content, from_corpus, prompts, rows_of, texts_of

from turnout.config.preparation import PrepareConfig
from turnout.corpora.prepare import prepare

LANGUAGES = ("es", "fr", "it", "ru")
"""Of the prompts."""
ENGLISH, GERMAN, ARABIC = "en", "de", "ar"
SETS = {ENGLISH: "librispeech", GERMAN: "kerstin_de", ARABIC: "arabic_commands"}
"""Of the other languages."""
COLUMNS = ("path", "text", "language", "speaker")
"""Of the tables that are prepared."""
IN_ENGLISH_TOO = ("translation", "target_language")
"""More of them, where both tasks are taught."""
WORDS, GAP_SECONDS = 5, 0.3
"""Of an Arabic utterance, and between them."""
EVERY = 1_000_000
SEED = 0
FEWEST_WORDS = 4
LONGEST_SECONDS = 30
FEWEST_ENGLISH_WORDS = 3
"""From which a prompt has a translation to be held against."""
GERMAN_HELD = 100
"""Utterances of German that dev has, and as many more that test has: it has one speaker and no
splits of its own."""
IN_ENGLISH, ELSEWHERE = EnglishTextNormalizer(), BasicTextNormalizer()
ACCENTLESS = BasicTextNormalizer(remove_diacritics=True)


def normalised(text: str, language: str) -> str:
    """As it is counted: accents do not count in Spanish, whose texts lack them."""
    return {"en": IN_ENGLISH, "es": ACCENTLESS}.get(language, ELSEWHERE)(text).strip()


def split_of(name: str) -> str:
    """Of a prompt id, the same in every language: three tenths test, one dev, the rest train."""
    place = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 10
    return "test" if place < 3 else "dev" if place == 3 else "train"


def prompts_of(folder: Path, language: str, split: str) -> list[Spoken]:
    """A language's prompts of one split, at 8 kHz as they were recorded."""
    return of_split(list(prompts(folder, language, EVERY, SEED)), split)


def of_split(spoken: Sequence[Spoken], split: str) -> list[Spoken]:
    """A language's prompts of one split, by id; none of train says what dev or test says."""
    kept = {text_of(one) for one in spoken if split_of(name_of(one)) != "train"}
    own = [one for one in spoken if split_of(name_of(one)) == split]
    apart = [one for one in own if split != "train" or text_of(one) not in kept]
    return sorted(apart, key=lambda one: one.id)


def ordinary(text: str) -> str:
    """A text in capitals, as LibriSpeech has them, as Whisper would rather write it: it has other
    pieces for capitals, and unlearns its words where it is taught them."""
    if text != text.upper():
        return text
    words = text.lower().split()
    spelled = [f"I{word[1:]}" if word == "i" or word.startswith("i'") else word for word in words]
    whole = " ".join(spelled)
    return whole[:1].upper() + whole[1:]


def text_of(spoken: Spoken) -> str:
    """What is said, normalised."""
    return normalised(spoken.text, spoken.language)


def name_of(spoken: Spoken) -> str:
    """A prompt's id, which languages have in common."""
    return spoken.id.split("/", 2)[2]


def english_of(folder: Path, spoken: Sequence[Spoken]) -> dict[str, str]:
    """By the ids of these utterances, the English text of the prompts that have one of so many
    words; it is localised rather than translated word for word."""
    texts = texts_of(folder, "en")
    found = {
        one.id: texts.get(name_of(one), "") for one in spoken if one.source.startswith("prompts-")
    }
    return {one: text for one, text in found.items() if len(text.split()) >= FEWEST_ENGLISH_WORDS}


def cuts_of(folder: Path, data: Path, name: str, corpora: Path, *, both: bool = False) -> Path:
    """The cuts to learn from of a language; prepared where they are not yet; of prompts that have
    one with the English text beside the own, where `both` tasks are taught. `turnout prepare` takes
    a table as anybody has one."""
    place = corpora / (f"{name}-both" if both and name in LANGUAGES else name)
    if name not in LANGUAGES:
        return prepared(place, unpacked(data, name, place.resolve()))
    audio = folder.resolve() / "usr/share/asterisk/sounds" / VOICES[name]
    spoken = prompts_of(folder, name, "train")
    rows = [(str(audio / f"{name_of(one)}.wav"), one.text, name, VOICES[name]) for one in spoken]
    if not both:
        return prepared(place, rows)
    english = english_of(folder, spoken)
    translations = [(english[one.id], ENGLISH) if one.id in english else ("", "") for one in spoken]
    more = [(*row, *own) for row, own in zip(rows, translations, strict=True)]
    return prepared(place, more, (*COLUMNS, *IN_ENGLISH_TOO))


def prepared(
    place: Path, rows: Sequence[tuple[str, ...]], columns: Sequence[str] = COLUMNS
) -> Path:
    """The cuts of these rows; raises SystemExit where others are there."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*columns, "split"])
    table.writerows((*row, "train") for row in rows)
    source, cuts = place / "prompts.csv", place / "train.jsonl.gz"
    if cuts.exists():
        if source.read_text("utf-8") != text.getvalue():
            raise SystemExit(f"{place}: was made of other utterances than now: remove it")
        return cuts
    place.mkdir(parents=True, exist_ok=True)
    source.write_text(text.getvalue(), "utf-8")
    print(prepare(source, place, PrepareConfig(skip_bad=True)))
    return cuts


def unpacked(data: Path, language: str, place: Path) -> list[tuple[str, str, str, str]]:
    """Path, text, language and speaker of the utterances to learn from in one of the SETS, whose
    files are written where they are not."""
    rows, name = [], SETS[language]
    with tarfile.open(data / f"{name}.tar") as tar:
        drawn = rows_of(tar, name, SEED, ("train",))
        for row in german_train(drawn) if language == GERMAN else drawn:
            path = place / row["audio_filepath"]
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content(tar, f"{name}/{row['audio_filepath']}"))
            rows.append((str(path), ordinary(row["text"]), row["lang"], row["speaker"]))
    return sorted(rows)


def german_train(drawn: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those rows of German, in the seed's order, of which neither the utterance nor the text is
    dev's or test's: what a model that is taught German may learn from."""
    held, rest = drawn[: 2 * GERMAN_HELD], drawn[2 * GERMAN_HELD :]
    texts = {normalised(row["text"], "de") for row in held}
    return [row for row in rest if normalised(row["text"], "de") not in texts]


def german_places(split: str, count: int) -> tuple[int, int]:
    """From and to which place of the seed's order the utterances of dev or test are."""
    if count > GERMAN_HELD:
        raise SystemExit(f"--each is {count}: at most {GERMAN_HELD}, as German is held back")
    start = {"dev": 0, "test": GERMAN_HELD}[split]
    return start, start + count


def read_of(data: Path, split: str, count: int) -> Iterator[Spoken]:
    """LibriSpeech of that split; German, of one speaker, dealt out here."""
    start, end = german_places(split, count)
    yield from from_corpus(data, SETS[ENGLISH], count, SEED, (split,))
    yield from islice(from_corpus(data, SETS[GERMAN], end, SEED), start, None)


def of_sets(data: Path, split: str, count: int) -> Iterator[Spoken]:
    """LibriSpeech and German; Arabic of that split."""
    yield from read_of(data, split, count)
    yield from islice(joined(from_corpus(data, SETS[ARABIC], EVERY, SEED, (split,))), count)


def joined(words: Iterable[Spoken]) -> Iterator[Spoken]:
    """Utterances of so many words of one speaker, the speakers in turn, with silence between."""
    waiting: dict[str, list[Spoken]] = {}
    gap = np.zeros(round(GAP_SECONDS * RATE), np.float32)
    for word in words:
        own = waiting.setdefault(word.speaker, [])
        own.append(word)
        if len(own) == WORDS:
            sound = [part for one in own for part in (one.samples, gap)][:-1]
            text = " ".join(one.text for one in own)
            yield replace(own[0], text=text, samples=np.concatenate(sound))
            own.clear()


def seconds_in(cuts: Path) -> float:
    """Of all in a file of cuts that a window holds: training leaves the others out."""
    with gzip.open(cuts, "rt", encoding="utf-8") as file:
        lengths = [json.loads(line)["duration"] for line in file]
    return sum(seconds for seconds in lengths if seconds <= LONGEST_SECONDS)
