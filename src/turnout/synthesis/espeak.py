"""espeak-ng, through its command line: text -> samples. It comes from the system's packages."""

import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from turnout.errors import UsageError
from turnout.synthesis.voices import TIMEOUT_SECONDS, Voice, spoken_by


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
        # what needs MBROLA's own data is listed whether that is installed or not
        voices = (row[1] for row in _listed(program, "--voices") if not row[4].startswith("mb/"))
        variants = (row[4].removeprefix("!v/") for row in _listed(program, "--voices=variant"))
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
        name = f"{voice.name}+{voice.variant}" if voice.variant else voice.name
        options = ["-v", name, "-p", str(voice.pitch), "-s", str(voice.speed)]
        # -z: no pause after the last word; -b 1: UTF-8
        return spoken_by([self.program, *options, "--stdin", "-z", "-b", "1", "-w"], text, voice)


def _listed(program: str, option: str) -> list[list[str]]:
    """espeak-ng's table: priority, language, age and gender, name, file (which may have spaces)."""
    done = subprocess.run(
        [program, option],
        capture_output=True,
        check=True,
        timeout=TIMEOUT_SECONDS,
        text=True,
        encoding="utf-8",
    )
    rows = (line.split(" (")[0].split(maxsplit=4) for line in done.stdout.splitlines()[1:])
    return [[word.strip() for word in row] for row in rows if len(row) == 5]
