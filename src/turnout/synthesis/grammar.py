"""A grammar file: sentences with their translations, and the voices that speak them.

::

    language: en
    engine: espeak-ng               # or flite: few voices, English, made from real speakers
    speakers: 20
    sentences_per_speaker: 10
    speed: [120, 200]               # words per minute
    pitch: [20, 80]
    voices: [en-us, en-gb]
    variants: [m1, f2]
    exclude: {voices: [], variants: []}
    sentences:
      - text: "call {name}"
        spoken: "kall {name}"       # where the synthesiser needs another spelling
        translations: {de: "{name} anrufen"}
      - good morning                # without translations, the text alone
    slots:
      name:
        - {text: anna, translations: {de: anna}}

`{slot}` stands for one of the slot's phrases, the same wherever it stands in the sentence and its
translations; `{slot#1} {slot#2}` are drawn apart. This file knows nothing of audio.
"""

import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, Literal, get_args

from turnout.corpora.manifest import LANGUAGE_CODE
from turnout.errors import shown
from turnout.synthesis.yaml_lines import YamlValue, read_yaml

EngineName = Literal["espeak-ng", "flite"]
SLOT = re.compile(r"\{(\w+)(#\w+)?\}")
FIELDS = (
    "language", "engine", "speakers", "sentences_per_speaker", "speed", "pitch", "voices",
    "variants", "exclude", "sentences", "slots",
)  # fmt: skip
LISTED = 20_000
"""Grammars of up to this many sentences are listed; larger ones are drawn from."""


@dataclass(frozen=True, kw_only=True)
class Phrase:
    """What is written, what is given to the synthesiser, and the translations."""

    text: str
    spoken: str
    translations: Mapping[str, str] = field(default_factory=dict)

    @property
    def slots(self) -> tuple[str, ...]:
        """The placeholders of the text, each once, such as 'digit#1'."""
        return tuple(dict.fromkeys(name + label for name, label in SLOT.findall(self.text)))

    def filled(self, choices: Mapping[str, "Phrase"]) -> "Phrase":
        """The phrase with its placeholders replaced."""
        return Phrase(
            text=_fill(self.text, choices, lambda chosen: chosen.text),
            spoken=_fill(self.spoken, choices, lambda chosen: chosen.spoken),
            translations={
                target: _fill(text, choices, lambda chosen, to=target: chosen.translations[to])
                for target, text in self.translations.items()
            },
        )


@dataclass(frozen=True, kw_only=True)
class Grammar:
    """A grammar file, checked."""

    language: str
    engine: EngineName
    sentences: tuple[Phrase, ...]
    slots: Mapping[str, tuple[Phrase, ...]]
    voices: tuple[str, ...]
    variants: tuple[str, ...]
    speed: tuple[int, int]
    pitch: tuple[int, int]
    speakers: int
    sentences_per_speaker: int | None

    @property
    def size(self) -> int:
        """How many sentences it holds, all slots filled in all ways."""
        return sum(self._ways(template) for template in self.sentences)

    def draw(self, count: int, rng: random.Random) -> list[Phrase]:
        """`count` different sentences (all of them where there are fewer)."""
        if self.size <= LISTED:
            everything = list(self.all())
            return rng.sample(everything, min(count, len(everything)))
        drawn: dict[str, Phrase] = {}
        # The root: neither are long templates all that is heard, nor short ones as often as they.
        weights = [self._ways(template) ** 0.5 for template in self.sentences]
        for _ in range(20 * count):  # what was drawn before counts once
            template = rng.choices(self.sentences, weights)[0]
            chosen = {slot: rng.choice(self._phrases(slot)) for slot in template.slots}
            phrase = template.filled(chosen)
            drawn[phrase.text] = phrase
            if len(drawn) == count:
                break
        return list(drawn.values())

    def all(self) -> Iterator[Phrase]:
        """Every sentence."""
        for template in self.sentences:
            options = [self._phrases(slot) for slot in template.slots]
            for chosen in product(*options):
                yield template.filled(dict(zip(template.slots, chosen, strict=True)))

    def _phrases(self, slot: str) -> tuple[Phrase, ...]:
        return self.slots[slot.partition("#")[0]]

    def _ways(self, template: Phrase) -> int:
        return prod(len(self._phrases(slot)) for slot in template.slots)


