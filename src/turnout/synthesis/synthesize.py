"""`turnout synthesize`: a grammar spoken by many voices -> a corpus with its cuts.

Everything drawn derives from the seed: the same grammar, seed and synthesiser give the same corpus.
"""

import random
from collections import Counter
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import soundfile

from turnout.audio.bandwidth import bandwidth_by_rate
from turnout.audio.features import SAMPLE_RATE
from turnout.config.preparation import SynthesisConfig, shares_of
from turnout.corpora.entry import Entry, MeasuredEntry
from turnout.corpora.manifest import Place
from turnout.corpora.splits import assign_splits, by_split
from turnout.corpora.summary import Summary
from turnout.corpora.writing import write_splits
from turnout.errors import StorageError, UsageError
from turnout.files import whole_file
from turnout.guidance import Bandwidth
from turnout.progress import progress
from turnout.synthesis.engines import Engine, Voice, find_espeak, find_flite
from turnout.synthesis.grammar import Grammar, Phrase, read_grammar

TEMPO = (0.9, 1.1)
"""A clip's speed, relative to its speaker's."""
LOUDEST = 0.95
"""Louder clips are turned down to this peak, so that none is clipped."""


@dataclass(frozen=True, kw_only=True)
class Saying:
    """One sentence to be spoken by one voice."""

    id: str
    phrase: Phrase
    voice: Voice


def synthesize(grammar: Path, output: Path, config: SynthesisConfig | None = None) -> Summary:
    """Speak the grammar into FLAC files under `output/audio`, and write their cuts.

    The cuts are `output/cuts.jsonl.gz`, or one file for each split. Raises ManifestError for a
    grammar that cannot be read, UsageError where the synthesiser or a voice is missing, and
    StorageError.
    """
    config = config or SynthesisConfig()
    read = read_grammar(grammar)
    engine = find_flite() if read.engine == "flite" else find_espeak()
    engine.check("voice", read.voices)
    engine.check("variant", read.variants)
    sayings = draw_sayings(read, config)
    splits: dict[str, str] = {}
    if shares := shares_of(config.split):
        counts = Counter(saying.voice.speaker for saying in sayings)
        splits = assign_splits(counts, shares, config.seed)
    spoken = [
        _spoken(saying, read, engine, output, splits.get(saying.voice.speaker))
        for saying in progress(sayings, "speaking", len(sayings))
    ]
    said = len({saying.phrase.text for saying in sayings})
    note = f"{said} of the grammar's {read.size} sentences are spoken"
    written, remarks = write_splits(by_split(spoken), output)
    return Summary(splits=written, notes=(note, *remarks))


def draw_sayings(grammar: Grammar, config: SynthesisConfig) -> list[Saying]:
    """Who says what, drawn from the seed; speaks nothing yet."""
    each = config.sentences_per_speaker or grammar.sentences_per_speaker or grammar.size
    sayings: list[Saying] = []
    for voice in _voices(grammar, config):
        # One for each: what a speaker says does not depend on who else speaks.
        rng = random.Random(f"{config.seed}/{voice.speaker}")
        for number, phrase in enumerate(grammar.draw(each, rng)):
            speed = round(voice.speed * rng.uniform(*TEMPO))
            speed = min(max(speed, grammar.speed[0]), grammar.speed[1])
            name = f"{voice.speaker}-{number:04d}"
            sayings.append(Saying(id=name, phrase=phrase, voice=replace(voice, speed=speed)))
    return sayings


def _voices(grammar: Grammar, config: SynthesisConfig) -> list[Voice]:
    """The speakers: all timbres in turn, each time with another pitch."""
    rng = random.Random(config.seed)
    count = config.speakers or grammar.speakers
    timbres = [
        (name, variant) for name in grammar.voices for variant in grammar.variants or (None,)
    ]
    rng.shuffle(timbres)
    pitches = range(grammar.pitch[0], grammar.pitch[1] + 1)
    if count > len(timbres) * len(pitches):
        raise UsageError(
            f"{count} speakers were asked for, and the grammar's voices, variants and pitches "
            f"give {len(timbres) * len(pitches)}: add some, or ask for fewer"
        )
    left = {timbre: rng.sample(pitches, len(pitches)) for timbre in timbres}
    return [
        Voice(name=name, variant=variant, pitch=unused.pop(), speed=rng.randint(*grammar.speed))
        for (name, variant), unused in islice(cycle(left.items()), count)
    ]


def _spoken(
    saying: Saying, grammar: Grammar, engine: Engine, output: Path, split: str | None
) -> MeasuredEntry:
    """Speak one sentence into its file, and describe it."""
    spoken = engine.speak(saying.phrase.spoken, saying.voice)
    samples = spoken.samples
    peak = float(np.abs(samples).max(initial=0.0))
    if peak > LOUDEST:
        samples = samples * np.float32(LOUDEST / peak)
    path = output / "audio" / saying.voice.speaker / f"{saying.id}.flac"
    try:
        with whole_file(path) as partial:
            soundfile.write(partial, samples, SAMPLE_RATE, subtype="PCM_16")
    except (OSError, soundfile.LibsndfileError) as error:
        raise StorageError(f"{path}: cannot be written ({error})") from error
    entry = Entry(
        id=saying.id,
        audio=path,
        place=Place(str(path)),
        text=saying.phrase.text,
        language=grammar.language,
        speaker=saying.voice.speaker,
        translations=saying.phrase.translations,
        split=split,
    )
    return MeasuredEntry(
        entry=entry,
        native_rate=SAMPLE_RATE,
        num_samples=len(samples),
        start=0.0,
        duration=len(samples) / SAMPLE_RATE,
        # The voice's rate tells the band, whatever one short word shows of it.
        bandwidth=bandwidth_by_rate(spoken.native_rate) or Bandwidth.WIDEBAND,
    )
