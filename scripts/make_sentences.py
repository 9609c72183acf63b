"""Speaks the sentences of examples/sentences/ and writes their references.

    python scripts/make_sentences.py           (in an environment with turnout's runtime)

Whole sentences in four languages, two of them through the project's telephone channel: for a
Whisper checkpoint, since the model that ships knows none of their words. Spoken by espeak-ng 1.51,
flite 2.2, and festival 2.5 with its Russian voice (Debian's festival and festvox-ru); other
versions speak a little differently. whisper-base hears little of espeak-ng's other languages, whose
voices are made of formants: these are sentences that it does hear.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from subprocess import run
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
from numpy.typing import NDArray

from turnout.audio.features import SAMPLE_RATE
from turnout.audio.telephone import TELEPHONE_RATE, TelephoneChannel
from turnout.audio.waveform import read_audio
from turnout.synthesis.engines import Engine, Voice, find_espeak, find_flite

Floats = NDArray[np.float32]

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "sentences"
SEED = 10
EDGE_SECONDS = 0.2
ROOM_NOISE = 2e-4
"""Of every recording, so that no pause is digital zero."""


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """One recording: who says what, and how it is stored."""

    file: str
    speak: Callable[[str], Floats]
    """Text -> samples at SAMPLE_RATE."""
    voice: str
    """Which that is."""
    language: str
    text: str
    translation: str
    """To English, which is all that Whisper translates to; its English stays English."""
    subtype: str
    channel: TelephoneChannel | None = None


def spoken_by(find: Callable[[], Engine], voice: Voice) -> Callable[[str], Floats]:
    """A voice of an engine that turnout knows."""
    return lambda text: find().speak(text, voice).samples


def festival(voice: str) -> Callable[[str], Floats]:
    """A voice of festival's."""

    def speak(text: str) -> Floats:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "spoken.wav"
            command = ["text2wave", "-eval", f"(voice_{voice})", "-o", str(path)]
            run(command, input=text.encode(), check=True)
            return read_audio(path).samples

    return speak


SENTENCES = (
    Sentence(
        file="english-telephone.wav", language="en", subtype="ULAW",
        voice="flite: slt",
        speak=spoken_by(find_flite, Voice(name="slt", variant=None, pitch=70, speed=160)),
        text="Please call me back tomorrow morning before nine o'clock.",
        translation="Please call me back tomorrow morning before nine o'clock.",
        channel=TelephoneChannel(codec="mulaw", bandpass=True, noise_snr_db=30.0),
    ),
    Sentence(
        file="german.flac", language="de", subtype="PCM_16",
        voice="espeak-ng: de",
        speak=spoken_by(find_espeak, Voice(name="de", variant=None, pitch=50, speed=165)),
        text="Guten Tag, was kann ich für Sie tun?",
        translation="Good day, what can I do for you?",
    ),
    Sentence(
        file="russian-telephone.wav", language="ru", subtype="ALAW",
        voice="festival: msu_ru_nsh_clunits (Nickolay V. Shmyrev)",
        speak=festival("msu_ru_nsh_clunits"),
        text="Добрый день, вчера я купил билет на поезд.",
        translation="Good day, yesterday I bought a train ticket.",
        channel=TelephoneChannel(codec="alaw", bandpass=True),
    ),
    Sentence(
        file="spanish.ogg", language="es", subtype="OPUS",
        voice="espeak-ng: es",
        speak=spoken_by(find_espeak, Voice(name="es", variant=None, pitch=50, speed=150)),
        text="Muchas gracias, hasta mañana.",
        translation="Thank you very much, see you tomorrow.",
    ),
)  # fmt: skip


def record(sentence: Sentence, rng: np.random.Generator) -> None:
    """Write one recording: at half of full scale, with the noise of a room."""
    edge = np.zeros(int(EDGE_SECONDS * SAMPLE_RATE), np.float32)
    samples = np.concatenate([edge, sentence.speak(sentence.text), edge])
    samples *= np.float32(0.5) / np.abs(samples).max()
    samples += np.float32(ROOM_NOISE) * rng.standard_normal(len(samples), np.float32)
    rate = SAMPLE_RATE
    if sentence.channel is not None:
        samples, rate = sentence.channel.at_8khz(samples, rng), TELEPHONE_RATE
    soundfile.write(FOLDER / sentence.file, samples, rate, subtype=sentence.subtype)


def reference(sentence: Sentence) -> dict[str, str]:
    """What the recording says."""
    return {
        "text": sentence.text,
        "language": sentence.language,
        "translation": sentence.translation,
        "target_language": "en",
        "bandwidth": "narrowband" if sentence.channel else "wideband",
        "voice": sentence.voice,
    }


def main() -> int:
    """Write every recording and references.json."""
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0]).parse_args()
    for program in ("espeak-ng", "flite", "text2wave"):
        if which(program) is None:
            print(f"make_sentences: {program} is missing: install it from the system's packages")
            return 1
    FOLDER.mkdir(exist_ok=True)
    for number, sentence in enumerate(SENTENCES):
        record(sentence, np.random.default_rng((SEED, number)))
    references = {sentence.file: reference(sentence) for sentence in SENTENCES}
    written = json.dumps(references, ensure_ascii=False, indent=2) + "\n"
    (FOLDER / "references.json").write_text(written, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
