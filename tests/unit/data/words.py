"""A tiny corpus of made-up words: each text is a chord, each speaker a pitch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource

from turnout.config import AugmentConfig, CorpusConfig, DataConfig, ModelConfig
from turnout.data.joining import Joining
from turnout.data.plan import PlannedUtterance, Shape
from turnout.text.sentencepieces import SentencePieceTokenizer

TEXTS = {"uno": "one", "dos": "two", "tres": "three", "cuatro": "four"}
PLAIN = AugmentConfig(
    narrowband=0.0,
    speed=(1.0, 1.0),
    warp=(1.0, 1.0),
    equalizer_db=0.0,
    noise=0.0,
    empty=0.0,
    time_masks=0,
    mel_masks=0,
)


def word(text: str, pitch: float, rate: int = 16_000, rng: np.random.Generator | None = None):
    """One second at `rate`: faint noise, and from 0.3 to 0.7 s a chord."""
    rng = rng or np.random.default_rng(0)
    time = np.arange(rate) / rate
    number = list(TEXTS).index(text) + 1
    chord = sum(np.sin(2 * np.pi * pitch * number * k * time) for k in (1, 2, 3))
    samples = 0.1 * chord * ((time > 0.3) & (time < 0.7)) + 1e-4 * rng.standard_normal(rate)
    return samples.astype(np.float32)


def cut_of(path: Path, text: str, speaker: str, rate: int, **custom: object) -> MonoCut:
    """The cut of one recording of a second."""
    recording = Recording(
        id=path.stem,
        sources=[AudioSource(type="file", channels=[0], source=str(path))],
        sampling_rate=rate,
        num_samples=rate,
        duration=1.0,
    )
    supervision = SupervisionSegment(
        id=path.stem,
        recording_id=path.stem,
        start=0.0,
        duration=1.0,
        text=text,
        language="es",
        speaker=speaker,
        custom={"translations": {"en": TEXTS[text]}, **custom},
    )
    return MonoCut(
        id=path.stem,
        start=0.0,
        duration=1.0,
        channel=0,
        supervisions=[supervision],
        recording=recording,
    )


def write_words(
    folder: Path, *, rate: int = 16_000, takes: int = 3, split: str | None = None, speakers: int = 2
) -> str:
    """Recordings and cuts of all texts by each speaker; the path of the cuts."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    cuts = []
    for speaker in range(speakers):
        for text in TEXTS:
            for take in range(takes):
                path = folder / f"{text}-{speaker}-{take}.wav"
                soundfile.write(path, word(text, 110.0 + 40 * speaker + take, rate, rng), rate)
                custom = {} if split is None else {"split": split}
                cuts.append(cut_of(path, text, f"s{speaker}", rate, **custom))
    CutSet.from_cuts(cuts).to_file(folder / "cuts.jsonl.gz")
    return str(folder / "cuts.jsonl.gz")


def planned(
    *, counts: Sequence[int] = (), gaps: Sequence[int], silent: bool = True, narrow: bool = False
) -> PlannedUtterance:
    """An utterance of words of so many frames, as they are stored."""
    joining = Joining(
        clips=tuple(range(len(counts))), gaps=tuple(n / 100 for n in gaps), silent=silent
    )
    shape = Shape(warp=(1.0,) * len(counts), counts=tuple(counts), gaps=tuple(gaps))
    return PlannedUtterance(
        corpus=0, index=0, joining=joining, variant=0, narrow=narrow,
        empty=not counts, target=0, shape=shape,
    )  # fmt: skip


def small_model(**changes: object) -> ModelConfig:
    """A model for Spanish, translated to English."""
    from turnout.config import VocabularyConfig

    vocabulary = VocabularyConfig(languages=("es",), translations=(("es", "en"),))
    return ModelConfig(vocabulary=vocabulary, **changes)  # type: ignore[arg-type]


def small_tokenizer() -> SentencePieceTokenizer:
    """Of the made-up words."""
    return SentencePieceTokenizer.train([*TEXTS, *TEXTS.values()], small_model().vocabulary)


def data_of(cuts: str, **changes: object) -> DataConfig:
    """One joined corpus, small batches."""
    settings: dict[str, object] = {
        "train": (CorpusConfig(cuts=cuts, join=True),),
        "dev": (CorpusConfig(cuts=cuts, join=True),),
        "batch_seconds": 12.0,
        "dev_utterances": 3,
        **changes,
    }
    return DataConfig(**settings)  # type: ignore[arg-type]
