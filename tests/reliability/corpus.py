"""A small corpus to train on, cut from the repository's examples, and a tiny model to train."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
from lhotse import CutSet
from lhotse.cut import MonoCut

from tests.unit.training.toy import toy_config, toy_model
from turnout.config import AugmentConfig, CorpusConfig, DataConfig, OptimizerConfig, TrainConfig
from turnout.config.preparation import PrepareConfig
from turnout.corpora.prepare import prepare

EXAMPLES = Path(__file__).parents[2] / "examples"
SHORTEST, LONGEST = 0.4, 0.7
CUTS = "cuts.jsonl.gz"


def write_corpus(folder: Path, clips: int) -> Path:
    """So many English recordings of about half a second, prepared; the path of their cuts."""
    folder.mkdir(parents=True)
    spoken = {
        name: entry
        for name, entry in json.loads((EXAMPLES / "references.json").read_text()).items()
        if entry["language"] == "en"
    }
    recordings = {name: soundfile.read(EXAMPLES / name) for name in spoken}
    rng = np.random.default_rng(0)
    lines = []
    for number in range(clips):
        name = list(spoken)[number % len(spoken)]
        samples, rate = recordings[name]
        length = round(rng.uniform(SHORTEST, LONGEST) * rate)
        first = int(rng.integers(0, len(samples) - length))
        path = folder / f"{number:03d}.wav"
        soundfile.write(path, samples[first : first + length], rate)
        lines.append({"audio_filepath": path.name, **_words(spoken[name], first / len(samples))})
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    prepare(manifest, folder, PrepareConfig())
    return folder / CUTS


def _words(entry: dict[str, str], place: float) -> dict[str, str]:
    """The word that is spoken about there, by its place in the text."""
    words, translated = entry["text"].split(), entry["translation"].split()
    number = int(place * len(words))
    return {
        "text": words[number],
        "lang": entry["language"],
        "translation": translated[min(number, len(translated) - 1)],
        "target_lang": entry["target_language"],
        "speaker": entry["voice"],
    }


def make_relative(cuts: Path) -> None:
    """Name the recordings relative to the cuts: copies of the folder are the same corpus."""

    def moved(cut: MonoCut) -> MonoCut:
        assert cut.recording is not None
        sources = [replace(s, source=Path(str(s.source)).name) for s in cut.recording.sources]
        return replace(cut, recording=replace(cut.recording, sources=sources))

    kept = [moved(cut) for cut in CutSet.from_file(cuts)]
    CutSet.from_cuts(kept).to_file(cuts)


def config_of(cuts: str | Path, **changes: object) -> TrainConfig:
    """A run of sixteen steps, everything on, in the folder `run` of wherever it is started."""
    model = toy_model()
    corpus = CorpusConfig(cuts=str(cuts))
    data = DataConfig(
        train=(corpus,),
        dev=(corpus,),
        batch_seconds=1.5,
        dev_utterances=2,
        augment=AugmentConfig(telephone_variants=1),
    )
    settings: dict[str, object] = {
        "model": replace(model, vocabulary=replace(model.vocabulary, size=400)),
        "data": data,
        "optimizer": OptimizerConfig(warmup_steps=3, learning_rate=1e-3),
        "max_steps": 16,
        **changes,
    }
    return toy_config(Path("run"), **settings)
