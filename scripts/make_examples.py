"""Speaks the recordings of examples/ with espeak-ng and writes their references.

    python scripts/make_examples.py            (in an environment with turnout's runtime)

Words are spoken one by one and joined with pauses, as the shipped model knows them: connected
isolated words. The recipes of its synthesised training speech (recipes/words_ar.yaml and
words_en.yaml) exclude every voice of these. Made with espeak-ng 1.51; another version speaks a
little differently.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
import soxr
import yaml
from numpy.typing import NDArray

from turnout.audio.features import SAMPLE_RATE
from turnout.audio.telephone import TELEPHONE_RATE, TelephoneChannel

Floats = NDArray[np.float32]

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
SEED = 3
PAUSE_SECONDS = (0.1, 0.3)
EDGE_SECONDS = 0.15
# Of espeak-ng's own voices.
ESPEAK_RATE = 22_050
# What lies further below a word's loudest 10 ms is not part of the word.
TRIM_DB = 40.0
# Room noise of every recording, so that no pause is digital zero.
ROOM_NOISE = 2e-4

TARGETS = {"ar": "en", "en": "de"}


@dataclass(frozen=True, kw_only=True)
class Example:
    """One recording: who says what, and how it is stored."""

    file: str
    voice: str
    text: str
    rate: int
    subtype: str
    channel: TelephoneChannel | None = None
    """Telephone speech went through this; `rate` may be above 8 kHz all the same."""
    words_per_minute: int = 140

    @property
    def language(self) -> str:
        """The language, by the voice."""
        return self.voice[:2]


PLAIN_LINE = TelephoneChannel(codec=None, bandpass=True)
MULAW_LINE = TelephoneChannel(codec="mulaw", bandpass=True)
NOISY_LINE = TelephoneChannel(codec="mulaw", bandpass=True, noise_snr_db=30.0)
ALAW_LINE = TelephoneChannel(codec="alaw", bandpass=False)

RECORDINGS = (
    Example(
        file="arabic-1.flac", voice="ar+Annie", text="فتح خيارات تسجيل صفر",
        rate=16_000, subtype="PCM_16",
    ),
    Example(
        file="arabic-2.mp3", voice="ar+m5", text="رقم سبعة ثلاثة واحد خمسة",
        rate=44_100, subtype="MPEG_LAYER_III",
    ),
    Example(
        file="arabic-3.wav", voice="ar+Mario", text="يمين أمام توقف",
        rate=48_000, subtype="PCM_16",
    ),
    Example(
        file="arabic-telephone-1.wav", voice="ar+Mario", text="نعم موافق إرسال أربعة اثنان",
        rate=8_000, subtype="PCM_16", channel=PLAIN_LINE,
    ),
    Example(
        file="arabic-telephone-2.wav", voice="ar+f3", text="أسفل يسار تكبير إلغاء",
        rate=8_000, subtype="ULAW", channel=NOISY_LINE,
    ),
    Example(
        file="arabic-telephone-3.flac", voice="ar+m5", text="السابق أعلى ستة ثمانية استقبال",
        rate=16_000, subtype="PCM_16", channel=MULAW_LINE,
    ),
    Example(
        file="english-1.flac", voice="en-us+Annie", text="seven two nine four",
        rate=16_000, subtype="PCM_16",
    ),
    Example(
        file="english-2.ogg", voice="en-gb-x-gbclan", text="eight zero five five one three",
        rate=48_000, subtype="OPUS",
    ),
    Example(
        file="english-3.wav", voice="en-gb+f3", text="six one eight",
        rate=44_100, subtype="PCM_16",
    ),
    Example(
        file="english-telephone-1.wav", voice="en-us+m5", text="three nine six zero two",
        rate=8_000, subtype="ULAW", channel=MULAW_LINE,
    ),
    Example(
        file="english-telephone-2.wav", voice="en-gb-x-gbclan", text="four seven one nine six",
        rate=8_000, subtype="ALAW", channel=ALAW_LINE,
    ),
    Example(
        file="english-telephone-3.flac", voice="en-us+Mario", text="five two zero four three",
        rate=16_000, subtype="PCM_16", channel=NOISY_LINE,
    ),
)  # fmt: skip


@cache
def lexicon(language: str) -> dict[str, tuple[str, str]]:
    """Word -> (what espeak-ng is given, translation), as the recipe of the training speech says."""
    recipe = yaml.safe_load((ROOT / f"recipes/words_{language}.yaml").read_text(encoding="utf-8"))
    target = TARGETS[language]
    return {
        word["text"]: (word.get("spoken", word["text"]), word["translations"][target])
        for word in recipe["sentences"]
    }


def speak(example: Example, word: str, folder: Path) -> Floats:
    """One word, trimmed to its energy, at ESPEAK_RATE."""
    path = folder / "word.wav"
    spoken, _ = lexicon(example.language)[word]
    speed = str(example.words_per_minute)
    command = ["espeak-ng", "-v", example.voice, "-s", speed, "-w", str(path), spoken]
    subprocess.run(command, check=True)
    samples = np.asarray(soundfile.read(path, dtype="float32")[0], np.float32)
    hop = ESPEAK_RATE // 100
    frames = samples[: len(samples) // hop * hop].reshape(-1, hop)
    power = np.square(frames).mean(axis=1)
    loud = np.flatnonzero(power > power.max() * 10 ** (-TRIM_DB / 10))
    return samples[loud[0] * hop : (loud[-1] + 1) * hop]


def silence(seconds: float) -> Floats:
    """Zeros at ESPEAK_RATE."""
    return np.zeros(int(seconds * ESPEAK_RATE), np.float32)


def say(example: Example, rng: np.random.Generator) -> Floats:
    """All words of an example with pauses between them, at half of full scale."""
    pieces: list[Floats] = []
    with tempfile.TemporaryDirectory() as folder:
        for word in example.text.split():
            pause = rng.uniform(*PAUSE_SECONDS) if pieces else EDGE_SECONDS
            pieces += [silence(pause), speak(example, word, Path(folder))]
    joined = np.concatenate([*pieces, silence(EDGE_SECONDS)])
    joined *= 0.5 / np.abs(joined).max()
    noise = rng.standard_normal(len(joined), np.float32)
    return joined + np.float32(ROOM_NOISE) * noise


def record(example: Example, rng: np.random.Generator) -> None:
    """Write one recording."""
    samples, rate = say(example, rng), ESPEAK_RATE
    if example.channel is not None:
        samples = soxr.resample(samples, rate, SAMPLE_RATE)
        samples, rate = example.channel.at_8khz(samples, rng), TELEPHONE_RATE
    if rate != example.rate:
        samples = soxr.resample(samples, rate, example.rate)
    soundfile.write(EXAMPLES / example.file, samples, example.rate, subtype=example.subtype)


def reference(example: Example) -> dict[str, str]:
    """What the recording says."""
    words = lexicon(example.language)
    return {
        "text": example.text,
        "language": example.language,
        "translation": " ".join(words[word][1] for word in example.text.split()),
        "target_language": TARGETS[example.language],
        "bandwidth": "narrowband" if example.channel else "wideband",
        "voice": example.voice,
    }


def main() -> int:
    """Write every recording and references.json."""
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0]).parse_args()
    if shutil.which("espeak-ng") is None:
        print("make_examples: espeak-ng is missing: install it from the system's packages")
        return 1
    EXAMPLES.mkdir(exist_ok=True)
    for number, example in enumerate(RECORDINGS):
        record(example, np.random.default_rng((SEED, number)))
    references = {example.file: reference(example) for example in RECORDINGS}
    written = json.dumps(references, ensure_ascii=False, indent=2) + "\n"
    (EXAMPLES / "references.json").write_text(written, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
