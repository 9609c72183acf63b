"""The programs that speak, through their command lines: text -> samples.

Both come from the system's packages. espeak-ng's voices are many, and all of formants; flite's are
a few speakers of English, and sound as people do.
"""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from subprocess import SubprocessError, run
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from turnout.audio.waveform import read_audio
from turnout.errors import AudioError, UsageError

TIMEOUT_SECONDS = 60
FLITE_LOWEST_HZ, FLITE_OCTAVES = 75.0, 1.75
"""Fundamental at pitch 0, and how far above it pitch 99 lies."""
FLITE_NATURAL_SPEED = 165.0
"""Words per minute at which a voice is neither stretched nor pressed."""


@dataclass(frozen=True, kw_only=True)
class Voice:
    """One way to speak: an engine's voice, a variant of its timbre, a pitch and a speed."""

    name: str
    """The engine's name for it, such as 'en-gb' (espeak-ng) or 'slt' (flite)."""
    variant: str | None
    """espeak-ng's variant, such as 'f3'."""
    pitch: int
    """0 to 99."""
    speed: int
    """Words per minute, 80 to 450."""

    @property
    def timbre(self) -> str:
        """The voice and its variant, as espeak-ng takes them."""
        return f"{self.name}+{self.variant}" if self.variant else self.name

    @property
    def speaker(self) -> str:
        """Who is heard: all but the speed."""
        return f"{self.timbre}-p{self.pitch}".replace(" ", "_")


class Engine(Protocol):
    """An installed program that speaks."""

    def check(self, kind: str, names: Iterable[str]) -> None:
        """Raise UsageError, the nearest name offered, for a 'voice' or 'variant' it lacks."""
        ...

    def speak(self, text: str, voice: Voice) -> NDArray[np.float32]:
        """The spoken text, mono at 16 kHz; raises UsageError where there is no sound."""
        ...


@dataclass(frozen=True)
class Espeak:
    """An installed espeak-ng, with the names of its voices and variants."""

    program: str
    voices: frozenset[str]
    variants: frozenset[str]

    @classmethod
    def find(cls) -> "Espeak":
        """The installed one; raises UsageError where there is none."""
        program = shutil.which("espeak-ng")
        if program is None:
            raise UsageError(
                "espeak-ng is not installed and speaks the sentences: install it with "
                "'apt install espeak-ng' or 'brew install espeak-ng'"
            )
        # What needs MBROLA's own data is listed whether that is installed or not.
        voices = (row[1] for row in _table(program, "--voices") if not row[4].startswith("mb/"))
        variants = (row[4].removeprefix("!v/") for row in _table(program, "--voices=variant"))
        return cls(program, frozenset(voices), frozenset(variants))

    def check(self, kind: str, names: Iterable[str]) -> None:
        """Raise UsageError, the nearest name offered, for a 'voice' or 'variant' it lacks."""
        known = self.voices if kind == "voice" else self.variants
        for name in names:
            if name not in known:
                near = get_close_matches(name, known, 3, 0.5) or sorted(known)[:5]
                raise UsageError(
                    f"espeak-ng has no {kind} '{name}': the nearest are {', '.join(near)}; "
                    f"'espeak-ng --voices{'=variant' * (kind == 'variant')}' lists them"
                )

    def speak(self, text: str, voice: Voice) -> NDArray[np.float32]:
        """The spoken text, mono at 16 kHz; raises UsageError where espeak-ng gives no sound."""
        options = ["-v", voice.timbre, "-p", str(voice.pitch), "-s", str(voice.speed)]
        # -z: no pause after the last word; -b 1: UTF-8
        return _spoken([self.program, *options, "--stdin", "-z", "-b", "1", "-w"], text, voice)


@dataclass(frozen=True)
class Flite:
    """An installed flite, with the names of its voices."""

    program: str
    voices: frozenset[str]

    @classmethod
    def find(cls) -> "Flite":
        """The installed one; raises UsageError where there is none."""
        program = shutil.which("flite")
        if program is None:
            raise UsageError(
                "flite is not installed and speaks the sentences: install it with "
                "'apt install flite', or let the grammar say 'engine: espeak-ng'"
            )
        # "Voices available: kal awb_time kal16 ..."; awb_time tells the time and nothing else
        names = _output(program, "-lv").partition(":")[2].split()
        return cls(program, frozenset(names) - {"awb_time"})

    def check(self, kind: str, names: Iterable[str]) -> None:
        """Raise UsageError, the nearest name offered, for a voice it lacks; it has no variants."""
        for name in names:
            if kind == "variant":
                raise UsageError(f"flite has no variants ('{name}' is one): leave `variants` out")
            if name not in self.voices:
                near = get_close_matches(name, self.voices, 3, 0.5) or sorted(self.voices)
                raise UsageError(
                    f"flite has no voice '{name}': the nearest are {', '.join(near)}; "
                    "'flite -lv' lists them"
                )

    def speak(self, text: str, voice: Voice) -> NDArray[np.float32]:
        """The spoken text, mono at 16 kHz; raises UsageError where flite gives no sound."""
        hertz = FLITE_LOWEST_HZ * 2.0 ** (FLITE_OCTAVES * voice.pitch / 99)
        stretch = FLITE_NATURAL_SPEED / voice.speed
        settings = f"int_f0_target_mean={hertz:.1f}", f"duration_stretch={stretch:.3f}"
        options = [option for setting in settings for option in ("--setf", setting)]
        command = [self.program, "-voice", voice.name, *options, "-f", "-", "-o"]
        return _spoken(command, text, voice)


def _table(program: str, option: str) -> list[list[str]]:
    """espeak-ng's table: priority, language, age and gender, name, file (which may have spaces)."""
    lines = _output(program, option).splitlines()[1:]
    rows = (line.split(" (")[0].split(maxsplit=4) for line in lines)
    return [[word.strip() for word in row] for row in rows if len(row) == 5]


def _output(*command: str) -> str:
    done = run(command, capture_output=True, check=True, timeout=TIMEOUT_SECONDS, encoding="utf-8")
    return done.stdout


def _spoken(command: list[str], text: str, voice: Voice) -> NDArray[np.float32]:
    """What the command writes into the WAV file whose path is appended to it, mono at 16 kHz."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "spoken.wav"
        try:
            # On its standard input: a text never stands among the options, whatever it begins with.
            run(
                [*command, str(path)],
                input=text.encode(),
                capture_output=True,
                check=True,
                timeout=TIMEOUT_SECONDS,
            )
            return read_audio(path).samples
        except (SubprocessError, AudioError) as error:
            raise UsageError(
                f"{Path(command[0]).name} did not speak '{text}' with voice '{voice.timbre}': try "
                "its command line with this voice, or leave the voice out"
            ) from error
