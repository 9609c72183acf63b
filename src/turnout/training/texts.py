"""The texts that a run learns from: for a tokenizer of its own, and whether they are spelled as the
model that it begins from spells.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice

from turnout.config import CorpusConfig, DataConfig
from turnout.corpora.clips import Clip, training_clips
from turnout.data.stream import texts_of
from turnout.errors import ShardError, one_line
from turnout.text.tokenizer import Tokenizer

Clips = Mapping[str, Sequence[Clip]]
"""Of each file of cuts, by its path: read once, for the tokenizer, the loader and the dev set."""
LOOKED_AT = 200
"""Texts of each corpus, the first ones."""
FEWEST_SHARE = 0.25
"""Of the texts with letters, in capitals, that a line is said of."""
MORE_PIECES = 1.25
"""Than in lower case, from which on capitals are foreign to a tokenizer: Whisper's needs many more
for them, one that was trained on capitals fewer."""


def training_texts(data: DataConfig, clips: Clips) -> Iterator[str]:
    """Every transcript and translation that is trained on; of shards the first."""
    for corpus in data.train:
        yield from corpus_texts(corpus, data, clips)


def corpus_texts(corpus: CorpusConfig, data: DataConfig, clips: Clips) -> Iterator[str]:
    """Those of one corpus of `data`."""
    if corpus.shards:
        yield from texts_of(corpus.shards, data)
        return
    for clip in training_clips(clips[corpus.cuts]):
        yield clip.text
        yield from clip.translations.values()


def spelled_otherwise(data: DataConfig, clips: Clips, tokenizer: Tokenizer) -> Iterator[str]:
    """A line for each corpus whose texts are in foreign capitals."""
    for corpus in data.train:
        with suppress(ShardError):  # training tells of shards that do not answer, and goes on
            said = foreign_capitals(corpus_texts(corpus, data, clips), tokenizer)
            if said is not None:
                yield f"{one_line(corpus.shards or corpus.cuts)}: {said}"


def foreign_capitals(texts: Iterable[str], tokenizer: Tokenizer) -> str | None:
    """What to say of texts in capitals, which a model that writes ordinary spelling has other, and
    more, pieces for: it may unlearn the words that it knows. None where there are few, or where
    the tokenizer is at home in them."""
    cased = [text for text in islice(texts, LOOKED_AT) if text.lower() != text.upper()]
    capitals = [text for text in cased if len(text.split()) > 1 and text == text.upper()]
    if not capitals or len(capitals) < FEWEST_SHARE * len(cased):
        return None
    pieces = [
        sum(len(tokenizer.encode(text)) for text in own)
        for own in (capitals, [text.lower() for text in capitals])
    ]
    if pieces[0] < MORE_PIECES * pieces[1]:
        return None
    return (
        f"{len(capitals)} of the first {len(cased)} texts are in capitals, for which the tokenizer "
        f"has {pieces[0] / pieces[1]:.1f} times as many pieces as for lower case: the model "
        "may unlearn the words that it knows; give them in ordinary spelling, or in lower case"
    )