def read_grammar(path: Path) -> Grammar:
    """Read and check a grammar file; raises ManifestError, citing line and field."""
    file = read_yaml(path)
    file.only(*FIELDS)
    language = file.needed("language").string()
    if not LANGUAGE_CODE.fullmatch(language):
        raise file.needed("language").error(
            f"is {shown(language)}: a code such as 'en' was expected"
        )
    slots = {
        name: tuple(_phrase(item) for item in items.items(at_least=1))
        for name, items in file.mapping("slots")
    }
    sentences = file.needed("sentences").items(at_least=1)
    phrases = tuple(_phrase(item) for item in sentences)
    for item, phrase in zip(sentences, phrases, strict=True):
        _check_slots(item, phrase, slots)
    names = {kind: _chosen(file, kind) for kind in ("voices", "variants")}
    return Grammar(
        language=language,
        engine=_engine(file),
        sentences=phrases,
        slots=slots,
        voices=names["voices"] or (language,),
        variants=names["variants"],
        speed=_range(file, "speed", (140, 180), (80, 450)),
        pitch=_range(file, "pitch", (30, 70), (0, 99)),
        speakers=file.whole("speakers") or 20,
        sentences_per_speaker=file.whole("sentences_per_speaker"),
    )


def _engine(file: YamlValue) -> EngineName:
    item = file.get("engine")
    if item is None:
        return "espeak-ng"
    if item.string() in get_args(EngineName):
        return item.value
    raise item.error(f"is {shown(item.value)}: espeak-ng or flite was expected")


def _phrase(item: YamlValue) -> Phrase:
    if isinstance(item.value, str):
        text = item.string()
        return Phrase(text=text, spoken=text)
    item.only("text", "spoken", "translations")
    text = item.needed("text").string()
    spoken = item.get("spoken")
    return Phrase(
        text=text,
        spoken=text if spoken is None else spoken.string(),
        translations={target: value.string() for target, value in item.mapping("translations")},
    )


def _check_slots(item: YamlValue, phrase: Phrase, slots: Mapping[str, tuple[Phrase, ...]]) -> None:
    """Every placeholder has its slot, and every translation all that it needs of its slots."""
    written = set(phrase.slots)
    for text in (phrase.text, phrase.spoken, *phrase.translations.values()):
        for name, label in SLOT.findall(text):
            if name not in slots:
                known = ", ".join(slots) or "there are none"
                raise item.error(f"holds {{{name}}}, which is no slot: {known}")
            if name + label not in written:
                raise item.error(f"holds {{{name}{label}}}, which its text does not hold")
    for target in phrase.translations:
        for slot in phrase.slots:
            name = slot.partition("#")[0]
            lacking = [option.text for option in slots[name] if target not in option.translations]
            if lacking:
                raise item.error(
                    f"is translated to {target}, and '{lacking[0]}' of slot {name} is not"
                )


def _chosen(file: YamlValue, kind: str) -> tuple[str, ...]:
    """The names listed, without those excluded (in whatever letter case)."""
    listed, excluded = file.get(kind), file.get("exclude")
    if excluded is not None:
        excluded.only("voices", "variants")
        excluded = excluded.get(kind)
    held_out = {name.string().lower() for name in excluded.items()} if excluded else set()
    names = [item.string() for item in listed.items()] if listed else []
    kept = tuple(name for name in dict.fromkeys(names) if name.lower() not in held_out)
    if listed and names and not kept:
        raise listed.error("are all excluded: at least one was expected")
    return kept


def _range(
    file: YamlValue, name: str, default: tuple[int, int], limits: tuple[int, int]
) -> tuple[int, int]:
    item = file.get(name)
    if item is None:
        return default
    values: list[Any] = [part.value for part in item.items()]
    whole = len(values) == 2 and all(type(value) is int for value in values)
    if not whole or not limits[0] <= values[0] <= values[1] <= limits[1]:
        raise item.error(
            f"is {shown(item.value)}: [lowest, highest] between {limits[0]} and {limits[1]} "
            "was expected"
        )
    return values[0], values[1]


def _fill(text: str, choices: Mapping[str, Phrase], words: Callable[[Phrase], str]) -> str:
    return SLOT.sub(lambda found: words(choices[found[1] + (found[2] or "")]), text)
