"""flite, through its command line: a few voices made from recorded speakers of English.

espeak-ng's voices are many, and all of formants; flite's are few, and sound as people do.
"""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from subprocess import run

import numpy as np
from numpy.typing import NDArray

from turnout.errors import UsageError
from turnout.synthesis.voices import TIMEOUT_SECONDS, Voice, spoken_by

LOWEST_HZ, OCTAVES = 75.0, 1.75
"""Fundamental at pitch 0, and how far above it pitch 99 lies."""
NATURAL_SPEED = 165.0
"""Words per minute at which a voice is neither stretched nor pressed."""


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
        listed = run(
            [program, "-lv"], capture_output=True, check=True, timeout=TIMEOUT_SECONDS, text=True
        )
        # "Voices available: kal awb_time kal16 ..."; awb_time tells the time and nothing else
        return cls(program, frozenset(listed.stdout.partition(":")[2].split()) - {"awb_time"})

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
        hertz = LOWEST_HZ * 2.0 ** (OCTAVES * voice.pitch / 99)
        settings = (
            f"int_f0_target_mean={hertz:.1f}",
            f"duration_stretch={NATURAL_SPEED / voice.speed:.3f}",
        )
        options = [option for setting in settings for option in ("--setf", setting)]
        return spoken_by(
            [self.program, "-voice", voice.name, *options, "-f", "-", "-o"], text, voice
        )
