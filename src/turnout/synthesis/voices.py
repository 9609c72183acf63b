"""What a speech synthesiser is to the rest: named voices, and text -> samples."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from subprocess import SubprocessError, run
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from turnout.audio.waveform import read_audio
from turnout.errors import AudioError, UsageError

TIMEOUT_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Voice:
    """One way to speak: a synthesiser's voice, a variant of its timbre, a pitch and a speed."""

    name: str
    """The synthesiser's name for it, such as 'en-gb' (espeak-ng) or 'slt' (flite)."""
    variant: str | None
    """espeak-ng's variant, such as 'f3'."""
    pitch: int
    """0 to 99."""
    speed: int
    """Words per minute, 80 to 450."""

    @property
    def speaker(self) -> str:
        """Who is heard: all but the speed."""
        variant = f"+{self.variant}" if self.variant else ""
        return f"{self.name}{variant}-p{self.pitch}".replace(" ", "_")


class Synthesiser(Protocol):
    """An installed program that speaks."""

    def check(self, kind: str, names: Iterable[str]) -> None:
        """Raise UsageError, the nearest name offered, for a 'voice' or 'variant' it lacks."""
        ...

    def speak(self, text: str, voice: Voice) -> NDArray[np.float32]:
        """The spoken text, mono at 16 kHz; raises UsageError where there is no sound."""
        ...


def spoken_by(command: list[str], text: str, voice: Voice) -> NDArray[np.float32]:
    """What the command writes into the WAV file whose path is appended to it, mono at 16 kHz.

    The text goes to its standard input: it never stands among the options.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "spoken.wav"
        try:
            run(
                [*command, str(path)],
                input=text.encode(),
                capture_output=True,
                check=True,
                timeout=TIMEOUT_SECONDS,
            )
            return read_audio(path).samples
        except (SubprocessError, AudioError) as error:
            program = Path(command[0]).name
            name = f"{voice.name}+{voice.variant}" if voice.variant else voice.name
            raise UsageError(
                f"{program} did not speak '{text}' with voice '{name}': try its command line "
                "with this voice, or leave the voice out"
            ) from error
