"""The programs that speak, through their command lines: text -> samples.

Both come from the system's packages. espeak-ng's voices are many, and all of formants; flite's are
a few speakers of English, and sound as people do.
"""

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from subprocess import SubprocessError, run
from tempfile import TemporaryDirectory
from typing import Literal

from turnout.audio.waveform import Waveform, read_audio
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


@dataclass(frozen=True)
class Engine:
    """An installed program that speaks, and the names that it knows."""

    program: str
    voices: frozenset[str]
    variants: frozenset[str]
    """Of timbre; flite has none."""
    listing: str
    """Its option that lists the voices."""
    options: Callable[[Voice], list[str]]
    """How it is told of a voice; the WAV file's path follows."""

    def check(self, kind: Literal["voice", "variant"], names: Iterable[str]) -> None:
        """Raise UsageError, the nearest name offered, for a voice or variant it lacks."""
        program = Path(self.program).name
        known = self.voices if kind == "voice" else self.variants
        for name in names:
            if not known and kind == "variant":
                raise UsageError(
                    f"{program} has no variants ('{name}' is one): leave `variants` out"
                )
            if name not in known:
                near = get_close_matches(name, known, 3, 0.5) or sorted(known)[:5]
                raise UsageError(
                    f"{program} has no {kind} '{name}': the nearest are {', '.join(near)}; "
                    f"'{program} {self.listing}{'=variant' * (kind == 'variant')}' lists them"
                )

    def speak(self, text: str, voice: Voice) -> Waveform:
        """The spoken text, with the voice's rate; raises UsageError where there is no sound."""
        with TemporaryDirectory() as folder:
            path = Path(folder) / "spoken.wav"
            try:
                # On its standard input: a text never stands among the options, whatever it begins
                # with.
                run(
                    [self.program, *self.options(voice), str(path)],
                    input=text.encode(),
                    capture_output=True,
                    check=True,
                    timeout=TIMEOUT_SECONDS,
                )
                return read_audio(path)
            except (SubprocessError, AudioError) as error:
                raise UsageError(
                    f"{Path(self.program).name} did not speak '{text}' with voice "
                    f"'{voice.timbre}': try its command line with this voice, or leave the voice "
                    "out"
                ) from error


def find_espeak() -> Engine:
    """The installed espeak-ng; raises UsageError where there is none."""
    how = "'apt install espeak-ng' or 'brew install espeak-ng'"
    program = _installed("espeak-ng", how)
    # What needs MBROLA's own data is listed whether that is installed or not.
    voices = (row[1] for row in _table(program, "--voices") if not row[4].startswith("mb/"))
    variants = (row[4].removeprefix("!v/") for row in _table(program, "--voices=variant"))
    return Engine(program, frozenset(voices), frozenset(variants), "--voices", _espeak_options)


def find_flite() -> Engine:
    """The installed flite; raises UsageError where there is none."""
    program = _installed("flite", "'apt install flite', or let the grammar say 'engine: espeak-ng'")
    # "Voices available: kal awb_time kal16 ..."; awb_time tells the time and nothing else
    names = _output(program, "-lv").partition(":")[2].split()
    return Engine(program, frozenset(names) - {"awb_time"}, frozenset(), "-lv", _flite_options)


def _espeak_options(voice: Voice) -> list[str]:
    options = ["-v", voice.timbre, "-p", str(voice.pitch), "-s", str(voice.speed)]
    # -z: no pause after the last word; -b 1: UTF-8
    return [*options, "--stdin", "-z", "-b", "1", "-w"]


def _flite_options(voice: Voice) -> list[str]:
    hertz = FLITE_LOWEST_HZ * 2.0 ** (FLITE_OCTAVES * voice.pitch / 99)
    stretch = FLITE_NATURAL_SPEED / voice.speed
    settings = f"int_f0_target_mean={hertz:.1f}", f"duration_stretch={stretch:.3f}"
    options = [option for setting in settings for option in ("--setf", setting)]
    return ["-voice", voice.name, *options, "-f", "-", "-o"]


def _installed(program: str, how: str) -> str:
    """Its path; raises UsageError, saying how to install it."""
    path = shutil.which(program)
    if path is None:
        raise UsageError(
            f"{program} is not installed and speaks the sentences: install it with {how}"
        )
    return path


def _table(program: str, option: str) -> list[list[str]]:
    """espeak-ng's table: priority, language, age and gender, name, file (which may have spaces)."""
    lines = _output(program, option).splitlines()[1:]
    rows = (line.split(" (")[0].split(maxsplit=4) for line in lines)
    return [[word.strip() for word in row] for row in rows if len(row) == 5]


def _output(*command: str) -> str:
    done = run(command, capture_output=True, check=True, timeout=TIMEOUT_SECONDS, encoding="utf-8")
    return done.stdout
