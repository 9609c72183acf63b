"""What a plan needs to know beside the run: how much speech, on which devices."""

from dataclasses import dataclass
from typing import Literal

from turnout.config.bounds import above_zero, at_least, require


@dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """Speech and devices that a run is planned for."""

    hours: float
    """Speech to train on."""
    devices: int = 1
    """Devices, one rank on each."""
    memory_gb: float = 80.0
    """Memory of one device, in GB of 10^9 bytes."""
    utterance_seconds: float | None = None
    """Of a mean utterance; 15 by default, or the model's window where that is shorter."""
    tokens_per_second: float = 4.0
    """What the decoder writes, and CTC aligns, of a second of speech."""
    tflops: float | None = None
    """Speed of a device that was measured or is hoped for, in 10^12 operations a second that it
    keeps up in training (a third to a half of what is advertised is much)."""
    speed: float | None = None
    """Speed of a device that was measured or is hoped for, in seconds of speech that it trains on
    in a second."""
    measure: Literal["whole", "scaled"] | None = None
    """Time a few steps on this machine: 'whole' of this very model and batch, 'scaled' of one
    utterance through one layer of each stack, which is scaled up by its operations."""

    def __post_init__(self) -> None:
        above_zero(self, "", "hours", "memory_gb", "utterance_seconds", "tokens_per_second")
        above_zero(self, "", "tflops", "speed")
        at_least(1, self, "", "devices")
        known = [name for name in ("tflops", "speed", "measure") if getattr(self, name) is not None]
        require(
            len(known) <= 1,
            f"{' and '.join(known)} each say how fast a device is: give one of them",
        )
