"""English by telephone, which the teaching benchmark may teach as well: LibriSpeech over a line
with a codec, with noise behind it, and an expert for narrowband English alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pretrained_speech
from pretrained_speech import Places, called
from teach_speech import ENGLISH, SEED, SETS
from whisper_speech import Spoken, from_corpus

from turnout.guidance import Bandwidth, Guide

TELEPHONE = "telephone"
"""Among the languages of --train."""


def cuts_by_telephone(places: Places) -> Path:
    """The cuts to learn from."""
    return pretrained_speech.cuts_of(places, ENGLISH, Bandwidth.NARROWBAND)


def heard_by_telephone(places: Places, split: str, count: int) -> Iterator[Spoken]:
    """So many utterances of LibriSpeech, those that are heard wideband too."""
    for one in from_corpus(places.data, SETS[ENGLISH], count, SEED, (split,)):
        arrived = called(one, split, places)
        yield replace(arrived, id=f"{TELEPHONE}/{one.id}", source=TELEPHONE)


def when_of(corpus: str) -> Mapping[Guide, str]:
    """What an expert of this corpus is for."""
    if corpus == TELEPHONE:
        return {Guide.LANGUAGE: ENGLISH, Guide.BANDWIDTH: Bandwidth.NARROWBAND.value}
    return {Guide.LANGUAGE: corpus}
